//! What a group asks its task to do.

use std::sync::Arc;

use super::{GroupRecord, InstanceId, MemberId, Token};
use crate::partition::TopicPartition;
use crate::producer::Producer;

/// Why a request is turned down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("the group was deleted")]
    Gone,
    #[error("the group has no such member")]
    UnknownMember,
    /// Somebody else has joined under its instance id (KIP-345).
    #[error("another member has taken over the instance id")]
    Fenced,
    #[error("the generation is not the group's")]
    IllegalGeneration,
    #[error("the group is rebalancing")]
    Rebalancing,
    #[error("the member's protocols do not go with those of the group")]
    InconsistentProtocol,
    #[error("the session timeout is out of range")]
    SessionTimeout,
    /// KIP-389.
    #[error("the group has as many members as it may")]
    Full,
    #[error("the group has members")]
    NotEmpty,
    #[error("the write that it depends on failed")]
    NotStored,
}

/// Names a write. They rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriteId(pub u64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinAnswer {
    Joined(Membership),
    /// Come back with this id (KIP-394).
    IdRequired(MemberId),
    Refused(Refusal),
}

/// What a member learns when a generation begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub member: MemberId,
    pub generation: i32,
    pub protocol_type: Arc<str>,
    pub protocol: Arc<str>,
    pub leader: MemberId,
    /// For a leader that came back: all have their shares already (KIP-814).
    pub skip_assignment: bool,
    /// Everybody, if it is the leader.
    pub members: Vec<Participant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    pub id: MemberId,
    pub instance: Option<InstanceId>,
    pub metadata: Arc<[u8]>,
}

/// What a member got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    pub protocol_type: Arc<str>,
    pub protocol: Arc<str>,
    pub assignment: Arc<[u8]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The answer to [`join`](super::Group::join).
    Joined { token: Token, answer: JoinAnswer },
    /// The answer to [`sync`](super::Group::sync).
    Synced { token: Token, answer: Result<Share, Refusal> },
    /// The answer to [`commit`](super::Group::commit), with those left out because their metadata is too long.
    Committed { token: Token, answer: Result<Vec<TopicPartition>, Refusal> },
    /// The answer to [`delete_offsets`](super::Group::delete_offsets), with those left alone because the
    /// group reads the topic (KIP-496).
    OffsetsDeleted { token: Token, answer: Result<Vec<TopicPartition>, Refusal> },
    /// The answer to [`delete`](super::Group::delete).
    Deleted { token: Token, answer: Result<(), Refusal> },
    /// Append to the topic of groups, then call [`persisted`](super::Group::persisted). With a producer, as
    /// part of its transaction.
    Persist { write: WriteId, producer: Option<Producer>, records: Vec<GroupRecord> },
    /// The group is dead, and that is on disk: drop it.
    Gone,
}

/// Effects in the order they must be carried out.
pub type Effects = Vec<Effect>;
