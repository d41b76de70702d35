//! What a producer sends is checked before it is kept: bytes, counts, times, and that the records are what the header says.

use std::cell::Cell;
use std::io::{self, BufRead};
use std::sync::Arc;

use bytes::Bytes;
use cauce_core::message::Charge;
use cauce_core::producer::{Producer, ProducerId};
use cauce_core::stream::{Batch, Sender};
use cauce_core::topic::TopicConfig;
use cauce_core::topic::config::TimestampType;
use cauce_log::{self as log, BatchError, RecordBatch};

use super::compression::{self, DECOMPRESSED_BYTES_MAX, Room, UnknownCodec};

/// Where a batch says its format, in all of them.
const MAGIC: usize = 16;

/// Where the attributes of a batch end, with its codec.
const ATTRIBUTES_LOW_BYTE: usize = 22;
const CODEC_BITS: u8 = 0b111;

/// Bytes of compressed batches that are decompressed at a time.
const DECOMPRESSED_BYTES: usize = 16 << 10;

/// A record without a time.
const NO_TIMESTAMP: i64 = -1;

/// Why a batch is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefusal {
    #[error("there is no batch")]
    Nothing,
    #[error("there are several batches where one may be")]
    Several,
    #[error("record batches of magic {0} are not served, only 2")]
    OldFormat(i8),
    #[error("{0}")]
    Corrupt(String),
    #[error("a batch of {bytes} bytes is larger than the {most} that max.message.bytes allows")]
    TooLarge { bytes: usize, most: usize },
    #[error("a batch of {bytes} bytes is larger than a segment of {most}")]
    LargerThanSegment { bytes: usize, most: usize },
    #[error(transparent)]
    UnknownCodec(#[from] UnknownCodec),
    #[error("clients cannot write control batches")]
    Control,
    #[error("{0}")]
    Invalid(String),
    /// One record is at fault.
    #[error("record {index}: {reason}")]
    InvalidRecord { index: i32, reason: String },
    #[error("record {index}: its time {timestamp_ms} is too far from {now_ms}")]
    Timestamp { index: i32, timestamp_ms: i64, now_ms: i64 },
}

/// A batch that may be appended.
#[derive(Debug, Clone)]
pub struct CheckedBatch {
    pub(crate) bytes: Bytes,
    pub(crate) header: Batch,
    /// The time all its records have, if it is the broker's.
    pub(crate) append_time_ms: Option<i64>,
    /// Held until the bytes are in the log.
    pub(crate) charge: Arc<Charge>,
}

impl CheckedBatch {
    /// Who numbered it, if anybody.
    pub fn sender(&self) -> Option<Sender> {
        self.header.sender
    }

    /// What the broker itself made needs no check.
    pub(crate) fn own(batch: &RecordBatch, charge: Arc<Charge>) -> CheckedBatch {
        CheckedBatch { bytes: batch.bytes().clone(), header: header_of(batch), append_time_ms: None, charge }
    }
}

/// What the machine needs to know of a batch.
pub(crate) fn header_of(batch: &RecordBatch) -> Batch {
    let producer = Producer { id: ProducerId(batch.producer_id()), epoch: batch.producer_epoch() };
    let sender = (producer.id.0 >= 0).then(|| Sender {
        producer,
        first_sequence: Some(batch.base_sequence()).filter(|sequence| *sequence >= 0),
        transactional: batch.is_transactional(),
    });
    let records = (batch.last_offset() - batch.base_offset() + 1) as u32;
    Batch { records, timestamp_ms: batch.max_timestamp(), sender }
}

/// Checks the record set of one partition in a produce request: exactly one batch. `charge` is for the bytes. A batch
/// that blows up takes its time, and up to 128 MiB beside.
pub fn check(
    records: Bytes,
    config: &TopicConfig,
    now_ms: i64,
    charge: &Arc<Charge>,
) -> Result<CheckedBatch, BatchRefusal> {
    check_within(&Cell::new(DECOMPRESSED_BYTES_MAX), Room::AMPLE, records, config, now_ms, charge)
}

/// The same, unless it takes more than `left` bytes decompressed, or much memory; what it took is taken off.
pub fn check_quickly(
    left: &Cell<u64>,
    records: Bytes,
    config: &TopicConfig,
    now_ms: i64,
    charge: &Arc<Charge>,
) -> Option<Result<CheckedBatch, BatchRefusal>> {
    let is_plain = codec_of(&records).is_none_or(|codec| codec == 0);
    let checked = check_within(left, Room::LITTLE, records, config, now_ms, charge);
    // A decoder without room enough only says that something is wrong.
    (checked.is_ok() || is_plain && left.get() > 0).then_some(checked)
}

