//! Transactional batches on their way to the transaction's coordinator and back (KIP-890).
//!
//! A batch may wait for a connection or a disk while its transaction ends. Were it appended then, its transaction
//! would stay open for ever. So the way begins with a guard, which the next marker makes worthless.

use std::collections::HashMap;

use super::{AppendError, Sender};
use crate::producer::{Producer, ProducerId, TransactionVersion};

/// Shows that a batch was verified since the producer's last transaction ended here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard(u64);

#[derive(Debug)]
struct Verification {
    guard: Guard,
    epoch: i16,
    /// Of the batches that wait, the first must be appended first.
    lowest_sequence: Option<i32>,
    version: TransactionVersion,
    since_ms: i64,
}

#[derive(Debug, Default)]
pub(super) struct Verifications {
    last_guard: u64,
    by_id: HashMap<ProducerId, Verification, foldhash::fast::RandomState>,
}

impl Verifications {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.by_id.len() * size_of::<(ProducerId, Verification)>()
    }

    pub(super) fn contains(&self, id: ProducerId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Batches that wait at the same time share their guard.
    pub(super) fn begin(&mut self, sender: &Sender, version: TransactionVersion, now_ms: i64) -> Guard {
        let epoch = sender.producer.epoch;
        let last_guard = &mut self.last_guard;
        let waiting = self.by_id.entry(sender.producer.id).or_insert_with(|| {
            *last_guard += 1;
            let lowest_sequence = sender.first_sequence;
            Verification { guard: Guard(*last_guard), epoch, lowest_sequence, version, since_ms: now_ms }
        });
        if epoch > waiting.epoch {
            (waiting.epoch, waiting.lowest_sequence) = (epoch, sender.first_sequence);
        } else if epoch == waiting.epoch && sender.first_sequence < waiting.lowest_sequence {
            waiting.lowest_sequence = sender.first_sequence;
        }
        waiting.guard
    }

    pub(super) fn check(&self, producer: Producer, guard: Guard) -> Result<(), AppendError> {
        match self.by_id.get(&producer.id) {
            Some(waiting) if waiting.guard == guard => Ok(()),
            _ => Err(AppendError::VerifiedTooEarly { producer }),
        }
    }

    /// For a producer that is not known here, what waits says what is due. With an epoch for each transaction it is 0.
    pub(super) fn check_sequence(&self, sender: &Sender) -> Result<(), AppendError> {
        let Some(sequence) = sender.first_sequence else { return Ok(()) };
        let Some(waiting) = self.by_id.get(&sender.producer.id) else { return Ok(()) };
        let expected = match waiting.version {
            TransactionVersion::EpochPerTransaction => 0,
            TransactionVersion::Classic => waiting.lowest_sequence.unwrap_or(sequence),
        };
        match sequence > expected {
            true => Err(AppendError::OutOfOrder { producer: sender.producer, sequence, expected }),
            false => Ok(()),
        }
    }

    pub(super) fn end(&mut self, id: ProducerId) {
        self.by_id.remove(&id);
    }

    pub(super) fn expire(&mut self, since_ms: i64) {
        self.by_id.retain(|_, waiting| waiting.since_ms > since_ms);
    }
}
