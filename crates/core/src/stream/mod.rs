//! What a partition knows beside its bytes: who produced what, which transactions are open, and how far a reader may see.
//!
//! The bytes are in the log. Whoever owns the partition asks here before it appends: [`Stream::append`] gives the
//! batch its place, finds it to be a repetition, or refuses it. What was appended counts at once, and becomes
//! visible when [`Stream::stored`] says that it is safe. A failed write ends the process, so nothing is ever taken back.
//!
//! After a restart the state comes from a snapshot and from the headers of the batches behind it: see [`Stream::replay`].
//! No clock is read: `now_ms` is milliseconds since 1970-01-01 UTC.

mod batch;
mod epoch;
mod housekeeping;
mod producer;
mod producers;
mod reading;
mod snapshot;
#[cfg(test)]
pub(crate) mod tests;
mod transactions;
mod verification;

use crate::producer::{Ending, ProducerId, TransactionVersion};

pub use batch::{AppendError, Appended, Batch, Marker, MarkerError, Sender};
pub use epoch::{EpochError, LEADER_EPOCH, check_leader_epoch};
pub use housekeeping::{Decided, LastWritten};
pub use producer::ProducerView;
pub use reading::{Isolation, OutOfRange, Position};
pub use snapshot::SnapshotError;
pub use transactions::Aborted;
pub use verification::Guard;

use producers::Producers;
use transactions::Transactions;
use verification::Verifications;

/// How often idle producers are looked for.
const SWEEP_INTERVAL_MS: i64 = 10 * 60 * 1000;

/// What an operator can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A producer that was silent for so long is forgotten, unless it has a transaction open.
    pub producer_expiration_ms: i64,
    /// Producers remembered at most; beyond that the longest silent are forgotten first.
    pub producers_max: usize,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { producer_expiration_ms: 24 * 60 * 60 * 1000, producers_max: 10_000 }
    }
}

#[derive(Debug)]
pub struct Stream {
    rules: Rules,
    /// The first offset kept.
    log_start: u64,
    /// Everything below is stored as safely as the log promises.
    high_watermark: u64,
    /// The offset of the next record.
    end: u64,
    producers: Producers,
    transactions: Transactions,
    verifications: Verifications,
    swept_ms: i64,
}

impl Stream {
    /// An empty partition whose first offset is `log_start`.
    pub fn new(rules: Rules, log_start: u64, now_ms: i64) -> Stream {
        Stream {
            rules,
            log_start,
            high_watermark: log_start,
            end: log_start,
            producers: Producers::default(),
            transactions: Transactions::default(),
            verifications: Verifications::default(),
            swept_ms: now_ms,
        }
    }

    pub fn log_start(&self) -> u64 {
        self.log_start
    }

