//! The log behind the queue: what it takes over at the start, writes, lets go of and loads again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::window::Offered;
use super::{Effect, Effects, Picks, Queue, Reason};
use crate::message::{Block, Message};
use crate::range_set::RangeSet;

/// Bytes that are given to the log at a time, about.
const WRITE_BYTES_MAX: usize = 4 << 20;

/// Bytes of messages that may stay in memory because later ones were written: the log takes offsets rising.
const STRANDED_BYTES_MAX: usize = 1 << 20;

/// A run of offsets that a log still holds for a queue.
#[derive(Debug, Clone)]
pub struct Kept {
    pub offsets: Range<u64>,
    pub priority: u8,
    pub body_bytes: u64,
    /// When they are due, in milliseconds since 1970-01-01 UTC, in a queue that holds them until then.
    pub due_ms: i64,
}

impl Kept {
    pub(super) fn len(&self) -> u64 {
        self.offsets.end - self.offsets.start
    }

    /// Adds a run behind others: the last of them grows if it goes on alike.
    pub fn push(runs: &mut Vec<Kept>, next: Kept) {
        let alike = |last: &Kept| {
            last.offsets.end == next.offsets.start
                && (last.priority, last.due_ms) == (next.priority, next.due_ms)
        };
        match runs.last_mut() {
            Some(last) if alike(last) => {
                last.offsets.end = next.offsets.end;
                last.body_bytes += next.body_bytes;
            }
            _ => runs.push(next),
        }
    }
}

/// What happened before a restart to messages that a log still holds.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// These were given out, or may have been.
    pub given_out: RangeSet,
    /// How often they came back; only those that did.
    pub returns: BTreeMap<u64, u32>,
    /// These were on their way to dead letters.
    pub leaving: BTreeMap<u64, Reason>,
}

impl Queue {
    /// Takes over what a log holds: `kept` says every offset that is in it and waits, with its
    /// priority and body size. Offsets below `next` that neither it nor `past.leaving` names are done.
    pub fn recover(
        &mut self,
        next: u64,
        kept: impl IntoIterator<Item = Kept>,
        past: Past,
        out: &mut Effects,
    ) {
        let mut unsettled = RangeSet::new();
        for kept in kept {
            unsettled.insert_range(kept.offsets.clone());
            self.admit(kept);
        }
        past.leaving.keys().for_each(|&offset| unsettled.insert(offset));
        self.settled = unsettled.gaps_below(next);
        self.next = next;
        self.window.start_at(next);
        self.stored_upto = next;
        self.given_out_before = past.given_out;
        self.returns = past.returns;
        for (offset, reason) in past.leaving {
            self.leave(offset, reason, out);
        }
        self.want_head(out);
    }

    /// Messages that have their offsets take their places.
    pub(super) fn admit(&mut self, kept: Kept) {
        if self.rules.holds_until_due {
            self.schedule.extend(kept.offsets.map(|offset| (kept.due_ms, offset)));
        } else {
            self.line.insert(kept.offsets, kept.priority);
        }
        self.ready_bytes += kept.body_bytes;
    }

    /// What the next run must mark as redelivered, for [`Past::given_out`]; some of it may be done.
    pub fn given_out(&self) -> RangeSet {
        let mut given_out = self.given_out_before.clone();
        self.held.keys().for_each(|&offset| given_out.insert(offset));
        // On their way to dead letters, from which the next run may find them back.
        let returned = self.leaving.iter().filter(|(_, leaving)| leaving.was_given_out());
        returned.for_each(|(&offset, _)| given_out.insert(offset));
        given_out
    }

