//! A group: members that share topics between them, and how far the group has read.
//!
//! This is the classic group protocol of Kafka. Members *join* and say what they can do; when all have
//! (or time is up) a *generation* begins and one of them, the leader, is told who is there. Every member
//! then *syncs*: the leader hands in who gets what, the others wait for it. A member that comes, leaves or
//! falls silent starts the next round. What the members say to each other is opaque here.
//!
//! The group reads no clock and draws no randomness: `now_ms` is milliseconds since 1970-01-01 UTC, member
//! ids and tokens come from the caller. Its task carries out the [`Effect`]s, calls [`Group::persisted`] for
//! each write in the order they were asked for, and [`Group::on_timeout`] when [`Group::next_timeout`] has
//! come. Every token that was handed in is answered exactly once.

mod effects;
mod joining;
mod leaving;
mod member;
mod members;
mod offsets;
mod offsets_expiry;
mod offsets_table;
mod rebalance;
mod record;
mod requests;
mod restore;
mod rules;
mod syncing;
#[cfg(test)]
mod tests;
mod timers;
mod view;
mod writes;

use std::collections::BTreeSet;
use std::sync::Arc;

use members::Members;
use offsets_table::OffsetsTable;
use rebalance::Wait;
use writes::Writes;

pub use effects::{Effect, Effects, JoinAnswer, Membership, Participant, Refusal, Share, WriteId};
pub use offsets::Fetched;
pub use record::{CommittedOffset, GroupRecord, MemberRecord, Snapshot, Stored};
pub use requests::{Commit, Identity, Join, OffsetToCommit, Protocol, Sync, Token};
pub use restore::Restoring;
pub use rules::Rules;
pub use view::{Description, MemberView};

/// Names a member for as long as it stays.
pub type MemberId = Arc<str>;

/// Names a static member over its restarts (KIP-345).
pub type InstanceId = Arc<str>;

/// The protocol type of groups whose members tell which topics they read.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Where a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// No member. It may hold offsets.
    Empty,
    /// Members are asked to join again.
    PreparingRebalance,
    /// All have joined; the leader works out who gets what.
    CompletingRebalance,
    Stable,
    /// Deleted. Only waits to be dropped.
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Empty,
    Preparing(Wait),
    Completing,
    Stable,
    Dead,
}

#[derive(Debug)]
pub struct Group {
    rules: Rules,
    phase: Phase,
    /// When the phase began.
    since_ms: i64,
    generation: i32,
    /// Of the members there are or were; `None` if there never was one.
    protocol_type: Option<Arc<str>>,
    /// What the members of this generation speak.
    protocol: Option<Arc<str>>,
    members: Members,
    /// The topics of all members, or `None` if nobody knows.
    subscribed: Option<BTreeSet<Arc<str>>>,
    offsets: OffsetsTable,
    writes: Writes,
    /// A snapshot was written: the group is remembered over restarts.
    recorded: bool,
    /// Members that have not synced by then leave.
    sync_by_ms: Option<i64>,
    /// No member or pending member expires earlier; possibly none does then.
    session_check_ms: Option<i64>,
    /// No offset expires earlier; possibly none does then.
    sweep_ms: Option<i64>,
}

impl Group {
    pub fn new(rules: Rules, now_ms: i64) -> Group {
        let mut group = Group {
            rules,
            phase: Phase::Empty,
            since_ms: now_ms,
            generation: 0,
            protocol_type: None,
            protocol: None,
            members: Members::default(),
            subscribed: None,
            offsets: OffsetsTable::default(),
            writes: Writes::default(),
            recorded: false,
            sync_by_ms: None,
            session_check_ms: None,
            sweep_ms: None,
        };
        group.plan_sweep();
        group
    }

    pub fn state(&self) -> State {
        match self.phase {
            Phase::Empty => State::Empty,
            Phase::Preparing(_) => State::PreparingRebalance,
            Phase::Completing => State::CompletingRebalance,
            Phase::Stable => State::Stable,
            Phase::Dead => State::Dead,
        }
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// `None` if there never was a member: a simple group, which only keeps offsets.
    pub fn protocol_type(&self) -> Option<&Arc<str>> {
        self.protocol_type.as_ref()
    }

    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Nothing is known of it that a new group would not know: it may be dropped.
    pub fn is_blank(&self) -> bool {
        self.phase == Phase::Empty
            && !self.recorded
            && self.members.none_pending()
            && self.offsets.is_empty()
            && self.writes.is_empty()
    }

    fn enter(&mut self, phase: Phase, now_ms: i64) {
        self.phase = phase;
        self.since_ms = now_ms;
    }

    fn is_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// While it is unknown what consumers read, they might read anything.
    fn is_subscribed(&self, topic: &Arc<str>) -> bool {
        self.subscribed.as_ref().map_or(self.is_consumers(), |topics| topics.contains(topic))
    }

    fn update_subscribed(&mut self) {
        self.subscribed = match self.is_consumers() {
            true => self.members.subscribed(self.protocol.as_ref()),
            false => None,
        };
    }
}
