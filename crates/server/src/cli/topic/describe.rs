//! `cauce topic describe`.

use std::io::{self, Write};

use cauce_core::partition::TopicPartition;
use cauce_kafka::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use cauce_kafka::messages::metadata::MetadataResponseTopic;
use clap::Args;
use serde::Serialize;

use crate::cli::failure::{Failure, all_done};
use crate::cli::output::{Output, Row, or_dash, table};
use crate::kafka_client::{Client, ClientError, ConnectOptions, PartitionLeader, check};

/// Kinds in the protocol's numbers.
const TOPIC_RESOURCE: i8 = 2;
const TOPIC_CONFIG: i8 = 1;

#[derive(Debug, Args)]
pub(crate) struct Describe {
    #[arg(required = true, value_name = "TOPIC")]
    names: Vec<String>,
    /// All of the configuration, and not only what was set for the topic.
    #[arg(long)]
    all_configs: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: ConnectOptions,
}

#[derive(Debug, Serialize)]
struct Described {
    topic: String,
    id: Option<String>,
    internal: bool,
    configs: Vec<Config>,
    partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
struct Config {
    name: String,
    value: Option<String>,
    /// Whether it was set for this topic.
    is_own: bool,
}

impl Row for Config {
    const TITLES: &'static [&'static str] = &["config", "value", "set for"];

    fn cells(&self) -> Vec<String> {
        let of = if self.is_own { "this topic" } else { "all" };
        vec![self.name.clone(), or_dash(self.value.as_ref()), of.to_owned()]
    }
}

#[derive(Debug, Serialize)]
struct Partition {
    partition: i32,
    leader: Option<i32>,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    start_offset: Option<i64>,
    end_offset: Option<i64>,
}

impl Row for Partition {
    const TITLES: &'static [&'static str] =
        &["partition", "leader", "replicas", "in sync", "start offset", "end offset"];

    fn cells(&self) -> Vec<String> {
        let list = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
        vec![
            self.partition.to_string(),
            or_dash(self.leader),
            list(&self.replicas),
            list(&self.in_sync),
            or_dash(self.start_offset),
            or_dash(self.end_offset),
        ]
    }
}

impl Describe {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = Client::open(&self.connect).await?;
        let (mut described, mut failures) = (Vec::new(), Vec::new());
        for name in &self.names {
            match self.describe(&mut client, name).await {
                Ok(topic) => described.push(topic),
                Err(failure) => failures.push(failure),
            }
        }
        match self.output.json {
            true => self.output.json(&described)?,
            false => described.iter().try_for_each(print)?,
        }
        all_done(failures)
    }

    async fn describe(&self, client: &mut Client, name: &str) -> Result<Described, ClientError> {
        let topic = client.topic(name).await?;
        Ok(Described {
            topic: name.to_owned(),
            id: Some(topic.topic_id.0).filter(|id| *id != [0; 16]).map(|id| uuid(u128::from_be_bytes(id))),
            internal: topic.is_internal,
            configs: self.configs(client, name).await?,
            partitions: partitions(client, name, &topic).await?,
        })
    }

    async fn configs(&self, client: &mut Client, name: &str) -> Result<Vec<Config>, ClientError> {
        let resource = DescribeConfigsResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: name.to_owned().into(),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        let mut configs = Vec::new();
        for result in client.ask_any(request).await?.results {
            let what = || format!("configuration of topic {name:?}");
            check(result.error_code, result.error_message.as_ref(), what)?;
            configs.extend(result.configs.into_iter().map(|config| Config {
                name: config.name.to_string(),
                value: config.value.map(|value| value.to_string()),
                is_own: config.config_source == TOPIC_CONFIG,
            }));
        }
        configs.retain(|config| self.all_configs || config.is_own);
        configs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(configs)
    }
}

/// Partitions without a leader have no offsets.
async fn partitions(
    client: &mut Client,
    name: &str,
    topic: &MetadataResponseTopic,
) -> Result<Vec<Partition>, ClientError> {
    let place = |partition| TopicPartition { topic: name.into(), partition };
    let leaders = topic.partitions.iter().filter(|partition| partition.leader_id >= 0);
    let leaders: Vec<_> = leaders
        .map(|partition| PartitionLeader {
            place: place(partition.partition_index),
            node: partition.leader_id,
        })
        .collect();
    let (starts, ends) = client.bounds(&leaders).await?;
    let mut partitions: Vec<Partition> = topic
        .partitions
        .iter()
        .map(|partition| Partition {
            partition: partition.partition_index,
            leader: Some(partition.leader_id).filter(|leader| *leader >= 0),
            replicas: partition.replica_nodes.clone(),
            in_sync: partition.isr_nodes.clone(),
            start_offset: starts.get(&place(partition.partition_index)).copied(),
            end_offset: ends.get(&place(partition.partition_index)).copied(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    Ok(partitions)
}

fn print(topic: &Described) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let internal = if topic.internal { ", internal" } else { "" };
    writeln!(out, "{} (id {}{internal})\n", topic.topic, or_dash(topic.id.as_ref()))?;
    if !topic.configs.is_empty() {
        writeln!(out, "{}", table(&topic.configs))?;
    }
    writeln!(out, "{}", table(&topic.partitions))
}

fn uuid(id: u128) -> String {
    let digits = format!("{id:032x}");
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}
