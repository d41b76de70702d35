use std::path::Path;

use super::*;
use crate::batch::{BatchBuilder, RecordBatch};
use crate::disk::{self, DiskFile, FileDisk, FlushStrategy, MemoryDisk};

/// Three batches of 100 bytes fit in a segment, and each has an index entry.
const SEGMENT_BYTES: u64 = 300;

#[test]
fn a_new_log_is_empty() {
    let (log, recovery) = open(&MemoryDisk::new());
    assert_eq!((log.start_offset(), log.end_offset(), log.size_bytes()), (0, 0, 0));
    assert_eq!(recovery, Recovery::default());
    assert!(log.reader().read(0, 1000).unwrap().is_empty());
}

#[test]
fn batches_are_read_back_byte_for_byte_across_segments() {
    let disk = MemoryDisk::new();
    let mut log = filled(&disk, 10);
    assert_eq!(log.size_bytes(), 1000);
    assert_eq!(segment_names(&disk), ["0", "3", "6", "9"]);
    assert_eq!(read_all(&log), (0..10).map(batch).collect::<Vec<_>>());
    log.append(&batch(10)).unwrap();
    assert_eq!(log.end_offset(), 11);
    assert_eq!(read_all(&open(&disk).0), (0..11).map(batch).collect::<Vec<_>>());
}

#[test]
fn a_read_gives_whole_batches_up_to_its_limit_and_at_least_one() {
    let log = filled(&MemoryDisk::new(), 3);
    let count = |from, max_bytes| log.reader().read(from, max_bytes).unwrap().len();
    assert_eq!(count(0, 0), 1);
    assert_eq!(count(0, 199), 1);
    assert_eq!(count(0, 200), 2);
    assert_eq!(count(1, 10_000), 2);
    assert_eq!(count(3, 10_000), 0);
}

#[test]
fn a_batch_larger_than_a_segment_and_than_any_chunk_is_kept_whole() {
    let mut log = filled(&MemoryDisk::new(), 2);
    let large = batch_sized(2, 2, 3 << 20);
    log.append(&large).unwrap();
    log.append(&batch(3)).unwrap();
    let read = log.reader().read(2, 1).unwrap();
    assert_eq!(read[0].bytes(), &large);
    assert_eq!(read_all(&log).len(), 4);
}

#[test]
fn an_offset_inside_a_batch_gives_that_batch_and_one_in_a_gap_the_next() {
    let (mut log, _) = open(&MemoryDisk::new());
    let mut builder = BatchBuilder::new();
    builder.start(10, 0);
    builder.push(10, 0, None, Some(&[b"a"]), &[]);
    builder.push(14, 0, None, Some(&[b"b"]), &[]);
    log.append(&builder.finish()).unwrap();
    log.append(&batch(20)).unwrap();
    let first_offset = |from| log.reader().read(from, 1).unwrap()[0].base_offset();
    assert_eq!(first_offset(0), 10);
    assert_eq!(first_offset(12), 10);
    assert_eq!(first_offset(15), 20);
}

#[test]
fn a_gap_too_wide_for_the_index_starts_a_segment() {
    let disk = MemoryDisk::new();
    let mut log = filled(&disk, 1);
    let far = 5 << 31;
    log.append(&batch(far)).unwrap();
    let names = [0, 1, (1 << 31) + 1, (2 << 31) + 1, (3 << 31) + 1, (4 << 31) + 1];
    let names = names.map(|base: i64| base.to_string());
    assert_eq!(segment_names(&disk), names);
    assert_eq!(log.reader().read(1, 1).unwrap()[0].base_offset(), far);
    assert_eq!(open(&disk).0.end_offset(), far + 1);
}

#[test]
fn offsets_outside_the_log_are_refused() {
    let mut log = filled(&MemoryDisk::new(), 10);
    log.trim_before(3).unwrap();
    let refuse = |offset| log.reader().read(offset, 1).unwrap_err().to_string();
    assert_eq!(refuse(2), "offset 2 is outside the log, which holds 3 to 10");
    assert_eq!(refuse(11), "offset 11 is outside the log, which holds 3 to 10");
}

