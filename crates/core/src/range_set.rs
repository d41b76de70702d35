//! A set of offsets: sorted runs, and bits where runs would be too many.
//!
//! Queues fill at the end and drain at the front, so most sets are one run; each exception in the
//! middle costs one more. Work at either end is constant time, in the middle a binary search. Where
//! exceptions are the rule, as among priorities, a page of offsets is kept as bits: an eighth of a byte
//! for each, whatever the pattern.

mod page;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use page::{PAGE, Page};

/// More runs than this in one page are kept as bits.
const RUNS_IN_PAGE_MAX: usize = 48;

#[derive(Debug, Clone, Default)]
pub struct RangeSet {
    /// Sorted, never empty, never touching each other.
    runs: VecDeque<Range<u64>>,
    /// By number, neither empty nor full. No run reaches into one.
    pages: BTreeMap<u64, Page>,
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
        let run = self.runs.front().map(|run| run.start);
        if self.pages.is_empty() {
            return run;
        }
        let page = self.pages.first_key_value().and_then(|(number, page)| page.next_from(*number, 0));
        run.into_iter().chain(page).min()
    }

    /// The lowest offset that is not below `offset`.
    pub fn first_from(&self, offset: u64) -> Option<u64> {
        let at = self.runs.partition_point(|run| run.end <= offset);
        let run = self.runs.get(at).map(|run| run.start.max(offset));
        let mut pages = self.pages.range(offset / PAGE..);
        let page = pages.find_map(|(number, page)| page.next_from(*number, offset));
        run.into_iter().chain(page).min()
    }

    /// The first run, whole.
    pub fn first_run(&self) -> Option<Range<u64>> {
        let start = self.first()?;
        Some(start..self.end_of_run(start))
    }

    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs_within(0..u64::MAX)
    }

    /// The runs that are in that range, cut off at its ends.
    pub fn runs_within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut from = range.start;
        std::iter::from_fn(move || {
            let start = self.first_from(from).filter(|start| *start < range.end)?;
            from = self.end_of_run(start).min(range.end);
            Some(start..from)
        })
    }

    /// The offset after the last one, or zero.
    pub fn end(&self) -> u64 {
        let run = self.runs.back().map_or(0, |run| run.end);
        let page = self.pages.last_key_value().map(|(number, _)| number * PAGE);
        let in_page = page.and_then(|start| self.runs_within(start..start + PAGE).last());
        run.max(in_page.map_or(0, |run| run.end))
    }

    /// What is not in it below `end`.
    pub fn gaps_below(&self, end: u64) -> RangeSet {
        let mut gaps = RangeSet::new();
        let mut from = 0;
        for run in self.runs_within(0..end) {
            gaps.insert_range(from..run.start);
            from = run.end;
        }
        gaps.insert_range(from..end);
        gaps
    }

    pub fn run_count(&self) -> usize {
        self.runs().count()
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs().flatten()
    }

    pub fn contains(&self, offset: u64) -> bool {
        if !self.pages.is_empty()
            && let Some(page) = self.pages.get(&(offset / PAGE))
        {
            return page.contains(offset);
        }
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
        if self.pages.is_empty() {
            return self.insert_run(added);
        }
        // Pages take what lies in them; what lies between is runs.
        let numbers = added.start / PAGE..=(added.end - 1) / PAGE;
        let touched: Vec<u64> = self.pages.range(numbers).map(|(number, _)| *number).collect();
        let mut from = added.start;
        for number in touched {
            let (page_start, page_end) = (number * PAGE, (number + 1) * PAGE);
            if from < page_start {
                self.insert_run(from..page_start);
            }
            let page = self.pages.get_mut(&number).expect("it was found just now");
            self.count += page.insert(from.max(page_start)..added.end.min(page_end));
            if page.is_full() {
                self.pages.remove(&number);
                self.count -= PAGE;
                self.insert_run(page_start..page_end);
            }
            from = page_end;
        }
        if from < added.end {
            self.insert_run(from..added.end);
        }
    }

    /// Adds offsets that lie in no page.
    fn insert_run(&mut self, added: Range<u64>) {
        if let Some(last) = self.runs.back_mut()
            && last.end == added.start
        {
            last.end = added.end;
            self.count += added.end - added.start;
            return;
        }
        let start = added.start;
        if self.runs.back().is_none_or(|last| last.end < added.start) {
            self.count += added.end - added.start;
            self.runs.push_back(added);
            return self.make_page_if_scattered(start);
        }
        self.merge(added);
    }

    fn merge(&mut self, added: Range<u64>) {
        // The runs that overlap or touch what is added become one with it.
        let from = self.runs.partition_point(|run| run.end < added.start);
        let to = self.runs.partition_point(|run| run.start <= added.end);
        if from == to {
            let start = added.start;
            self.count += added.end - added.start;
            self.runs.insert(from, added);
            return self.make_page_if_scattered(start);
        }
        let merged = self.runs[from].start.min(added.start)..self.runs[to - 1].end.max(added.end);
        let before: u64 = self.runs.range(from..to).map(|run| run.end - run.start).sum();
        self.count += merged.end - merged.start - before;
        self.runs[from] = merged;
        self.runs.drain(from + 1..to);
    }

    /// Keeps the page of this offset as bits if it has too many runs.
    fn make_page_if_scattered(&mut self, offset: u64) {
        if self.runs.len() <= RUNS_IN_PAGE_MAX {
            return;
        }
        let number = offset / PAGE;
        let (start, end) = (number * PAGE, (number + 1) * PAGE);
        let from = self.runs.partition_point(|run| run.end <= start);
        let to = self.runs.partition_point(|run| run.start < end);
        if to - from <= RUNS_IN_PAGE_MAX {
            return;
        }
        let mut page = Page::default();
        for run in self.runs.range(from..to) {
            page.insert(run.start.max(start)..run.end.min(end));
        }
        self.pages.insert(number, page);
        // The first and the last may reach beyond.
        let (first, last) = (self.runs[from].start, self.runs[to - 1].end);
        self.runs.drain(from..to);
        if last > end {
            self.runs.insert(from, end..last);
        }
        if first < start {
            self.runs.insert(from, first..start);
        }
    }

    pub fn pop_first(&mut self) -> Option<u64> {
        if !self.pages.is_empty() {
            let offset = self.first()?;
            self.remove(offset);
            return Some(offset);
        }
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
        let number = offset / PAGE;
        if !self.pages.is_empty()
            && let Some(page) = self.pages.get_mut(&number)
        {
            let removed = page.remove(offset);
            self.count -= u64::from(removed);
            if page.is_empty() {
                self.pages.remove(&number);
            }
            return removed;
        }
        let at = self.runs.partition_point(|run| run.end <= offset);
        let Some(run) = self.runs.get_mut(at).filter(|run| run.start <= offset) else {
            return false;
        };
        self.count -= 1;
        let tail = offset + 1..run.end;
        run.end = offset;
        if run.is_empty() {
            if tail.is_empty() {
                self.runs.remove(at);
            } else {
                *run = tail;
            }
        } else if !tail.is_empty() {
            self.runs.insert(at + 1, tail);
            self.make_page_if_scattered(offset);
        }
        true
    }

    /// Removes what is there of a range, and says which runs that was.
    pub fn remove_range(&mut self, removed: Range<u64>, mut was_there: impl FnMut(Range<u64>)) {
        if removed.is_empty() {
            return;
        }
        if self.pages.is_empty() {
            return self.remove_runs(removed, was_there);
        }
        self.runs_within(removed.clone()).for_each(&mut was_there);
        let numbers = removed.start / PAGE..=(removed.end - 1) / PAGE;
        let touched: Vec<u64> = self.pages.range(numbers).map(|(number, _)| *number).collect();
        for number in touched {
            let page = self.pages.get_mut(&number).expect("it was found just now");
            let (page_start, page_end) = (number * PAGE, (number + 1) * PAGE);
            self.count -= page.remove_range(removed.start.max(page_start)..removed.end.min(page_end));
            if page.is_empty() {
                self.pages.remove(&number);
            }
        }
        self.remove_runs(removed, |_| {});
    }

    fn remove_runs(&mut self, removed: Range<u64>, mut was_there: impl FnMut(Range<u64>)) {
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
                self.make_page_if_scattered(removed.start);
            }
        }
    }

    /// Forgets everything below `floor`.
    pub fn remove_below(&mut self, floor: u64) {
        while let Some(mut entry) = self.pages.first_entry().filter(|entry| entry.key() * PAGE < floor) {
            let start = entry.key() * PAGE;
            self.count -= entry.get_mut().remove_range(start..floor.min(start + PAGE));
            if !entry.get().is_empty() {
                break;
            }
            entry.remove();
        }
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
        *self = RangeSet::new();
    }

    /// Where the run ends that holds this offset, which is in the set.
    fn end_of_run(&self, offset: u64) -> u64 {
        let mut end = offset;
        loop {
            if let Some(page) = self.pages.get(&(end / PAGE)) {
                let page_end = (end / PAGE + 1) * PAGE;
                end = page.end_of_run(end);
                if end < page_end {
                    return end;
                }
                continue;
            }
            let at = self.runs.partition_point(|run| run.end <= end);
            match self.runs.get(at) {
                Some(run) if run.start <= end => end = run.end,
                _ => return end,
            }
        }
    }
}

