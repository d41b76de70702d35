//! Writes under way, and what follows each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::offsets::{Removal, Written};
use super::{Effect, Effects, Group, GroupRecord, MemberId, MemberRecord, Snapshot, Token, WriteId};
use crate::partition::TopicPartition;
use crate::producer::Producer;

/// The leader's word on a generation.
#[derive(Debug)]
pub(super) struct Assignments {
    pub(super) generation: i32,
    pub(super) shares: BTreeMap<MemberId, Arc<[u8]>>,
}

/// A static member came back to a stable group under a new id.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) member: MemberId,
    pub(super) token: Token,
    pub(super) generation: i32,
    pub(super) skips_assignment: bool,
    pub(super) leader_before: Option<MemberId>,
}

#[derive(Debug)]
pub(super) enum Purpose {
    Assignments(Assignments),
    Replacement(Replacement),
    /// The last member went. Nobody waits for that.
    Emptiness,
    Offsets(Written),
    OffsetsGone(Removal),
    /// The group goes, because somebody asked or because nothing is left of it.
    Burial(Option<Token>),
}

#[derive(Debug)]
struct Write {
    id: WriteId,
    purpose: Purpose,
}

/// In the order they were asked for.
#[derive(Debug, Default)]
pub(super) struct Writes {
    under_way: VecDeque<Write>,
    last: u64,
}

impl Writes {
    /// The log is in this order too: what a later write says of an offset holds.
    pub(super) fn next_id(&mut self) -> WriteId {
        self.last += 1;
        WriteId(self.last)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(super) fn assigns(&self, generation: i32) -> bool {
        let assigns =
            |purpose: &Purpose| matches!(purpose, Purpose::Assignments(a) if a.generation == generation);
        self.under_way.iter().any(|write| assigns(&write.purpose))
    }

    /// Offsets that are being written or removed.
    pub(super) fn offsets(&self) -> BTreeSet<TopicPartition> {
        let mut all = BTreeSet::new();
        for write in &self.under_way {
            match &write.purpose {
                Purpose::Offsets(written) => all.extend(written.partitions().cloned()),
                Purpose::OffsetsGone(removal) => all.extend(removal.partitions.iter().cloned()),
                _ => {}
            }
        }
        all
    }

    pub(super) fn offsets_within_transactions(&self) -> BTreeSet<TopicPartition> {
        let written = self.under_way.iter().filter_map(|write| match &write.purpose {
            Purpose::Offsets(written) if written.producer.is_some() => Some(written),
            _ => None,
        });
        written.flat_map(|written| written.partitions().cloned()).collect()
    }
}

impl Group {
    pub(super) fn write(
        &mut self,
        write: WriteId,
        purpose: Purpose,
        producer: Option<Producer>,
        records: Vec<GroupRecord>,
        out: &mut Effects,
    ) {
        self.writes.under_way.push_back(Write { id: write, purpose });
        out.push(Effect::Persist { write, producer, records });
    }

    /// A write is done, or has failed. They must be reported in the order of their [`Effect::Persist`].
    pub fn persisted(&mut self, write: WriteId, stored: bool, now_ms: i64, out: &mut Effects) {
        let first = self.writes.under_way.pop_front().expect("a write that was asked for");
        assert_eq!(first.id, write, "writes end in the order they began");
        match first.purpose {
            Purpose::Assignments(done) => self.assigned(done, stored, now_ms, out),
            Purpose::Replacement(done) => self.replaced(done, stored, now_ms, out),
            Purpose::Emptiness => {}
            Purpose::Offsets(done) => self.offsets_written(write, done, stored, out),
            Purpose::OffsetsGone(done) => self.offsets_removed(write, done, stored, out),
            Purpose::Burial(token) => self.buried(token, stored, now_ms, out),
        }
    }

    /// Writes the group down as it is, or as it will be with these assignments.
    pub(super) fn write_snapshot(&mut self, purpose: Purpose, out: &mut Effects) {
        let shares = match &purpose {
            Purpose::Assignments(assignments) => Some(&assignments.shares),
            _ => None,
        };
        let snapshot = self.snapshot(shares);
        let id = self.writes.next_id();
        self.recorded = true;
        self.write(id, purpose, None, vec![GroupRecord::Snapshot(snapshot)], out);
    }

    fn snapshot(&self, shares: Option<&BTreeMap<MemberId, Arc<[u8]>>>) -> Snapshot {
        let mut members = Vec::with_capacity(self.members.len());
        for (id, member) in self.members.iter() {
            let protocol = member.protocol(self.protocol.as_ref());
            let share = shares.map_or(Some(&member.assignment), |shares| shares.get(id));
            members.push(MemberRecord {
                id: id.clone(),
                instance: member.instance.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                session_timeout_ms: member.session_timeout_ms,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                metadata: member.metadata(self.protocol.as_ref()),
                topics: protocol.and_then(|protocol| protocol.topics.clone()),
                assignment: share.cloned().unwrap_or_default(),
            });
        }
        Snapshot {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.members.leader().cloned(),
            since_ms: self.since_ms,
            members,
        }
    }
}