#[test]
fn a_batch_that_does_not_follow_is_refused_and_nothing_of_its_group_written() {
    let mut log = filled(&MemoryDisk::new(), 3);
    let error = log.append_all(&[batch(3), batch(3)]).unwrap_err();
    assert_eq!(error.to_string(), "a batch starting at offset 3 cannot follow, the log ends at 4");
    assert!(log.append(&batch(3)[..99]).is_err());
    assert!(log.append(&[&batch(3)[..], b"x"].concat()).is_err());
    assert!(log.append(b"").is_err());
    assert_eq!((log.end_offset(), log.size_bytes()), (3, 300));
}

#[test]
fn a_group_of_batches_is_spread_over_segments() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    log.append_all(&(0..8).map(batch).collect::<Vec<_>>()).unwrap();
    assert_eq!(segment_names(&disk), ["0", "3", "6"]);
    assert_eq!(read_all(&log).len(), 8);
}

#[test]
fn the_segments_written_to_are_dirty_and_only_once() {
    let disk = MemoryDisk::new();
    let mut log = filled(&disk, 5);
    // Two segments, the indexes of the first.
    assert_eq!(dirty_files(&mut log), 4);
    assert!(log.take_dirty().unwrap().is_empty());
    log.append(&batch(5)).unwrap();
    assert_eq!(dirty_files(&mut log), 1);
}

#[test]
fn what_is_flushed_survives_a_power_cut() {
    let disk = MemoryDisk::new();
    let mut log = filled(&disk, 5);
    assert_eq!(open(&disk.crash(None)).0.end_offset(), 0);
    log.take_dirty().unwrap().flush(&disk).unwrap();
    log.append(&batch(5)).unwrap();
    assert_eq!(open(&disk.crash(None)).0.end_offset(), 5);
    log.take_dirty().unwrap().flush(&disk).unwrap();
    assert_eq!(read_all(&open(&disk.crash(None)).0).len(), 6);
}

#[test]
fn nothing_is_flushed_but_by_the_group_flush() {
    let disk = MemoryDisk::new();
    let mut log = filled(&disk, 10);
    log.trim_before(10).unwrap();
    log.remove_retired().unwrap();
    log.append(&batch(10)).unwrap();
    assert_eq!((disk.syncs(), segment_names(&disk)), (0, vec!["10".to_owned()]));
    log.take_dirty().unwrap().flush(&disk).unwrap();
    // The segment, the log's directory, the one above it, and the root.
    assert_eq!(disk.syncs(), 4);
}

#[test]
fn a_flush_after_a_new_segment_moves_the_recovery_point() {
    let disk = MemoryDisk::new();
    let mut log = flushed(&disk, 3);
    let syncs = disk.syncs();
    log.append(&batch(3)).unwrap();
    log.take_dirty().unwrap().flush(&disk).unwrap();
    // Two segments, two indexes, the directory, and then the recovery point.
    assert_eq!(disk.syncs() - syncs, 6);
    assert_eq!(
        recovery_point::read(&disk, Path::new("v/q"), &disk.list(Path::new("v/q")).unwrap()).unwrap(),
        Some(3)
    );
}

#[test]
fn behind_a_hole_that_nobody_was_promised_the_log_is_cut() {
    for cut in [0, 50, 200, 299] {
        let disk = MemoryDisk::new();
        filled(&disk, 10);
        disk.open(Path::new("v/q/00000000000000000003.log")).unwrap().set_len(cut).unwrap();
        let (mut log, recovery) = open(&disk);
        let kept = 3 + cut as i64 / 100;
        assert_eq!((log.end_offset(), recovery.damaged), (kept, Vec::new()));
        assert_eq!(recovery.truncated_bytes, cut % 100 + 400);
        assert_eq!(segment_names(&disk), ["0", "3"]);
        log.append(&batch(kept)).unwrap();
        assert_eq!(read_all(&open(&disk).0), (0..=kept).map(batch).collect::<Vec<_>>());
    }
}

