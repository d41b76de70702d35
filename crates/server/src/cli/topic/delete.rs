//! `cauce topic delete`.

use cauce_kafka::ErrorCode;
use cauce_kafka::Text;
use cauce_kafka::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use clap::Args;

use crate::cli::failure::{Failure, all_done};
use crate::kafka_client::{Client, ClientError, ConnectOptions, check};

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// Do not mind topics that are not there.
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    connect: ConnectOptions,
}

impl Delete {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = Client::open(&self.connect).await?;
        let names = || self.names.iter().cloned().map(Text::from);
        // The first is how later versions say it, the second how earlier ones do.
        let request = DeleteTopicsRequest {
            topics: names().map(|name| DeleteTopicState { name: Some(name), ..Default::default() }).collect(),
            topic_names: names().collect(),
            timeout_ms: client.request_timeout_ms(),
        };
        let mut failures = Vec::new();
        for result in client.ask_controller(request).await?.responses {
            let name = result.name.as_deref().unwrap_or_default();
            if result.error_code == ErrorCode::UnknownTopicOrPartition.code() {
                if !self.if_exists {
                    failures.push(ClientError::NoTopic(name.to_owned()));
                }
                continue;
            }
            let what = || format!("topic {name:?}");
            failures.extend(check(result.error_code, result.error_message.as_ref(), what).err());
        }
        all_done(failures)
    }
}
