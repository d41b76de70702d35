//! What members and administrators ask of a group.

use std::sync::Arc;

use super::{InstanceId, MemberId};
use crate::message::Charge;
use crate::partition::TopicPartition;
use crate::producer::Producer;

/// Names a request whose answer comes as an effect. The caller chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Who a request says it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub member: Option<MemberId>,
    /// Only static members have one.
    pub instance: Option<InstanceId>,
}

/// A way to share the work that a member knows, with what it has to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    pub name: Arc<str>,
    pub metadata: Arc<[u8]>,
    /// The topics that the metadata subscribes to, as far as it could be read.
    pub topics: Option<Vec<Arc<str>>>,
}

#[derive(Debug, Clone)]
pub struct Join {
    pub identity: Identity,
    /// The id the member gets if it has none. Nobody ever had it before.
    pub fresh_id: MemberId,
    /// A newcomer is first told its id and joins when it comes back with it (KIP-394).
    pub needs_id: bool,
    /// The member understands [`skip_assignment`](super::Membership::skip_assignment) (KIP-814).
    pub skips_assignment: bool,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub session_timeout_ms: i64,
    /// How long the member may take to join again (KIP-62).
    pub rebalance_timeout_ms: i64,
    pub protocol_type: Arc<str>,
    /// The one it likes best first.
    pub protocols: Vec<Protocol>,
    /// For what it says here, held for as long as that is known.
    pub charge: Arc<Charge>,
}

#[derive(Debug, Clone)]
pub struct Sync {
    pub identity: Identity,
    pub generation: i32,
    /// Checked if given (KIP-559).
    pub protocol_type: Option<Arc<str>>,
    /// Checked if given (KIP-559).
    pub protocol: Option<Arc<str>>,
    /// From the leader: who gets what.
    pub assignments: Vec<(MemberId, Arc<[u8]>)>,
}

#[derive(Debug, Clone)]
pub struct Commit {
    /// Nobody for consumers that choose their partitions themselves.
    pub identity: Identity,
    pub generation: Option<i32>,
    /// The offsets count once this producer's transaction is committed.
    pub producer: Option<Producer>,
    /// How long they are kept, if not as long as the rules say.
    pub retention_ms: Option<i64>,
    pub offsets: Vec<OffsetToCommit>,
}

#[derive(Debug, Clone)]
pub struct OffsetToCommit {
    pub at: TopicPartition,
    pub offset: i64,
    pub leader_epoch: Option<i32>,
    pub metadata: Arc<str>,
}