impl PartialEq for RangeSet {
    fn eq(&self, other: &RangeSet) -> bool {
        self.count == other.count && self.runs().eq(other.runs())
    }
}

impl Eq for RangeSet {}

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
        /// Every other offset, so many of them: these become bits.
        Scatter(u64, u64),
    }

    const END: u64 = 3 * PAGE;

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0u64..60, 0u64..8).prop_map(|(start, len)| Op::Insert(start, len)),
            (0u64..64).prop_map(Op::Remove),
            (0u64..60, 0u64..20).prop_map(|(start, len)| Op::RemoveRange(start, len)),
            Just(Op::PopFirst),
            (0u64..64).prop_map(Op::RemoveBelow),
            (PAGE - 60..PAGE + 60, 0u64..200).prop_map(|(start, len)| Op::Insert(start, len)),
            (PAGE - 60..PAGE + 60).prop_map(Op::Remove),
            (PAGE - 60..PAGE + 60).prop_map(Op::RemoveBelow),
            (0u64..PAGE, 0u64..120).prop_map(|(start, count)| Op::Scatter(start, count)),
            (0u64..PAGE, 0u64..2 * PAGE).prop_map(|(start, len)| Op::Insert(start, len)),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_set_of_numbers(ops in proptest::collection::vec(op(), 0..40)) {
            let (mut set, mut model) = (RangeSet::new(), BTreeSet::new());
            for op in ops {
                match op {
                    Op::Insert(start, len) => {
                        set.insert_range(start..start + len);
                        model.extend(start..start + len);
                    }
                    Op::Scatter(start, count) => {
                        for offset in (start..).step_by(2).take(count as usize) {
                            set.insert(offset);
                            model.insert(offset);
                        }
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
                prop_assert_eq!(set.first(), model.first().copied());
                for probe in (0..70).step_by(3).chain(PAGE - 70..PAGE + 70).chain((0..END).step_by(997)) {
                    prop_assert_eq!(set.contains(probe), model.contains(&probe));
                    prop_assert_eq!(set.first_from(probe), model.range(probe..).next().copied());
                }
                prop_assert_eq!(set.first_run(), set.runs().next());
                prop_assert_eq!(set.end(), model.last().map_or(0, |last| last + 1));
                let gaps = set.gaps_below(100);
                prop_assert!((0..100).all(|offset| gaps.contains(offset) != set.contains(offset)));
                prop_assert_eq!(gaps.first_from(100), None);
                let runs: Vec<_> = set.runs().collect();
                prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }

    #[test]
    fn every_other_of_a_million_costs_little_more_than_a_bit_each() {
        let mut set = RangeSet::new();
        (0..1_000_000).step_by(2).for_each(|offset| set.insert(offset));
        assert!(set.runs.len() <= RUNS_IN_PAGE_MAX, "{} runs", set.runs.len());
        assert_eq!(set.len(), 500_000);
        (1..1_000_000).step_by(2).for_each(|offset| set.insert(offset));
        assert_eq!(set.first_run(), Some(0..1_000_000));
        assert!(set.pages.len() <= 1, "whole pages are runs again");
    }
}