/// How a batch says that it is compressed, if it is long enough to say anything.
pub fn codec_of(batch: &[u8]) -> Option<u8> {
    batch.get(ATTRIBUTES_LOW_BYTE).map(|attributes| attributes & CODEC_BITS)
}

fn check_within(
    left: &Cell<u64>,
    room: Room,
    records: Bytes,
    config: &TopicConfig,
    now_ms: i64,
    charge: &Arc<Charge>,
) -> Result<CheckedBatch, BatchRefusal> {
    let batch = parse(records)?;
    check_size(&batch, config)?;
    batch.verify().map_err(|error| BatchRefusal::Corrupt(error.to_string()))?;
    check_header(&batch)?;
    let max_timestamp_ms = check_records(&batch, config, now_ms, room, left)?;
    let (batch, append_time_ms) = match config.timestamp_type {
        TimestampType::LogAppend => (batch.with_time(log::TimestampType::LogAppend, now_ms), Some(now_ms)),
        TimestampType::Create => (with_create_time(batch, max_timestamp_ms), None),
    };
    let header = header_of(&batch);
    Ok(CheckedBatch { bytes: batch.into_bytes(), header, append_time_ms, charge: charge.clone() })
}

/// As it is, unless its header tells something else than its records do.
fn with_create_time(batch: RecordBatch, max_timestamp_ms: i64) -> RecordBatch {
    let is_true =
        batch.timestamp_type() == log::TimestampType::Create && batch.max_timestamp() == max_timestamp_ms;
    match is_true {
        true => batch,
        false => batch.with_time(log::TimestampType::Create, max_timestamp_ms),
    }
}

fn parse(records: Bytes) -> Result<RecordBatch, BatchRefusal> {
    match records.get(MAGIC) {
        None => return Err(BatchRefusal::Nothing),
        Some(&magic) if magic as i8 != 2 => return Err(BatchRefusal::OldFormat(magic as i8)),
        Some(_) => {}
    }
    let corrupt = |error: BatchError| BatchRefusal::Corrupt(error.to_string());
    let (batch, rest) = RecordBatch::parse(records).map_err(corrupt)?;
    match rest.is_empty() {
        true => Ok(batch),
        false => Err(BatchRefusal::Several),
    }
}

fn check_size(batch: &RecordBatch, config: &TopicConfig) -> Result<(), BatchRefusal> {
    let bytes = batch.len_bytes();
    let (most, segment) = (config.max_message_bytes as usize, config.segment_bytes as usize);
    if bytes > most {
        return Err(BatchRefusal::TooLarge { bytes, most });
    }
    if bytes > segment {
        return Err(BatchRefusal::LargerThanSegment { bytes, most: segment });
    }
    Ok(())
}

fn check_header(batch: &RecordBatch) -> Result<(), BatchRefusal> {
    let invalid = |reason: String| Err(BatchRefusal::Invalid(reason));
    if batch.is_control() {
        return Err(BatchRefusal::Control);
    }
    if batch.base_offset() != 0 {
        return invalid(format!("the base offset is {}, and is for the broker to set", batch.base_offset()));
    }
    let (offsets, records) = (batch.last_offset() + 1, i64::from(batch.record_count()));
    if records == 0 || offsets != records {
        return invalid(format!("{records} records where the header has {offsets} offsets"));
    }
    let (producer, epoch, sequence) = (batch.producer_id(), batch.producer_epoch(), batch.base_sequence());
    if producer >= 0 && (sequence < 0 || epoch < 0) {
        return invalid(format!("producer {producer} with epoch {epoch} and sequence {sequence}"));
    }
    if producer < 0 && batch.is_transactional() {
        return invalid("a transaction without a producer".to_owned());
    }
    Ok(())
}

