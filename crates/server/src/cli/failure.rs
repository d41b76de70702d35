//! What went wrong, and the exit status that says so.

use std::io;
use std::process::ExitCode;

use cauce_kafka::ErrorCode;

use crate::kafka_client::ClientError;

/// To be read at the end of each command's help.
pub(super) const EXIT_STATUS: &str = "Exit status: 0 done, 1 refused or failed, 2 wrong usage, \
    3 no broker there or login refused, 4 no such topic or group.";

const FAILED: u8 = 1;
/// 2 is clap's.
const UNREACHABLE: u8 = 3;
const NOT_FOUND: u8 = 4;

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Input(String),
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Some of the things that were asked for one by one.
    #[error("{} failed", .0.len())]
    Some(Vec<ClientError>),
}

impl Failure {
    pub(super) fn exit(self) -> ExitCode {
        // Whoever reads what we print may stop reading: that is their business.
        if matches!(&self, Failure::Io(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        match &self {
            Failure::Some(failures) => {
                failures.iter().for_each(|failure| eprintln!("cauce: {failure}"));
            }
            other => eprintln!("cauce: {other}"),
        }
        ExitCode::from(self.status())
    }

    fn status(&self) -> u8 {
        match self {
            Failure::Client(error) => status_of(error),
            Failure::Io(_) | Failure::Input(_) => FAILED,
            Failure::Some(failures) => failures.first().map_or(FAILED, status_of),
        }
    }
}

fn status_of(error: &ClientError) -> u8 {
    match error {
        ClientError::Connect { .. }
        | ClientError::Login { .. }
        | ClientError::Io { .. }
        | ClientError::HungUp(_)
        | ClientError::Silent { .. } => UNREACHABLE,
        ClientError::NoTopic(_) | ClientError::NoPartition { .. } | ClientError::NoGroup(_) => NOT_FOUND,
        other => match other.code() {
            Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::GroupIdNotFound) => NOT_FOUND,
            _ => FAILED,
        },
    }
}

/// What was asked for one by one: all is well if all is.
pub(super) fn all_done(failures: Vec<ClientError>) -> Result<(), Failure> {
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Failure::Some(failures)),
    }
}
