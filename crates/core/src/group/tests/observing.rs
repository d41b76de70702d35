//! What must hold after every step of a simulation.

use crate::partition::TopicPartition;
use crate::producer::ProducerId;
use std::collections::BTreeMap;

use super::client::Doing;
use super::simulation::{Asked, Simulation};
use crate::group::*;

impl Simulation {
    /// Carries out effects; each must be right at its time.
    pub(super) fn observe(&mut self) {
        while !self.out.is_empty() {
            for effect in std::mem::take(&mut self.out) {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Joined { token, answer } => {
                if let JoinAnswer::Joined(membership) = &answer {
                    self.check_membership(membership);
                }
                let n = self.answered(token).client.expect("a join");
                self.clients[n].joined(token, answer);
            }
            Effect::Synced { token, answer } => {
                let n = self.answered(token).client.expect("a sync");
                self.clients[n].synced(token, answer);
                self.check_share(n);
            }
            Effect::Committed { token, answer } => {
                let (at, offset) = self.answered(token).commit.expect("a commit");
                if answer.is_ok() {
                    self.commit_was_promised(at, offset);
                }
            }
            Effect::OffsetsDeleted { token, .. } | Effect::Deleted { token, .. } => {
                self.answered(token);
            }
            Effect::Persist { write, producer, records } => {
                self.check_removals(&records);
                let stored = |record| match producer {
                    None => Stored::Record(record),
                    Some(producer) => Stored::InTransaction(producer.id, record),
                };
                self.writes.push_back((write, records.into_iter().map(stored).collect()));
            }
            Effect::Gone => {
                assert_eq!((self.group.state(), self.asked.len(), self.writes.len()), (State::Dead, 0, 0));
                self.forget_group();
                self.group = Group::new(self.rules, self.now_ms);
            }
        }
    }

    fn answered(&mut self, token: Token) -> Asked {
        self.asked.remove(&token).unwrap_or_else(|| panic!("{token:?} was answered before"))
    }

    fn check_membership(&self, membership: &Membership) {
        assert_eq!(membership.generation, self.group.generation());
        assert!(membership.generation >= self.last_shared);
        let all = self.group.describe().members;
        assert!(all.iter().any(|member| member.id == membership.member));
        if !membership.members.is_empty() {
            let told: Vec<_> = membership.members.iter().map(|member| member.id.clone()).collect();
            assert_eq!(told, all.iter().map(|member| member.id.clone()).collect::<Vec<_>>());
        }
    }

    fn check_share(&mut self, n: usize) {
        let client = &self.clients[n];
        let Doing::Owning(partitions) = &client.doing else { return };
        assert!(client.generation >= self.last_shared, "generations rise");
        self.last_shared = client.generation;
        for &partition in partitions {
            let owner = self.owners.entry((client.generation, partition)).or_insert_with(|| client.owner());
            assert_eq!(*owner, client.owner(), "partition {partition} in {}", client.generation);
        }
    }

    fn commit_was_promised(&mut self, at: TopicPartition, offset: i64) {
        let says = |record: &GroupRecord| matches!(record, GroupRecord::Offset(found, value) if *found == at && value.offset == offset);
        let stored = self.log.iter().rev().find_map(|stored| match stored {
            Stored::Record(record) if says(record) => Some(None),
            Stored::InTransaction(producer, record) if says(record) => Some(Some(producer.0)),
            _ => None,
        });
        match stored.expect("what is promised is in the log") {
            None => self.promise(at, offset),
            Some(producer) => drop(self.promised_within.insert((producer, at), offset)),
        }
    }

    /// Nothing expires before its time.
    fn check_removals(&self, records: &[GroupRecord]) {
        let committed = committed(&self.log);
        for record in records {
            let GroupRecord::OffsetGone(at) = record else { continue };
            let kept_until_ms = |ms: i64| ms + self.rules.offsets_retention_ms;
            let overdue =
                committed.get(at).is_some_and(|value| kept_until_ms(value.committed_ms) <= self.now_ms);
            assert!(self.removing || overdue, "{at} is gone too soon");
        }
    }

    pub(super) fn compare(&self) {
        let group = &self.group;
        assert!(group.member_count() <= 2 * self.rules.members_max);
        assert!(group.members.pending_count() <= self.rules.members_max);
        if group.state() == State::Dead {
            return;
        }
        assert_eq!(group.members.leader().is_some(), !group.members.is_empty());
        assert!(group.members.leader().is_none_or(|leader| group.members.get(leader).is_some()));
        for (id, member) in group.members.iter() {
            assert!(!group.members.is_pending(id));
            let waits: Vec<Token> = [member.joining, member.syncing].into_iter().flatten().collect();
            assert!(waits.iter().all(|token| self.asked.contains_key(token)));
            let instance = member.instance.as_ref();
            assert!(instance.is_none_or(|instance| group.members.with_instance(instance) == Some(id)));
            // Somebody will answer it, or notice that it is gone.
            assert!(group.next_timeout().is_some() || !self.writes.is_empty(), "{group:?}");
        }
        let fetched: BTreeMap<_, _> = group.fetch(None, false).into_iter().collect();
        let log = committed(&self.log);
        assert_eq!(fetched, log.iter().map(|(at, value)| (at.clone(), Fetched::At(value.clone()))).collect());
        for (at, offset) in &self.promised {
            assert!(log.get(at).is_some_and(|value| value.offset >= *offset), "lost {offset} of {at}");
        }
    }

    /// What members were told to own, they own still.
    pub(super) fn check_restored(&self) {
        let generation = self.group.generation();
        for (id, member) in self.group.members.iter() {
            let owner = member.instance.as_ref().unwrap_or(id);
            let told = self.owners.range((generation, 0)..(generation + 1, 0));
            for (&(_, partition), told) in told {
                let owns = member.assignment.contains(&(partition as u8));
                assert_eq!(owns, told == owner, "partition {partition} of {owner} in {generation}");
            }
        }
    }
}

/// What a plain reading of the log finds committed.
fn committed(log: &[Stored]) -> BTreeMap<TopicPartition, CommittedOffset> {
    let mut committed: BTreeMap<TopicPartition, (usize, CommittedOffset)> = BTreeMap::new();
    let mut open: Vec<(ProducerId, usize, TopicPartition, CommittedOffset)> = Vec::new();
    for (n, stored) in log.iter().enumerate() {
        match stored.clone() {
            Stored::Record(GroupRecord::Offset(at, value)) => drop(committed.insert(at, (n, value))),
            Stored::Record(GroupRecord::OffsetGone(gone)) => {
                committed.remove(&gone);
                open.retain(|(_, _, at, _)| *at != gone);
            }
            Stored::InTransaction(producer, GroupRecord::Offset(at, value)) => {
                open.push((producer, n, at, value));
            }
            Stored::TransactionEnded { producer, committed: true } => {
                for (_, n, at, value) in open.extract_if(.., |(id, ..)| *id == producer) {
                    if committed.get(&at).is_none_or(|(earlier, _)| *earlier < n) {
                        committed.insert(at, (n, value));
                    }
                }
            }
            Stored::TransactionEnded { producer, .. } => open.retain(|(id, ..)| *id != producer),
            _ => {}
        }
    }
    committed.into_iter().map(|(at, (_, value))| (at, value)).collect()
}