/// Goes through all records, and says the latest time among them.
fn check_records(
    batch: &RecordBatch,
    config: &TopicConfig,
    now_ms: i64,
    room: Room,
    left: &Cell<u64>,
) -> Result<i64, BatchRefusal> {
    let mut walk =
        Walk { config, now_ms, base_timestamp: batch.base_timestamp(), max_timestamp: NO_TIMESTAMP };
    if batch.compression_codec() == 0 {
        // Nothing to open: the records lie there.
        let bytes = batch.records_bytes();
        let mut left: &[u8] = &bytes;
        walk.all(&mut left, batch.record_count())?;
        return Ok(walk.max_timestamp);
    }
    let mut read = io::BufReader::with_capacity(DECOMPRESSED_BYTES, compression::open(batch, room, left)?);
    walk.all(&mut read, batch.record_count())?;
    Ok(walk.max_timestamp)
}

struct Walk<'c> {
    config: &'c TopicConfig,
    now_ms: i64,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl Walk<'_> {
    fn all(&mut self, from: &mut impl BufRead, count: i32) -> Result<(), BatchRefusal> {
        for index in 0..count {
            match self.one(from, index) {
                Ok(None) => {}
                Ok(Some(refusal)) => return Err(refusal),
                Err(error) => {
                    return Err(BatchRefusal::InvalidRecord { index, reason: error.to_string() });
                }
            }
        }
        match from.fill_buf().map(<[u8]>::is_empty) {
            Ok(true) => Ok(()),
            Ok(false) => Err(BatchRefusal::Invalid("bytes follow the last record".to_owned())),
            Err(error) => Err(BatchRefusal::Invalid(error.to_string())),
        }
    }

    /// `Err` for bytes that are no record, `Some` for a record that is not allowed.
    fn one(&mut self, from: &mut impl BufRead, index: i32) -> io::Result<Option<BatchRefusal>> {
        let length = int(from)?;
        let mut record =
            io::Read::take(&mut *from, u64::try_from(length).map_err(|_| malformed("its length"))?);
        skip(&mut record, 1)?;
        let timestamp_ms = self.base_timestamp.wrapping_add(varint(&mut record)?);
        if int(&mut record)? != index {
            return Err(malformed("its offset is not the next"));
        }
        let key = skip_nullable(&mut record)?;
        skip_nullable(&mut record)?;
        let headers = int(&mut record)?;
        if headers < 0 {
            return Err(malformed("a negative number of headers"));
        }
        for _ in 0..headers {
            if skip_nullable(&mut record)?.is_none() {
                return Err(malformed("a header without a key"));
            }
            skip_nullable(&mut record)?;
        }
        if record.limit() > 0 {
            return Err(malformed("its length"));
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        if key.is_none() && self.config.cleanup_policy.compact {
            let reason = "a compacted topic takes no record without a key".to_owned();
            return Ok(Some(BatchRefusal::InvalidRecord { index, reason }));
        }
        Ok(self.check_time(index, timestamp_ms))
    }

    fn check_time(&self, index: i32, timestamp_ms: i64) -> Option<BatchRefusal> {
        if self.config.timestamp_type == TimestampType::LogAppend || timestamp_ms == NO_TIMESTAMP {
            return None;
        }
        let now_ms = self.now_ms;
        let too_old = now_ms.saturating_sub(timestamp_ms) > self.config.timestamp_before_max_ms;
        let too_new = timestamp_ms.saturating_sub(now_ms) > self.config.timestamp_after_max_ms;
        (too_old || too_new).then_some(BatchRefusal::Timestamp { index, timestamp_ms, now_ms })
    }
}

pub(super) fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A zigzag integer of up to 64 bits.
pub(super) fn varint(from: &mut impl BufRead) -> io::Result<i64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        let low_bits = u64::from(byte[0] & 0x7f);
        // The tenth byte has room for one bit only.
        if shift == 63 && low_bits > 1 {
            break;
        }
        value |= low_bits << shift;
        if byte[0] < 0x80 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(malformed("a variable-length integer of more than 64 bits"))
}

/// One that the format limits to 32 bits.
fn int(from: &mut impl BufRead) -> io::Result<i32> {
    i32::try_from(varint(from)?).map_err(|_| malformed("a number of more than 32 bits"))
}

/// Passes over bytes with their length before them; `None` is null.
fn skip_nullable(from: &mut impl BufRead) -> io::Result<Option<()>> {
    match int(from)? {
        -1 => Ok(None),
        length => skip(from, u64::try_from(length).map_err(|_| malformed("a negative length"))?).map(Some),
    }
}

fn skip(from: &mut impl BufRead, mut count: u64) -> io::Result<()> {
    while count > 0 {
        let here = (from.fill_buf()?.len() as u64).min(count);
        if here == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        from.consume(here as usize);
        count -= here;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
