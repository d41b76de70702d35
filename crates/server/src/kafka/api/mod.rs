//! One file for each API. What is not in [`SERVED`] is not advertised, and asking for it ends the connection.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_configs;
pub(super) mod api_versions;
mod committing;
mod configs;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_topic_partitions;
mod describe_transactions;
mod elect_leaders;
mod end_txn;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_transactions;
mod membership;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
pub(super) mod produce;
mod sync_group;
mod transactional;
mod txn_offset_commit;
mod write_txn_markers;

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use cauce_broker::stream::{PartitionHandle, Topic};
use cauce_core::topic::TopicId;
use cauce_kafka::{Api, ErrorCode, Request, Text, Uuid};

use super::authorization::{ClusterRight, Right};
use super::connection::Call;
use super::held::Crowded;
use super::reply::Reply;

/// What is answered, each in all versions that the codec reads.
const SERVED: &[Api] = &[
    Api::Produce,
    Api::Fetch,
    Api::ListOffsets,
    Api::Metadata,
    Api::OffsetCommit,
    Api::OffsetFetch,
    Api::FindCoordinator,
    Api::JoinGroup,
    Api::Heartbeat,
    Api::LeaveGroup,
    Api::SyncGroup,
    Api::DescribeGroups,
    Api::ListGroups,
    Api::SaslHandshake,
    Api::ApiVersions,
    Api::CreateTopics,
    Api::DeleteTopics,
    Api::DeleteRecords,
    Api::InitProducerId,
    Api::OffsetForLeaderEpoch,
    Api::AddPartitionsToTxn,
    Api::AddOffsetsToTxn,
    Api::EndTxn,
    Api::WriteTxnMarkers,
    Api::TxnOffsetCommit,
    Api::DescribeConfigs,
    Api::AlterConfigs,
    Api::DescribeLogDirs,
    Api::SaslAuthenticate,
    Api::CreatePartitions,
    Api::DeleteGroups,
    Api::ElectLeaders,
    Api::IncrementalAlterConfigs,
    Api::OffsetDelete,
    Api::DescribeCluster,
    Api::DescribeProducers,
    Api::DescribeTransactions,
    Api::ListTransactions,
    Api::ListConfigResources,
    Api::DescribeTopicPartitions,
];

pub(super) fn is_served(api: Api) -> bool {
    SERVED.contains(&api)
}

/// Whether answers are waited for, perhaps for long, and lost without harm when the client leaves.
pub(super) fn may_wait(api: Api) -> bool {
    matches!(api, Api::Fetch | Api::JoinGroup | Api::SyncGroup)
}

