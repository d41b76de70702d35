//! What a Kafka partition asks of a log: appends that assign offsets, regions of files, a start that moves.

mod common;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cauce_log::{
    BatchBuilder, Disk, FileDisk, FlushStrategy, Log, LogConfig, MemoryDisk, RecordBatch, Region,
    TimestampType,
};
use common::{DIR, batch, open, read_all};
use proptest::collection::vec;
use proptest::prelude::*;

const SEGMENT_BYTES: u64 = 600;

#[test]
fn a_producers_batches_get_their_offsets_and_stay_as_they_are_else() {
    let (mut log, _) = open(&MemoryDisk::new(), SEGMENT_BYTES);
    log.append(&batch(0, 3, 10)).unwrap();
    let (sent, _) = RecordBatch::parse(batch(0, 2, 10)).unwrap();
    let sent = sent.with_leader_epoch(-1);
    let offsets = log.append_assigning(&[sent.bytes().clone(), sent.bytes().clone()], None).unwrap();
    assert_eq!((offsets, log.end_offset()), (3..7, 7));
    for (index, stored) in read_batches(&log)[1..].iter().enumerate() {
        stored.verify().unwrap();
        assert_eq!((stored.base_offset(), stored.leader_epoch()), (3 + 2 * index as i64, 0));
        assert_eq!(stored.bytes()[8..12], sent.bytes()[8..12]);
        assert_eq!(stored.bytes()[16..], sent.bytes()[16..]);
    }
}

#[test]
fn an_append_time_is_that_of_all_records() {
    let (mut log, _) = open(&MemoryDisk::new(), SEGMENT_BYTES);
    log.append_assigning(&[batch(7, 2, 10)], Some(4711)).unwrap();
    let stored = &read_batches(&log)[0];
    stored.verify().unwrap();
    assert_eq!((stored.timestamp_type(), stored.max_timestamp()), (TimestampType::LogAppend, 4711));
    assert!(stored.records().all(|record| record.unwrap().timestamp_ms == 4711));
    assert_eq!(log.reader().offset_for_time(4000, &common::Plain).unwrap(), Some((0, 4711)));
}

#[test]
fn a_producers_batch_that_cannot_be_is_refused_and_nothing_of_its_group_written() {
    let (mut log, _) = open(&MemoryDisk::new(), SEGMENT_BYTES);
    assert!(log.append_assigning(&[batch(0, 1, 9), batch(0, 1, 9).slice(..60)], None).is_err());
    assert!(log.append_assigning(&[[&batch(0, 1, 9)[..], b"x"].concat().into()], None).is_err());
    assert_eq!((log.end_offset(), log.size_bytes()), (0, 0));
    assert_eq!(log.append_assigning(&[], None).unwrap(), 0..0);
}

#[test]
fn a_segment_is_followed_when_its_first_batch_is_too_old() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 1 << 20);
    log.set_config(LogConfig { segment_ms: Some(25), ..LogConfig::default() });
    // Batch n is of time 10 n.
    (0..7).for_each(|offset| log.append(&batch(offset, 1, 10)).unwrap());
    assert_eq!(segments(&disk), [0, 3, 6]);
    assert!(!log.roll_if_due(85).unwrap());
    assert!(log.roll_if_due(86).unwrap());
    assert!(!log.roll_if_due(1000).unwrap());
    assert_eq!(segments(&disk), [0, 3, 6, 7]);
    drop(log);
    let (mut log, _) = open(&disk, 1 << 20);
    log.set_config(LogConfig { segment_bytes: 1, ..LogConfig::default() });
    (7..9).for_each(|offset| log.append(&batch(offset, 1, 10)).unwrap());
    assert_eq!(segments(&disk), [0, 3, 6, 7, 8]);
}

#[test]
fn segments_of_many_logs_are_not_followed_all_at_once() {
    let disk = MemoryDisk::new();
    let config = LogConfig { segment_ms: Some(1_000), segment_jitter_ms: 500, ..LogConfig::default() };
    let ages: std::collections::BTreeSet<_> = (0..20)
        .map(|n| {
            let (mut log, _) =
                Log::open(Arc::new(disk.clone()), format!("log {n}").into(), config.clone()).unwrap();
            log.append(&batch(0, 1, 10)).unwrap();
            (0..2_000).find(|now_ms| log.roll_if_due(*now_ms).unwrap()).unwrap()
        })
        .collect();
    assert!(ages.len() > 10 && ages.iter().all(|age| (500..=1_001).contains(age)), "{ages:?}");
}

