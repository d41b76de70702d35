//! Who waits, in the order they would go: highest priority first, then lowest offset.

use std::ops::Range;

use crate::range_set::RangeSet;

#[derive(Debug)]
pub(super) struct Line {
    /// Waiting offsets, one set for each priority, lowest first.
    levels: Vec<RangeSet>,
    /// No level above this one has any.
    top: usize,
    count: u64,
}

impl Line {
    pub(super) fn new(priority_max: u8) -> Line {
        Line { levels: vec![RangeSet::new(); usize::from(priority_max) + 1], top: 0, count: 0 }
    }

    pub(super) fn len(&self) -> u64 {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether priorities make a difference.
    pub(super) fn has_levels(&self) -> bool {
        self.levels.len() > 1
    }

    /// Puts offsets that do not wait yet in line. Priorities above the highest count as the highest.
    pub(super) fn insert(&mut self, offsets: Range<u64>, priority: u8) {
        let level = usize::from(priority).min(self.levels.len() - 1);
        let before = self.levels[level].len();
        self.levels[level].insert_range(offsets);
        self.count += self.levels[level].len() - before;
        self.top = self.top.max(level);
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.levels[self.top].first()
    }

    pub(super) fn pop_first(&mut self) -> Option<u64> {
        let offset = self.levels[self.top].pop_first()?;
        self.count -= 1;
        self.lower_top();
        Some(offset)
    }

    pub(super) fn remove(&mut self, offset: u64) -> bool {
        let removed = self.levels.iter_mut().any(|level| level.remove(offset));
        self.count -= u64::from(removed);
        self.lower_top();
        removed
    }

    fn lower_top(&mut self) {
        while self.top > 0 && self.levels[self.top].is_empty() {
            self.top -= 1;
        }
    }

    /// The level of the first; priorities above the highest count as the highest.
    pub(super) fn is_of_top_level(&self, priority: u8) -> bool {
        usize::from(priority).min(self.levels.len() - 1) >= self.top
    }

    /// The lowest offset that waits and is not below `offset`, where priorities make no difference.
    pub(super) fn first_from(&self, offset: u64) -> Option<u64> {
        self.levels[0].first_from(offset)
    }

    /// The runs of every level, highest first.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs_within(0..u64::MAX)
    }

    pub(super) fn runs_within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        self.levels.iter().rev().flat_map(move |level| level.runs_within(range.clone()))
    }
}
