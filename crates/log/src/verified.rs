//! Which bytes of a file were found to be whole.

use std::ops::Range;

/// Stretches remembered at most. Beyond it the shortest is forgotten, and verified again when it is asked for.
const STRETCHES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Verified {
    /// Rising, and never touching each other.
    stretches: Vec<Range<u64>>,
}

impl Verified {
    pub(crate) fn add(&mut self, bytes: Range<u64>) {
        if bytes.is_empty() {
            return;
        }
        let start = self.stretches.partition_point(|stretch| stretch.end < bytes.start);
        let end = self.stretches.partition_point(|stretch| stretch.start <= bytes.end);
        let touched = self.stretches[start..end].iter();
        let whole =
            touched.fold(bytes, |whole, stretch| whole.start.min(stretch.start)..whole.end.max(stretch.end));
        self.stretches.splice(start..end, [whole]);
        if self.stretches.len() > STRETCHES_MAX {
            self.forget_the_shortest();
        }
    }

    pub(crate) fn stretches(&self) -> impl Iterator<Item = Range<u64>> {
        self.stretches.iter().cloned()
    }

    pub(crate) fn holds(&self, bytes: &Range<u64>) -> bool {
        let after = self.stretches.partition_point(|stretch| stretch.start <= bytes.start);
        let stretch = after.checked_sub(1).map(|before| &self.stretches[before]);
        stretch.is_some_and(|stretch| stretch.end >= bytes.end)
    }

    fn forget_the_shortest(&mut self) {
        let by_len = |index: &usize| self.stretches[*index].end - self.stretches[*index].start;
        if let Some(shortest) = (0..self.stretches.len()).min_by_key(by_len) {
            self.stretches.remove(shortest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_that_touch_become_one() {
        let mut verified = Verified::default();
        [0..10, 20..30, 40..50].into_iter().for_each(|bytes| verified.add(bytes));
        assert!(verified.holds(&(20..30)) && !verified.holds(&(5..25)) && !verified.holds(&(35..36)));
        verified.add(10..20);
        assert!(verified.holds(&(0..30)) && !verified.holds(&(0..31)));
        verified.add(25..60);
        assert!(verified.stretches().eq(std::iter::once(0..60)));
    }

    #[test]
    fn too_many_stretches_cost_the_shortest() {
        let mut verified = Verified::default();
        (0..200).for_each(|n| verified.add(n * 100..n * 100 + 10 + n % 7));
        assert_eq!(verified.stretches.len(), STRETCHES_MAX);
    }
}
