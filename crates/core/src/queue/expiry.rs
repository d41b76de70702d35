//! Time: messages that lived long enough, queues that nobody uses, deliveries held too long.

use std::collections::BTreeSet;

use super::{Effect, Effects, Held, Holder, Queue, Reason};

/// Overdue deliveries are looked for no more often than this.
const SWEEP_MS: i64 = 60_000;

impl Queue {
    /// When [`on_timeout`](Queue::on_timeout) must be called next, in milliseconds since 1970-01-01 UTC.
    pub fn next_timeout(&self) -> Option<i64> {
        // Those who wait to leave are called when there is room.
        let next_out = if self.is_way_out_full() {
            None
        } else {
            self.next_due().into_iter().chain(self.head_expires_at()).min()
        };
        [next_out, self.disused_at(), self.next_sweep()].into_iter().flatten().min()
    }

    pub fn on_timeout(&mut self, now_ms: i64, out: &mut Effects) {
        self.move_on(now_ms, out);
        if self.disused_at().is_some_and(|at| at <= now_ms) {
            self.used_ms = now_ms;
            out.push(Effect::Unused);
        }
        self.sweep_overdue(now_ms, out);
    }

    /// Only the head expires: what stands behind it goes when it comes to the front. False if an expired head
    /// must wait to leave.
    pub(super) fn expire_head(&mut self, now_ms: i64, out: &mut Effects) -> bool {
        while let Some(offset) = self.line.first() {
            let stale = offset < self.exempt_from && self.expires_at(offset).is_some_and(|at| at <= now_ms);
            if !stale {
                return true;
            }
            if self.is_way_out_full() {
                return false;
            }
            self.drop_head(Reason::Expired, out);
        }
        true
    }

    /// Takes the head, which is in memory, out of the line for that reason.
    pub(super) fn drop_head(&mut self, reason: Reason, out: &mut Effects) {
        let offset = self.line.pop_first().expect("the caller saw a head");
        let (block, index) = self.window.get(offset).expect("the caller saw it in memory");
        self.no_longer_ready(block.body_bytes(index));
        self.leave(offset, reason, out);
    }

    fn head_expires_at(&self) -> Option<i64> {
        self.line.first().and_then(|offset| self.expires_at(offset))
    }

    /// `None` if it never expires, or is not in memory.
    fn expires_at(&self, offset: u64) -> Option<i64> {
        let (block, index) = self.window.get(offset)?;
        let traits = block.traits(index);
        let ttl_ms = match (traits.ttl_ms, self.rules.message_ttl_ms) {
            (Some(own), Some(all)) => own.min(all),
            (own, all) => own.or(all)?,
        };
        Some(traits.arrived_ms.saturating_add_unsigned(ttl_ms))
    }

    fn disused_at(&self) -> Option<i64> {
        let expires_ms = self.rules.expires_ms.filter(|_| self.consumers.is_empty())?;
        Some(self.used_ms.saturating_add_unsigned(expires_ms))
    }

    fn next_sweep(&self) -> Option<i64> {
        let timeout_ms = self.rules.consumer_timeout_ms.filter(|_| !self.held.is_empty())?;
        Some(self.swept_ms.saturating_add(SWEEP_MS.min(i64::try_from(timeout_ms).unwrap_or(i64::MAX))))
    }

    fn sweep_overdue(&mut self, now_ms: i64, out: &mut Effects) {
        let Some(timeout_ms) = self.rules.consumer_timeout_ms else {
            return;
        };
        if self.next_sweep().is_none_or(|at| at > now_ms) {
            return;
        }
        self.swept_ms = now_ms;
        let overdue = |held: &&Held| held.since_ms.saturating_add_unsigned(timeout_ms) <= now_ms;
        let holders: BTreeSet<Holder> = self.held.values().filter(overdue).map(|held| held.by).collect();
        for holder in holders {
            out.push(Effect::Overdue { holder });
        }
    }
}
