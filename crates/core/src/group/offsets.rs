//! How far the group has read: committing, asking, forgetting.

use std::collections::BTreeSet;

use super::writes::Purpose;
use super::{
    Commit, CommittedOffset, Effect, Effects, Group, GroupRecord, MemberId, Phase, Refusal, Token, WriteId,
};
use crate::partition::TopicPartition;
use crate::producer::{Producer, ProducerId};

/// What is known of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// Nothing was committed.
    Nothing,
    At(CommittedOffset),
    /// A transaction may yet change it, and the caller wants to wait for its end (KIP-447).
    Unstable,
}

/// Offsets on their way to disk.
#[derive(Debug)]
pub(super) struct Written {
    token: Token,
    too_long: Vec<TopicPartition>,
    pub(super) producer: Option<Producer>,
    offsets: Vec<(TopicPartition, CommittedOffset)>,
}

impl Written {
    pub(super) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.offsets.iter().map(|(at, _)| at)
    }
}

/// Offsets on their way out.
#[derive(Debug)]
pub(super) struct Removal {
    /// Who asked, and what it could not have.
    asked: Option<(Token, Vec<TopicPartition>)>,
    pub(super) partitions: Vec<TopicPartition>,
}

impl Group {
    /// Says how far somebody has read. The answer is [`Effect::Committed`].
    pub fn commit(&mut self, token: Token, commit: Commit, now_ms: i64, out: &mut Effects) {
        let member = match self.may_commit(&commit) {
            Ok(member) => member,
            Err(refusal) => return out.push(Effect::Committed { token, answer: Err(refusal) }),
        };
        if let Some(id) = member.filter(|_| commit.producer.is_none()) {
            self.heard(&id, now_ms);
        }
        let bytes_max = self.rules.offset_metadata_bytes_max;
        let (offsets, too_long): (Vec<_>, Vec<_>) =
            commit.offsets.into_iter().partition(|offset| offset.metadata.len() <= bytes_max);
        let too_long: Vec<TopicPartition> = too_long.into_iter().map(|offset| offset.at).collect();
        if offsets.is_empty() {
            return out.push(Effect::Committed { token, answer: Ok(too_long) });
        }
        let expires_ms = commit.retention_ms.map(|retention_ms| now_ms.saturating_add(retention_ms));
        let offsets = offsets.into_iter().map(|offset| {
            let leader_epoch = offset.leader_epoch;
            let (offset, metadata, at) = (offset.offset, offset.metadata, offset.at);
            (at, CommittedOffset { offset, leader_epoch, metadata, committed_ms: now_ms, expires_ms })
        });
        let written = Written { token, too_long, producer: commit.producer, offsets: offsets.collect() };
        self.write_offsets(written, out);
    }

    /// A consumer that chooses its partitions itself commits to a group without members, as nobody in no
    /// generation. While shares are worked out nobody commits: what was read before belongs to another
    /// generation. Transactions are fenced by who they come from, and by their producer (KIP-447).
    fn may_commit(&self, commit: &Commit) -> Result<Option<MemberId>, Refusal> {
        if self.phase == Phase::Dead {
            return Err(Refusal::Gone);
        }
        if commit.generation.is_none() && self.phase == Phase::Empty {
            return Ok(None);
        }
        let nobody = commit.identity.member.is_none() && commit.identity.instance.is_none();
        let transactional = commit.producer.is_some();
        if nobody && commit.generation.is_none() && transactional {
            return Ok(None);
        }
        let id = self.members.identify(&commit.identity)?;
        if commit.generation != Some(self.generation) {
            return Err(Refusal::IllegalGeneration);
        }
        if self.phase == Phase::Completing && !transactional {
            return Err(Refusal::Rebalancing);
        }
        Ok(Some(id))
    }

    fn write_offsets(&mut self, written: Written, out: &mut Effects) {
        let write = self.writes.next_id();
        let record =
            |(at, value): &(TopicPartition, CommittedOffset)| GroupRecord::Offset(at.clone(), value.clone());
        let records = written.offsets.iter().map(record).collect();
        let producer = written.producer;
        self.write(write, Purpose::Offsets(written), producer, records, out);
    }

    pub(super) fn offsets_written(&mut self, write: WriteId, done: Written, stored: bool, out: &mut Effects) {
        let Written { token, too_long, producer, offsets } = done;
        for (at, value) in offsets.into_iter().filter(|_| stored) {
            match producer {
                Some(producer) => self.offsets.put_pending(producer.id, at, value, write),
                None => {
                    self.offsets.put(at.clone(), value, write);
                    self.plan_sweep_of(&at);
                }
            }
        }
        if !stored {
            self.plan_sweep();
        }
        let answer = match stored {
            true => Ok(too_long),
            false => Err(Refusal::NotStored),
        };
        out.push(Effect::Committed { token, answer });
    }

