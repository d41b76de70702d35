//! What a reader of committed records leaves out: the batches of transactions that were aborted.

use std::collections::HashSet;

use bytes::Bytes;
use cauce_kafka::internal::control::EndMarker;
use cauce_kafka::messages::fetch::AbortedTransaction;
use cauce_log::RecordBatch;

/// Goes along with the batches of one answer, in their order.
#[derive(Debug, Default)]
pub(super) struct Aborted {
    /// Transactions that begin further on, the last one first.
    ahead: Vec<AbortedTransaction>,
    /// Producers that are inside of an aborted transaction.
    inside: HashSet<i64>,
}

impl Aborted {
    pub(super) fn new(mut transactions: Vec<AbortedTransaction>) -> Aborted {
        transactions.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Aborted { ahead: transactions, inside: HashSet::new() }
    }

    pub(super) fn leaves_out(&mut self, batch: &RecordBatch) -> bool {
        while let Some(next) = self.ahead.pop_if(|next| next.first_offset <= batch.last_offset()) {
            self.inside.insert(next.producer_id);
        }
        if batch.is_control() {
            if ends_in_abort(batch) {
                self.inside.remove(&batch.producer_id());
            }
            return true;
        }
        batch.is_transactional() && self.inside.contains(&batch.producer_id())
    }
}

fn ends_in_abort(batch: &RecordBatch) -> bool {
    let Some(Ok(marker)) = batch.records().next() else { return false };
    let bytes = |part: Option<&[u8]>| Bytes::copy_from_slice(part.unwrap_or_default());
    matches!(
        EndMarker::decode(bytes(marker.key), bytes(marker.value)),
        Ok(Some(EndMarker { committed: false, .. }))
    )
}

#[cfg(test)]
mod tests {
    use cauce_log::BatchBuilder;

    use super::*;

    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;

    /// Producer 7 aborts offsets 0 and 2, then commits 5; producer 8 commits 1; nobody's transaction is 6.
    #[test]
    fn only_what_was_aborted_and_the_markers_are_left_out() {
        let mut aborted = Aborted::new(vec![AbortedTransaction { producer_id: 7, first_offset: 0 }]);
        let story = [
            (batch(0, 7, TRANSACTIONAL), true),
            (batch(1, 8, TRANSACTIONAL), false),
            (batch(2, 7, TRANSACTIONAL), true),
            (marker(3, 8, true), true),
            (marker(4, 7, false), true),
            (batch(5, 7, TRANSACTIONAL), false),
            (batch(6, 7, 0), false),
        ];
        for (batch, left_out) in story {
            assert_eq!(aborted.leaves_out(&batch), left_out, "offset {}", batch.base_offset());
        }
    }

    #[test]
    fn a_transaction_that_was_aborted_earlier_does_not_touch_the_next_one() {
        let first = |first_offset| AbortedTransaction { producer_id: 7, first_offset };
        let mut aborted = Aborted::new(vec![first(4), first(0)]);
        let story = [
            (batch(0, 7, TRANSACTIONAL), true),
            (marker(1, 7, false), true),
            (batch(2, 7, TRANSACTIONAL), false),
            (marker(3, 7, true), true),
            (batch(4, 7, TRANSACTIONAL), true),
        ];
        for (batch, left_out) in story {
            assert_eq!(aborted.leaves_out(&batch), left_out, "offset {}", batch.base_offset());
        }
    }

    fn batch(offset: i64, producer: i64, attributes: i16) -> RecordBatch {
        written(offset, producer, attributes, None, b"value")
    }

    fn marker(offset: i64, producer: i64, committed: bool) -> RecordBatch {
        let (key, value) = EndMarker { committed, coordinator_epoch: 0 }.encode();
        written(offset, producer, TRANSACTIONAL | CONTROL, Some(&key), &value)
    }

    fn written(offset: i64, producer: i64, attributes: i16, key: Option<&[u8]>, value: &[u8]) -> RecordBatch {
        let mut builder = BatchBuilder::new();
        builder.start(offset, 0);
        builder.set_producer(producer, 0, 0);
        builder.set_attributes(attributes);
        builder.push(offset, 0, key, Some(&[value]), &[]);
        RecordBatch::parse(builder.finish()).expect("a batch").0
    }
}