#[test]
fn a_recovery_point_that_cannot_be_read_cuts_nothing() {
    let disk = MemoryDisk::new();
    flushed(&disk, 10);
    flip_bit(&disk, "v/q/recovery-point", 7);
    disk.open(Path::new("v/q/00000000000000000003.log")).unwrap().set_len(200).unwrap();
    let (log, recovery) = open(&disk);
    assert_eq!((log.end_offset(), recovery), (10, Recovery::default()));
}

#[test]
fn trimming_removes_whole_segments_below_an_offset() {
    let disk = MemoryDisk::new();
    let mut log = flushed(&disk, 10);
    assert_eq!(log.trim_before(5).unwrap(), 300);
    assert_eq!((log.start_offset(), segment_names(&disk).len()), (3, 3));
    assert_eq!(log.trim_before(5).unwrap(), 0);
    assert_eq!(log.trim_before(6).unwrap(), 300);
    assert_eq!(read_all(&log).len(), 4);
}

#[test]
fn a_log_trimmed_to_its_end_remembers_the_end() {
    let disk = MemoryDisk::new();
    let mut log = filled(&disk, 4);
    assert_eq!(log.trim_before(4).unwrap(), 400);
    assert_eq!((log.start_offset(), log.end_offset()), (4, 4));
    // The old files stay until the new one is durable.
    assert_eq!(segment_names(&disk), ["0", "3", "4"]);
    log.take_dirty().unwrap().flush(&disk).unwrap();
    assert_eq!(segment_names(&disk), ["4"]);
    assert_eq!(log.trim_before(4).unwrap(), 0);
    // A power cut may bring back what was removed, never take the end.
    assert_eq!(open(&disk.crash(None)).0.end_offset(), 4);
    let (mut log, _) = open(&disk);
    assert_eq!((log.start_offset(), log.end_offset()), (4, 4));
    log.append(&batch(4)).unwrap();
    assert_eq!(read_all(&log), [batch(4)]);
}

#[test]
fn retention_by_age_removes_segments_that_are_all_old() {
    // Batch n is from n seconds after the epoch.
    let mut log = filled(&MemoryDisk::new(), 10);
    assert_eq!(log.retain(12_000, Some(10_000), None).unwrap().bytes, 0);
    assert_eq!(log.retain(12_001, Some(10_000), None).unwrap().bytes, 300);
    assert_eq!(log.start_offset(), 3);
    assert_eq!(log.retain(100_000, Some(10_000), None).unwrap().bytes, 700);
    assert_eq!((log.start_offset(), log.end_offset()), (10, 10));
}

#[test]
fn retention_by_size_keeps_at_least_that_much() {
    let mut log = filled(&MemoryDisk::new(), 10);
    assert_eq!(log.retain(0, None, Some(701)).unwrap().bytes, 0);
    assert_eq!(log.retain(0, None, Some(700)).unwrap().bytes, 300);
    assert_eq!(log.retain(0, None, Some(0)).unwrap().bytes, 600);
    assert_eq!(log.size_bytes(), 100);
}

#[test]
fn a_time_leads_to_the_first_record_at_or_after_it() {
    let disk = MemoryDisk::new();
    let find_in = |log: &Log, timestamp_ms| log.reader().offset_for_time(timestamp_ms, &Plain).unwrap();
    for log in [filled(&disk, 10), open(&disk).0] {
        let find = |timestamp_ms| find_in(&log, timestamp_ms);
        assert_eq!(find(-5), Some((0, 0)));
        for second in 0..10 {
            assert_eq!(find(second * 1000), Some((second, second * 1000)));
            assert_eq!(find(second * 1000 - 1), Some((second, second * 1000)));
        }
        assert_eq!(find(9001), None);
    }
}

#[test]
fn a_time_leads_into_the_middle_of_a_batch() {
    let (mut log, _) = open(&MemoryDisk::new());
    let mut builder = BatchBuilder::new();
    builder.start(0, 100);
    (0..5).for_each(|offset| builder.push(offset, 100 + offset * 10, None, None, &[]));
    log.append(&builder.finish()).unwrap();
    assert_eq!(log.reader().offset_for_time(115, &Plain).unwrap(), Some((2, 120)));
}

