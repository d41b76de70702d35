//! What the coordinator can be asked.

use std::sync::Arc;

use cauce_core::group::{
    Commit, Description, Fetched, Identity, Join, JoinAnswer, Refusal, Share, State, Sync,
};
use cauce_core::partition::TopicPartition;
use cauce_core::producer::{Ending, ProducerId};
use cauce_core::stream::Guard;
use tokio::sync::oneshot;

use super::GroupId;
use crate::limits::GROUPS_MAX;

/// Why a request about a group is turned down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("the groups are being read from the log")]
    Loading,
    #[error("the groups could not be read from the log, or the node stops")]
    Unavailable,
    #[error("there is no such group")]
    Unknown,
    #[error("the node has {GROUPS_MAX} groups, and takes no more")]
    TooMany,
    #[error("the memory budget is spent, and the group would need more")]
    NoMemory,
    #[error("a name of {bytes} bytes is longer than the {most} that a record can hold")]
    NameTooLong { bytes: usize, most: usize },
    #[error("{bytes} bytes about one member are more than {most}")]
    MemberTooLarge { bytes: usize, most: usize },
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A group in the list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub group: GroupId,
    /// `None` for a group that never had members.
    pub protocol_type: Option<Arc<str>>,
    pub state: State,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, GroupError>>;

#[derive(Debug)]
pub(super) enum Command {
    Join {
        group: GroupId,
        join: Box<Join>,
        done: Answer<JoinAnswer>,
    },
    Sync {
        group: GroupId,
        sync: Sync,
        done: Answer<Share>,
    },
    Heartbeat {
        group: GroupId,
        identity: Identity,
        generation: i32,
        done: Answer<()>,
    },
    Leave {
        group: GroupId,
        leaving: Vec<Identity>,
        done: Answer<Vec<Result<(), Refusal>>>,
    },
    Commit {
        group: GroupId,
        commit: Commit,
        guard: Option<Guard>,
        done: Answer<Vec<TopicPartition>>,
    },
    Fetch {
        group: GroupId,
        fetch: Fetch,
        done: Answer<Vec<(TopicPartition, Fetched)>>,
    },
    Describe {
        group: GroupId,
        done: Answer<Description>,
    },
    List {
        done: Answer<Vec<Listed>>,
    },
    Delete {
        group: GroupId,
        done: Answer<()>,
    },
    DeleteOffsets {
        group: GroupId,
        partitions: Vec<TopicPartition>,
        done: Answer<Vec<TopicPartition>>,
    },
    Notice(Notice),
    /// The node ends.
    Stop {
        done: oneshot::Sender<()>,
    },
}

#[derive(Debug)]
pub(super) struct Fetch {
    /// `None`: all there are.
    pub(super) partitions: Option<Vec<TopicPartition>>,
    pub(super) require_stable: bool,
}

/// What happened elsewhere and concerns groups. It is never turned away.
#[derive(Debug)]
pub(super) enum Notice {
    /// A marker was stored in that partition of the offsets topic.
    TransactionEnded { partition: i32, producer: ProducerId, ending: Ending },
    /// The sender is dropped once what groups knew of the topic is forgotten.
    TopicDeleted { topic: Arc<str>, done: oneshot::Sender<()> },
}

impl Command {
    /// Turns down whoever waits for an answer. What cannot be turned down is given back.
    pub(super) fn refuse(self, error: GroupError) -> Option<Kept> {
        match self {
            Command::Join { done, .. } => refuse(done, error),
            Command::Sync { done, .. } => refuse(done, error),
            Command::Heartbeat { done, .. } => refuse(done, error),
            Command::Leave { done, .. } => refuse(done, error),
            Command::Commit { done, .. } => refuse(done, error),
            Command::Fetch { done, .. } => refuse(done, error),
            Command::Describe { done, .. } => refuse(done, error),
            Command::List { done } => refuse(done, error),
            Command::Delete { done, .. } => refuse(done, error),
            Command::DeleteOffsets { done, .. } => refuse(done, error),
            Command::Notice(notice) => return Some(Kept::Notice(notice)),
            Command::Stop { done } => return Some(Kept::Stop(done)),
        }
        None
    }
}

pub(super) enum Kept {
    Notice(Notice),
    Stop(oneshot::Sender<()>),
}

/// Whoever asked may be gone.
pub(super) fn refuse<T>(done: Answer<T>, error: GroupError) {
    let _ = done.send(Err(error));
}
