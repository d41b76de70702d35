//! The records inside a batch.
//!
//! ```text
//! length | attributes | timestamp delta | offset delta | key length | key | value length | value | count | headers…
//! varint | i8         | varlong         | varint       | varint     |     | varint       |       | varint|
//! header: key length varint | key | value length varint | value          (a length of -1 means null)
//! ```

use crate::batch::{RecordBatch, TimestampType};
use crate::error::BatchError;
use crate::varint;

/// A header takes at least a key length and a value length.
const HEADER_BYTES_MIN: usize = 2;

/// One record, borrowed from its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub(crate) attributes: u8,
    /// Key, value and headers as they are encoded: what does not depend on the batch.
    pub(crate) from_key_on: &'a [u8],
    header_count: usize,
    header_bytes: &'a [u8],
}

impl<'a> Record<'a> {
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.header_bytes, left: self.header_count }
    }
}

/// The headers of a record, in order, with repeated keys as they come.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(take_header(&mut self.rest).expect("the headers were checked when the record was read"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Reads the records of a batch one after the other and stops at the first malformed one.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: i32,
    base_offset: i64,
    last_offset: i64,
    base_timestamp: i64,
    /// The time all records share, when it is the broker's.
    append_timestamp: Option<i64>,
    refused: Option<BatchError>,
}

impl<'a> Records<'a> {
    pub(crate) fn of(batch: &RecordBatch, bytes: &'a [u8]) -> Records<'a> {
        let codec = batch.compression_codec();
        let mut records = Records::decompressed(batch, bytes);
        records.refused = (codec != 0).then_some(BatchError::Compressed(codec));
        records
    }

    pub(crate) fn decompressed(batch: &RecordBatch, bytes: &'a [u8]) -> Records<'a> {
        let has_append_time = batch.timestamp_type() == TimestampType::LogAppend;
        Records {
            rest: bytes,
            left: batch.record_count(),
            base_offset: batch.base_offset(),
            last_offset: batch.last_offset(),
            base_timestamp: batch.base_timestamp(),
            append_timestamp: has_append_time.then(|| batch.max_timestamp()),
            refused: None,
        }
    }

    fn read(&mut self) -> Result<Record<'a>, BatchError> {
        let malformed = BatchError::BadRecord;
        let mut body = take_bytes(&mut self.rest).flatten().ok_or(malformed("the length"))?;
        let attributes = *body.split_off_first().ok_or(malformed("the attributes"))?;
        let timestamp_delta = varint::take_long(&mut body).ok_or(malformed("the timestamp"))?;
        let offset_delta = varint::take_int(&mut body).ok_or(malformed("the offset"))?;
        let offset = self.base_offset + i64::from(offset_delta);
        if offset_delta < 0 || offset > self.last_offset {
            return Err(malformed("the offset"));
        }
        let from_key_on = body;
        let key = take_bytes(&mut body).ok_or(malformed("the key"))?;
        let value = take_bytes(&mut body).ok_or(malformed("the value"))?;
        let header_count = take_count(&mut body).ok_or(malformed("the header count"))?;
        check_headers(body, header_count).ok_or(malformed("a header"))?;
        let own_timestamp = self.base_timestamp.wrapping_add(timestamp_delta);
        let timestamp_ms = self.append_timestamp.unwrap_or(own_timestamp);
        Ok(Record {
            offset,
            timestamp_ms,
            key,
            value,
            attributes,
            from_key_on,
            header_count,
            header_bytes: body,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let result = self.refused.take().map_or_else(|| self.read(), Err);
        self.left = if result.is_ok() { self.left - 1 } else { 0 };
        Some(result)
    }
}

/// The headers must fill the rest of the record exactly.
fn check_headers(mut rest: &[u8], count: usize) -> Option<()> {
    for _ in 0..count {
        take_header(&mut rest)?;
    }
    rest.is_empty().then_some(())
}

fn take_header<'a>(input: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    Some((take_bytes(input)??, take_bytes(input)?))
}

/// The outer `None` means malformed, the inner one null.
fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let len = varint::take_int(input)?;
    if len == -1 {
        return Some(None);
    }
    let (bytes, rest) = input.split_at_checked(usize::try_from(len).ok()?)?;
    *input = rest;
    Some(Some(bytes))
}

fn take_count(input: &mut &[u8]) -> Option<usize> {
    let count = usize::try_from(varint::take_int(input)?).ok()?;
    (count <= input.len() / HEADER_BYTES_MIN).then_some(count)
}
