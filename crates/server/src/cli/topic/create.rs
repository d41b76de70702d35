//! `cauce topic create`.

use cauce_kafka::ErrorCode;
use cauce_kafka::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest,
};
use clap::Args;
use serde::Serialize;

use crate::cli::failure::{Failure, all_done};
use crate::cli::output::{Output, Row, or_dash};
use crate::cli::pair;
use crate::kafka_client::{Client, ClientError, ConnectOptions, check};

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// Partitions of each; as many as the broker gives by default if not given.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// On how many brokers each partition lies; as the broker has it if not given.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// Configuration, such as retention.ms=3600000; may be given again and again.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Leave topics that are there as they are.
    #[arg(long)]
    if_not_exists: bool,
    /// Say what would be made, and make nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: ConnectOptions,
}

#[derive(Debug, Serialize)]
struct Created {
    topic: String,
    partitions: Option<i32>,
    replication_factor: Option<i16>,
    created: bool,
    #[serde(skip)]
    dry_run: bool,
}

impl Row for Created {
    const TITLES: &'static [&'static str] = &["topic", "partitions", "replicas", "created"];

    fn cells(&self) -> Vec<String> {
        let created = match (self.created, self.dry_run) {
            (true, false) => "yes",
            (true, true) => "would be",
            (false, _) => "was there",
        };
        vec![
            self.topic.clone(),
            or_dash(self.partitions),
            or_dash(self.replication_factor),
            created.to_owned(),
        ]
    }
}

impl Create {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = Client::open(&self.connect).await?;
        let request = CreateTopicsRequest {
            topics: self.names.iter().map(|name| self.topic(name)).collect(),
            timeout_ms: client.request_timeout_ms(),
            validate_only: self.dry_run,
        };
        let (mut rows, mut failures) = (Vec::new(), Vec::new());
        for result in client.ask_controller(request).await?.topics {
            match self.outcome(&result) {
                Ok(row) => rows.push(row),
                Err(failure) => failures.push(failure),
            }
        }
        if !rows.is_empty() || self.output.json {
            self.output.rows(&rows)?;
        }
        all_done(failures)
    }

    fn topic(&self, name: &str) -> CreatableTopic {
        let config = |(name, value): &(String, String)| CreatableTopicConfig {
            name: name.clone().into(),
            value: Some(value.clone().into()),
        };
        CreatableTopic {
            name: name.to_owned().into(),
            num_partitions: self.partitions.unwrap_or(-1),
            replication_factor: self.replication_factor.unwrap_or(-1),
            assignments: Vec::new(),
            configs: self.set.iter().map(config).collect(),
        }
    }

    fn outcome(&self, result: &CreatableTopicResult) -> Result<Created, ClientError> {
        let was_there = result.error_code == ErrorCode::TopicAlreadyExists.code() && self.if_not_exists;
        if !was_there {
            let what = || format!("topic {:?}", &*result.name);
            check(result.error_code, result.error_message.as_ref(), what)?;
        }
        Ok(Created {
            topic: result.name.to_string(),
            partitions: Some(result.num_partitions).filter(|count| *count > 0),
            replication_factor: Some(result.replication_factor).filter(|count| *count > 0),
            created: !was_there,
            dry_run: self.dry_run,
        })
    }
}
