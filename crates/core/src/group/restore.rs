//! A group after a restart, from what the log holds of it.

use super::member::Member;
use super::{Effects, Group, GroupRecord, Phase, Rules, Snapshot, Stored};

impl Group {
    /// Takes up where the log ends. Members get a fresh session: nobody knows how long they were silent.
    pub fn restore(
        rules: Rules,
        stored: impl IntoIterator<Item = Stored>,
        now_ms: i64,
        out: &mut Effects,
    ) -> Group {
        let mut group = Group::new(rules, now_ms);
        let mut snapshot = None;
        for stored in stored {
            group.replay(stored, &mut snapshot);
        }
        if let Some(snapshot) = snapshot {
            group.take_up(snapshot, now_ms);
        }
        if group.members.len() > rules.members_max {
            group.rebalance(now_ms, out);
        }
        group.plan_sweep();
        group
    }

    fn replay(&mut self, stored: Stored, snapshot: &mut Option<Snapshot>) {
        let write = self.writes.next_id();
        match stored {
            Stored::Record(GroupRecord::Offset(at, value)) => self.offsets.put(at, value, write),
            Stored::Record(GroupRecord::OffsetGone(at)) => self.offsets.remove(&at, write),
            Stored::Record(GroupRecord::Snapshot(latest)) => *snapshot = Some(latest),
            Stored::Record(GroupRecord::Gone) => *snapshot = None,
            Stored::InTransaction(producer, GroupRecord::Offset(at, value)) => {
                self.offsets.put_pending(producer, at, value, write);
            }
            // Only offsets are ever part of a transaction.
            Stored::InTransaction(..) => {}
            Stored::TransactionEnded { producer, committed } => {
                let _ended = self.offsets.end_transaction(producer, committed);
            }
        }
    }

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
