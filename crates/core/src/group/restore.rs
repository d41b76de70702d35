//! A group after a restart, from what the log holds of it.

use super::member::Member;
use super::{Effects, Group, GroupRecord, Phase, Rules, Snapshot, Stored};

/// A group on its way back. It takes what the log holds of it in the order of the log, and keeps of that only
/// what counts.
#[derive(Debug)]
pub struct Restoring {
    group: Group,
    snapshot: Option<Snapshot>,
}

impl Restoring {
    pub fn new(rules: Rules, now_ms: i64) -> Restoring {
        Restoring { group: Group::new(rules, now_ms), snapshot: None }
    }

    pub fn replay(&mut self, stored: Stored) {
        let write = self.group.writes.next_id();
        let offsets = &mut self.group.offsets;
        match stored {
            Stored::Record(GroupRecord::Offset(at, value)) => offsets.put(at, value, write),
            Stored::Record(GroupRecord::OffsetGone(at)) => offsets.remove(&at, write),
            Stored::Record(GroupRecord::Snapshot(latest)) => self.snapshot = Some(latest),
            Stored::Record(GroupRecord::Gone) => self.snapshot = None,
            Stored::InTransaction(producer, GroupRecord::Offset(at, value)) => {
                offsets.put_pending(producer, at, value, write);
            }
            // Only offsets are ever part of a transaction.
            Stored::InTransaction(..) => {}
            Stored::TransactionEnded { producer, committed } => {
                let _ended = offsets.end_transaction(producer, committed);
            }
        }
    }

    /// Takes up where the log ends. Members get a fresh session: nobody knows how long they were silent.
    pub fn finish(self, now_ms: i64, out: &mut Effects) -> Group {
        let Restoring { mut group, snapshot } = self;
        if let Some(snapshot) = snapshot {
            group.take_up(snapshot, now_ms);
        }
        if group.members.len() > group.rules.members_max {
            group.rebalance(now_ms, out);
        }
        group.plan_sweep();
        group
    }
}

impl Group {
    fn take_up(&mut self, snapshot: Snapshot, now_ms: i64) {
        self.recorded = true;
        self.generation = snapshot.generation;
        self.protocol_type = snapshot.protocol_type;
        self.since_ms = snapshot.since_ms;
        let protocol = snapshot.protocol.clone().unwrap_or_default();
        for record in snapshot.members {
            let id = record.id.clone();
            self.members.add(id, Member::restored(record, protocol.clone(), now_ms));
        }
        if !self.members.is_empty() {
            self.phase = Phase::Stable;
            self.protocol = Some(protocol);
            let leader = snapshot.leader.filter(|leader| self.members.get(leader).is_some());
            let leader = leader.or_else(|| self.members.leader().cloned());
            self.members.set_leader(leader);
        }
        self.update_subscribed();
        self.check_sessions();
    }
}
