//! What can go wrong between us and a broker.

use std::io;

use cauce_core::partition::TopicPartition;
use cauce_kafka::{Api, DecodeError, ErrorCode, Text};

use super::options::Address;
use super::records::RecordsError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot connect to {address}: {error}")]
    Connect { address: Address, error: io::Error },
    #[error("the broker refused the login of user {user:?}: {text}")]
    Login { user: String, text: String },
    #[error("the connection to {address} broke: {error}")]
    Io { address: Address, error: io::Error },
    #[error("the broker at {0} hung up without a word")]
    HungUp(Address),
    #[error("the broker at {address} did not answer {api:?} in {seconds} s")]
    Silent { address: Address, api: Api, seconds: u64 },
    #[error("the broker does not serve {0:?} in a version we know")]
    NotServed(Api),
    #[error("the broker's answer to {api:?} cannot be read: {error}")]
    Decode { api: Api, error: DecodeError },
    #[error("the broker sent {0}, which is no answer to what was asked")]
    Nonsense(String),
    #[error("{what}: {}", reason(*code, text.as_deref()))]
    Refused { what: String, code: i16, text: Option<String> },
    #[error("there is no topic {0:?}")]
    NoTopic(String),
    #[error("topic {topic:?} has no partition {partition}")]
    NoPartition { topic: String, partition: i32 },
    #[error("there is no group {0:?}")]
    NoGroup(String),
    #[error("the records of {place} from offset {offset} on cannot be read: {error}")]
    Records { place: TopicPartition, offset: i64, error: RecordsError },
}

impl ClientError {
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused { code, .. } => ErrorCode::from_code(*code),
            _ => None,
        }
    }

    /// Whether a broker that is about to get ready answers so.
    pub(super) fn passes(&self) -> bool {
        matches!(
            self.code(),
            Some(
                ErrorCode::LeaderNotAvailable
                    | ErrorCode::NotLeaderOrFollower
                    | ErrorCode::CoordinatorLoadInProgress
                    | ErrorCode::CoordinatorNotAvailable
                    | ErrorCode::NotCoordinator
            )
        )
    }
}

/// An error where a response carries one.
pub(crate) fn check(
    code: i16,
    text: Option<&Text>,
    what: impl FnOnce() -> String,
) -> Result<(), ClientError> {
    match code {
        0 => Ok(()),
        _ => Err(ClientError::Refused { what: what(), code, text: text.map(|text| text.to_string()) }),
    }
}

fn reason(code: i16, text: Option<&str>) -> String {
    let name = match ErrorCode::from_code(code) {
        Some(error) => error.name().to_owned(),
        None => format!("error {code}"),
    };
    match text {
        Some(text) if !text.is_empty() => format!("{text} ({name})"),
        _ => name,
    }
}
