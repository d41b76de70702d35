//! The transactions of a partition: which are open, and which of the ended ones were aborted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::producer::ProducerId;

/// A transaction that a reader of what is committed must leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    pub producer: ProducerId,
    pub first_offset: u64,
    /// The offset of its marker.
    pub last_offset: u64,
    /// Nothing below was undecided when it ended.
    pub last_stable_offset: u64,
}

#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// By their first offset.
    open: BTreeMap<u64, ProducerId>,
    /// Ended by a marker that is not stored yet: first offset and the marker's, the latter rising.
    unstored: VecDeque<(u64, u64)>,
    /// Their first offsets.
    unstored_firsts: BTreeSet<u64>,
    /// By the offset of their markers.
    aborted: VecDeque<Aborted>,
}

impl Transactions {
    pub(super) fn open(&mut self, first_offset: u64, producer: ProducerId) {
        self.open.insert(first_offset, producer);
    }

    pub(super) fn close(&mut self, first_offset: u64, marker_offset: u64, aborted: bool) {
        let Some(producer) = self.open.remove(&first_offset) else { return };
        self.unstored.push_back((first_offset, marker_offset));
        self.unstored_firsts.insert(first_offset);
        if aborted {
            let last_stable_offset = self.open.keys().next().copied().unwrap_or(marker_offset + 1);
            self.keep_aborted(Aborted {
                producer,
                first_offset,
                last_offset: marker_offset,
                last_stable_offset,
            });
        }
    }

    pub(super) fn keep_aborted(&mut self, aborted: Aborted) {
        self.aborted.push_back(aborted);
    }

    pub(super) fn stored(&mut self, high_watermark: u64) {
        while let Some((first, _)) = self.unstored.pop_front_if(|(_, marker)| *marker < high_watermark) {
            self.unstored_firsts.remove(&first);
        }
    }

    /// Where the first transaction begins whose end is not known, or not stored.
    pub(super) fn first_undecided(&self) -> Option<u64> {
        let unstored = self.unstored_firsts.first().copied();
        let open = self.open.keys().next().copied();
        unstored.into_iter().chain(open).min()
    }

    pub(super) fn aborted(&self) -> impl Iterator<Item = &Aborted> {
        self.aborted.iter()
    }

    /// Those that have records between the offsets.
    pub(super) fn aborted_between(&self, from: u64, upto: u64) -> Vec<Aborted> {
        let start = self.aborted.partition_point(|aborted| aborted.last_offset < from);
        let mut found = Vec::new();
        for aborted in self.aborted.range(start..) {
            if aborted.first_offset < upto {
                found.push(*aborted);
            }
            // Whatever ended later began at this offset or after it.
            if aborted.last_stable_offset >= upto {
                break;
            }
        }
        found
    }

    /// Forgets those that ended below the offset.
    pub(super) fn trim(&mut self, log_start: u64) {
        while self.aborted.front().is_some_and(|aborted| aborted.last_offset < log_start) {
            self.aborted.pop_front();
        }
    }
}
