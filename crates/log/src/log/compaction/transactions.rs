//! What became of transactions, as compaction walks over a log from its start.

use std::collections::{HashMap, HashSet};

use super::{AbortedTransaction, LastBatch, StreamState};
use crate::batch::RecordBatch;

#[derive(Debug)]
pub(super) struct Transactions {
    /// By producer, rising.
    aborted: HashMap<i64, Vec<AbortedTransaction>>,
    last_batches: HashMap<i64, LastBatch>,
    /// Producers of whom there was a batch since their last marker.
    with_batches: HashSet<i64>,
}

impl Transactions {
    pub(super) fn new(state: &StreamState) -> Transactions {
        let mut aborted: HashMap<_, Vec<_>> = HashMap::new();
        for transaction in &state.aborted {
            aborted.entry(transaction.producer_id).or_default().push(*transaction);
        }
        aborted.values_mut().for_each(|own| own.sort_unstable_by_key(|transaction| transaction.first_offset));
        let last_batches = state.producers.iter().map(|last| (last.producer_id, *last)).collect();
        Transactions { aborted, last_batches, with_batches: HashSet::new() }
    }

    /// Whether the batch is part of a transaction that was aborted.
    pub(super) fn is_aborted(&self, batch: &RecordBatch) -> bool {
        let Some(own) = self.aborted.get(&batch.producer_id()).filter(|_| batch.is_transactional()) else {
            return false;
        };
        let after = own.partition_point(|transaction| transaction.first_offset <= batch.base_offset());
        let begun_before = after.checked_sub(1).map(|before| own[before]);
        begun_before.is_some_and(|transaction| batch.base_offset() <= transaction.last_offset)
    }

    /// Whether the batch tells what its producer did last, and so must stay for whoever reads it after a restart.
    pub(super) fn is_last_of_producer(&self, batch: &RecordBatch) -> bool {
        let Some(last) = self.last_batches.get(&batch.producer_id()) else { return false };
        match last.last_data_offset {
            Some(offset) => batch.last_offset() == offset,
            None => batch.is_control() && batch.producer_epoch() == last.producer_epoch,
        }
    }

    pub(super) fn pass_batch(&mut self, batch: &RecordBatch) {
        if batch.is_transactional() {
            self.with_batches.insert(batch.producer_id());
        }
    }

    /// Whether a marker ends a transaction of which no batch is left.
    pub(super) fn pass_marker(&mut self, marker: &RecordBatch) -> bool {
        !self.with_batches.remove(&marker.producer_id())
    }
}
