//! What a queue that stopped in order says of its log, so that the next start need not read it.
//!
//! ```text
//! an entry of the settled journal: kind u8 (4), then pairs of u64, big endian
//!   start, end            of the log
//!   bytes, bytes          of the log, and of the bodies of all that waits
//!   start, end, ...       these offsets are in the log and wait; all others in it are done
//! ```
//!
//! It counts only if the node stopped in order, nothing was said of the queue after it, and the log is as it was.

use std::ops::Range;

use cauce_core::queue::Queue;
use cauce_core::range_set::RangeSet;

use crate::limits::MARK_RUNS_MAX;
use crate::settled::pairs_in;

/// The kind of its entry, among those of [`crate::settled`].
pub(crate) const KIND: u8 = 4;

/// By what a log is known to be as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offsets: Range<u64>,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    waiting: Vec<Range<u64>>,
    body_bytes: u64,
}

impl Mark {
    /// A mark of a queue if all that waits is in the log, all that was `written` waits, and that is said in
    /// few words.
    pub(crate) fn of(queue: &Queue, written: &RangeSet) -> Option<Mark> {
        let rules = queue.rules();
        let is_plain = rules.durable && rules.priority_max == 0 && !rules.holds_until_due;
        let elsewhere = queue.held_count() + queue.leaving_count() + queue.prepared_count();
        if !is_plain || elsewhere > 0 || written.len() != queue.ready_count() {
            return None;
        }
        let waiting: Vec<_> = written.runs().take(MARK_RUNS_MAX + 1).collect();
        (waiting.len() <= MARK_RUNS_MAX).then(|| Mark { waiting, body_bytes: queue.ready_bytes() })
    }

    pub(crate) fn encode(&self, extent: &Extent) -> Vec<u8> {
        let head = [(extent.offsets.start, extent.offsets.end), (extent.bytes, self.body_bytes)];
        let runs = self.waiting.iter().map(|run| (run.start, run.end));
        let numbers = head.into_iter().chain(runs).flat_map(|(first, second)| [first, second]);
        std::iter::once(KIND).chain(numbers.flat_map(u64::to_be_bytes)).collect()
    }

    /// The mark that this entry is, and the log it is of.
    pub(crate) fn decode(entry: &[u8]) -> Option<(Extent, Mark)> {
        let (&kind, pairs) = entry.split_first()?;
        if kind != KIND || !pairs.len().is_multiple_of(16) {
            return None;
        }
        let mut pairs = pairs_in(pairs);
        let (start, end) = pairs.next()?;
        let (bytes, body_bytes) = pairs.next()?;
        let waiting = pairs.map(|(start, end)| start..end).collect();
        Some((Extent { offsets: start..end, bytes }, Mark { waiting, body_bytes }))
    }

    pub(crate) fn offsets(&self) -> RangeSet {
        let mut offsets = RangeSet::new();
        self.waiting.iter().for_each(|run| offsets.insert_range(run.clone()));
        offsets
    }

    pub(crate) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cauce_core::message::{Block, BlockBuilder, Gauge, Message, Traits};
    use cauce_core::queue::{Effects, Outcome, Picks, Rules};

    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written() {
        let extent = Extent { offsets: 3..50, bytes: 1 << 40 };
        for waiting in [vec![], vec![10..20, 30..40]] {
            let mark = Mark { waiting, body_bytes: 7 };
            let mut entry = mark.encode(&extent);
            assert_eq!(Mark::decode(&entry), Some((extent.clone(), mark)));
            entry.pop();
            assert_eq!(Mark::decode(&entry), None);
        }
        assert_eq!(Mark::decode(&[]), None);
        assert_eq!(Mark::decode(&[KIND]), None);
        assert_eq!(Mark::decode(&[3; 33]), None);
    }

    /// What a queue says that holds ten messages of a byte, all in the log, after this happened to it.
    fn after(rules: Rules, change: impl FnOnce(&mut Queue, &Arc<Block>, &mut Effects)) -> Option<Mark> {
        let mut block = BlockBuilder::new();
        for _ in 0..10 {
            let traits = Traits { persistent: true, ..Traits::default() };
            block.push(Message { exchange: b"", routing_key: b"", envelope: &[0, 0], body: b"x", traits });
        }
        let block = block.finish(&Gauge::default());
        let (mut queue, mut out) = (Queue::new(rules, 0), Effects::default());
        queue.publish(&block, &Picks::Run(0..10), 0, &mut out, &mut Vec::new());
        change(&mut queue, &block, &mut out);
        let mut written = RangeSet::from(0..10);
        out.drain_settled().for_each(|done| written.remove_range(done, |_| {}));
        Mark::of(&queue, &written)
    }

    #[test]
    fn a_queue_leaves_a_mark_only_if_all_in_the_log_waits_and_all_that_waits_is_in_the_log() {
        let durable = || Rules { durable: true, ..Rules::default() };
        let mark = |run: Range<u64>| Some(Mark { body_bytes: run.end - run.start, waiting: vec![run] });
        assert_eq!(after(durable(), |_, _, _| {}), mark(0..10));
        assert_eq!(after(Rules::default(), |_, _, _| {}), None);
        assert_eq!(after(Rules { priority_max: 3, ..durable() }, |_, _, _| {}), None);
        let held = after(durable(), |queue, _, out| queue.get(1, false, 0, out));
        assert_eq!(held, None);
        let came_back = after(durable(), |queue, _, out| {
            queue.get(1, false, 0, out);
            queue.settle(vec![0], Outcome::Release, 0, out);
        });
        assert_eq!(came_back, mark(0..10));
        let done = after(durable(), |queue, _, out| {
            queue.get(1, false, 0, out);
            queue.settle(vec![0], Outcome::Accept, 0, out);
        });
        assert_eq!(done, mark(1..10));
        let in_memory = after(durable(), |queue, block, out| {
            queue.publish(block, &Picks::Run(0..1), 0, out, &mut Vec::new());
        });
        assert_eq!(in_memory, None);
        let prepared = after(durable(), |queue, block, _| {
            queue.prepare(1, block, &Picks::Run(0..1), &mut Vec::new());
        });
        assert_eq!(prepared, None);
    }
}