    pub fn high_watermark(&self) -> u64 {
        self.high_watermark
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether a batch can only be appended with a guard (KIP-890): a producer's first of each transaction must
    /// be. Whoever gets a guard lets the transaction's coordinator verify, or add, the partition, and appends with the
    /// guard then. A guard that outlives its transaction is worth nothing: whoever comes with it starts over.
    pub fn verification(
        &mut self,
        sender: &Sender,
        version: TransactionVersion,
        now_ms: i64,
    ) -> Result<Option<Guard>, AppendError> {
        let known = self.producers.get(sender.producer.id);
        if let Some(state) = known {
            state.check_epoch(sender.producer)?;
        }
        if !sender.transactional || known.is_some_and(|state| state.has_open(sender.producer.epoch)) {
            return Ok(None);
        }
        let full = self.verifications.len() >= self.rules.producers_max;
        if full && !self.verifications.contains(sender.producer.id) {
            return Err(AppendError::TooManyProducers { most: self.rules.producers_max });
        }
        Ok(Some(self.verifications.begin(sender, version, now_ms)))
    }

    /// Gives a batch its place, or says where it already is. `guard` is what
    /// [`verification`](Stream::verification) gave for it, if anything.
    pub fn append(
        &mut self,
        batch: &Batch,
        guard: Option<Guard>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        if let Some(sender) = &batch.sender {
            if let Some(before) = self.repetition(sender, batch) {
                return Ok(before);
            }
            self.check(sender, guard)?;
            self.make_room_for(sender.producer.id)?;
        }
        let first_offset = self.end;
        self.apply(first_offset, batch, now_ms);
        Ok(Appended::At(first_offset))
    }

    /// A producer that did not see the answer sends again: recognised among its last five batches.
    fn repetition(&self, sender: &Sender, batch: &Batch) -> Option<Appended> {
        let found = self.producers.get(sender.producer.id)?.find(sender, batch.records)?;
        Some(Appended::Before {
            first_offset: found.first_offset,
            last_offset: found.last_offset,
            timestamp_ms: found.timestamp_ms,
        })
    }

    fn check(&self, sender: &Sender, guard: Option<Guard>) -> Result<(), AppendError> {
        let producer = sender.producer;
        let known = self.producers.get(producer.id);
        if let Some(state) = known {
            state.check_epoch(producer)?;
        }
        if sender.transactional && !known.is_some_and(|state| state.has_open(producer.epoch)) {
            let guard = guard.ok_or(AppendError::NotInTransaction { producer })?;
            self.verifications.check(producer, guard)?;
        }
        let Some(state) = known else { return self.verifications.check_sequence(sender) };
        state.check_sequence(sender)?;
        state.check_open(sender)
    }

    fn make_room_for(&mut self, id: ProducerId) -> Result<(), AppendError> {
        match self.producers.make_room_for(id, self.rules.producers_max) {
            true => Ok(()),
            false => Err(AppendError::TooManyProducers { most: self.rules.producers_max }),
        }
    }

    /// Ends a producer's transaction here, if it has one. The marker takes one offset, which is returned.
    pub fn end_transaction(&mut self, marker: &Marker, now_ms: i64) -> Result<u64, MarkerError> {
        if let Some(state) = self.producers.get(marker.producer.id) {
            state.check_marker(marker)?;
        }
        let offset = self.end;
        self.apply_marker(offset, marker, now_ms);
        Ok(offset)
    }

    /// Everything below the offset is stored.
    pub fn stored(&mut self, upto: u64) {
        debug_assert!(upto <= self.end, "only what was appended can be stored");
        self.high_watermark = self.high_watermark.max(upto);
        self.transactions.stored(self.high_watermark);
    }

    /// The log begins at this offset now: older records are gone.
    pub fn trim(&mut self, log_start: u64) {
        self.log_start = self.log_start.max(log_start);
        self.transactions.trim(self.log_start);
    }

    /// A batch read from the log after a restart. It was checked when it was appended. Control batches go to
    /// [`replay_marker`](Stream::replay_marker). The log's batches come in order, gaps between them are fine.
    pub fn replay(&mut self, first_offset: u64, batch: &Batch, now_ms: i64) {
        if let Some(sender) = &batch.sender {
            self.producers.make_room_for(sender.producer.id, self.rules.producers_max);
        }
        self.apply(first_offset, batch, now_ms);
    }

    /// A transaction's marker read from the log after a restart.
    pub fn replay_marker(&mut self, offset: u64, marker: &Marker, now_ms: i64) {
        self.producers.make_room_for(marker.producer.id, self.rules.producers_max);
        self.apply_marker(offset, marker, now_ms);
    }

    /// All batches were replayed and the log ends at `end`: what it holds is stored.
    pub fn recovered(&mut self, end: u64) {
        self.end = self.end.max(end);
        self.stored(self.end);
    }

    fn apply(&mut self, first_offset: u64, batch: &Batch, now_ms: i64) {
        self.end = first_offset + u64::from(batch.records);
        let Some(sender) = &batch.sender else { return };
        let state = self.producers.entry(sender.producer, now_ms);
        state.append(first_offset, sender, batch, now_ms);
        if sender.transactional {
            self.verifications.end(sender.producer.id);
            if state.open(first_offset) {
                self.transactions.open(first_offset, sender.producer.id);
            }
        }
    }

    fn apply_marker(&mut self, offset: u64, marker: &Marker, now_ms: i64) {
        self.end = offset + 1;
        self.verifications.end(marker.producer.id);
        let state = self.producers.entry(marker.producer, now_ms);
        if let Some(first_offset) = state.end_transaction(marker, now_ms) {
            self.transactions.close(first_offset, offset, marker.ending == Ending::Abort);
        }
    }

    /// The producers known here.
    pub fn producers(&self) -> impl Iterator<Item = ProducerView> {
        self.producers.iter().map(|(id, state)| state.view(id))
    }

    /// About what is remembered of producers and their transactions in memory.
    pub fn producers_bytes(&self) -> usize {
        self.producers.bytes() + self.verifications.bytes()
    }

    /// When [`on_timeout`](Stream::on_timeout) has something to do.
    pub fn next_timeout(&self) -> Option<i64> {
        let anyone = !self.producers.is_empty() || self.verifications.len() > 0;
        anyone.then(|| self.swept_ms + SWEEP_INTERVAL_MS.min(self.rules.producer_expiration_ms))
    }

    /// Forgets who was silent for too long.
    pub fn on_timeout(&mut self, now_ms: i64) {
        if self.next_timeout().is_none_or(|due_ms| now_ms < due_ms) {
            return;
        }
        self.swept_ms = now_ms;
        let forgotten_ms = now_ms - self.rules.producer_expiration_ms;
        self.producers.expire(forgotten_ms);
        self.verifications.expire(forgotten_ms);
    }
}
