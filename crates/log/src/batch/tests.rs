use bytes::{BufMut, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::record::Record;

/// Length 12, attributes, timestamp +1, offset +2, key "k", value "v", one header "h" = "x".
const A_RECORD: &[u8] = &[24, 0, 2, 4, 2, b'k', 2, b'v', 2, 2, b'h', 2, b'x'];

#[test]
fn the_header_fields_are_where_the_format_puts_them() {
    let bytes = batch_of(A_RECORD, 1, |header| {
        header[21..23].copy_from_slice(&[0, 0b11_0000]);
        header[43..51].copy_from_slice(&9i64.to_be_bytes());
        header[51..53].copy_from_slice(&3i16.to_be_bytes());
        header[53..57].copy_from_slice(&77i32.to_be_bytes());
    });
    let (batch, rest) = RecordBatch::parse(bytes).unwrap();
    assert!(rest.is_empty());
    batch.verify().unwrap();
    assert_eq!((batch.base_offset(), batch.last_offset(), batch.next_offset()), (5, 7, 8));
    assert_eq!((batch.base_timestamp(), batch.max_timestamp()), (1000, 1001));
    assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (9, 3, 77));
    assert_eq!((batch.leader_epoch(), batch.record_count(), batch.compression_codec()), (6, 1, 0));
    assert!(batch.is_transactional() && batch.is_control());
    assert_eq!(batch.timestamp_type(), TimestampType::Create);
}

#[test]
fn a_record_gives_key_value_and_headers() {
    let batch = parse(batch_of(A_RECORD, 1, |_| {}));
    let record = only_record(&batch).unwrap();
    assert_eq!((record.offset, record.timestamp_ms), (7, 1001));
    assert_eq!((record.key, record.value), (Some(&b"k"[..]), Some(&b"v"[..])));
    assert_eq!(record.headers().collect::<Vec<_>>(), [(&b"h"[..], Some(&b"x"[..]))]);
}

#[test]
fn null_is_not_empty() {
    // Null key, empty value, a header with a null value.
    let batch = parse(batch_of(&[18, 0, 0, 0, 1, 0, 2, 2, b'h', 1], 1, |_| {}));
    let record = only_record(&batch).unwrap();
    assert_eq!((record.key, record.value), (None, Some(&b""[..])));
    assert_eq!(record.headers().collect::<Vec<_>>(), [(&b"h"[..], None)]);
}

#[test]
fn the_brokers_time_stands_for_all_records() {
    let batch = parse(batch_of(A_RECORD, 1, |header| {
        header[22] = 0b1000;
        header[35..43].copy_from_slice(&5000i64.to_be_bytes());
    }));
    assert_eq!(batch.timestamp_type(), TimestampType::LogAppend);
    assert_eq!(only_record(&batch).unwrap().timestamp_ms, 5000);
}

#[test]
fn what_follows_a_batch_is_handed_back() {
    let mut bytes = BytesMut::from(&batch_of(A_RECORD, 1, |_| {})[..]);
    bytes.put_slice(b"rest");
    let (batch, rest) = RecordBatch::parse(bytes.freeze()).unwrap();
    batch.verify().unwrap();
    assert_eq!(rest, "rest");
}

#[test]
fn offset_and_epoch_are_patched_without_touching_the_crc() {
    let original = parse(batch_of(A_RECORD, 1, |_| {}));
    let patched = original.clone().with_base_offset(500).with_leader_epoch(1);
    patched.verify().unwrap();
    assert_eq!((patched.base_offset(), patched.last_offset(), patched.leader_epoch()), (500, 502, 1));
    assert_eq!(original.base_offset(), 5);
}

#[test]
fn a_batch_cut_short_says_how_much_it_needs() {
    let whole = batch_of(A_RECORD, 1, |_| {});
    for cut in 0..whole.len() {
        let needed = if cut < HEADER_BYTES { HEADER_BYTES } else { whole.len() };
        let error = RecordBatch::parse(whole.slice(..cut)).unwrap_err();
        assert_eq!(error, BatchError::Incomplete { needed, left: cut });
    }
}

#[test]
fn impossible_headers_are_refused() {
    let refuse = |change: fn(&mut [u8])| RecordBatch::parse(batch_of(A_RECORD, 1, change)).unwrap_err();
    assert_eq!(refuse(|header| header[16] = 1), BatchError::UnsupportedMagic(1));
    assert_eq!(
        refuse(|header| header[8] = 0x80),
        BatchError::BadLength(i32::from_be_bytes([0x80, 0, 0, 62]))
    );
    assert_eq!(refuse(|header| header[11] = 48), BatchError::BadLength(48));
    let is_bad_count = |error| matches!(error, BatchError::BadRecordCount { .. });
    assert!(is_bad_count(refuse(|header| header[57..61].copy_from_slice(&i32::MAX.to_be_bytes()))));
    assert!(is_bad_count(refuse(|header| header[57..61].copy_from_slice(&(-1i32).to_be_bytes()))));
    assert!(is_bad_count(refuse(|header| header[23..27].copy_from_slice(&(-1i32).to_be_bytes()))));
    assert!(is_bad_count(refuse(|header| header[0..8].copy_from_slice(&i64::MAX.to_be_bytes()))));
}