#[test]
fn a_reader_follows_the_writer() {
    let (mut log, _) = open(&MemoryDisk::new());
    let reader = log.reader();
    for offset in 0..20 {
        assert!(reader.read(offset, 1000).unwrap().is_empty());
        log.append(&batch(offset)).unwrap();
        assert_eq!(reader.read(offset, 1000).unwrap()[0].bytes(), &batch(offset));
    }
}

#[test]
fn damage_in_a_sealed_segment_is_gone_around_and_told_once() {
    let disk = MemoryDisk::new();
    flushed(&disk, 10);
    flip_bit(&disk, "v/q/00000000000000000003.log", 150);
    let (log, recovery) = open(&disk);
    assert!(recovery.damaged.is_empty());
    let offsets: Vec<_> = batches_of(&log).iter().map(RecordBatch::base_offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 5, 6, 7, 8, 9]);
    let file = "v/q/00000000000000000003.log".into();
    let damage = [Damage { file, position: 100, bytes: 100, offsets: 4..5 }];
    assert_eq!(log.reader().take_damage(), damage);
    batches_of(&log);
    assert!(log.reader().take_damage().is_empty());
    assert_eq!(log.reader().verify().unwrap(), damage);
    let config = LogConfig { verify_sealed: true, ..config() };
    assert_eq!(Log::open(Arc::new(disk), "v/q".into(), config).unwrap().1.damaged, damage);
}

#[test]
fn damage_up_to_the_end_of_a_sealed_segment_leads_to_the_next() {
    let disk = MemoryDisk::new();
    flushed(&disk, 10);
    disk.open(Path::new("v/q/00000000000000000003.log")).unwrap().set_len(150).unwrap();
    let (log, _) = open(&disk);
    assert_eq!(log.reader().read(4, 1).unwrap()[0].base_offset(), 6);
    assert_eq!(log.reader().take_damage()[0].offsets, 4..6);
}

#[test]
fn damage_at_the_end_that_came_after_opening_ends_where_the_log_does() {
    let disk = MemoryDisk::new();
    let log = filled(&disk, 2);
    flip_bit(&disk, "v/q/00000000000000000000.log", 150);
    assert_eq!(read_all(&log), [batch(0)]);
    assert_eq!(log.reader().take_damage()[0].offsets, 1..2);
    assert_eq!(log.reader().verify().unwrap()[0].offsets, 1..2);
}

#[test]
fn a_batch_within_a_damaged_batch_is_not_served() {
    let disk = MemoryDisk::new();
    let open = || {
        let config = LogConfig { segment_bytes: 1 << 20, ..config() };
        Log::open(Arc::new(disk.clone()), "v/q".into(), config).unwrap()
    };
    let (mut log, _) = open();
    let inner = batch(7);
    let mut builder = BatchBuilder::new();
    builder.start(0, 0);
    builder.push(0, 0, None, Some(&[&inner]), &[]);
    log.append(&builder.finish()).unwrap();
    log.append(&batch(20)).unwrap();
    log.append(&batch(21)).unwrap();
    flip_bit(&disk, "v/q/00000000000000000000.log", 25);
    let (log, recovery) = open();
    assert_eq!(recovery.damaged[0].offsets, 0..1);
    assert_eq!(read_all(&log), [batch(20), batch(21)]);
}

#[test]
fn damaged_or_missing_indexes_cost_time_only() {
    let disk = MemoryDisk::new();
    flushed(&disk, 10);
    for (name, damaged_len) in [("00000000000000000000.index", 5), ("00000000000000000003.timeindex", 0)] {
        disk.open(&Path::new("v/q").join(name)).unwrap().set_len(damaged_len).unwrap();
    }
    flip_bit(&disk, "v/q/00000000000000000006.index", 7);
    let (mut log, _) = open(&disk);
    assert_eq!(read_all(&log).len(), 10);
    for offset in 0..10 {
        assert_eq!(log.reader().read(offset, 1).unwrap()[0].base_offset(), offset);
        assert_eq!(
            log.reader().offset_for_time(offset * 1000, &Plain).unwrap(),
            Some((offset, offset * 1000))
        );
    }
    assert!(log.reader().take_damage().is_empty());
    assert_eq!(log.retain(100_000, None, Some(0)).unwrap().bytes, 900);
}

