//! A set of offsets kept as sorted runs.
//!
//! Queues fill at the end and drain at the front, so most sets are one run; each exception in the
//! middle costs one more. Work at either end is constant time, in the middle a binary search.

use std::collections::VecDeque;
use std::ops::Range;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Sorted, never empty, never touching.
    runs: VecDeque<Range<u64>>,
    count: u64,
}

impl From<Range<u64>> for RangeSet {
    fn from(range: Range<u64>) -> RangeSet {
        let mut set = RangeSet::default();
        set.insert_range(range);
        set
    }
}

impl RangeSet {
    pub fn new() -> RangeSet {
        RangeSet::default()
    }

    pub fn len(&self) -> u64 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn first(&self) -> Option<u64> {
        self.runs.front().map(|run| run.start)
    }

    pub fn runs(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.runs.iter().cloned()
    }

    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs.iter().cloned().flatten()
    }

    pub fn contains(&self, offset: u64) -> bool {
        let at = self.runs.partition_point(|run| run.end <= offset);
        self.runs.get(at).is_some_and(|run| run.start <= offset)
    }

    pub fn insert(&mut self, offset: u64) {
        self.insert_range(offset..offset + 1);
    }

    pub fn insert_range(&mut self, added: Range<u64>) {
        if added.is_empty() {
            return;
        }
        if let Some(last) = self.runs.back_mut()
            && last.end == added.start
        {
            last.end = added.end;
            self.count += added.end - added.start;
            return;
        }
        if self.runs.back().is_none_or(|last| last.end < added.start) {
            self.count += added.end - added.start;
            self.runs.push_back(added);
            return;
        }
        self.merge(added);
    }

    fn merge(&mut self, added: Range<u64>) {
        // The runs that overlap or touch what is added become one with it.
        let from = self.runs.partition_point(|run| run.end < added.start);
        let to = self.runs.partition_point(|run| run.start <= added.end);
        if from == to {
            self.count += added.end - added.start;
            self.runs.insert(from, added);
            return;
        }
        let merged = self.runs[from].start.min(added.start)..self.runs[to - 1].end.max(added.end);
        let before: u64 = self.runs.range(from..to).map(|run| run.end - run.start).sum();
        self.count += merged.end - merged.start - before;
        self.runs[from] = merged;
        self.runs.drain(from + 1..to);
    }

    pub fn pop_first(&mut self) -> Option<u64> {
        let run = self.runs.front_mut()?;
        let offset = run.start;
        run.start += 1;
        if run.is_empty() {
            self.runs.pop_front();
        }
        self.count -= 1;
        Some(offset)
    }

    pub fn remove(&mut self, offset: u64) -> bool {
        let before = self.count;
        self.remove_range(offset..offset + 1, |_| {});
        self.count < before
    }

    /// Removes what is there of a range, and says which runs that was.
    pub fn remove_range(&mut self, removed: Range<u64>, mut was_there: impl FnMut(Range<u64>)) {
        if removed.is_empty() {
            return;
        }
        let from = self.runs.partition_point(|run| run.end <= removed.start);
        let to = from + self.runs.range(from..).take_while(|run| run.start < removed.end).count();
        if from == to {
            return;
        }
        let before = self.runs[from].start..removed.start;
        let behind = removed.end..self.runs[to - 1].end;
        for run in self.runs.range(from..to) {
            let part = run.start.max(removed.start)..run.end.min(removed.end);
            self.count -= part.end - part.start;
            was_there(part);
        }
        match (before.is_empty(), behind.is_empty()) {
            (true, true) => drop(self.runs.drain(from..to)),
            (false, true) => {
                self.runs[from] = before;
                self.runs.drain(from + 1..to);
            }
            (true, false) => {
                self.runs[to - 1] = behind;
                self.runs.drain(from..to - 1);
            }
            (false, false) => {
                self.runs[from] = before;
                self.runs.drain(from + 1..to);
                self.runs.insert(from + 1, behind);
            }
        }
    }

    /// Forgets everything below `floor`.
    pub fn remove_below(&mut self, floor: u64) {
        while let Some(run) = self.runs.front_mut() {
            if run.end <= floor {
                self.count -= run.end - run.start;
                self.runs.pop_front();
                continue;
            }
            if run.start < floor {
                self.count -= floor - run.start;
                run.start = floor;
            }
            return;
        }
    }

    pub fn clear(&mut self) {
        self.runs.clear();
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Debug, Clone)]
    enum Op {
        Insert(u64, u64),
        Remove(u64),
        RemoveRange(u64, u64),
        PopFirst,
        RemoveBelow(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0u64..60, 0u64..8).prop_map(|(start, len)| Op::Insert(start, len)),
            (0u64..64).prop_map(Op::Remove),
            (0u64..60, 0u64..20).prop_map(|(start, len)| Op::RemoveRange(start, len)),
            Just(Op::PopFirst),
            (0u64..64).prop_map(Op::RemoveBelow),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_set_of_numbers(ops in proptest::collection::vec(op(), 0..120)) {
            let (mut set, mut model) = (RangeSet::new(), BTreeSet::new());
            for op in ops {
                match op {
                    Op::Insert(start, len) => {
                        set.insert_range(start..start + len);
                        model.extend(start..start + len);
                    }
                    Op::Remove(offset) => prop_assert_eq!(set.remove(offset), model.remove(&offset)),
                    Op::RemoveRange(start, len) => {
                        let mut removed = Vec::new();
                        set.remove_range(start..start + len, |run| removed.extend(run));
                        let expected: Vec<_> = model.range(start..start + len).copied().collect();
                        model.retain(|offset| !expected.contains(offset));
                        prop_assert_eq!(removed, expected);
                    }
                    Op::PopFirst => prop_assert_eq!(set.pop_first(), model.pop_first()),
                    Op::RemoveBelow(floor) => {
                        set.remove_below(floor);
                        model.retain(|&offset| offset >= floor);
                    }
                }
                prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(set.len(), model.len() as u64);
                for probe in 0..70 {
                    prop_assert_eq!(set.contains(probe), model.contains(&probe));
                }
                let runs: Vec<_> = set.runs().collect();
                prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }
}
