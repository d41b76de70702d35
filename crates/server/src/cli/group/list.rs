//! `cauce group list`.

use cauce_kafka::messages::list_groups::{ListGroupsRequest, ListedGroup};
use clap::Args;
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output::{Output, Row};
use crate::kafka_client::{Client, ClientError, ConnectOptions, check};

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: ConnectOptions,
}

#[derive(Debug, Serialize)]
struct Listed {
    group: String,
    state: String,
    protocol: String,
}

impl Row for Listed {
    const TITLES: &'static [&'static str] = &["group", "state", "protocol"];

    fn cells(&self) -> Vec<String> {
        vec![self.group.clone(), self.state.clone(), self.protocol.clone()]
    }
}

impl List {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = Client::open(&self.connect).await?;
        let mut rows: Vec<Listed> = all(&mut client)
            .await?
            .into_iter()
            .map(|group| Listed {
                group: group.group_id.to_string(),
                state: group.group_state.to_string(),
                protocol: group.protocol_type.to_string(),
            })
            .collect();
        rows.sort_by(|one, other| one.group.cmp(&other.group));
        self.output.rows(&rows)?;
        Ok(())
    }
}

/// Each broker knows those it looks after.
pub(super) async fn all(client: &mut Client) -> Result<Vec<ListedGroup>, ClientError> {
    let mut groups = Vec::new();
    for node in client.node_ids() {
        let answer = client.node(node).await?.call(ListGroupsRequest::default()).await?;
        check(answer.error_code, None, || "list of groups".to_owned())?;
        groups.extend(answer.groups);
    }
    Ok(groups)
}
