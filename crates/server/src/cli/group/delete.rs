//! `cauce group delete`.

use cauce_kafka::ErrorCode;
use cauce_kafka::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use clap::Args;

use crate::cli::failure::{Failure, all_done};
use crate::kafka_client::{Client, ClientError, ConnectOptions, check};

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[arg(required = true, value_name = "GROUP")]
    names: Vec<String>,
    /// Do not mind groups that are not there.
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    connect: ConnectOptions,
}

impl Delete {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = Client::open(&self.connect).await?;
        let mut failures = Vec::new();
        for name in &self.names {
            match delete(&mut client, name).await {
                Err(ClientError::NoGroup(_)) if self.if_exists => {}
                other => failures.extend(other.err()),
            }
        }
        all_done(failures)
    }
}

async fn delete(client: &mut Client, name: &str) -> Result<(), ClientError> {
    let request = DeleteGroupsRequest { groups_names: vec![name.to_owned().into()] };
    let check = |answer: &DeleteGroupsResponse| {
        for result in &answer.results {
            if result.error_code == ErrorCode::GroupIdNotFound.code() {
                return Err(ClientError::NoGroup(name.to_owned()));
            }
            check(result.error_code, None, || format!("group {name:?}"))?;
        }
        Ok(())
    };
    client.ask_coordinator(name, request, check).await.map(|_| ())
}
