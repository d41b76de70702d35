//! Record batches, Kafka's format of magic 2: what producers send, files hold and consumers receive.
//!
//! ```text
//! byte  0        8        12       16  17    21     23       27        35        43       51    53       57     61
//!       | base   | length | leader | m | CRC | attri| last   | base    | max     | producer    | base   | record|
//!       | offset |        | epoch  |   |     | butes| offset | time-   | time-   | id   | epoch| sequen-| count | records…
//!       | i64    | i32    | i32    |i8 | u32 | i16  | delta  | stamp   | stamp   | i64  | i16  | ce i32 | i32   |
//! ```
//!
//! All big endian. `length` counts from byte 12, the CRC-32C covers everything from byte 21 on.

use std::ops::Range;

use bytes::Bytes;

use crate::error::BatchError;
use crate::record::Records;

mod builder;

pub use builder::BatchBuilder;
pub(crate) use builder::{NO_PRODUCER_ID, empty_batch};

/// Bytes before the first record.
pub(crate) const HEADER_BYTES: usize = 61;
/// Base offset and length: what comes before the bytes that `length` counts.
const LENGTH_END: usize = 12;
/// Where the bytes covered by the CRC begin.
const CHECKED_START: usize = 21;
const LENGTH: Range<usize> = 8..12;
const BASE_OFFSET: Range<usize> = 0..8;
const LEADER_EPOCH_FIELD: Range<usize> = 12..16;
const CRC: Range<usize> = 17..21;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const RECORD_COUNT: usize = 57;

/// The offsets one batch can take.
pub(crate) const OFFSETS_MAX: i64 = 1 << 31;

const MAGIC: i8 = 2;
/// A single node never has another leader.
const LEADER_EPOCH: i32 = 0;
/// A record takes at least a length, attributes, two deltas, two lengths and a header count, one byte each.
pub(crate) const RECORD_BYTES_MIN: usize = 7;

/// The compression codec sits in the low three bits of the attributes.
const CODEC_BITS: i16 = 0b111;
const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// Whose clock a batch's timestamps come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// Each record carries the time its producer gave it.
    Create,
    /// All records carry the time the broker appended them: the batch's max timestamp.
    LogAppend,
}

/// One encoded batch whose header is well formed; its records are read on demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordBatch {
    bytes: Bytes,
}

impl RecordBatch {
    /// Takes the batch at the front of `bytes` and returns what follows it. Checks the header, not the CRC.
    pub fn parse(mut bytes: Bytes) -> Result<(RecordBatch, Bytes), BatchError> {
        let len = encoded_len(&bytes)?;
        if bytes.len() < len {
            return Err(BatchError::Incomplete { needed: len, left: bytes.len() });
        }
        let rest = bytes.split_off(len);
        let batch = RecordBatch { bytes };
        check_counts(&batch.bytes)?;
        Ok((batch, rest))
    }

    /// Checks the CRC, and so every byte but base offset and leader epoch.
    pub fn verify(&self) -> Result<(), BatchError> {
        check_crc(&self.bytes)
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn base_offset(&self) -> i64 {
        base_offset(&self.bytes)
    }

    /// The offset of the last record; of a compacted batch, the last it once had.
    pub fn last_offset(&self) -> i64 {
        last_offset(&self.bytes)
    }

    /// Where the next batch may start.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    pub fn leader_epoch(&self) -> i32 {
        i32_at(&self.bytes, LEADER_EPOCH_FIELD.start)
    }

    pub fn attributes(&self) -> i16 {
        i16_at(&self.bytes, ATTRIBUTES)
    }

    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn compression_codec(&self) -> u8 {
        (self.attributes() & CODEC_BITS) as u8
    }

    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes() & LOG_APPEND_TIME_BIT {
            0 => TimestampType::Create,
            _ => TimestampType::LogAppend,
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }

    /// A control batch marks the end of a transaction and is not for applications.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }

    /// From when on compaction may drop the batch's tombstones, or its marker (KIP-534).
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes() & DELETE_HORIZON_BIT != 0).then(|| self.base_timestamp())
    }

    /// What the records' timestamps are counted from: the delete horizon, if there is one.
    pub fn base_timestamp(&self) -> i64 {
        i64_at(&self.bytes, BASE_TIMESTAMP)
    }

    pub fn max_timestamp(&self) -> i64 {
        i64_at(&self.bytes, MAX_TIMESTAMP)
    }

    /// -1 when the producer is not idempotent.
    pub fn producer_id(&self) -> i64 {
        i64_at(&self.bytes, 43)
    }

    pub fn producer_epoch(&self) -> i16 {
        i16_at(&self.bytes, 51)
    }

    pub fn base_sequence(&self) -> i32 {
        i32_at(&self.bytes, 53)
    }

    pub fn record_count(&self) -> i32 {
        record_count(&self.bytes)
    }

    /// Whether there are no records, but offsets that nothing is at.
    pub fn is_empty(&self) -> bool {
        self.record_count() == 0
    }

    /// The records as they are encoded, compressed or not.
    pub fn records_bytes(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }

    /// The records as they are encoded, compressed or not.
    pub(crate) fn encoded_records(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The records of an uncompressed batch; of a compressed one, a single error.
    pub fn records(&self) -> Records<'_> {
        Records::of(self, &self.bytes[HEADER_BYTES..])
    }

    /// The records of this batch given its decompressed [`RecordBatch::records_bytes`].
    pub fn records_in<'a>(&self, decompressed: &'a [u8]) -> Records<'a> {
        Records::decompressed(self, decompressed)
    }

    /// The same batch starting at another offset; the CRC does not cover it.
    pub fn with_base_offset(self, base_offset: i64) -> RecordBatch {
        self.patched(|bytes| set_base_offset(bytes, base_offset))
    }

    /// The same batch under another leader epoch; the CRC does not cover it.
    pub fn with_leader_epoch(self, epoch: i32) -> RecordBatch {
        self.patched(|bytes| bytes[LEADER_EPOCH_FIELD].copy_from_slice(&epoch.to_be_bytes()))
    }

    /// The same batch with times of this kind, the latest of its records as given.
    pub fn with_time(self, kind: TimestampType, max_timestamp_ms: i64) -> RecordBatch {
        let attributes = match kind {
            TimestampType::Create => self.attributes() & !LOG_APPEND_TIME_BIT,
            TimestampType::LogAppend => self.attributes() | LOG_APPEND_TIME_BIT,
        };
        self.patched(|bytes| {
            bytes[ATTRIBUTES..ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
            bytes[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&max_timestamp_ms.to_be_bytes());
            let crc = crc_fast::crc32_iscsi(&bytes[CHECKED_START..]);
            bytes[CRC].copy_from_slice(&crc.to_be_bytes());
        })
    }

    /// The same batch with its records compressed: `records` is what the codec made of [`RecordBatch::records_bytes`].
    pub fn with_compressed_records(self, codec: u8, records: &[u8]) -> RecordBatch {
        let mut header = Header::of(&self);
        header.set_attributes(self.attributes() & !CODEC_BITS | i16::from(codec));
        RecordBatch { bytes: header.with_records(records) }
    }

    /// Copies the bytes only when somebody else still holds them.
    fn patched(self, patch: impl FnOnce(&mut [u8])) -> RecordBatch {
        let mut bytes = bytes::BytesMut::from(self.bytes);
        patch(&mut bytes);
        RecordBatch { bytes: bytes.freeze() }
    }
}

/// The header of a batch, on its way to become that of another with the same offsets and producer.
#[derive(Debug)]
pub(crate) struct Header([u8; HEADER_BYTES]);

impl Header {
    pub(crate) fn of(batch: &RecordBatch) -> Header {
        Header(*batch.bytes.first_chunk().expect("a batch has a header"))
    }

    pub(crate) fn set_record_count(&mut self, count: i32) {
        self.0[RECORD_COUNT..RECORD_COUNT + 4].copy_from_slice(&count.to_be_bytes());
    }

    pub(crate) fn set_base_timestamp(&mut self, timestamp_ms: i64) {
        self.0[BASE_TIMESTAMP..BASE_TIMESTAMP + 8].copy_from_slice(&timestamp_ms.to_be_bytes());
    }

    pub(crate) fn set_max_timestamp(&mut self, timestamp_ms: i64) {
        self.0[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&timestamp_ms.to_be_bytes());
    }

    /// Says whether the base timestamp is a delete horizon.
    pub(crate) fn set_has_delete_horizon(&mut self, has_horizon: bool) {
        let others = i16_at(&self.0, ATTRIBUTES) & !DELETE_HORIZON_BIT;
        self.set_attributes(others | if has_horizon { DELETE_HORIZON_BIT } else { 0 });
    }

    pub(crate) fn set_uncompressed(&mut self) {
        self.set_attributes(i16_at(&self.0, ATTRIBUTES) & !CODEC_BITS);
    }