#[test]
fn a_region_is_whole_batches_within_its_limits_and_at_least_one() {
    let (mut log, _) = open(&MemoryDisk::new(), 1 << 20);
    (0..5).for_each(|n| log.append(&batch(n * 2, 2, 10)).unwrap());
    let bytes = batch(0, 2, 10).len() as u64;
    let locate = |from, upto, bytes_max| {
        let region = log.reader().locate(from, upto, bytes_max).unwrap();
        region.map(|region| (region.base_offset..region.next_offset, region.position, region.bytes))
    };
    assert_eq!(locate(0, 10, 0), Some((0..2, 0, bytes)));
    assert_eq!(locate(3, 10, 2 * bytes), Some((2..6, bytes, 2 * bytes)));
    assert_eq!(locate(3, 10, 3 * bytes - 1), Some((2..6, bytes, 2 * bytes)));
    assert_eq!(locate(0, 7, 1 << 20), Some((0..6, 0, 3 * bytes)));
    assert_eq!(locate(0, 99, 1 << 20), Some((0..10, 0, 5 * bytes)));
    assert_eq!(locate(6, 7, 1 << 20), None);
    assert_eq!(locate(10, 10, 1 << 20), None);
    assert!(log.reader().locate(11, 20, 1).is_err());
}

#[test]
fn a_region_on_the_real_disk_has_a_descriptor_and_outlives_its_segment() {
    let root = tempfile::tempdir().unwrap();
    let disk = Arc::new(FileDisk::new(root.path().to_owned(), FlushStrategy::Adaptive));
    let (mut log, _) = Log::open(disk, DIR.into(), LogConfig::default()).unwrap();
    log.append(&batch(0, 2, 10)).unwrap();
    let region = log.reader().locate(0, 2, 100).unwrap().unwrap();
    assert!(region.fd().is_some());
    log.trim_before(2).unwrap();
    log.remove_retired().unwrap();
    assert_eq!(region.read().unwrap(), batch(0, 2, 10));
}

#[test]
fn a_region_is_read_in_parts_and_not_beyond_its_end() {
    let (mut log, _) = open(&MemoryDisk::new(), 1 << 20);
    (0..3).for_each(|offset| log.append(&batch(offset, 1, 10)).unwrap());
    let region = log.reader().locate(1, 2, 0).unwrap().unwrap();
    assert!(region.fd().is_none());
    let mut part = [0; 30];
    assert_eq!(region.read_at(&mut part, 10).unwrap(), 30);
    assert_eq!(part, batch(1, 1, 10)[10..40]);
    assert_eq!(region.read_at(&mut part, region.bytes - 5).unwrap(), 5);
    assert_eq!(region.read_at(&mut part, region.bytes + 5).unwrap(), 0);
}

#[test]
fn damage_is_never_in_a_region() {
    let size = batch(0, 1, 10).len();
    for position in 0..4 * size {
        let disk = MemoryDisk::new();
        let (mut log, _) = open(&disk, 4 * size as u64);
        (0..9).for_each(|offset| log.append(&batch(offset, 1, 10)).unwrap());
        flush(&mut log, &disk);
        drop(log);
        flip_bit(&disk, "00000000000000000000.log", position);
        let (log, _) = open(&disk, 4 * size as u64);
        let mut expected: Vec<_> = (0..9).map(|offset| batch(offset, 1, 10)).collect();
        expected.remove(position / size);
        for bytes_max in [1, 150, 1 << 20] {
            let (regions, log_reader) = (regions_of(&log, bytes_max), log.reader());
            assert_eq!(split(&regions), expected, "flipped at {position}, read in {bytes_max}");
            log_reader.take_damage();
        }
    }
}

#[test]
fn what_was_damaged_after_it_was_verified_is_given_unless_its_header_is_wrong() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 1 << 20);
    (0..3).for_each(|offset| log.append(&batch(offset, 1, 10)).unwrap());
    let size = batch(0, 1, 10).len();
    flip_bit(&disk, "00000000000000000000.log", size + 70);
    assert_eq!(split(&regions_of(&log, 1 << 20)).len(), 3);
    flip_bit(&disk, "00000000000000000000.log", size + 7);
    assert_eq!(split(&regions_of(&log, 1 << 20)).len(), 2);
    assert_eq!(log.reader().take_damage().len(), 1);
}

