use std::io::Write;
use std::ops::Range;

use cauce_core::message::Gauge;
use cauce_log::BatchBuilder;

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

/// Where the header has what.
const CRC: Range<usize> = 17..21;
const ATTRIBUTES_LOW_BYTE: usize = 22;
const LAST_OFFSET_DELTA: Range<usize> = 23..27;
const MAX_TIMESTAMP: Range<usize> = 35..43;
const PRODUCER_ID: Range<usize> = 43..51;
const COUNT: Range<usize> = 57..61;
const HEADER_BYTES: usize = 61;

/// Codecs, as attributes have them.
const GZIP: u8 = 1;
const SNAPPY: u8 = 2;
const LZ4: u8 = 3;
const ZSTD: u8 = 4;

#[test]
fn a_batch_is_kept_as_it_was_sent() {
    for batch in [three(), compressed(GZIP), compressed(SNAPPY), compressed(LZ4), compressed(ZSTD)] {
        let checked = accepted(&batch, &TopicConfig::default());
        assert_eq!(checked.bytes, batch);
        assert_eq!((checked.header.records, checked.header.timestamp_ms), (3, NOW_MS + 2));
        assert_eq!(checked.append_time_ms, None);
    }
}

#[test]
fn a_broken_byte_is_found_wherever_it_is() {
    let whole = three();
    for at in CRC.start..whole.len() {
        let mut broken = whole.to_vec();
        broken[at] ^= 1;
        let refusal = refused(&broken.into(), &TopicConfig::default());
        assert!(matches!(refusal, BatchRefusal::Corrupt(_)), "byte {at}: {refusal:?}");
    }
}

#[test]
fn what_is_no_single_batch_of_this_format_is_refused() {
    let config = TopicConfig::default();
    assert_eq!(refused(&Bytes::new(), &config), BatchRefusal::Nothing);
    assert_eq!(refused(&three().slice(..16), &config), BatchRefusal::Nothing);
    assert!(matches!(refused(&three().slice(..40), &config), BatchRefusal::Corrupt(_)));
    let twice: Bytes = [three(), three()].concat().into();
    assert_eq!(refused(&twice, &config), BatchRefusal::Several);
    for magic in [0, 1, 3] {
        let mut old = three().to_vec();
        old[MAGIC] = magic;
        assert_eq!(refused(&old.into(), &config), BatchRefusal::OldFormat(magic as i8));
    }
    let control = sealed(three(), |header| header[ATTRIBUTES_LOW_BYTE] = 1 << 5);
    assert_eq!(refused(&control, &config), BatchRefusal::Control);
    let codec = sealed(three(), |header| header[ATTRIBUTES_LOW_BYTE] = 5);
    assert_eq!(refused(&codec, &config), BatchRefusal::UnknownCodec(UnknownCodec(5)));
}

#[test]
fn counts_that_lie_are_refused() {
    let config = TopicConfig::default();
    for (count, last_offset) in [(2, 1), (4, 3), (3, 3), (2, 2), (i32::MAX, i32::MAX - 1)] {
        let lies = sealed(three(), |header| {
            header[COUNT].copy_from_slice(&i32::to_be_bytes(count));
            header[LAST_OFFSET_DELTA].copy_from_slice(&i32::to_be_bytes(last_offset));
        });
        refused(&lies, &config);
    }
    let nobody = sealed(three(), |header| {
        header[PRODUCER_ID].copy_from_slice(&7i64.to_be_bytes());
    });
    assert!(matches!(refused(&nobody, &config), BatchRefusal::Invalid(_)));
}