    /// Messages that came since the last call, are not done and should be in the log: `wanted` picks
    /// among them. A message settled before this is never written. True if more is to be written than
    /// goes at once: then call again.
    pub fn take_unwritten(
        &mut self,
        wanted: impl Fn(&Message<'_>) -> bool,
        mut write: impl FnMut(u64, Message<'_>),
    ) -> bool {
        let is_wanted = |block: &Arc<Block>, index| wanted(&block.message(index));
        // Once a later message is written these never can be, and would stay in memory whatever happens.
        if self.window.unlogged_bytes() > STRANDED_BYTES_MAX && self.window.any_unoffered(is_wanted) {
            self.write_all();
        }
        let (settled, all_upto) = (&self.settled, self.write_all_upto);
        self.window.offer(self.next, WRITE_BYTES_MAX, |offset, block, index| {
            if settled.contains(offset) {
                return Offered::Settled;
            }
            let message = block.message(index);
            if offset >= all_upto && !wanted(&message) {
                return Offered::Declined;
            }
            write(offset, message);
            Offered::Taken
        })
    }

    /// Whatever is in memory only is offered to the log again, and wanted now.
    pub fn write_all(&mut self) {
        if self.window.unlogged_bytes() == 0 {
            return;
        }
        self.window.offer_again();
        self.stored_upto = self.stored_upto.min(self.window.log_end());
        self.write_all_upto = self.next;
    }

    /// Below this offset it is decided what is written.
    pub fn offered_upto(&self) -> u64 {
        self.window.offered_upto()
    }

    /// The offset after the last message that was written.
    pub fn log_end(&self) -> u64 {
        self.window.log_end()
    }

    /// All below `offset` that was written is in the log.
    pub fn stored(&mut self, offset: u64) {
        self.stored_upto = self.stored_upto.max(offset);
    }

    /// Lets go of messages that the log can give back, but for the head of the line.
    pub fn evict(&mut self) {
        self.evict_beyond(0);
    }

    /// The same, as far as they cost more than that: those at the end go first.
    pub fn evict_beyond(&mut self, keep_bytes: usize) {
        let head = self.line.first().unwrap_or(self.next);
        self.window.evict(head, self.stored_upto, keep_bytes);
    }

    /// Makes the head, which stays in memory, keep as little else there as can be.
    pub fn compact(&mut self) {
        if let Some(head) = self.line.first() {
            self.window.compact_head(head, self.stored_upto, &self.settled);
        }
    }

    /// Bytes of blocks that hold messages the log can not give back.
    pub fn unwritten_bytes(&self) -> usize {
        self.window.unlogged_bytes()
    }

    /// Bytes of the blocks it keeps in memory; a shared block counts whole.
    pub fn resident_bytes(&self) -> usize {
        self.window.cost_bytes()
    }

    /// What the log gave back for [`Effect::Load`]: it read all of `covered`, which starts at the
    /// offset asked for and is not empty, and found these messages, offsets rising.
    pub fn loaded(
        &mut self,
        covered: Range<u64>,
        block: &Arc<Block>,
        offsets: &[u64],
        now_ms: i64,
        out: &mut Effects,
    ) {
        self.loading = false;
        self.loaded = covered.clone();
        let mut found = RangeSet::new();
        let mut kept: Vec<(u64, u32)> = Vec::new();
        for (&offset, index) in offsets.iter().zip(0..) {
            if self.settled.contains(offset) || self.window.contains(offset) {
                continue;
            }
            found.insert(offset);
            if self.goes_soon(offset, block, index) {
                kept.push((offset, index));
            }
        }
        self.put_back(block, &kept);
        self.give_up_missing(covered, &found, out);
        for (offset, _) in kept {
            self.came_home(offset);
        }
        self.announce(out);
        self.move_on(now_ms, out);
    }

    /// Where priorities are, those that go later are not kept for it.
    fn goes_soon(&self, offset: u64, block: &Block, index: u32) -> bool {
        !self.line.has_levels()
            || self.line.is_of_top_level(block.traits(index).priority)
            || self.strays.contains(&offset)
            || self.waits_to_leave(offset)
    }

    /// Takes these messages of the block to memory, by runs of offsets.
    fn put_back(&mut self, block: &Arc<Block>, kept: &[(u64, u32)]) {
        let sparse = kept.len() * 2 < block.len();
        let gathered = sparse.then(|| block.gather(kept.iter().map(|(_, index)| *index)));
        let block = gathered.as_ref().unwrap_or(block);
        let mut at = 0;
        for run in kept.chunk_by(|(before, _), (after, _)| before + 1 == *after) {
            let picks = match sparse {
                true => Picks::Run(at..at + run.len() as u32),
                false => Picks::from_indices(&run.iter().map(|(_, index)| *index).collect::<Vec<_>>()),
            };
            at += run.len() as u32;
            self.window.put_back(run[0].0, block.clone(), picks);
        }
    }

    /// Somebody may have waited for this message to be in memory.
    fn came_home(&mut self, offset: u64) {
        if self.strays.remove(&offset) {
            self.line_up_again(offset);
        }
    }

    /// A message that the log should have held and did not is damage: it is counted, not waited for.
    fn give_up_missing(&mut self, covered: Range<u64>, found: &RangeSet, out: &mut Effects) {
        let missing: Vec<u64> = self
            .line
            .runs_within(covered.clone())
            .flatten()
            .chain(self.strays.range(covered.clone()).copied())
            .filter(|&offset| !found.contains(offset) && !self.window.contains(offset))
            .collect();
        for offset in missing {
            // Its size went with it: what waits loses an average message.
            let average = self.ready_bytes / self.line.len().max(1);
            if self.line.remove(offset) {
                self.no_longer_ready(average);
            }
            self.strays.remove(&offset);
            self.lost += 1;
            self.finish(offset..offset + 1, out);
        }
        while let Some(&offset) = self.unannounced.front() {
            if !covered.contains(&offset) || self.window.contains(offset) {
                break;
            }
            self.unannounced.pop_front();
            self.leaving.remove(&offset);
            self.lost += 1;
            self.finish(offset..offset + 1, out);
        }
    }

    /// What must be in memory is: whatever went somewhere while it was not, and the head, whose expiry
    /// matters even when nobody waits for it.
    pub(super) fn want_head(&mut self, out: &mut Effects) {
        if self.loading {
            return;
        }
        let stray = self.strays.first().copied();
        let absent = || self.line.first().filter(|&head| !self.window.contains(head));
        if let Some(from) = stray.or_else(absent).or_else(|| self.next_to_load()).or_else(|| self.ahead()) {
            self.loading = true;
            out.push(Effect::Load { from });
        }
    }

    /// While consumers take what was loaded, what comes behind it is loaded already.
    fn ahead(&self) -> Option<u64> {
        if self.loaded.is_empty() || self.line.has_levels() || self.consumers.is_empty() {
            return None;
        }
        self.line.first().filter(|head| self.loaded.contains(head))?;
        self.line.first_from(self.loaded.end).filter(|&next| !self.window.contains(next))
    }
}
