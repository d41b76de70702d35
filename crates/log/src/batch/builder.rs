//! Encodes records into a batch, in one buffer used again and again.

use bytes::{BufMut, Bytes, BytesMut};

use super::{HEADER_BYTES, LENGTH, LENGTH_END, MAGIC};
use crate::varint;

const NO_TIMESTAMP: i64 = -1;
pub(crate) const NO_PRODUCER_ID: i64 = -1;
const NO_PRODUCER_EPOCH: i16 = -1;
const NO_SEQUENCE: i32 = -1;

/// Builds one batch after the other: [`start`](BatchBuilder::start), [`push`](BatchBuilder::push) records,
/// [`finish`](BatchBuilder::finish).
#[derive(Debug, Default)]
pub struct BatchBuilder {
    buffer: BytesMut,
    base_offset: i64,
    base_timestamp_ms: i64,
    last_offset: Option<i64>,
    max_timestamp_ms: i64,
    record_count: i32,
    attributes: i16,
    producer: Producer,
}

#[derive(Debug)]
struct Producer {
    id: i64,
    epoch: i16,
    base_sequence: i32,
}

impl Default for Producer {
    fn default() -> Producer {
        Producer { id: NO_PRODUCER_ID, epoch: NO_PRODUCER_EPOCH, base_sequence: NO_SEQUENCE }
    }
}

impl BatchBuilder {
    pub fn new() -> BatchBuilder {
        BatchBuilder::default()
    }

    /// Begins a batch, forgetting one that was not finished.
    pub fn start(&mut self, base_offset: i64, base_timestamp_ms: i64) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.put_bytes(0, HEADER_BYTES);
        *self = BatchBuilder { buffer, base_offset, base_timestamp_ms, ..BatchBuilder::default() };
        self.max_timestamp_ms = i64::MIN;
    }

    /// Says who produced the batch, for idempotence and transactions.
    pub fn set_producer(&mut self, id: i64, epoch: i16, base_sequence: i32) {
        self.producer = Producer { id, epoch, base_sequence };
    }

    /// Sets the attribute bits: transactional, control, timestamp type. The records are never compressed.
    pub fn set_attributes(&mut self, attributes: i16) {
        assert_eq!(attributes & super::CODEC_BITS, 0, "the builder does not compress");
        self.attributes = attributes;
    }

    /// Adds a record. Offsets strictly increase; gaps are fine. The value and each header's value are given in
    /// parts to concatenate, so that a caller need not join what it holds in pieces.
    pub fn push(
        &mut self,
        offset: i64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value_parts: Option<&[&[u8]]>,
        headers: &[(&[u8], &[&[u8]])],
    ) {
        assert!(self.buffer.len() >= HEADER_BYTES, "push comes after start");
        let offset_delta = self.offset_delta(offset);
        let timestamp_delta = timestamp_ms.wrapping_sub(self.base_timestamp_ms);
        let key_parts = key.as_ref().map(std::slice::from_ref);
        let body_bytes = 1
            + varint::len_bytes(timestamp_delta)
            + varint::len_bytes(offset_delta)
            + parts_len_bytes(key_parts)
            + parts_len_bytes(value_parts)
            + headers_len_bytes(headers);

        let out = &mut self.buffer;
        out.reserve(varint::len_bytes(body_bytes as i64) + body_bytes);
        varint::put(out, body_bytes as i64);
        out.put_i8(0);
        varint::put(out, timestamp_delta);
        varint::put(out, offset_delta);
        put_parts(out, key_parts);
        put_parts(out, value_parts);
        varint::put(out, headers.len() as i64);
        for (name, value_parts) in headers {
            put_parts(out, Some(&[name]));
            put_parts(out, Some(value_parts));
        }

        self.last_offset = Some(offset);
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        self.record_count += 1;
    }

    /// The encoded batch. The buffer is used again once nobody holds the batches cut from it.
    pub fn finish(&mut self) -> Bytes {
        let last_offset = self.last_offset.expect("a batch holds at least one record");
        let length = self.buffer.len() - LENGTH_END;
        let header = &mut self.buffer[..HEADER_BYTES];
        header[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        header[LENGTH].copy_from_slice(&i32::try_from(length).expect("a batch is below 2 GiB").to_be_bytes());
        header[16] = MAGIC as u8;
        header[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        header[23..27].copy_from_slice(&((last_offset - self.base_offset) as i32).to_be_bytes());
        header[27..35].copy_from_slice(&self.base_timestamp_ms.to_be_bytes());
        header[35..43].copy_from_slice(&self.max_timestamp_ms.to_be_bytes());
        header[43..51].copy_from_slice(&self.producer.id.to_be_bytes());
        header[51..53].copy_from_slice(&self.producer.epoch.to_be_bytes());
        header[53..57].copy_from_slice(&self.producer.base_sequence.to_be_bytes());
        header[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        super::set_crc(&mut self.buffer);

        self.last_offset = None;
        self.record_count = 0;
        self.buffer.split().freeze()
    }

    /// The size of the batch were it finished now.
    pub fn len_bytes(&self) -> usize {
        self.buffer.len()
    }

    pub fn record_count(&self) -> usize {
        self.record_count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    fn offset_delta(&self, offset: i64) -> i64 {
        let first_allowed = self.last_offset.map_or(self.base_offset, |last| last + 1);
        let delta = offset - self.base_offset;
        assert!(offset >= first_allowed, "offset {offset} must not be below {first_allowed}");
        assert!(delta <= i64::from(i32::MAX), "offset {offset} is too far from {}", self.base_offset);
        delta
    }
}

/// A batch without records, which takes the offsets that nothing is written at.
pub(crate) fn empty_batch(offsets: std::ops::Range<i64>) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.start(offsets.start, NO_TIMESTAMP);
    builder.max_timestamp_ms = NO_TIMESTAMP;
    builder.last_offset = Some(offsets.end - 1);
    builder.finish()
}

fn put_parts(out: &mut BytesMut, parts: Option<&[&[u8]]>) {
    let Some(parts) = parts else {
        return varint::put(out, -1);
    };
    varint::put(out, sum_bytes(parts) as i64);
    parts.iter().for_each(|part| out.put_slice(part));
}

fn parts_len_bytes(parts: Option<&[&[u8]]>) -> usize {
    let Some(parts) = parts else {
        return varint::len_bytes(-1);
    };
    let bytes = sum_bytes(parts);
    varint::len_bytes(bytes as i64) + bytes
}

fn headers_len_bytes(headers: &[(&[u8], &[&[u8]])]) -> usize {
    let each =
        |(name, parts): &(&[u8], &[&[u8]])| parts_len_bytes(Some(&[name])) + parts_len_bytes(Some(parts));
    varint::len_bytes(headers.len() as i64) + headers.iter().map(each).sum::<usize>()
}

fn sum_bytes(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}