    fn set_attributes(&mut self, attributes: i16) {
        self.0[ATTRIBUTES..ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
    }

    /// The batch of this header and these encoded records.
    pub(crate) fn with_records(mut self, records: &[u8]) -> Bytes {
        let length = HEADER_BYTES + records.len() - LENGTH_END;
        self.0[LENGTH].copy_from_slice(&i32::try_from(length).expect("a batch is below 2 GiB").to_be_bytes());
        let mut batch = [&self.0, records].concat();
        set_crc(&mut batch);
        batch.into()
    }
}

/// The size of the batch whose header begins `bytes`, which need not hold all of it.
pub(crate) fn encoded_len(bytes: &[u8]) -> Result<usize, BatchError> {
    if bytes.len() < HEADER_BYTES {
        return Err(BatchError::Incomplete { needed: HEADER_BYTES, left: bytes.len() });
    }
    let magic = bytes[16] as i8;
    if magic != MAGIC {
        return Err(BatchError::UnsupportedMagic(magic));
    }
    let length = i32_at(bytes, LENGTH.start);
    let len = usize::try_from(length).map_err(|_| BatchError::BadLength(length))? + LENGTH_END;
    if len < HEADER_BYTES {
        return Err(BatchError::BadLength(length));
    }
    Ok(len)
}

/// Whether the leader epoch is the one this node writes.
pub(crate) fn has_served_epoch(batch: &[u8]) -> bool {
    batch[LEADER_EPOCH_FIELD] == LEADER_EPOCH.to_be_bytes()
}

/// Makes this node's leader epoch that of an encoded batch; the CRC does not cover it.
pub(crate) fn set_served_epoch(batch: &mut [u8]) {
    batch[LEADER_EPOCH_FIELD].copy_from_slice(&LEADER_EPOCH.to_be_bytes());
}

pub(crate) fn base_offset(batch: &[u8]) -> i64 {
    i64_at(batch, BASE_OFFSET.start)
}

/// Moves an encoded batch to another offset; the CRC does not cover it.
pub(crate) fn set_base_offset(batch: &mut [u8], base_offset: i64) {
    batch[BASE_OFFSET].copy_from_slice(&base_offset.to_be_bytes());
}

/// Gives all records of an encoded batch the time at which the broker appended them.
pub(crate) fn set_append_time(batch: &mut [u8], timestamp_ms: i64) {
    let attributes = i16_at(batch, ATTRIBUTES) | LOG_APPEND_TIME_BIT;
    batch[ATTRIBUTES..ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
    batch[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&timestamp_ms.to_be_bytes());
    set_crc(batch);
}

pub(crate) fn last_offset(batch: &[u8]) -> i64 {
    base_offset(batch).saturating_add(i64::from(i32_at(batch, LAST_OFFSET_DELTA)))
}

/// How many offsets a batch takes.
pub(crate) fn offset_count(batch: &[u8]) -> i64 {
    i64::from(i32_at(batch, LAST_OFFSET_DELTA)) + 1
}

/// Makes `last_offset` that of an encoded batch, leaving the CRC as it is; false if it cannot be.
pub(crate) fn set_last_offset(batch: &mut [u8], last_offset: i64) -> bool {
    let delta = last_offset.checked_sub(base_offset(batch)).and_then(|delta| i32::try_from(delta).ok());
    let field = &mut batch[LAST_OFFSET_DELTA..LAST_OFFSET_DELTA + 4];
    delta.is_some_and(|delta| {
        field.copy_from_slice(&delta.to_be_bytes());
        true
    })
}

pub(crate) fn record_count(batch: &[u8]) -> i32 {
    i32_at(batch, RECORD_COUNT)
}

pub(crate) fn max_timestamp(batch: &[u8]) -> i64 {
    i64_at(batch, MAX_TIMESTAMP)
}

pub(crate) fn check_crc(batch: &[u8]) -> Result<(), BatchError> {
    let stored = i32_at(batch, CRC.start) as u32;
    let computed = crc_fast::crc32_iscsi(&batch[CHECKED_START..]);
    if stored != computed {
        return Err(BatchError::WrongChecksum { stored, computed });
    }
    Ok(())
}

pub(crate) fn set_crc(batch: &mut [u8]) {
    let crc = crc_fast::crc32_iscsi(&batch[CHECKED_START..]);
    batch[CRC].copy_from_slice(&crc.to_be_bytes());
}

/// Refuses a record count that cannot be, and offsets that adding to would overflow.
pub(crate) fn check_counts(batch: &[u8]) -> Result<(), BatchError> {
    check_counts_at(batch, base_offset(batch))
}

/// The same for a batch that is to start at `base_offset`, whatever it says itself.
pub(crate) fn check_counts_at(batch: &[u8], base_offset: i64) -> Result<(), BatchError> {
    let (records, bytes) = (record_count(batch), batch.len() - HEADER_BYTES);
    let offsets = offset_count(batch);
    let is_compressed = i16_at(batch, ATTRIBUTES) & CODEC_BITS != 0;
    let fits_bytes = is_compressed || i64::from(records) <= (bytes / RECORD_BYTES_MIN) as i64;
    let fits_offsets = base_offset >= 0 && base_offset.checked_add(offsets).is_some();
    if records < 0 || offsets < 1 || i64::from(records) > offsets || !fits_bytes || !fits_offsets {
        return Err(BatchError::BadRecordCount { records, bytes, offsets });
    }
    Ok(())
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests;