#[test]
fn what_blows_up_is_refused_before_it_does() {
    // A record that would be fine, were it not for the 200 MiB of its value: its length, nothing else, no key.
    let start = [0x94, 0x80, 0x80, 0xc8, 0x01, 0, 0, 0, 1, 0x80, 0x80, 0x80, 0xc8, 0x01];
    let zeros = vec![0; 1 << 20];
    let bomb = |mut to: Box<dyn Write>| {
        to.write_all(&start).unwrap();
        (0..200).for_each(|_| to.write_all(&zeros).unwrap());
    };
    let (mut gzip, mut zstd, mut lz4) = (Vec::new(), Vec::new(), Vec::new());
    bomb(Box::new(flate2::write::GzEncoder::new(&mut gzip, flate2::Compression::fast())));
    bomb(Box::new(zstd::stream::write::Encoder::new(&mut zstd, 1).unwrap().auto_finish()));
    bomb(Box::new(lz4_flex::frame::FrameEncoder::new(&mut lz4).auto_finish()));
    // Says that it is 4 GiB, and is not.
    let snappy = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    for (codec, records) in [(GZIP, gzip), (ZSTD, zstd), (LZ4, lz4), (SNAPPY, snappy)] {
        assert!(records.len() < 1_000_000, "{codec}: {}", records.len());
        // One record, of as many bytes as the batch says.
        let bomb = with_records(&three(), codec, &records);
        let refusal = refused(&bomb, &TopicConfig::default());
        assert!(matches!(refusal, BatchRefusal::InvalidRecord { .. }), "{codec}: {refusal:?}");
        assert!(codec == SNAPPY || refusal.to_string().contains("134217728 bytes"), "{codec}: {refusal:?}");
    }
}

#[test]
fn what_takes_long_is_left_to_those_who_have_the_time() {
    let config = TopicConfig::default();
    let charge = Arc::new(Gauge::default().charge(0));
    let quickly = |left: &Cell<u64>, batch: Bytes| check_quickly(left, batch, &config, NOW_MS, &charge);
    for codec in [GZIP, SNAPPY, LZ4, ZSTD] {
        let bytes = three().len() as u64 - HEADER_BYTES as u64;
        let left = Cell::new(2 * bytes - 1);
        assert!(quickly(&left, compressed(codec)).unwrap().is_ok());
        assert_eq!(left.get(), bytes - 1);
        assert!(quickly(&left, compressed(codec)).is_none(), "{codec}");
        // What need not be opened can always be checked.
        assert!(quickly(&left, three()).unwrap().is_ok());
    }
    // A window of 128 MiB, as level 22 has it.
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(27).unwrap();
    wide.write_all(&three()[HEADER_BYTES..]).unwrap();
    let wide = with_records(&three(), ZSTD, &wide.finish().unwrap());
    assert!(quickly(&Cell::new(u64::MAX), wide.clone()).is_none());
    check(wide, &config, NOW_MS, &charge).unwrap();
    // A block of snappy that says that it is of 5 MiB.
    let large = with_records(&three(), SNAPPY, &[0x80, 0x80, 0xc0, 0x02, 0]);
    assert!(quickly(&Cell::new(u64::MAX), large).is_none());
}

