//! What is remembered of a group over restarts.

use std::sync::Arc;

use super::{InstanceId, MemberId};
use crate::partition::TopicPartition;
use crate::producer::ProducerId;

/// How far a group has read in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: i64,
    pub leader_epoch: Option<i32>,
    pub metadata: Arc<str>,
    pub committed_ms: i64,
    /// Only if whoever committed it said so.
    pub expires_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    pub id: MemberId,
    pub instance: Option<InstanceId>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub session_timeout_ms: i64,
    pub rebalance_timeout_ms: i64,
    /// For the protocol of the snapshot.
    pub metadata: Arc<[u8]>,
    /// The topics that the metadata subscribes to, as far as it could be read. Not written: it is in there.
    pub topics: Option<Vec<Arc<str>>>,
    pub assignment: Arc<[u8]>,
}

/// A generation and its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub protocol_type: Option<Arc<str>>,
    pub generation: i32,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<MemberId>,
    /// When its state began.
    pub since_ms: i64,
    pub members: Vec<MemberRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRecord {
    Offset(TopicPartition, CommittedOffset),
    OffsetGone(TopicPartition),
    Snapshot(Snapshot),
    Gone,
}

/// What the log holds of a group, for [`Restoring`](super::Restoring).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    Record(GroupRecord),
    /// Part of a transaction.
    InTransaction(ProducerId, GroupRecord),
    TransactionEnded {
        producer: ProducerId,
        committed: bool,
    },
}
