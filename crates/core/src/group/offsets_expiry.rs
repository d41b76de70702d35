//! What nobody needs any more: offsets that were kept long enough, and groups with nothing left.

use std::collections::BTreeSet;

use super::writes::Purpose;
use super::{CommittedOffset, Effect, Effects, Group, GroupRecord, Phase, Refusal, Token};
use crate::partition::TopicPartition;

impl Group {
    /// Deletes the group with its offsets, if it has no members (KIP-229). The answer is [`Effect::Deleted`].
    pub fn delete(&mut self, token: Token, out: &mut Effects) {
        match self.phase {
            Phase::Empty => self.bury(Some(token), out),
            Phase::Dead => out.push(Effect::Deleted { token, answer: Err(Refusal::Gone) }),
            _ => out.push(Effect::Deleted { token, answer: Err(Refusal::NotEmpty) }),
        }
    }

    /// From here on nothing is taken in. What is under way is answered first: the log keeps the order.
    fn bury(&mut self, token: Option<Token>, out: &mut Effects) {
        self.phase = Phase::Dead;
        let mut records: Vec<GroupRecord> =
            self.known_partitions().into_iter().map(GroupRecord::OffsetGone).collect();
        records.push(GroupRecord::Gone);
        let write = self.writes.next_id();
        self.write(write, Purpose::Burial(token), None, records, out);
    }

    pub(super) fn buried(&mut self, token: Option<Token>, stored: bool, now_ms: i64, out: &mut Effects) {
        let answer = match stored {
            true => Ok(()),
            false => Err(Refusal::NotStored),
        };
        if let Some(token) = token {
            out.push(Effect::Deleted { token, answer });
        }
        match stored {
            true => out.push(Effect::Gone),
            false => {
                self.enter(Phase::Empty, now_ms);
                self.plan_sweep();
            }
        }
    }

    pub(super) fn sweep(&mut self, now_ms: i64, out: &mut Effects) {
        let busy = self.writes.offsets();
        let expires = |(at, offset)| self.expires_ms(at, offset, &busy).is_some_and(|at_ms| at_ms <= now_ms);
        let expired: Vec<_> = self.offsets.iter().filter(|offset| expires(*offset)).collect();
        let expired: Vec<_> = expired.into_iter().map(|(at, _)| at.clone()).collect();
        let all = expired.len() == self.offsets.committed_count();
        let waited = !expired.is_empty() || self.since_ms + self.rules.empty_kept_ms <= now_ms;
        if all && waited && self.may_vanish(&busy) {
            return self.bury(None, out);
        }
        if !expired.is_empty() {
            self.remove_offsets(None, expired, out);
        }
    }

    /// Apart from its committed offsets, nothing holds the group.
    fn may_vanish(&self, busy: &BTreeSet<TopicPartition>) -> bool {
        self.phase == Phase::Empty
            && self.members.none_pending()
            && self.offsets.none_pending()
            && busy.is_empty()
    }

    /// Finds when something may go next.
    pub(super) fn plan_sweep(&mut self) {
        let busy = self.writes.offsets();
        let offsets = self.offsets.iter().filter_map(|(at, offset)| self.expires_ms(at, offset, &busy)).min();
        let vanishes = self.offsets.committed_count() == 0 && self.may_vanish(&busy);
        self.sweep_ms = match vanishes {
            true => Some(self.since_ms + self.rules.empty_kept_ms),
            false => offsets,
        };
    }

    /// This offset is new.
    pub(super) fn plan_sweep_of(&mut self, at: &TopicPartition) {
        let offset = self.offsets.get(at);
        let expires_ms = offset.and_then(|offset| self.expires_ms(at, offset, &BTreeSet::new()));
        self.sweep_ms = [self.sweep_ms, expires_ms].into_iter().flatten().min();
    }

    /// KIP-211: an offset is kept while the group reads its topic or may come to, and for a time after that.
    /// `None`: nothing that would let it go has happened yet.
    fn expires_ms(
        &self,
        at: &TopicPartition,
        offset: &CommittedOffset,
        busy: &BTreeSet<TopicPartition>,
    ) -> Option<i64> {
        if self.is_subscribed(&at.topic) || busy.contains(at) || self.offsets.is_pending(at) {
            return None;
        }
        let unneeded_since_ms = match (&self.protocol_type, &self.phase) {
            (None, _) => offset.committed_ms,
            (Some(_), Phase::Empty) => self.since_ms.max(offset.committed_ms),
            (Some(_), Phase::Stable) if self.subscribed.is_some() => offset.committed_ms,
            _ => return None,
        };
        Some(offset.expires_ms.unwrap_or(unneeded_since_ms.saturating_add(self.rules.offsets_retention_ms)))
    }
}
