//! The brokers of a cluster, and who leads or coordinates what.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use cauce_core::partition::TopicPartition;
use cauce_kafka::messages::find_coordinator::FindCoordinatorRequest;
use cauce_kafka::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use cauce_kafka::{Call, ErrorCode};
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::error::{ClientError, check};
use super::options::{Address, ConnectOptions};

/// Between asking a broker that is about to get ready again.
pub(super) const READY_AGAIN_AFTER: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Client {
    options: ConnectOptions,
    first: Connection,
    nodes: HashMap<i32, Address>,
    connections: HashMap<i32, Connection>,
    controller: i32,
}

/// A partition, and the broker that leads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionLeader {
    pub(crate) place: TopicPartition,
    pub(crate) node: i32,
}

impl Client {
    pub(crate) async fn open(options: &ConnectOptions) -> Result<Client, ClientError> {
        let first = first_that_answers(options).await?;
        let mut client = Client {
            options: options.clone(),
            first,
            nodes: HashMap::new(),
            connections: HashMap::new(),
            controller: -1,
        };
        client.metadata(Some(&[])).await?;
        Ok(client)
    }

    /// Of these topics, or of all. Topics that are not there are not made.
    pub(crate) async fn metadata(
        &mut self,
        topics: Option<&[&str]>,
    ) -> Result<MetadataResponse, ClientError> {
        let named = |name: &&str| MetadataRequestTopic {
            name: Some((*name).to_owned().into()),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: topics.map(|topics| topics.iter().map(named).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let metadata = self.first.call(request).await?;
        for broker in &metadata.brokers {
            let port = u16::try_from(broker.port)
                .map_err(|_| ClientError::Nonsense(format!("port {}", broker.port)))?;
            self.nodes.insert(broker.node_id, Address { host: broker.host.to_string(), port });
        }
        self.controller = metadata.controller_id;
        Ok(metadata)
    }

    pub(crate) async fn topic(&mut self, name: &str) -> Result<MetadataResponseTopic, ClientError> {
        let topic = self.metadata(Some(&[name])).await?.topics.pop();
        let topic = topic.ok_or_else(|| ClientError::Nonsense("no topic".to_owned()))?;
        if topic.error_code == ErrorCode::UnknownTopicOrPartition.code() {
            return Err(ClientError::NoTopic(name.to_owned()));
        }
        check(topic.error_code, None, || format!("topic {name:?}"))?;
        Ok(topic)
    }

    /// The partitions of a topic in order, once all have a leader.
    pub(crate) async fn leaders(&mut self, topic: &str) -> Result<Vec<PartitionLeader>, ClientError> {
        let until = self.patience();
        loop {
            let found = self.topic(topic).await.and_then(|found| {
                let mut leaders = Vec::new();
                for partition in &found.partitions {
                    check(partition.error_code, None, || format!("topic {topic:?}"))?;
                    let place = TopicPartition { topic: topic.into(), partition: partition.partition_index };
                    leaders.push(PartitionLeader { place, node: partition.leader_id });
                }
                leaders.sort_by_key(|leader| leader.place.partition);
                Ok(leaders)
            });
            match found {
                Err(error) if error.passes() && Instant::now() < until => sleep(READY_AGAIN_AFTER).await,
                other => return other,
            }
        }
    }

    /// The connection to a broker, opened when it is first asked for.
    pub(crate) async fn node(&mut self, id: i32) -> Result<&mut Connection, ClientError> {
        match self.connections.entry(id) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(place) => {
                let address = self.nodes.get(&id).ok_or(ClientError::Nonsense(format!("broker {id}")))?;
                Ok(place.insert(Connection::open(address, &self.options).await?))
            }
        }
    }

    /// A connection of the caller's own to a broker.
    pub(crate) async fn connect(&self, id: i32) -> Result<Connection, ClientError> {
        let address = self.nodes.get(&id).ok_or(ClientError::Nonsense(format!("broker {id}")))?;
        Connection::open(address, &self.options).await
    }

    /// Asks the broker that any change of topics has to go through.
    pub(crate) async fn ask_controller<C: Call>(&mut self, request: C) -> Result<C::Response, ClientError> {
        match self.controller {
            id if self.nodes.contains_key(&id) => self.node(id).await?.call(request).await,
            _ => self.first.call(request).await,
        }
    }

    pub(crate) async fn ask_any<C: Call>(&mut self, request: C) -> Result<C::Response, ClientError> {
        self.first.call(request).await
    }

    pub(crate) fn node_ids(&self) -> Vec<i32> {
        let mut ids: Vec<i32> = self.nodes.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// The broker that looks after a group, once there is one.
    pub(crate) async fn coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        let until = self.patience();
        loop {
            match self.find_coordinator(group).await {
                Err(error) if error.passes() && Instant::now() < until => sleep(READY_AGAIN_AFTER).await,
                other => return other,
            }
        }
    }

    async fn find_coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        let request = FindCoordinatorRequest { key: group.to_owned().into(), ..Default::default() };
        let found = self.first.call(request).await?;
        check(found.error_code, found.error_message.as_ref(), || {
            format!("the coordinator of group {group:?}")
        })?;
        let port =
            u16::try_from(found.port).map_err(|_| ClientError::Nonsense(format!("port {}", found.port)))?;
        self.nodes.insert(found.node_id, Address { host: found.host.to_string(), port });
        Ok(found.node_id)
    }

    /// Asks the coordinator of a group, again if it is about to get ready.
    pub(crate) async fn ask_coordinator<C: Call + Clone>(
        &mut self,
        group: &str,
        request: C,
        check: impl Fn(&C::Response) -> Result<(), ClientError>,
    ) -> Result<C::Response, ClientError> {
        let until = self.patience();
        loop {
            let id = self.coordinator(group).await?;
            let response = self.node(id).await?.call(request.clone()).await?;
            match check(&response) {
                Ok(()) => return Ok(response),
                Err(error) if error.passes() && Instant::now() < until => sleep(READY_AGAIN_AFTER).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks the leader of a partition, and whoever leads it then if that has just changed.
    pub(crate) async fn ask_leader<C: Call + Clone, T>(
        &mut self,
        leader: &PartitionLeader,
        request: C,
        answer: impl Fn(&C::Response) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let until = self.patience();
        let mut node = leader.node;
        loop {
            let response = self.node(node).await?.call(request.clone()).await?;
            match answer(&response) {
                Err(error) if error.passes() && Instant::now() < until => sleep(READY_AGAIN_AFTER).await,
                other => return other,
            }
            let leaders = self.leaders(&leader.place.topic).await?;
            let now = leaders.into_iter().find(|other| other.place == leader.place);
            node = now.map_or(node, |now| now.node);
        }
    }

    /// How long the broker may take for a request that says so.
    pub(crate) fn request_timeout_ms(&self) -> i32 {
        i32::try_from(self.options.timeout * 1000).unwrap_or(i32::MAX)
    }

    pub(super) fn patience(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.options.timeout)
    }
}

async fn first_that_answers(options: &ConnectOptions) -> Result<Connection, ClientError> {
    let mut last = None;
    for address in &options.bootstrap {
        match Connection::open(address, options).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("clap takes no empty list of brokers"))
}