#[test]
fn a_background_pass_verifies_for_regions_too_and_a_log_may_do_without() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, SEGMENT_BYTES);
    (0..20).for_each(|offset| log.append(&batch(offset, 1, 100)).unwrap());
    flush(&mut log, &disk);
    drop(log);
    let damaged_later = |verify: &dyn Fn(&mut Log)| {
        let disk = disk.crash(None);
        let (mut log, _) = open(&disk, SEGMENT_BYTES);
        verify(&mut log);
        flip_bit(&disk, "00000000000000000000.log", 70);
        split(&regions_of(&log, 1 << 20)).len()
    };
    assert_eq!(damaged_later(&|_| {}), 19);
    assert_eq!(damaged_later(&|log| assert!(log.reader().verify().unwrap().is_empty())), 20);
    assert_eq!(damaged_later(&|log| drop(read_all(log))), 20);
    let unverified = LogConfig { verify_regions: false, ..LogConfig::default() };
    assert_eq!(damaged_later(&|log| log.set_config(unverified.clone())), 20);
}

#[test]
fn a_flipped_bit_in_any_index_misleads_nobody() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 2000);
    // Times go up and down: 0 100 20 30 140 50 ...
    let time_of = |offset: i64| offset * 10 + if offset % 3 == 1 { 90 } else { 0 };
    let mut builder = BatchBuilder::new();
    for offset in 0..20 {
        builder.start(offset, time_of(offset));
        builder.push(offset, time_of(offset), None, Some(&[&[1; 20]]), &[]);
        log.append(&builder.finish()).unwrap();
    }
    log.trim_before(20).unwrap();
    let (mut log, _) = open(&disk, 2000);
    log.append(&batch(20, 1, 1)).unwrap();
    flush(&mut log, &disk);
    for suffix in ["index", "timeindex"] {
        let name = format!("00000000000000000000.{suffix}");
        let len = common::content_of(&disk, &Path::new(DIR).join(&name)).len();
        assert!(len > 50, "{suffix} has several entries");
        for (position, bit) in (0..len).flat_map(|position| (0..8).map(move |bit| (position, bit))) {
            let disk = disk.crash(None);
            flip(&disk, &name, position, bit);
            let (mut log, _) = open(&disk, 2000);
            for time in (0..280).step_by(7) {
                let first =
                    (0..20).find(|offset| time_of(*offset) >= time).map(|offset| (offset, time_of(offset)));
                assert_eq!(
                    log.reader().offset_for_time(time, &common::Plain).unwrap(),
                    first,
                    "{suffix} {position} {bit}"
                );
            }
            for offset in 0..20 {
                assert_eq!(log.reader().read(offset, 1).unwrap()[0].base_offset(), offset);
            }
            let latest = (0..20).map(time_of).max().unwrap();
            log.retain(latest + 100, Some(100), None).unwrap();
            assert_eq!(log.start_offset(), 0, "{suffix} {position} {bit}");
        }
    }
}

#[test]
fn times_in_any_order_lead_to_the_first_that_is_late_enough() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 1500);
    // 1000, 990, 980 … and now and then one far ahead; some have no time at all.
    let time_of = |offset: i64| match offset % 10 {
        3 => -1,
        7 => 2000 + offset,
        _ => 1000 - 10 * offset,
    };
    for offset in 0..60 {
        let mut builder = BatchBuilder::new();
        builder.start(offset, time_of(offset));
        builder.push(offset, time_of(offset), None, Some(&[&[1; 20]]), &[]);
        log.append(&builder.finish()).unwrap();
    }
    flush(&mut log, &disk);
    for start in [0, 8, 33, 58] {
        log.delete_records(start).unwrap();
        for log in [&log, &open(&disk, 1500).0] {
            for time in (0..2100).step_by(9) {
                let first = (start..60).find(|offset| time_of(*offset) >= time);
                let found = log.reader().offset_for_time(time, &common::Plain).unwrap();
                assert_eq!(found, first.map(|offset| (offset, time_of(offset))), "{time} from {start}");
            }
            let latest = (start..60).max_by_key(|offset| (time_of(*offset), -offset)).unwrap();
            let found = log.reader().latest_time(&common::Plain).unwrap();
            assert_eq!(found, Some((latest, time_of(latest))), "from {start}");
        }
    }
}

#[test]
fn an_index_that_is_full_begins_a_new_segment() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 1 << 20);
    let config = LogConfig { index_interval_bytes: 0, index_bytes_max: 60, ..LogConfig::default() };
    log.set_config(config);
    (0..12).for_each(|offset| log.append(&batch(offset, 1, 10)).unwrap());
    // Four entries of twelve bytes, and one is kept free for the last.
    assert_eq!(segments(&disk), [0, 5, 10]);
    let group: Vec<_> = (12..20).map(|offset| batch(offset, 1, 10)).collect();
    log.append_all(&group).unwrap();
    assert_eq!(segments(&disk), [0, 5, 10, 15]);
    let index = common::content_of(&disk, &Path::new(DIR).join("00000000000000000005.timeindex"));
    assert_eq!(index.len(), 48);
}