/// Answers any request but those of a login, and produce, which the connection begins and finishes by itself.
pub(super) async fn answer(call: &Call, request: Request) -> Result<Reply, Crowded> {
    Ok(match request {
        Request::ApiVersions(_) => api_versions::answer().into(),
        Request::Metadata(request) => metadata::answer(call, request).await.into(),
        Request::Fetch(request) => fetch::answer(call, request).await?,
        Request::ListOffsets(request) => list_offsets::answer(call, request).await.into(),
        Request::CreateTopics(request) => create_topics::answer(call, request).await.into(),
        Request::DeleteTopics(request) => delete_topics::answer(call, request).await.into(),
        Request::InitProducerId(request) => init_producer_id::answer(call, &request).await.into(),
        Request::AddPartitionsToTxn(request) => add_partitions_to_txn::answer(call, request).await.into(),
        Request::AddOffsetsToTxn(request) => add_offsets_to_txn::answer(call, &request).await.into(),
        Request::EndTxn(request) => end_txn::answer(call, &request).await.into(),
        Request::WriteTxnMarkers(request) => write_txn_markers::answer(call, request).await.into(),
        Request::DescribeTransactions(request) => describe_transactions::answer(call, request).await.into(),
        Request::ListTransactions(request) => list_transactions::answer(call, request).await.into(),
        Request::JoinGroup(request) => join_group::answer(call, request).await.into(),
        Request::SyncGroup(request) => sync_group::answer(call, request).await.into(),
        Request::Heartbeat(request) => heartbeat::answer(call, &request).await.into(),
        Request::LeaveGroup(request) => leave_group::answer(call, request).await.into(),
        Request::OffsetCommit(request) => offset_commit::answer(call, request).await.into(),
        Request::TxnOffsetCommit(request) => txn_offset_commit::answer(call, request).await.into(),
        Request::OffsetFetch(request) => offset_fetch::answer(call, request).await.into(),
        Request::OffsetDelete(request) => offset_delete::answer(call, request).await.into(),
        Request::DescribeGroups(request) => describe_groups::answer(call, request).await.into(),
        Request::ListGroups(request) => list_groups::answer(call, request).await.into(),
        Request::DeleteGroups(request) => delete_groups::answer(call, request).await.into(),
        Request::FindCoordinator(request) => find_coordinator::answer(call, request).into(),
        Request::OffsetForLeaderEpoch(request) => offset_for_leader_epoch::answer(call, request).into(),
        Request::DescribeCluster(request) => describe_cluster::answer(call, &request).into(),
        Request::DeleteRecords(request) => delete_records::answer(call, request).await.into(),
        Request::DescribeConfigs(request) => describe_configs::answer(call, request).into(),
        Request::AlterConfigs(request) => alter_configs::answer(call, request).await.into(),
        Request::DescribeLogDirs(request) => describe_log_dirs::answer(call, request).into(),
        Request::CreatePartitions(request) => create_partitions::answer(call, request).await.into(),
        Request::ElectLeaders(request) => elect_leaders::answer(call, request).into(),
        Request::IncrementalAlterConfigs(request) => {
            incremental_alter_configs::answer(call, request).await.into()
        }
        Request::DescribeProducers(request) => describe_producers::answer(call, request).await.into(),
        Request::ListConfigResources(request) => list_config_resources::answer(call, &request).into(),
        Request::DescribeTopicPartitions(request) => describe_topic_partitions::answer(call, &request).into(),
        request @ (Request::Produce(_) | Request::SaslHandshake(_) | Request::SaslAuthenticate(_)) => {
            unreachable!("the connection answers {:?} itself", request.api())
        }
    })
}

impl Call {
    /// The topic that a request names by its name, or by its id in later versions, if the client has that right.
    fn topic(&self, right: Right, name: &str, id: Uuid) -> Result<Arc<Topic>, ErrorCode> {
        let topics = self.service.node.topics();
        match id {
            Uuid::ZERO if !name.is_empty() => {
                // Asked first: nobody else learns what there is.
                self.check_topic(right, name)?;
                topics.get(name).ok_or(ErrorCode::UnknownTopicOrPartition)
            }
            Uuid(id) => {
                let topic = topics.by_id(TopicId(id)).ok_or(ErrorCode::UnknownTopicId)?;
                self.check_topic(right, &topic.name)?;
                Ok(topic)
            }
        }
    }

    fn partition(
        &self,
        right: Right,
        name: &str,
        id: Uuid,
        number: i32,
    ) -> Result<Arc<PartitionHandle>, ErrorCode> {
        self.topic(right, name, id)?.partition(number).ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    fn node_id(&self) -> i32 {
        self.service.node.settings().node.node_id
    }
}

/// What has each key for the first time: an answer says nothing twice, or a small request would have a huge one.
fn distinct<T, K: Eq + Hash>(all: Vec<T>, key: impl Fn(&T) -> K) -> impl Iterator<Item = T> {
    let mut seen = HashSet::with_capacity(all.len());
    all.into_iter().filter(move |one| seen.insert(key(one)))
}

/// The leader epoch a client says it knows; -1 is none.
fn believed(epoch: i32) -> Option<i32> {
    (epoch >= 0).then_some(epoch)
}

fn text(text: impl ToString) -> Text {
    Text::from(text.to_string())
}
