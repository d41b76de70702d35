//! The log behind the queue: what it takes over at the start, writes, lets go of and loads again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::{Effect, Effects, Picks, Queue, Reason};
use crate::message::{Block, Message};
use crate::range_set::RangeSet;

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
        let mut done_from = 0;
        for run in unsettled.runs() {
            self.settled.insert_range(done_from..run.start);
            done_from = run.end;
        }
        self.settled.insert_range(done_from..next);
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
        given_out
    }

    /// Messages that came since the last call, are not done and should be in the log: `wanted` picks
    /// among them. A message settled before this is never written.
    pub fn take_unwritten(
        &mut self,
        wanted: impl Fn(&Message<'_>) -> bool,
        mut write: impl FnMut(u64, Message<'_>),
    ) {
        let settled = &self.settled;
        self.window.visit_unwritten(self.next, |offset, block, index| {
            if settled.contains(offset) {
                return true;
            }
            let message = block.message(index);
            let writes = wanted(&message);
            if writes {
                write(offset, message);
            }
            writes
        });
    }

    /// What was offered to the log below `offset` is in it.
    pub fn stored(&mut self, offset: u64) {
        self.stored_upto = self.stored_upto.max(offset);
    }

    /// Lets go of messages that the log can give back, but for the head of the line.
    pub fn evict(&mut self) {
        let head = self.line.first().unwrap_or(self.next);
        self.window.evict_all_but(head, self.stored_upto);
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
        let mut found = RangeSet::new();
        let mut run: Vec<u32> = Vec::new();
        for (index, &offset) in offsets.iter().enumerate() {
            if self.settled.contains(offset) || self.window.contains(offset) {
                continue;
            }
            if found.runs().next_back().is_some_and(|last| last.end != offset) {
                self.put_back_run(&found, block, &mut run);
            }
            found.insert(offset);
            run.push(index as u32);
        }
        self.put_back_run(&found, block, &mut run);
        self.give_up_missing(covered, out);
        for offset in found.iter() {
            self.came_home(offset, out);
        }
        self.move_on(now_ms, out);
    }

    /// `indices` are those of the last run that was found.
    fn put_back_run(&mut self, found: &RangeSet, block: &Arc<Block>, indices: &mut Vec<u32>) {
        let Some(run) = found.runs().next_back() else {
            return;
        };
        let base = run.end - indices.len() as u64;
        self.window.put_back(base, block.clone(), Picks::from_indices(indices));
        indices.clear();
    }

    /// Somebody may have waited for this message to be in memory.
    fn came_home(&mut self, offset: u64, out: &mut Effects) {
        if self.strays.remove(&offset) {
            self.line_up_again(offset);
        }
        if self.unannounced.remove(&offset) {
            let reason = self.leaving[&offset];
            self.leave(offset, reason, out);
        }
    }

    /// A message that the log should have held and did not is damage: it is counted, not waited for.
    fn give_up_missing(&mut self, covered: Range<u64>, out: &mut Effects) {
        let missing: Vec<u64> = self
            .line
            .runs()
            .flat_map(|run| run.start.max(covered.start)..run.end.min(covered.end))
            .chain(self.strays.range(covered.clone()).copied())
            .chain(self.unannounced.range(covered.clone()).copied())
            .filter(|&offset| !self.window.contains(offset))
            .collect();
        for offset in missing {
            // Its size went with it: what waits loses an average message.
            let average = self.ready_bytes / self.line.len().max(1);
            if self.line.remove(offset) {
                self.no_longer_ready(average);
            }
            self.strays.remove(&offset);
            if self.unannounced.remove(&offset) {
                self.leaving.remove(&offset);
            }
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
        let unannounced = || self.unannounced.first().copied();
        if let Some(from) = stray.or_else(absent).or_else(unannounced) {
            self.loading = true;
            out.push(Effect::Load { from });
        }
    }
}
