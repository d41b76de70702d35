//! The topic of a run, and who produces to and consumes from which partition.

use std::collections::BTreeMap;
use std::time::Duration;

use cauce_core::partition::TopicPartition;
use cauce_kafka::Text;
use cauce_kafka::messages::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use cauce_kafka::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use tokio::time::{Instant, sleep};

use super::Flags;
use super::error::Error;
use crate::kafka_client::{AtTime, Client, ClientError, LATEST, Offsets, PartitionLeader, check};

/// Brokers hear of a new topic some time after it was made.
const KNOWN_AFTER_MAX: Duration = Duration::from_secs(10);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct BenchTopic {
    name: String,
    is_own: bool,
    leaders: Vec<PartitionLeader>,
}

impl BenchTopic {
    pub(super) async fn open(client: &mut Client, flags: &Flags) -> Result<BenchTopic, Error> {
        let topic = match &flags.topic {
            Some(name) => {
                BenchTopic { name: name.clone(), is_own: false, leaders: client.leaders(name).await? }
            }
            None => {
                // Tells our topic from that of another run on the same broker.
                let name = format!("cauce-bench-{}", std::process::id());
                create(client, &name, flags).await?;
                BenchTopic { is_own: true, leaders: leaders_of_new(client, &name).await?, name }
            }
        };
        let partitions = topic.leaders.len();
        if usize::from(flags.consumers) > partitions {
            topic.close(client).await?;
            return Err(Error::TooManyConsumers { consumers: flags.consumers, partitions });
        }
        Ok(topic)
    }

    pub(super) async fn close(&self, client: &mut Client) -> Result<(), Error> {
        if !self.is_own {
            return Ok(());
        }
        let name = Text::from(self.name.clone());
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(name.clone()), ..Default::default() }],
            topic_names: vec![name],
            timeout_ms: client.request_timeout_ms(),
        };
        for result in client.ask_controller(request).await?.responses {
            check(result.error_code, result.error_message.as_ref(), || format!("topic {:?}", self.name))?;
        }
        Ok(())
    }

    pub(super) async fn ends(&self, client: &mut Client) -> Result<Offsets, Error> {
        let at = |leader: &PartitionLeader| AtTime { partition: leader.clone(), timestamp_ms: LATEST };
        let wanted: Vec<AtTime> = self.leaders.iter().map(at).collect();
        Ok(client.offsets_at(&wanted, 0).await?)
    }

    /// The partitions of worker `index` out of `workers`, by the broker that leads them.
    pub(super) fn share(&self, index: usize, workers: usize) -> BTreeMap<i32, Vec<TopicPartition>> {
        let mut share: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        for leader in self.leaders.iter().skip(index).step_by(workers) {
            share.entry(leader.node).or_default().push(leader.place.clone());
        }
        share
    }

    /// What of a producer's rate goes to so many partitions; 0 is no limit.
    pub(super) fn share_of_rate(&self, rate: u64, partitions: usize) -> u64 {
        match rate {
            0 => 0,
            rate => (rate * partitions as u64 / self.leaders.len() as u64).max(1),
        }
    }
}

async fn create(client: &mut Client, name: &str, flags: &Flags) -> Result<(), Error> {
    let config = |(name, value): &(String, String)| CreatableTopicConfig {
        name: name.clone().into(),
        value: Some(value.clone().into()),
    };
    let topic = CreatableTopic {
        name: name.to_owned().into(),
        num_partitions: flags.partitions,
        replication_factor: flags.replication_factor.unwrap_or(-1),
        assignments: Vec::new(),
        configs: flags.config.iter().map(config).collect(),
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: client.request_timeout_ms(),
        validate_only: false,
    };
    for result in client.ask_controller(request).await?.topics {
        check(result.error_code, result.error_message.as_ref(), || format!("topic {name:?}"))?;
    }
    Ok(())
}

async fn leaders_of_new(client: &mut Client, name: &str) -> Result<Vec<PartitionLeader>, Error> {
    let until = Instant::now() + KNOWN_AFTER_MAX;
    loop {
        match client.leaders(name).await {
            Err(ClientError::NoTopic(_)) if Instant::now() < until => sleep(ASK_AGAIN_AFTER).await,
            other => return Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_shared_out_by_leader() {
        let topic = topic(&[1, 2, 1, 2, 1]);
        assert_eq!(written(&topic.share(0, 1)), "1: 0 2 4, 2: 1 3");
        assert_eq!(written(&topic.share(0, 2)), "1: 0 2 4");
        assert_eq!(written(&topic.share(1, 3)), "1: 4, 2: 1");
        assert_eq!((topic.share_of_rate(1000, 3), topic.share_of_rate(0, 3)), (600, 0));
    }

    fn topic(nodes: &[i32]) -> BenchTopic {
        let place = |partition| TopicPartition { topic: "t".into(), partition };
        let leaders = (0..).zip(nodes).map(|(index, &node)| PartitionLeader { place: place(index), node });
        BenchTopic { name: "t".to_owned(), is_own: true, leaders: leaders.collect() }
    }

    fn written(share: &BTreeMap<i32, Vec<TopicPartition>>) -> String {
        let numbers = |places: &[TopicPartition]| {
            places.iter().map(|place| place.partition.to_string()).collect::<Vec<_>>().join(" ")
        };
        let nodes = share.iter().map(|(node, places)| format!("{node}: {}", numbers(places)));
        nodes.collect::<Vec<_>>().join(", ")
    }
}
