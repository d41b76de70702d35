//! What must hold for any bytes that somebody produces.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use cauce_broker::stream::check_quickly;
use cauce_core::message::Gauge;
use cauce_core::topic::TopicConfig;
use cauce_log::{RecordBatch, TimestampType};

const NOW_MS: i64 = 1_700_000_000_000;

/// A batch that blows up to more is let be: others check what then happens, and time is short here.
const DECOMPRESSED_BYTES_MAX: u64 = 1 << 20;

const LENGTH_END: usize = 12;
const MAGIC: usize = 16;

/// The records of one partition in a produce request, as they are, and with a length and a CRC that say they are right.
pub(crate) fn record_batch(bytes: &[u8]) {
    check(Bytes::copy_from_slice(bytes));
    if let Some(sealed) = sealed(bytes) {
        check(sealed);
    }
}

fn check(records: Bytes) {
    for settings in
        [&[][..], &[("cleanup.policy", "compact")], &[("message.timestamp.type", "LogAppendTime")]]
    {
        let mut config = TopicConfig::default();
        settings.iter().for_each(|(name, value)| config.set(name, value).expect("it can be set"));
        let gauge = Gauge::default();
        let charge = Arc::new(gauge.charge(records.len()));
        let left = Cell::new(DECOMPRESSED_BYTES_MAX);
        if let Some(Ok(_)) = check_quickly(&left, records.clone(), &config, NOW_MS, &charge) {
            can_be_read(&records);
        }
    }
}

/// What was let in can be read by those who read the log.
fn can_be_read(records: &Bytes) {
    let (batch, rest) = RecordBatch::parse(records.clone()).expect("it was let in");
    assert!(rest.is_empty());
    assert_eq!(batch.verify(), Ok(()));
    if batch.compression_codec() > 0 {
        return;
    }
    let offsets = batch.records().map(|record| record.expect("a record that was looked at").offset);
    assert!(offsets.eq(0..i64::from(batch.record_count())));
}

fn sealed(bytes: &[u8]) -> Option<Bytes> {
    let mut bytes = bytes.to_vec();
    let length = i32::try_from(bytes.len().checked_sub(LENGTH_END)?).ok()?;
    bytes[LENGTH_END - 4..LENGTH_END].copy_from_slice(&length.to_be_bytes());
    *bytes.get_mut(MAGIC)? = 2;
    let (batch, _) = RecordBatch::parse(bytes.into()).ok()?;
    let max_timestamp_ms = batch.max_timestamp();
    // As a side effect it gets the CRC it should have.
    Some(batch.with_time(TimestampType::Create, max_timestamp_ms).into_bytes())
}
