//! The way out: messages that leave unwanted go to dead letters, so many at a time. Who finds the way full
//! waits for those ahead: what was given back stands in line for it, the rest waits where it is.

use super::{Effect, Effects, Queue, Reason};

/// A message that is neither ready nor held, and not settled.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) reason: Reason,
    /// Its size, once it was announced.
    announced: Option<u64>,
}

impl Leaving {
    pub(super) fn was_given_out(&self) -> bool {
        matches!(self.reason, Reason::Rejected | Reason::DeliveryLimit)
    }
}

impl Queue {
    /// The message leaves unwanted, and is no longer ready or held.
    pub(super) fn leave(&mut self, offset: u64, reason: Reason, out: &mut Effects) {
        if !self.rules.dead_letters {
            return self.finish(offset..offset + 1, out);
        }
        self.leaving.insert(offset, Leaving { reason, announced: None });
        self.unannounced.push_back(offset);
        self.announce(out);
    }

    /// Whether who is where it can wait must stay there for now.
    pub(super) fn is_way_out_full(&self) -> bool {
        self.rules.dead_letters && (!self.unannounced.is_empty() || !self.one_more_may_leave())
    }

    /// Sends off as many as may be on their way together.
    pub(super) fn announce(&mut self, out: &mut Effects) {
        while self.one_more_may_leave() && self.announce_next(out) {}
    }

    /// The queue goes, and nobody can wait any longer.
    pub(super) fn announce_all(&mut self, out: &mut Effects) {
        self.unannounced.retain(|&offset| self.window.contains(offset));
        while self.announce_next(out) {}
    }

    /// Whoever is next must be in memory.
    pub(super) fn next_to_load(&self) -> Option<u64> {
        let next = self.unannounced.front().copied();
        next.filter(|&offset| self.one_more_may_leave() && !self.window.contains(offset))
    }

    pub(super) fn waits_to_leave(&self, offset: u64) -> bool {
        self.leaving.get(&offset).is_some_and(|leaving| leaving.announced.is_none())
    }

    fn one_more_may_leave(&self) -> bool {
        self.announced == 0
            || self.rules.leaving_max.is_none_or(|most| self.announced < most)
                && self.rules.leaving_bytes_max.is_none_or(|most| self.announced_bytes < most)
    }

    /// False if nobody waits to leave, or the next is not in memory.
    fn announce_next(&mut self, out: &mut Effects) -> bool {
        let Some(&offset) = self.unannounced.front() else {
            return false;
        };
        let Some((block, index)) = self.window.get(offset) else {
            return false;
        };
        let (block, index) = (block.clone(), index);
        self.unannounced.pop_front();
        let bytes = block.body_bytes(index);
        self.announced += 1;
        self.announced_bytes += bytes;
        let leaving = self.leaving.get_mut(&offset).expect("who waits to leave is leaving");
        leaving.announced = Some(bytes);
        out.push(Effect::DeadLetter { offset, reason: leaving.reason, block, index });
        true
    }

    /// The message is with the dead letter exchange's queues, as safe as they promise.
    pub fn dead_lettered(&mut self, offset: u64, now_ms: i64, out: &mut Effects) {
        let Some(Leaving { announced: Some(bytes), .. }) = self.leaving.get(&offset) else {
            return;
        };
        let was_full = self.is_way_out_full();
        self.announced -= 1;
        self.announced_bytes -= bytes;
        self.leaving.remove(&offset);
        self.finish(offset..offset + 1, out);
        if was_full {
            self.announce(out);
            self.move_on(now_ms, out);
        }
    }
}