#[test]
fn garbage_where_records_should_be_is_refused() {
    for codec in [0, GZIP, SNAPPY, LZ4, ZSTD] {
        for garbage in
            [&b""[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"garbage garbage", &[0x80; 300]]
        {
            let batch = with_records(&three(), codec, garbage);
            let refusal = refused(&batch, &TopicConfig::default());
            let expected =
                matches!(refusal, BatchRefusal::InvalidRecord { index: 0, .. } | BatchRefusal::Corrupt(_));
            assert!(expected, "{codec}: {refusal:?}");
        }
    }
}

#[test]
fn sizes_are_those_of_the_topic() {
    let bytes = three().len();
    let mut config = TopicConfig { max_message_bytes: bytes as i32, ..TopicConfig::default() };
    accepted(&three(), &config);
    config.max_message_bytes -= 1;
    assert_eq!(refused(&three(), &config), BatchRefusal::TooLarge { bytes, most: bytes - 1 });
}

#[test]
fn the_topic_says_whose_time_counts_and_how_far_off_it_may_be() {
    let append = TopicConfig { timestamp_type: TimestampType::LogAppend, ..TopicConfig::default() };
    let checked = accepted(&three(), &append);
    let batch = RecordBatch::parse(checked.bytes).unwrap().0;
    assert_eq!(checked.append_time_ms, Some(NOW_MS));
    assert_eq!((batch.timestamp_type(), batch.max_timestamp()), (log::TimestampType::LogAppend, NOW_MS));
    assert_eq!(batch.verify(), Ok(()));

    let strict = |before, after| TopicConfig {
        timestamp_before_max_ms: before,
        timestamp_after_max_ms: after,
        ..TopicConfig::default()
    };
    accepted(&three(), &strict(0, 2));
    let refusal = refused(&three(), &strict(0, 1));
    assert_eq!(refusal, BatchRefusal::Timestamp { index: 2, timestamp_ms: NOW_MS + 2, now_ms: NOW_MS });
    let old = batch_of(&[(NOW_MS - 10, Some(b"k"))]);
    assert!(matches!(refused(&old, &strict(9, 0)), BatchRefusal::Timestamp { index: 0, .. }));
}

#[test]
fn a_header_that_lies_about_the_latest_time_is_set_right() {
    let lies = sealed(three(), |header| header[MAX_TIMESTAMP].copy_from_slice(&i64::MAX.to_be_bytes()));
    let checked = accepted(&lies, &TopicConfig::default());
    assert_eq!(checked.header.timestamp_ms, NOW_MS + 2);
    assert_eq!(RecordBatch::parse(checked.bytes).unwrap().0.verify(), Ok(()));
}

#[test]
fn a_compacted_topic_takes_records_with_keys_only() {
    let mut config = TopicConfig::default();
    config.set("cleanup.policy", "compact").unwrap();
    accepted(&batch_of(&[(NOW_MS, Some(b"a")), (NOW_MS, Some(b""))]), &config);
    let refusal = refused(&batch_of(&[(NOW_MS, Some(b"a")), (NOW_MS, None)]), &config);
    assert!(matches!(refusal, BatchRefusal::InvalidRecord { index: 1, .. }));
}

fn accepted(batch: &Bytes, config: &TopicConfig) -> CheckedBatch {
    check(batch.clone(), config, NOW_MS, &Arc::new(Gauge::default().charge(0))).unwrap()
}

fn refused(batch: &Bytes, config: &TopicConfig) -> BatchRefusal {
    check(batch.clone(), config, NOW_MS, &Arc::new(Gauge::default().charge(0))).unwrap_err()
}

fn batch_of(records: &[(i64, Option<&[u8]>)]) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.start(0, NOW_MS);
    for (offset, (timestamp_ms, key)) in records.iter().enumerate() {
        builder.push(offset as i64, *timestamp_ms, *key, Some(&[b"value"]), &[]);
    }
    builder.finish()
}

pub(crate) fn three() -> Bytes {
    batch_of(&[(NOW_MS, Some(b"a")), (NOW_MS + 1, None), (NOW_MS + 2, Some(b""))])
}

pub(crate) fn compressed(codec: u8) -> Bytes {
    let plain = three();
    let records = &plain[HEADER_BYTES..];
    let records = match codec {
        GZIP => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(records).unwrap();
            encoder.finish().unwrap()
        }
        SNAPPY => snap::raw::Encoder::new().compress_vec(records).unwrap(),
        LZ4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(records).unwrap();
            encoder.finish().unwrap()
        }
        _ => zstd::stream::encode_all(records, 1).unwrap(),
    };
    with_records(&plain, codec, &records)
}

/// The header of a batch with other records behind it.
pub(crate) fn with_records(batch: &Bytes, codec: u8, records: &[u8]) -> Bytes {
    let mut bytes = batch[..HEADER_BYTES].to_vec();
    bytes.extend_from_slice(records);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    sealed(bytes.into(), |header| header[ATTRIBUTES_LOW_BYTE] = codec)
}

/// With something else in its header, and a CRC that says it is right so.
fn sealed(batch: Bytes, change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = batch.to_vec();
    change(&mut bytes[..HEADER_BYTES]);
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[CRC.end..]) as u32;
    bytes[CRC].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}