#[test]
fn on_disk_is_what_was_appended_under_leader_epoch_zero() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    let (from_producer, _) = RecordBatch::parse(batch(0)).unwrap();
    log.append(from_producer.with_leader_epoch(-1).bytes()).unwrap();
    log.append(&batch(1)).unwrap();
    let content = disk::read_all(&*disk.open(Path::new("v/q/00000000000000000000.log")).unwrap()).unwrap();
    assert_eq!(content, [batch(0), batch(1)].concat());
}

#[test]
fn a_gap_on_disk_is_a_batch_without_records() {
    let disk = MemoryDisk::new();
    let mut log = filled(&disk, 1);
    log.append(&batch(5)).unwrap();
    let content = disk::read_all(&*disk.open(Path::new("v/q/00000000000000000000.log")).unwrap()).unwrap();
    let (gap, _) = RecordBatch::parse(content[100..].to_vec().into()).unwrap();
    gap.verify().unwrap();
    assert_eq!((gap.base_offset(), gap.next_offset(), gap.len_bytes()), (1, 5, 61));
    assert_eq!((gap.record_count(), gap.records().count(), gap.max_timestamp()), (0, 0, -1));
    assert_eq!(read_all(&log), [batch(0), batch(5)]);
    assert_eq!(log.reader().offset_for_time(-1, &Plain).unwrap(), Some((0, 0)));
}

#[test]
fn a_sealed_segment_that_ends_too_early_between_two_batches_is_damaged() {
    let disk = MemoryDisk::new();
    flushed(&disk, 10);
    disk.open(Path::new("v/q/00000000000000000003.log")).unwrap().set_len(200).unwrap();
    let (log, _) = open(&disk);
    assert_eq!(read_all(&log).len(), 9);
    let file = "v/q/00000000000000000003.log".into();
    assert_eq!(log.reader().take_damage(), [Damage { file, position: 200, bytes: 0, offsets: 5..6 }]);
}

#[test]
fn a_batch_that_went_to_another_place_is_not_served() {
    let disk = MemoryDisk::new();
    flushed(&disk, 10);
    // Whole in itself, but the one from offset 4 lies where that from offset 3 should.
    let file = disk.open(Path::new("v/q/00000000000000000003.log")).unwrap();
    file.write_all_at(&batch(4), 0).unwrap();
    let (log, _) = open(&disk);
    let offsets: Vec<_> = batches_of(&log).iter().map(RecordBatch::base_offset).collect();
    assert_eq!(offsets.iter().filter(|offset| **offset == 4).count(), 1);
    assert_eq!(log.reader().take_damage()[0].offsets.start, 3);
}

#[test]
fn a_flipped_bit_anywhere_in_a_segment_or_its_index_misleads_no_read() {
    let disk = MemoryDisk::new();
    flushed(&disk, 10);
    let batches: Vec<_> = (0..10).map(batch).collect();
    for (suffix, hits) in [("log", true), ("index", false), ("timeindex", false)] {
        let path = format!("v/q/00000000000000000003.{suffix}");
        let file = disk.open(Path::new(&path)).unwrap();
        for position in 0..file.len().unwrap() {
            for bit in 0..8 {
                change_byte(&*file, position, 1 << bit);
                let (log, _) = open(&disk);
                let hit = hits.then_some(3 + position as usize / 100);
                for from in 0..10usize {
                    let read = log.reader().read(from as i64, 1).unwrap();
                    let expected = from + usize::from(hit == Some(from));
                    assert_eq!(
                        read[0].bytes(),
                        &batches[expected],
                        "{path}: bit {bit} of {position}, from {from}"
                    );
                }
                change_byte(&*file, position, 1 << bit);
            }
        }
    }
}