#[test]
fn what_has_no_time_is_as_old_as_its_file() {
    let disk = MemoryDisk::new();
    disk.set_time(5_000);
    let (mut log, _) = open(&disk, 200);
    let timeless = |offset: i64| {
        let mut builder = BatchBuilder::new();
        builder.start(offset, -1);
        builder.push(offset, -1, None, Some(&[&[1; 100]]), &[]);
        builder.finish()
    };
    (0..3).for_each(|offset| log.append(&timeless(offset)).unwrap());
    assert_eq!(log.retain(6_000, Some(1_000), None).unwrap().bytes, 0);
    disk.set_time(6_000);
    log.append(&timeless(3)).unwrap();
    log.retain(6_001, Some(1_000), None).unwrap();
    assert_eq!(log.start_offset(), 3);
}

#[test]
fn a_start_inside_a_segment_is_kept_over_a_restart() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, SEGMENT_BYTES);
    (0..20).for_each(|offset| log.append(&batch(offset, 1, 50)).unwrap());
    flush(&mut log, &disk);
    let end_of_first = segments(&disk)[1];
    assert_eq!(log.delete_records(2).unwrap(), 0);
    assert_eq!((log.start_offset(), segments(&disk)[0]), (2, 0));
    assert_eq!(
        log.reader().read(1, 1).unwrap_err().to_string(),
        "offset 1 is outside the log, which holds 2 to 20"
    );
    assert!(log.reader().locate(1, 20, 1).is_err());
    assert_eq!(log.reader().locate(2, 20, 1).unwrap().unwrap().base_offset, 2);
    assert_eq!(open(&disk.crash(None), SEGMENT_BYTES).0.start_offset(), 0);
    flush(&mut log, &disk);
    assert_eq!(open(&disk.crash(None), SEGMENT_BYTES).0.start_offset(), 2);
    assert!(log.delete_records(end_of_first + 1).unwrap() > 0);
    assert_eq!((log.start_offset(), segments(&disk)[0]), (end_of_first + 1, end_of_first));
    assert_eq!(log.delete_records(3).unwrap(), 0);
    assert!(log.delete_records(21).is_err());
    log.delete_records(20).unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (20, 20));
    assert!(log.reader().locate(20, 20, 1).unwrap().is_none());
    flush(&mut log, &disk);
    let (mut log, _) = open(&disk.crash(None), SEGMENT_BYTES);
    assert_eq!((log.start_offset(), log.end_offset()), (20, 20));
    log.append(&batch(20, 1, 1)).unwrap();
    assert_eq!(read_all(&log), [batch(20, 1, 1)]);
}

#[test]
fn a_start_beyond_the_end_that_a_crash_left_comes_back_to_it() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, SEGMENT_BYTES);
    (0..3).for_each(|offset| log.append(&batch(offset, 1, 50)).unwrap());
    log.delete_records(3).unwrap();
    disk.open(&Path::new(DIR).join("00000000000000000000.log")).unwrap().set_len(150).unwrap();
    for _ in 0..2 {
        let (log, _) = open(&disk, SEGMENT_BYTES);
        assert_eq!((log.start_offset(), log.end_offset()), (1, 1));
    }
    let (mut log, _) = open(&disk, SEGMENT_BYTES);
    log.append(&batch(1, 4, 50)).unwrap();
    assert_eq!(read_all(&open(&disk, SEGMENT_BYTES).0), [batch(1, 4, 50)]);
}

#[test]
fn a_crash_at_any_flush_leaves_a_start_that_was_promised_or_asked_for() {
    for syncs in 0..40 {
        let disk = MemoryDisk::new();
        disk.freeze_at_sync(syncs);
        let (mut log, _) = open(&disk, SEGMENT_BYTES);
        let (mut promised, mut asked) = (0, 0);
        for start in 1..=10 {
            for _ in 0..3 {
                log.append_assigning(&[batch(0, 1, 60)], None).unwrap();
            }
            log.delete_records(start * 2).unwrap();
            asked = start * 2;
            flush(&mut log, &disk);
            if disk.syncs() > syncs {
                break;
            }
            promised = asked;
        }
        for torn in [None, Some(1), Some(2), Some(3)] {
            let (log, _) = open(&disk.crash(torn), SEGMENT_BYTES);
            assert!((promised..=asked).contains(&log.start_offset()), "{} at {syncs}", log.start_offset());
            assert!(log.end_offset() >= promised / 2 * 3);
        }
    }
}