#[test]
fn a_wrong_crc_is_noticed() {
    let mut bytes = BytesMut::from(&batch_of(A_RECORD, 1, |_| {})[..]);
    *bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(parse(bytes.freeze()).verify(), Err(BatchError::WrongChecksum { .. })));
}

#[test]
fn malformed_records_are_refused_one_by_one() {
    let refuse = |record: &[u8]| only_record(&parse(batch_of(record, 1, |_| {}))).unwrap_err();
    // Each list is a record whose length fits and whose named part does not.
    assert_eq!(refuse(&[200, 1, 0, 0, 0, 1, 1, 0]), BatchError::BadRecord("the length"));
    assert_eq!(refuse(&[1, 0, 0, 0, 0, 1, 1, 0]), BatchError::BadRecord("the length"));
    assert_eq!(refuse(&[12, 0, 0, 6, 1, 1, 0]), BatchError::BadRecord("the offset"));
    assert_eq!(refuse(&[12, 0, 0, 0, 40, 1, 0]), BatchError::BadRecord("the key"));
    assert_eq!(refuse(&[12, 0, 0, 0, 3, 1, 0]), BatchError::BadRecord("the key"));
    assert_eq!(refuse(&[12, 0, 0, 0, 1, 40, 0]), BatchError::BadRecord("the value"));
    assert_eq!(refuse(&[12, 0, 0, 0, 1, 1, 100]), BatchError::BadRecord("the header count"));
    assert_eq!(refuse(&[16, 0, 0, 0, 1, 1, 2, 1, 0]), BatchError::BadRecord("a header"));
    assert_eq!(refuse(&[14, 0, 0, 0, 1, 1, 0, 9]), BatchError::BadRecord("a header"));
}

#[test]
fn compressed_records_are_read_once_decompressed() {
    let batch = parse(batch_of(b"opaque", 1, |header| header[22] = 4));
    assert_eq!(batch.compression_codec(), 4);
    assert_eq!(only_record(&batch), Err(BatchError::Compressed(4)));
    assert_eq!(batch.records_bytes(), "opaque");
    assert_eq!(batch.records_in(A_RECORD).next().unwrap().unwrap().value, Some(&b"v"[..]));
}

#[test]
fn the_builder_writes_the_bytes_of_the_format() {
    let mut builder = BatchBuilder::new();
    builder.start(5, 1000);
    builder.push(7, 1001, Some(b"k"), Some(&[b"v"]), &[(b"h", &[b"x"])]);
    let expected = batch_of(A_RECORD, 1, |header| header[12..16].fill(0));
    assert_eq!(builder.len_bytes(), expected.len());
    assert_eq!(builder.finish(), expected);
    assert!(builder.is_empty());
}

#[test]
fn the_builder_says_who_produced_a_batch_and_forgets_it_for_the_next() {
    let mut builder = BatchBuilder::new();
    let mut build = |with_producer: bool| {
        builder.start(0, 0);
        if with_producer {
            builder.set_producer(8, 2, 40);
            builder.set_attributes(TRANSACTIONAL_BIT);
        }
        builder.push(0, 0, None, None, &[]);
        parse(builder.finish())
    };
    let (first, second) = (build(true), build(false));
    assert_eq!((first.producer_id(), first.producer_epoch(), first.base_sequence()), (8, 2, 40));
    assert!(first.is_transactional());
    assert_eq!((second.producer_id(), second.producer_epoch(), second.base_sequence()), (-1, -1, -1));
    assert!(!second.is_transactional());
}

#[test]
#[should_panic(expected = "offset 3 must not be below 4")]
fn offsets_in_a_batch_must_increase() {
    let mut builder = BatchBuilder::new();
    builder.start(3, 0);
    builder.push(3, 0, None, None, &[]);
    builder.push(3, 0, None, None, &[]);
}

type Bytestring = Vec<u8>;

#[derive(Debug, Clone)]
struct Wanted {
    offset_gap: u8,
    timestamp_ms: i64,
    key: Option<Bytestring>,
    value_parts: Option<Vec<Bytestring>>,
    headers: Vec<(Bytestring, Vec<Bytestring>)>,
}