    /// The end of a producer's transaction is in the log, after all its offsets, whose writes were reported.
    pub fn transaction_ended(&mut self, producer: ProducerId, committed: bool) {
        if self.phase == Phase::Dead {
            return;
        }
        let ended = self.offsets.end_transaction(producer, committed);
        ended.iter().for_each(|at| self.plan_sweep_of(at));
        if self.offsets.is_empty() {
            self.plan_sweep();
        }
    }

    /// How far the group has read: in these partitions, or in all it ever committed. Anybody may ask.
    pub fn fetch(
        &self,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Vec<(TopicPartition, Fetched)> {
        if self.phase == Phase::Dead {
            return partitions.unwrap_or_default().iter().map(|at| (at.clone(), Fetched::Nothing)).collect();
        }
        // What is on its way counts too: whoever reads on after the transaction must not start where it began.
        let arriving = match require_stable {
            true => self.writes.offsets_within_transactions(),
            false => BTreeSet::new(),
        };
        let unstable =
            |at: &TopicPartition| require_stable && (arriving.contains(at) || self.offsets.is_pending(at));
        let fetched = |at: &TopicPartition| match self.offsets.get(at) {
            _ if unstable(at) => (at.clone(), Fetched::Unstable),
            Some(offset) => (at.clone(), Fetched::At(offset.clone())),
            None => (at.clone(), Fetched::Nothing),
        };
        match partitions {
            Some(partitions) => partitions.iter().map(fetched).collect(),
            None => self.offsets.iter().map(|(at, _)| fetched(at)).collect(),
        }
    }

    /// Forgets offsets, but for topics that the group reads (KIP-496). The answer is
    /// [`Effect::OffsetsDeleted`].
    pub fn delete_offsets(&mut self, token: Token, partitions: Vec<TopicPartition>, out: &mut Effects) {
        let refusal = match self.phase {
            Phase::Dead => Some(Refusal::Gone),
            Phase::Empty => None,
            _ => (!self.is_consumers()).then_some(Refusal::NotEmpty),
        };
        if let Some(refusal) = refusal {
            return out.push(Effect::OffsetsDeleted { token, answer: Err(refusal) });
        }
        let (subscribed, wanted): (Vec<_>, Vec<_>) =
            partitions.into_iter().partition(|at| self.is_subscribed(&at.topic));
        let known = self.known_partitions();
        let wanted: Vec<_> = wanted.into_iter().filter(|at| known.contains(at)).collect();
        if wanted.is_empty() {
            return out.push(Effect::OffsetsDeleted { token, answer: Ok(subscribed) });
        }
        self.remove_offsets(Some((token, subscribed)), wanted, out);
    }

    /// The topic is no more: its offsets mean nothing to a new one of the same name.
    pub fn topic_deleted(&mut self, topic: &str, out: &mut Effects) {
        if self.phase == Phase::Dead {
            return;
        }
        let known = self.known_partitions().into_iter();
        let gone: Vec<TopicPartition> = known.filter(|at| &*at.topic == topic).collect();
        if !gone.is_empty() {
            self.remove_offsets(None, gone, out);
        }
    }

    /// Those that are in the log, or soon will be.
    pub(super) fn known_partitions(&self) -> BTreeSet<TopicPartition> {
        let mut known = self.offsets.partitions();
        known.extend(self.writes.offsets());
        known
    }

    pub(super) fn remove_offsets(
        &mut self,
        asked: Option<(Token, Vec<TopicPartition>)>,
        partitions: Vec<TopicPartition>,
        out: &mut Effects,
    ) {
        let write = self.writes.next_id();
        let records = partitions.iter().cloned().map(GroupRecord::OffsetGone).collect();
        self.write(write, Purpose::OffsetsGone(Removal { asked, partitions }), None, records, out);
    }

    pub(super) fn offsets_removed(&mut self, write: WriteId, done: Removal, stored: bool, out: &mut Effects) {
        if stored {
            done.partitions.iter().for_each(|at| self.offsets.remove(at, write));
        }
        self.plan_sweep();
        if let Some((token, subscribed)) = done.asked {
            let answer = match stored {
                true => Ok(subscribed),
                false => Err(Refusal::NotStored),
            };
            out.push(Effect::OffsetsDeleted { token, answer });
        }
    }
}
