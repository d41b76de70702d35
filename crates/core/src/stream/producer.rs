//! One producer in one partition: its epoch, its last batches, its open transaction.

use std::collections::VecDeque;

use super::{AppendError, Batch, Marker, MarkerError, Sender};
use crate::producer::{Producer, ProducerId, TransactionVersion};

/// Batches remembered for each producer: as many as a client may have under way.
pub(super) const RECENT_MAX: usize = 5;

/// What can be told about a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerView {
    pub producer: Producer,
    pub last_sequence: Option<i32>,
    pub last_timestamp_ms: Option<i64>,
    pub coordinator_epoch: Option<i32>,
    /// Where its open transaction begins.
    pub open_from: Option<u64>,
}

/// A batch that can be recognised when it comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recent {
    pub(super) first_sequence: i32,
    pub(super) last_sequence: i32,
    pub(super) first_offset: u64,
    pub(super) last_offset: u64,
    pub(super) timestamp_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProducerState {
    pub(super) epoch: i16,
    /// The last batches of this epoch, oldest first.
    pub(super) recent: VecDeque<Recent>,
    pub(super) coordinator_epoch: Option<i32>,
    pub(super) open_from: Option<u64>,
    /// When it was last heard of. Not the time of its records, which it is free to choose.
    pub(super) used_ms: i64,
}

impl ProducerState {
    pub(super) fn new(epoch: i16, now_ms: i64) -> ProducerState {
        ProducerState {
            epoch,
            recent: VecDeque::new(),
            coordinator_epoch: None,
            open_from: None,
            used_ms: now_ms,
        }
    }

    pub(super) fn has_open(&self, epoch: i16) -> bool {
        self.open_from.is_some() && self.epoch == epoch
    }

    /// The batch with the same numbers, if it is one of the last.
    pub(super) fn find(&self, sender: &Sender, records: u32) -> Option<&Recent> {
        let first_sequence = sender.first_sequence?;
        let last_sequence = last_sequence(first_sequence, records);
        let same = |recent: &&Recent| {
            recent.first_sequence == first_sequence && recent.last_sequence == last_sequence
        };
        self.recent.iter().find(same).filter(|_| sender.producer.epoch == self.epoch)
    }

    pub(super) fn check_epoch(&self, producer: Producer) -> Result<(), AppendError> {
        match producer.epoch < self.epoch {
            true => Err(AppendError::StaleEpoch { producer, current: self.epoch }),
            false => Ok(()),
        }
    }

    /// A new epoch begins at 0; within one each batch continues the last.
    pub(super) fn check_sequence(&self, sender: &Sender) -> Result<(), AppendError> {
        let Some(sequence) = sender.first_sequence else { return Ok(()) };
        let expected = match self.recent.back() {
            Some(last) if sender.producer.epoch == self.epoch => next_sequence(last.last_sequence),
            _ => 0,
        };
        match sequence == expected {
            true => Ok(()),
            false => Err(AppendError::OutOfOrder { producer: sender.producer, sequence, expected }),
        }
    }

    pub(super) fn check_open(&self, sender: &Sender) -> Result<(), AppendError> {
        match self.open_from.is_some() && !sender.transactional {
            true => Err(AppendError::OutsideTransaction { producer: sender.producer }),
            false => Ok(()),
        }
    }

    /// With an epoch for each transaction, a marker's epoch is above that of the transaction it ends: one that is not
    /// came late, and might end the next transaction. Equal ones are fine when nothing is open: the coordinator
    /// sends markers again after a restart.
    pub(super) fn check_marker(&self, marker: &Marker) -> Result<(), MarkerError> {
        let stale = match marker.version {
            TransactionVersion::Classic => marker.producer.epoch < self.epoch,
            TransactionVersion::EpochPerTransaction if self.open_from.is_some() => {
                marker.producer.epoch <= self.epoch
            }
            TransactionVersion::EpochPerTransaction => marker.producer.epoch < self.epoch,
        };
        if stale {
            return Err(MarkerError::StaleEpoch { producer: marker.producer, current: self.epoch });
        }
        match self.coordinator_epoch {
            Some(current) if current > marker.coordinator_epoch => {
                Err(MarkerError::StaleCoordinator { epoch: marker.coordinator_epoch, current })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn append(&mut self, first_offset: u64, sender: &Sender, batch: &Batch, now_ms: i64) {
        self.enter(sender.producer.epoch);
        self.used_ms = now_ms;
        let Some(first_sequence) = sender.first_sequence else { return };
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent {
            first_sequence,
            last_sequence: last_sequence(first_sequence, batch.records),
            first_offset,
            last_offset: first_offset + u64::from(batch.records.max(1)) - 1,
            timestamp_ms: batch.timestamp_ms,
        });
    }

    /// Begins a transaction unless one is open, and says whether it did.
    pub(super) fn open(&mut self, first_offset: u64) -> bool {
        let begins = self.open_from.is_none();
        self.open_from.get_or_insert(first_offset);
        begins
    }

    /// Where the transaction that ends began, if there was one.
    pub(super) fn end_transaction(&mut self, marker: &Marker, now_ms: i64) -> Option<u64> {
        self.enter(marker.producer.epoch);
        self.coordinator_epoch = Some(marker.coordinator_epoch);
        self.used_ms = now_ms;
        self.open_from.take()
    }

    fn enter(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.recent.clear();
        }
    }

    pub(super) fn view(&self, id: ProducerId) -> ProducerView {
        let last = self.recent.back();
        ProducerView {
            producer: Producer { id, epoch: self.epoch },
            last_sequence: last.map(|last| last.last_sequence),
            last_timestamp_ms: last.map(|last| last.timestamp_ms),
            coordinator_epoch: self.coordinator_epoch,
            open_from: self.open_from,
        }
    }
}

/// After the highest number comes 0 again.
fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

fn last_sequence(first: i32, records: u32) -> i32 {
    let last = i64::from(first) + i64::from(records.max(1)) - 1;
    (last % (i64::from(i32::MAX) + 1)) as i32
}