#[test]
fn a_reader_finishes_in_a_log_that_was_removed() {
    let root = tempfile::tempdir().unwrap();
    let disk = FileDisk::new(root.path().to_owned(), FlushStrategy::Adaptive);
    let disk = Arc::new(disk);
    let (mut log, _) = Log::open(disk.clone(), "v/q".into(), config()).unwrap();
    log.append_all(&(0..10).map(batch).collect::<Vec<_>>()).unwrap();
    let reader = log.reader();
    disk.remove_dir_all(Path::new("v/q")).unwrap();
    for offset in 0..10 {
        assert_eq!(reader.read(offset, 1).unwrap()[0].base_offset(), offset);
    }
}

#[test]
fn two_threads_read_while_one_writes() {
    let (mut log, _) = open(&MemoryDisk::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let reader = log.reader();
            scope.spawn(move || {
                let mut next = 0;
                while next < 2000 {
                    for found in reader.read(next, 500).unwrap() {
                        assert_eq!(found.bytes(), &batch(next));
                        next += 1;
                    }
                }
                assert!(reader.take_damage().is_empty());
            });
        }
        (0..2000).for_each(|offset| log.append(&batch(offset)).unwrap());
    });
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES, index_interval_bytes: 50, ..LogConfig::default() }
}

fn dirty_files(log: &mut Log) -> usize {
    log.take_dirty().unwrap().file_count()
}

/// A log whose segments were flushed.
fn flushed(disk: &MemoryDisk, batches: i64) -> Log {
    let mut log = filled(disk, batches);
    log.take_dirty().unwrap().flush(disk).unwrap();
    log
}

fn open(disk: &MemoryDisk) -> (Log, Recovery) {
    Log::open(Arc::new(disk.clone()), "v/q".into(), config()).unwrap()
}

/// A log of this many batches at offsets 0, 1, 2...
fn filled(disk: &MemoryDisk, batches: i64) -> Log {
    let (mut log, _) = open(disk);
    for offset in log.end_offset()..batches {
        log.append(&batch(offset)).unwrap();
    }
    log
}

/// One record in exactly 100 bytes, from `offset` seconds after the epoch.
fn batch(offset: i64) -> Bytes {
    let batch = batch_sized(offset, offset as u8, 32);
    assert_eq!(batch.len(), 100);
    batch
}

fn batch_sized(offset: i64, fill: u8, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.start(offset, offset * 1000);
    builder.push(offset, offset * 1000, None, Some(&[&vec![fill; value_bytes]]), &[]);
    builder.finish()
}

fn read_all(log: &Log) -> Vec<Bytes> {
    batches_of(log).into_iter().map(RecordBatch::into_bytes).collect()
}

fn batches_of(log: &Log) -> Vec<RecordBatch> {
    let (reader, mut next, mut all) = (log.reader(), log.start_offset(), Vec::new());
    loop {
        let batches = reader.read(next, 150).unwrap();
        let Some(last) = batches.last() else { return all };
        next = last.next_offset();
        all.extend(batches);
    }
}

fn segment_names(disk: &MemoryDisk) -> Vec<String> {
    let names = disk.list(Path::new("v/q")).unwrap();
    let bases = names.iter().filter_map(|name| crate::segment::base_offset_of(name, "log"));
    bases.map(|base| base.to_string()).collect()
}

fn flip_bit(disk: &MemoryDisk, path: &str, position: u64) {
    change_byte(&*disk.open(Path::new(path)).unwrap(), position, 0x10);
}

fn change_byte(file: &dyn DiskFile, position: u64, bits: u8) {
    let mut byte = [0];
    file.read_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ bits], position).unwrap();
}

/// Knows no compression.
struct Plain;

impl Codec for Plain {
    fn decompress(&self, _codec: u8, _records: &[u8]) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn compress(&self, _codec: u8, _records: &[u8]) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
