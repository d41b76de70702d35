//! What compaction keeps: of each key the latest record, of transactions what was committed.

use std::borrow::Cow;
use std::io;

use bytes::Bytes;

use super::Codec;
use super::key_map::KeyMap;
use super::rewrite;
use super::transactions::Transactions;
use crate::batch::RecordBatch;
use crate::record::Record;

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays byte for byte.
    Stays,
    Becomes(Bytes),
    /// Nothing of it is needed but its offsets.
    Gap,
}

pub(super) struct Selection<'a> {
    pub(super) keys: KeyMap,
    pub(super) transactions: Transactions,
    /// The keys of all records below are in the map, or were there before and have no later record there.
    pub(super) below: i64,
    pub(super) now_ms: i64,
    pub(super) delete_retention_ms: i64,
    pub(super) codec: &'a dyn Codec,
    /// Batches that stay because their records cannot be read.
    pub(super) unreadable: u64,
    /// Something before could not be read, and stays: any key's records may be there, and any transaction's.
    pub(super) is_uncertain: bool,
}

impl Selection<'_> {
    /// Batches come in order, from the start of the log on.
    pub(super) fn decide(&mut self, batch: &RecordBatch) -> Fate {
        if batch.next_offset() > self.below {
            return Fate::Stays;
        }
        if batch.is_control() && !batch.is_empty() {
            return self.decide_marker(batch);
        }
        if !batch.is_control() {
            self.transactions.pass_batch(batch);
        }
        if batch.is_empty() || self.transactions.is_aborted(batch) {
            return self.emptied(batch);
        }
        let fate = records_of(batch, self.codec).and_then(|records| self.decide_records(batch, &records));
        fate.unwrap_or_else(|_| {
            self.unreadable += 1;
            self.pass_unreadable();
            Fate::Stays
        })
    }

    /// What went before may hold a value that a tombstone hides, or a part of a transaction.
    pub(super) fn pass_unreadable(&mut self) {
        self.is_uncertain = true;
    }

    /// The marker of a transaction stays until nothing of the transaction is left, and for a while longer: a reader may
    /// have seen a part of it.
    fn decide_marker(&mut self, marker: &RecordBatch) -> Fate {
        let is_alone = self.transactions.pass_marker(marker);
        if !is_alone || self.is_uncertain || self.transactions.is_last_of_producer(marker) {
            return Fate::Stays;
        }
        match marker.delete_horizon_ms() {
            Some(horizon_ms) if horizon_ms <= self.now_ms => Fate::Gap,
            Some(_) => Fate::Stays,
            None => {
                let records = marker.encoded_records();
                let later =
                    rewrite::with_records(marker, records, Some(self.horizon_ms()), |_| true, self.codec);
                later.map_or(Fate::Stays, Fate::Becomes)
            }
        }
    }

    fn decide_records(&self, batch: &RecordBatch, records: &[u8]) -> io::Result<Fate> {
        let (mut kept, mut has_tombstones) = (0, false);
        for record in batch.records_in(records) {
            let record = record.map_err(io::Error::other)?;
            if self.keeps(batch, &record) {
                kept += 1;
                has_tombstones |= record.value.is_none();
            }
        }
        if kept == 0 {
            return Ok(self.emptied(batch));
        }
        let horizon_ms = (has_tombstones && batch.delete_horizon_ms().is_none()).then(|| self.horizon_ms());
        if kept == batch.record_count() && horizon_ms.is_none() {
            return Ok(Fate::Stays);
        }
        let keeps = |record: &Record<'_>| self.keeps(batch, record);
        rewrite::with_records(batch, records, horizon_ms, keeps, self.codec).map(Fate::Becomes)
    }

    /// Without a later record of its key; and without a value only until the batch's horizon.
    fn keeps(&self, batch: &RecordBatch, record: &Record<'_>) -> bool {
        let Some(key) = record.key else { return false };
        let is_latest = self.keys.latest(key).is_none_or(|latest| record.offset >= latest);
        let is_over = batch.delete_horizon_ms().is_some_and(|horizon_ms| horizon_ms <= self.now_ms);
        is_latest && (record.value.is_some() || !is_over || self.is_uncertain)
    }

    fn emptied(&self, batch: &RecordBatch) -> Fate {
        match self.transactions.is_last_of_producer(batch) {
            true if batch.is_empty() => Fate::Stays,
            true => Fate::Becomes(rewrite::without_records(batch)),
            false => Fate::Gap,
        }
    }

    fn horizon_ms(&self) -> i64 {
        self.now_ms.saturating_add(self.delete_retention_ms)
    }
}

/// The encoded records of a batch, decompressed.
pub(in crate::log) fn records_of<'b>(batch: &'b RecordBatch, codec: &dyn Codec) -> io::Result<Cow<'b, [u8]>> {
    let encoded = batch.encoded_records();
    match batch.compression_codec() {
        0 => Ok(Cow::Borrowed(encoded)),
        id => codec.decompress(id, encoded).map(Cow::Owned),
    }
}