proptest! {
    #[test]
    fn what_is_built_is_read(base_offset in 0..i64::MAX / 2, base_timestamp: i64, wanted in vec(a_wanted(), 1..20)) {
        let mut builder = BatchBuilder::new();
        builder.start(base_offset, base_timestamp);
        let mut offset = base_offset - 1;
        let mut offsets = Vec::new();
        for record in &wanted {
            offset += 1 + i64::from(record.offset_gap);
            offsets.push(offset);
            push(&mut builder, offset, record);
        }
        let len = builder.len_bytes();
        let batch = parse(builder.finish());
        prop_assert_eq!(batch.len_bytes(), len);
        batch.verify().unwrap();
        prop_assert_eq!(batch.last_offset(), offset);
        prop_assert_eq!(batch.max_timestamp(), wanted.iter().map(|record| record.timestamp_ms).max().unwrap());
        let records: Vec<_> = batch.records().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(records.len(), wanted.len());
        for ((record, wanted), offset) in records.iter().zip(&wanted).zip(offsets) {
            prop_assert_eq!(record.offset, offset);
            assert_same(record, wanted);
        }
    }

    #[test]
    fn hostile_bytes_are_an_error_and_no_panic(mut bytes in vec(any::<u8>(), 0..300), length in 0..300i32) {
        if bytes.len() > 17 {
            bytes[16] = 2;
            bytes[LENGTH].copy_from_slice(&length.to_be_bytes());
        }
        if let Ok((batch, _)) = RecordBatch::parse(bytes.into()) {
            let _ = batch.verify();
            batch.records().flatten().for_each(|record| assert!(record.headers().count() < 300));
        }
    }

    #[test]
    fn hostile_records_are_an_error_and_no_panic(bytes in vec(any::<u8>(), 0..200), count in 0..20i32) {
        let batch = batch_of(&bytes, count, |header| header[26] = 100);
        if let Ok((batch, _)) = RecordBatch::parse(batch) {
            batch.records().flatten().for_each(|record| assert!(record.headers().count() < 300));
        }
    }
}

fn a_wanted() -> impl Strategy<Value = Wanted> {
    let bytestring = || vec(any::<u8>(), 0..12);
    let headers = vec((bytestring(), vec(bytestring(), 0..3)), 0..4);
    let fields =
        (any::<u8>(), any::<i64>(), option::of(bytestring()), option::of(vec(bytestring(), 0..4)), headers);
    fields.prop_map(|(offset_gap, timestamp_ms, key, value_parts, headers)| Wanted {
        offset_gap,
        timestamp_ms,
        key,
        value_parts,
        headers,
    })
}

fn push(builder: &mut BatchBuilder, offset: i64, record: &Wanted) {
    let slices = |parts: &Vec<Bytestring>| parts.clone();
    let value: Option<Vec<Bytestring>> = record.value_parts.as_ref().map(slices);
    let value: Option<Vec<&[u8]>> = value.as_ref().map(|parts| parts.iter().map(|part| &part[..]).collect());
    let header_parts: Vec<Vec<&[u8]>> =
        record.headers.iter().map(|(_, parts)| parts.iter().map(|part| &part[..]).collect()).collect();
    let headers: Vec<(&[u8], &[&[u8]])> =
        record.headers.iter().zip(&header_parts).map(|((name, _), parts)| (&name[..], &parts[..])).collect();
    builder.push(offset, record.timestamp_ms, record.key.as_deref(), value.as_deref(), &headers);
}

fn assert_same(record: &Record<'_>, wanted: &Wanted) {
    assert_eq!(record.timestamp_ms, wanted.timestamp_ms);
    assert_eq!(record.key, wanted.key.as_deref());
    assert_eq!(record.value, wanted.value_parts.as_ref().map(|parts| parts.concat()).as_deref());
    let headers: Vec<_> =
        record.headers().map(|(name, value)| (name.to_vec(), value.unwrap().to_vec())).collect();
    let wanted_headers: Vec<_> =
        wanted.headers.iter().map(|(name, parts)| (name.clone(), parts.concat())).collect();
    assert_eq!(headers, wanted_headers);
}

fn parse(bytes: Bytes) -> RecordBatch {
    RecordBatch::parse(bytes).unwrap().0
}

fn only_record(batch: &RecordBatch) -> Result<Record<'_>, BatchError> {
    let mut records = batch.records();
    let first = records.next().unwrap();
    assert!(records.next().is_none());
    first
}

/// A batch with offsets 5 to 7, times 1000 to 1001 and leader epoch 6, written field by field from Kafka's
/// protocol guide, "Record Batch". `change` edits the header before the CRC is put in.
fn batch_of(records: &[u8], count: i32, change: impl Fn(&mut [u8])) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i64(5);
    bytes.put_i32(49 + records.len() as i32);
    bytes.put_i32(6);
    bytes.put_i8(2);
    bytes.put_u32(0);
    bytes.put_i16(0);
    bytes.put_i32(2);
    bytes.put_i64(1000);
    bytes.put_i64(1001);
    bytes.put_i64(-1);
    bytes.put_i16(-1);
    bytes.put_i32(-1);
    bytes.put_i32(count);
    bytes.put_slice(records);
    change(&mut bytes);
    let crc = crc_fast::crc32_iscsi(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}