#[test]
fn the_last_two_snapshots_are_kept_and_none_beyond_the_end() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, SEGMENT_BYTES);
    for offset in 0..6 {
        log.append(&batch(offset, 1, 50)).unwrap();
        log.write_snapshot(offset + 1, &[offset as u8; 5]).unwrap();
        flush(&mut log, &disk);
        assert_eq!(log.snapshots().last(), Some(&(offset + 1)));
    }
    assert_eq!((log.snapshots(), &log.read_snapshot(5).unwrap()[..]), (&[5, 6][..], &[4; 5][..]));
    let files =
        || disk.list(Path::new(DIR)).unwrap().iter().filter(|name| name.ends_with(".snapshot")).count();
    assert_eq!(files(), 2);
    log.write_snapshot(6, b"again").unwrap();
    let survivor = open(&disk.crash(None), SEGMENT_BYTES).0;
    assert_eq!(&survivor.read_snapshot(5).unwrap()[..], [4; 5]);
    log.append(&batch(6, 1, 50)).unwrap();
    log.write_snapshot(7, b"not flushed").unwrap();
    log.remove_retired().unwrap();
    assert_eq!((log.snapshots(), files()), (&[6, 7][..], 2));
    let last = segments(&disk).pop().unwrap();
    disk.open(&Path::new(DIR).join(format!("{last:020}.log"))).unwrap().set_len(0).unwrap();
    let (log, _) = open(&disk, SEGMENT_BYTES);
    assert_eq!(
        (log.end_offset(), log.snapshots().iter().filter(|offset| **offset > last).count()),
        (last, 0)
    );
}

proptest! {
    #[test]
    fn regions_hold_what_reads_give(
        shapes in vec((1..4i64, 0..200usize, prop_oneof![4 => Just(0i64), 1 => 1..9i64]), 1..40),
        reads in vec((0..100i64, 0..100i64, 0..1000u64), 1..30),
    ) {
        let disk = MemoryDisk::new();
        let (mut log, _) = open(&disk, SEGMENT_BYTES);
        for (records, value_bytes, gap) in shapes {
            log.append(&batch(log.end_offset() + gap, records, value_bytes)).unwrap();
        }
        flush(&mut log, &disk);
        let reopened = open(&disk, SEGMENT_BYTES).0;
        for log in [&log, &reopened] {
            prop_assert_eq!(split(&regions_of(log, 500)), read_all(log));
            let reader = log.reader();
            for (from, upto, bytes_max) in &reads {
                let (from, upto) = (from * log.end_offset() / 100, upto * log.end_offset() / 100);
                let Some(region) = reader.locate(from, upto, *bytes_max).unwrap() else { continue };
                prop_assert!(region.base_offset <= from && region.next_offset > from && region.next_offset <= upto);
                let batches = split_all(&region.read().unwrap());
                prop_assert!(region.bytes <= *bytes_max || batches.len() == 1);
            }
        }
    }
}

fn flush(log: &mut Log, disk: &MemoryDisk) {
    log.take_dirty().unwrap().flush(disk).unwrap();
}

fn read_batches(log: &Log) -> Vec<RecordBatch> {
    log.reader().read(log.start_offset(), 1 << 20).unwrap()
}

fn regions_of(log: &Log, bytes_max: u64) -> Vec<Region> {
    let (reader, mut next, mut regions) = (log.reader(), log.start_offset(), Vec::new());
    while let Some(region) = reader.locate(next, i64::MAX, bytes_max).unwrap() {
        next = region.next_offset;
        regions.push(region);
    }
    regions
}

/// The batches with records that lie in regions.
fn split(regions: &[Region]) -> Vec<Bytes> {
    let all = regions.iter().flat_map(|region| split_all(&region.read().unwrap()));
    all.filter(|batch| !batch.is_empty()).map(RecordBatch::into_bytes).collect()
}

fn split_all(content: &Bytes) -> Vec<RecordBatch> {
    let (mut rest, mut batches) = (content.clone(), Vec::new());
    while !rest.is_empty() {
        let (batch, behind) = RecordBatch::parse(rest).unwrap();
        (rest, batches) = (behind, [batches, vec![batch]].concat());
    }
    batches
}

fn flip_bit(disk: &MemoryDisk, name: &str, position: usize) {
    flip(disk, name, position, 3);
}

fn flip(disk: &MemoryDisk, name: &str, position: usize, bit: u32) {
    let file = disk.open(&Path::new(DIR).join(name)).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, position as u64).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], position as u64).unwrap();
}

fn segments(disk: &MemoryDisk) -> Vec<i64> {
    let names = disk.list(Path::new(DIR)).unwrap();
    names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect()
}
