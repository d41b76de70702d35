//! A batch with fewer records. Its offsets, its producer and its sequence numbers stay.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};

use super::Codec;
use crate::batch::{Header, RecordBatch, TimestampType};
use crate::record::Record;
use crate::varint;

/// The batch with the records that `keeps` says, given its decompressed records; compressed again as it was. With a
/// delete horizon times are counted from that.
pub(super) fn with_records(
    batch: &RecordBatch,
    records: &[u8],
    horizon_ms: Option<i64>,
    keeps: impl Fn(&Record<'_>) -> bool,
    codec: &dyn Codec,
) -> io::Result<Bytes> {
    let base_timestamp_ms = horizon_ms.unwrap_or(batch.base_timestamp());
    let (mut encoded, mut count, mut latest_ms) = (BytesMut::with_capacity(records.len()), 0, i64::MIN);
    for record in batch.records_in(records) {
        let record = record.map_err(io::Error::other)?;
        if keeps(&record) {
            put(&mut encoded, &record, batch.base_offset(), base_timestamp_ms);
            count += 1;
            latest_ms = latest_ms.max(record.timestamp_ms);
        }
    }
    let mut header = Header::of(batch);
    header.set_record_count(count);
    header.set_base_timestamp(base_timestamp_ms);
    if batch.timestamp_type() == TimestampType::Create {
        header.set_max_timestamp(latest_ms);
    }
    if horizon_ms.is_some() {
        header.set_has_delete_horizon(true);
    }
    Ok(match batch.compression_codec() {
        0 => header.with_records(&encoded),
        id => header.with_records(&codec.compress(id, &encoded)?),
    })
}

/// What is left of a batch when all its records are gone.
pub(super) fn without_records(batch: &RecordBatch) -> Bytes {
    let mut header = Header::of(batch);
    header.set_record_count(0);
    header.set_base_timestamp(batch.max_timestamp());
    header.set_has_delete_horizon(false);
    header.set_uncompressed();
    header.with_records(&[])
}

fn put(out: &mut BytesMut, record: &Record<'_>, base_offset: i64, base_timestamp_ms: i64) {
    let timestamp_delta = record.timestamp_ms.wrapping_sub(base_timestamp_ms);
    let offset_delta = record.offset - base_offset;
    let content = record.from_key_on;
    let bytes = 1 + varint::len_bytes(timestamp_delta) + varint::len_bytes(offset_delta) + content.len();
    varint::put(out, bytes as i64);
    out.put_u8(record.attributes);
    varint::put(out, timestamp_delta);
    varint::put(out, offset_delta);
    out.put_slice(content);
}
