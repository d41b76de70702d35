//! Compaction keeps what a reader must still see: stories, a random run against a model, a power cut at every flush.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use cauce_log::{
    AbortedTransaction, BatchBuilder, Codec, Compaction, CompactionReport, CompactionRules, Disk, LastBatch,
    Log, LogConfig, MemoryDisk, RecordBatch, StreamState,
};
use common::{DIR, open};
use proptest::collection::vec;
use proptest::prelude::*;

const SEGMENT_BYTES: u64 = 400;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// Stands for a compression: the bytes turned around, and one more.
struct Turned;

impl Codec for Turned {
    fn decompress(&self, codec: u8, records: &[u8]) -> io::Result<Vec<u8>> {
        match (codec, records.split_last()) {
            (4, Some((b'!', turned))) => Ok(turned.iter().rev().copied().collect()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn compress(&self, _codec: u8, records: &[u8]) -> io::Result<Vec<u8>> {
        Ok(records.iter().rev().copied().chain([b'!']).collect())
    }
}

#[test]
fn of_each_key_the_last_record_stays_at_its_offset() {
    let mut story = Story::new();
    story.plain(&[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))]);
    story.plain(&[("c", Some("1"))]);
    story.plain(&[("b", Some("2"))]);
    story.roll();
    let report = story.compact(0);
    assert_eq!((report.compacted_below, report.is_partial), (5, false));
    assert_eq!(story.records(), ["2 a=2", "3 c=1", "4 b=2"]);
    story.plain(&[("a", Some("3")), ("d", Some("1"))]);
    story.roll();
    story.compact(0);
    assert_eq!(story.records(), ["3 c=1", "4 b=2", "5 a=3", "6 d=1"]);
}

#[test]
fn segments_are_made_and_put_in_place_one_after_the_other() {
    let mut story = Story::new();
    for round in 0..6 {
        story.plain(&[("a", Some(&"x".repeat(200 + round)))]);
        story.plain(&[(&round.to_string(), Some(&"x".repeat(50)))]);
    }
    story.roll();
    let mut run = story.plan(0).unwrap().begin(&Turned, &|_| ControlFlow::Continue(())).unwrap();
    let mut sizes = vec![story.log.size_bytes()];
    while let Some(compacted) = run.make_next().unwrap() {
        let replaced = story.log.install_compacted(compacted).unwrap().unwrap();
        sizes.push(story.log.size_bytes());
        assert_eq!(
            replaced.bytes_before - replaced.bytes_after,
            sizes[sizes.len() - 2] - sizes[sizes.len() - 1]
        );
    }
    assert!(sizes.len() > 3 && sizes.is_sorted_by(|before, after| before > after), "{sizes:?}");
    assert!(story.plan(0).is_some(), "until the end is remembered it is all to be done");
    story.log.end_compaction(&run.report()).unwrap();
    assert!(story.plan(0).is_none());
}

#[test]
fn a_run_can_be_broken_off_at_any_byte() {
    let mut story = Story::new();
    for round in 0..6 {
        story.plain(&[("a", Some(&"x".repeat(200 + round)))]);
    }
    story.roll();
    let all = story.records();
    let mut asked = 0;
    for limit in 0.. {
        let passed = std::cell::Cell::new(0);
        let pace = |_| {
            passed.set(passed.get() + 1);
            if passed.get() > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let made = story.plan(0).unwrap().begin(&Turned, &pace).and_then(|mut run| {
            while run.make_next()?.is_some() {}
            Ok(())
        });
        asked = limit;
        if made.is_ok() {
            break;
        }
        assert_eq!(made.unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert_eq!((open(&story.disk, SEGMENT_BYTES).0.end_offset(), story.records()), (6, all.clone()));
    }
    assert!(asked > 6, "keys and records are both read");
}

#[test]
fn what_a_producer_did_last_can_be_read_after_its_records_are_gone() {
    let mut story = Story::new();
    story.produced(5, &[("a", Some("1"))]);
    story.plain(&[("a", Some("2"))]);
    story.roll();
    story.compact(0);
    let read = story.log.reader().read(0, 1000).unwrap();
    let told: Vec<_> = read.iter().map(|batch| (batch.producer_id(), batch.record_count())).collect();
    assert_eq!(told, [(5, 0), (-1, 1)]);
}

#[test]
fn times_are_found_after_a_compaction_and_a_restart() {
    let mut story = Story::new();
    // Batch n is of time 10 n: the latest record is one that goes.
    for key in ["a", "b", "c", "b", "d", "c"] {
        story.compressed(&[(key, Some("1"))]);
        story.plain(&[("e", Some("1"))]);
    }
    story.roll();
    story.compact(0);
    let kept: Vec<_> = seen(&story.log).into_iter().map(|seen| (seen.offset, seen.timestamp_ms)).collect();
    assert_eq!(kept.last(), Some(&(11, 110)));
    for log in [&story.log, &open(&story.disk, SEGMENT_BYTES).0] {
        for time in 0..130 {
            let first = kept.iter().find(|(_, timestamp_ms)| *timestamp_ms >= time).copied();
            assert_eq!(log.reader().offset_for_time(time, &Turned).unwrap(), first, "{time}");
        }
        assert_eq!(log.reader().latest_time(&Turned).unwrap(), Some((11, 110)));
    }
}

#[test]
fn snapshots_of_what_a_run_settled_are_gone() {
    let mut story = Story::new();
    story.plain(&[("a", Some("1"))]);
    story.log.write_snapshot(1, b"before").unwrap();
    story.plain(&[("a", Some("2"))]);
    story.roll();
    story.log.write_snapshot(2, b"all").unwrap();
    story.compact(0);
    assert_eq!(story.log.snapshots(), [2]);
    assert_eq!(open(&story.disk, SEGMENT_BYTES).0.snapshots(), [2]);
}

#[test]
fn what_needs_no_change_is_not_written_again() {
    let mut story = Story::new();
    story.plain(&[("a", Some("1")), ("b", Some(&"x".repeat(300)))]);
    story.roll();
    let (_, replaced) = story.install(story.plan(0).unwrap());
    assert_eq!(replaced, 0);
    assert!(story.plan(0).is_none(), "all is compacted");
}

#[test]
fn small_neighbours_become_one_segment_and_gaps_are_joined() {
    let mut story = Story::new();
    for round in 0..6 {
        story.plain(&[("a", Some(&round.to_string()))]);
        story.roll();
    }
    assert_eq!(story.segments(), [0, 1, 2, 3, 4, 5, 6]);
    story.compact(0);
    assert_eq!(story.segments(), [0, 5, 6]);
    assert_eq!(story.records(), ["5 a=5"]);
    // A header without records for what was at 0 to 4.
    assert_eq!(story.log.size_bytes(), 61 + story.log.reader().read(5, 1).unwrap()[0].len_bytes() as u64);
    story.plain(&[("a", Some("6"))]);
    story.roll();
    story.compact(0);
    assert_eq!((story.segments(), story.log.size_bytes()), (vec![0, 7], 61 + 61 + 9));
}

#[test]
fn a_tombstone_stays_until_its_horizon() {
    let mut story = Story::new();
    story.plain(&[("a", Some("1")), ("b", Some("1"))]);
    story.plain(&[("a", None)]);
    story.roll();
    story.compact(1_000);
    assert_eq!(story.records(), ["1 b=1", "2 a-"]);
    let batch = &story.log.reader().read(2, 1).unwrap()[0];
    assert_eq!(batch.delete_horizon_ms(), Some(1_000 + 100));
    assert_eq!(batch.records().next().unwrap().unwrap().timestamp_ms, 20);
    story.touch();
    story.compact(1_099);
    assert_eq!(story.records(), ["1 b=1", "2 a-", "3 z=1"]);
    story.touch();
    story.compact(1_100);
    assert_eq!(story.records(), ["1 b=1", "4 z=1"]);
}

#[test]
fn records_of_aborted_transactions_go_and_their_markers_when_nothing_is_left() {
    let mut story = Story::new();
    story.plain(&[("a", Some("1"))]);
    story.transactional(7, &[("a", Some("aborted"))]);
    story.transactional(8, &[("b", Some("committed"))]);
    story.end(7, false);
    story.end(8, true);
    // The last batches of these producers are elsewhere.
    story.producers.clear();
    story.plain(&[("z", Some("1"))]);
    story.roll();
    story.compact(0);
    assert_eq!(story.records(), ["0 a=1", "2 b=committed", "3 abort 7", "4 commit 8", "5 z=1"]);
    // Nothing is left of the first one, but readers may be under way.
    story.touch();
    story.compact(10);
    assert_eq!(story.records()[2], "3 abort 7");
    story.touch();
    story.compact(109);
    assert_eq!(story.records()[2], "3 abort 7");
    story.touch();
    story.compact(110);
    assert_eq!(story.records()[..3], ["0 a=1", "2 b=committed", "4 commit 8"]);
}

#[test]
fn what_is_not_decided_stays() {
    let mut story = Story::new();
    story.plain(&[("a", Some("1"))]);
    story.plain(&[("a", Some("2"))]);
    story.transactional(7, &[("a", Some("open"))]);
    story.plain(&[("a", Some("3"))]);
    story.roll();
    let report = story.compact(0);
    assert_eq!(report.compacted_below, 2);
    assert_eq!(story.records(), ["1 a=2", "2 a=open", "3 a=3"]);
}

#[test]
fn the_last_batch_of_a_producer_stays_as_a_header() {
    let mut story = Story::new();
    story.produced(5, &[("a", Some("1"))]);
    story.produced(5, &[("a", Some("2"))]);
    story.plain(&[("a", Some("3"))]);
    story.roll();
    story.compact(0);
    assert_eq!(story.records(), ["2 a=3"]);
    let batches = story.all_batches();
    let kept: Vec<_> = batches.iter().map(|batch| (batch.base_offset(), batch.producer_id())).collect();
    assert_eq!(kept, [(0, -1), (1, 5), (2, -1)]);
    assert_eq!((batches[1].base_sequence(), batches[1].record_count()), (1, 0));
}

#[test]
fn compressed_batches_are_compressed_again() {
    let mut story = Story::new();
    story.compressed(&[("a", Some("1")), ("b", Some("1"))]);
    story.compressed(&[("a", Some("2"))]);
    story.append(Bytes::from(compress(&batch_of(-1, 0, 0, 0, &[("c", Some("1"))], 0), b"not a compression")));
    story.roll();
    let report = story.compact(0);
    assert_eq!(report.unreadable_batches, 1);
    assert_eq!(story.records(), ["1 b=1", "2 a=2", "3 unreadable"]);
    assert!(story.all_batches().iter().all(|batch| batch.is_empty() || batch.compression_codec() == 4));
}

#[test]
fn keys_that_do_not_fit_take_several_runs() {
    let mut story = Story::new();
    story.rules.keys_bytes_max = 0;
    for round in 0..3 {
        (0..60).for_each(|key| story.plain(&[(&key.to_string(), Some(&round.to_string()))]));
    }
    story.roll();
    let mut runs = 0;
    while let Some(plan) = story.plan(0) {
        let (report, _) = story.install(plan);
        runs += 1;
        assert_eq!(report.is_partial, report.compacted_below < 180);
    }
    assert!(runs > 2, "{runs} runs");
    assert_eq!(story.records(), (0..60).map(|key| format!("{} {key}=2", 120 + key)).collect::<Vec<_>>());
}

#[test]
fn it_is_time_by_share_or_by_age_and_not_for_the_young() {
    let mut story = Story::new();
    story.rules.min_dirty_ratio = 0.5;
    story.plain(&[("a", Some("1"))]);
    story.roll();
    assert!(story.plan(0).is_some());
    story.compact(0);
    story.plain(&[("a", Some(&"x".repeat(5)))]);
    story.rules.min_dirty_ratio = 0.9;
    story.roll();
    assert!(story.plan(1_000).is_none());
    // Batch n is of time 10 n.
    story.rules.max_lag_ms = 989;
    assert!(story.plan(1_000).is_some());
    story.rules.max_lag_ms = 990;
    assert!(story.plan(1_000).is_none());
    story.rules = CompactionRules { min_dirty_ratio: 0.0, min_lag_ms: 50, ..story.rules };
    assert!(story.plan(59).is_none());
    assert!(story.plan(60).is_some());
}

#[test]
fn a_damaged_segment_stays_and_so_do_the_tombstones_behind_it() {
    let mut story = Story::new();
    story.plain(&[("a", Some("1"))]);
    story.plain(&[("b", Some("1"))]);
    story.roll();
    story.plain(&[("a", None)]);
    story.plain(&[("b", Some("2"))]);
    story.roll();
    flush(&mut story.log, &story.disk);
    let file = story.disk.open(&Path::new(DIR).join("00000000000000000000.log")).unwrap();
    file.write_all_at(b"damage", story.all_batches()[0].len_bytes() as u64 + 65).unwrap();
    story.log = open(&story.disk, SEGMENT_BYTES).0;
    for now_ms in [0, 1_000, 2_000] {
        story.touch();
        story.compact(now_ms);
    }
    let records = story.records();
    assert_eq!(records[..3], ["0 a=1", "2 a-", "3 b=2"]);
    assert_eq!(story.log.reader().verify().unwrap()[0].offsets, 1..2);
}

#[test]
fn readers_keep_reading_what_they_began() {
    let mut story = Story::new();
    for round in 0..8 {
        story.plain(&[("a", Some(&round.to_string())), ("b", Some("x"))]);
    }
    story.roll();
    let reader = story.log.reader();
    let before = story.all_batches();
    let region = reader.locate(0, 100, 200).unwrap().unwrap();
    let first = reader.read(0, 1).unwrap()[0].next_offset();
    story.compact(0);
    assert_eq!(region.read().unwrap().slice(..before[0].len_bytes()), *before[0].bytes());
    assert_eq!(reader.read(first, 1).unwrap()[0].base_offset(), 14);
    assert_eq!(reader.locate(first, 100, 0).unwrap().unwrap().base_offset, 0);
    assert!(reader.take_damage().is_empty());
}

#[test]
fn what_was_trimmed_meanwhile_stays_away() {
    let mut story = Story::new();
    for _ in 0..3 {
        story.plain(&[("a", Some("1")), ("a", Some(&"x".repeat(200)))]);
        story.roll();
    }
    let mut run = story.plan(0).unwrap().begin(&Turned, &|_| ControlFlow::Continue(())).unwrap();
    let compacted = run.make_next().unwrap().unwrap();
    story.log.trim_before(2).unwrap();
    story.log.remove_retired().unwrap();
    assert!(story.log.install_compacted(compacted).unwrap().is_none());
    assert_eq!((story.log.start_offset(), story.records().len()), (2, 4));
    story.compact(0);
    assert_eq!((story.log.start_offset(), story.records().len()), (2, 1));
    assert!(story.disk.list(Path::new(DIR)).unwrap().iter().all(|name| !name.ends_with("cleaned")));
    assert_eq!(open(&story.disk, SEGMENT_BYTES).0.start_offset(), 2);
}

#[test]
fn a_power_cut_at_any_flush_loses_nothing_and_brings_nothing_back() {
    for torn in [None, Some(1), Some(2), Some(3), Some(4)] {
        let mut syncs = 0;
        while cut_at(syncs, torn) {
            syncs += 1;
        }
        assert!(syncs > 16, "two segments are made");
    }
}

/// Cuts the power after so many flushes of a compaction; false if it had no more.
fn cut_at(syncs: u64, torn: Option<u64>) -> bool {
    let mut story = Story::new();
    for round in 0..6 {
        let value = "x".repeat(20 * round + 1);
        story.plain(&[("a", Some(&value)), ("gone", Some("1"))]);
        story.roll();
        story.plain(&[(&format!("only {round}"), Some(&value))]);
    }
    story.plain(&[("gone", None)]);
    story.roll();
    flush(&mut story.log, &story.disk);
    let (all, end) = (story.records(), story.log.end_offset());
    let before = story.disk.syncs();
    story.disk.freeze_at_sync(before + syncs);
    story.compact(0);
    let new = story.records();
    flush(&mut story.log, &story.disk);
    let had_more = story.disk.syncs() > before + syncs;

    story.disk = story.disk.crash(torn);
    let (log, recovery) = open(&story.disk, SEGMENT_BYTES);
    story.log = log;
    assert!(recovery.damaged.is_empty(), "{recovery:?}");
    assert_eq!(story.log.end_offset(), end);
    let survived = story.records();
    assert!(survived.iter().all(|record| all.contains(record)), "{survived:?}");
    assert!(new.iter().all(|record| survived.contains(record)), "{survived:?}");
    assert!(story.log.reader().verify().unwrap().is_empty());
    let names = story.disk.list(Path::new(DIR)).unwrap();
    assert!(names.iter().all(|name| !name.ends_with("swap") && !name.ends_with("cleaned")), "{names:?}");

    // It goes on as if nothing had been, until the tombstone is over.
    for now_ms in [50, 1_000] {
        story.touch();
        story.compact(now_ms);
        let values = story.records().into_iter().filter(|record| record.contains("gone=")).count();
        assert_eq!(values, 0);
    }
    assert!(!story.records().iter().any(|record| record.contains("gone")), "{:?}", story.records());
    had_more
}

#[derive(Debug, Clone)]
enum Step {
    Plain(Vec<(u8, Option<u8>)>),
    Compressed(Vec<(u8, Option<u8>)>),
    Produced(i64, Vec<(u8, Option<u8>)>),
    Transactional(i64, Vec<(u8, Option<u8>)>),
    End(i64, bool),
    Roll,
    Compact { after_ms: i64, keys_bytes_max: usize },
    Delete(i64),
    Reopen,
}

fn a_step() -> impl Strategy<Value = Step> {
    let records = || vec((0..6u8, prop_oneof![3 => any::<u8>().prop_map(Some), 1 => Just(None)]), 1..4);
    prop_oneof![
        4 => records().prop_map(Step::Plain),
        2 => records().prop_map(Step::Compressed),
        2 => (1..3i64, records()).prop_map(|(producer, records)| Step::Produced(producer, records)),
        4 => (11..14i64, records()).prop_map(|(producer, records)| Step::Transactional(producer, records)),
        3 => (11..14i64, any::<bool>()).prop_map(|(producer, commit)| Step::End(producer, commit)),
        2 => Just(Step::Roll),
        3 => (0..150i64, prop_oneof![Just(0usize), Just(1usize << 20)])
            .prop_map(|(after_ms, keys_bytes_max)| Step::Compact { after_ms, keys_bytes_max }),
        1 => (0..=30i64).prop_map(Step::Delete),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #[test]
    fn a_reader_of_what_is_committed_sees_the_latest_of_each_key(steps in vec(a_step(), 1..80)) {
        let mut story = Story::new();
        let mut now_ms = 0;
        for step in steps {
            let named = |records: Vec<(u8, Option<u8>)>| -> Vec<(String, Option<String>)> {
                let name = |(key, value): (u8, Option<u8>)| (key.to_string(), value.map(|value| value.to_string()));
                records.into_iter().map(name).collect()
            };
            match step {
                Step::Plain(records) => story.with(&named(records), |story, records| story.plain(records)),
                Step::Compressed(records) => story.with(&named(records), |story, records| story.compressed(records)),
                Step::Produced(producer, records) => {
                    story.with(&named(records), |story, records| story.produced(producer, records))
                }
                Step::Transactional(producer, records) => {
                    story.with(&named(records), |story, records| story.transactional(producer, records))
                }
                Step::End(producer, commit) if story.open.contains_key(&producer) => story.end(producer, commit),
                Step::End(..) => {}
                Step::Roll => story.roll(),
                Step::Compact { after_ms, keys_bytes_max } => {
                    now_ms += after_ms;
                    story.rules.keys_bytes_max = keys_bytes_max;
                    story.check_compaction(now_ms);
                }
                Step::Delete(percent) => {
                    let (start, end) = (story.log.start_offset(), story.stable_offset());
                    story.log.delete_records(start.max(end * percent / 100)).unwrap();
                }
                Step::Reopen => {
                    let before = story.all_batches();
                    story.log = open(&story.disk, SEGMENT_BYTES).0;
                    prop_assert_eq!(story.all_batches(), before);
                }
            }
        }
        story.roll();
        now_ms += 1;
        story.rules.keys_bytes_max = 1 << 20;
        story.check_compaction(now_ms);
    }
}

/// A log with what its owner knows of it. Batch n is of time 10 n; tombstones stay for 100 ms.
struct Story {
    disk: MemoryDisk,
    log: Log,
    rules: CompactionRules,
    aborted: Vec<AbortedTransaction>,
    producers: BTreeMap<i64, LastBatch>,
    /// Where the open transactions begin.
    open: BTreeMap<i64, i64>,
    sequence: i32,
}

impl Story {
    fn new() -> Story {
        let disk = MemoryDisk::new();
        let log = open(&disk, SEGMENT_BYTES).0;
        let rules =
            CompactionRules { min_dirty_ratio: 0.0, delete_retention_ms: 100, ..CompactionRules::default() };
        let (aborted, producers, open) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Story { disk, log, rules, aborted, producers, open, sequence: 0 }
    }

    fn with(
        &mut self,
        records: &[(String, Option<String>)],
        append: impl FnOnce(&mut Story, &[(&str, Option<&str>)]),
    ) {
        let records: Vec<_> = records.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        append(self, &records);
    }

    fn append(&mut self, batch: Bytes) -> std::ops::Range<i64> {
        self.log.append_assigning(&[batch], None).unwrap()
    }

    fn encode(&self, producer: i64, attributes: i16, records: &[(&str, Option<&str>)]) -> Bytes {
        batch_of(producer, self.sequence, attributes, 0, records, self.log.end_offset() * 10)
    }

    fn plain(&mut self, records: &[(&str, Option<&str>)]) {
        self.append(self.encode(-1, 0, records));
    }

    fn compressed(&mut self, records: &[(&str, Option<&str>)]) {
        let plain = self.encode(-1, 0, records);
        let turned = Turned.compress(4, &plain[61..]).unwrap();
        self.append(compress(&plain, &turned).into());
    }

    fn produced(&mut self, producer: i64, records: &[(&str, Option<&str>)]) {
        let offsets = self.append(self.encode(producer, 0, records));
        self.remember(producer, Some(offsets.end - 1));
    }

    fn transactional(&mut self, producer: i64, records: &[(&str, Option<&str>)]) {
        let offsets = self.append(self.encode(producer, TRANSACTIONAL, records));
        self.open.entry(producer).or_insert(offsets.start);
        self.remember(producer, Some(offsets.end - 1));
    }

    fn end(&mut self, producer: i64, commit: bool) {
        let first_offset = self.open.remove(&producer).unwrap();
        let mut builder = BatchBuilder::new();
        builder.start(0, self.log.end_offset() * 10);
        builder.set_producer(producer, 0, -1);
        builder.set_attributes(TRANSACTIONAL | CONTROL);
        let key = [0, 0, 0, u8::from(commit)];
        builder.push(0, self.log.end_offset() * 10, Some(&key), Some(&[&[0; 6]]), &[]);
        let last_offset = self.append(builder.finish()).start;
        if !commit {
            self.aborted.push(AbortedTransaction { producer_id: producer, first_offset, last_offset });
        }
    }

    fn remember(&mut self, producer_id: i64, last_data_offset: Option<i64>) {
        self.sequence += 1;
        self.producers.insert(producer_id, LastBatch { producer_id, producer_epoch: 0, last_data_offset });
    }

    fn roll(&mut self) {
        self.log.set_config(LogConfig { segment_ms: Some(-1 << 60), ..config() });
        self.log.roll_if_due(1 << 60).unwrap();
        self.log.set_config(config());
    }

    /// Gives the next compaction something to do.
    fn touch(&mut self) {
        self.plain(&[("z", Some("1"))]);
        self.roll();
    }

    fn stable_offset(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.log.end_offset())
    }

    fn plan(&self, now_ms: i64) -> Option<Compaction> {
        let producers = self.producers.values().copied().collect();
        let state =
            StreamState { stable_offset: self.stable_offset(), aborted: self.aborted.clone(), producers };
        self.log.plan_compaction(&self.rules, state, now_ms).unwrap()
    }

    fn compact(&mut self, now_ms: i64) -> CompactionReport {
        let plan = self.plan(now_ms).expect("there is something to do");
        self.install(plan).0
    }

    /// Runs a compaction, and says how many segments it made.
    fn install(&mut self, plan: Compaction) -> (CompactionReport, usize) {
        let mut run = plan.begin(&Turned, &|_| ControlFlow::Continue(())).unwrap();
        let mut made = 0;
        while let Some(compacted) = run.make_next().unwrap() {
            self.log.install_compacted(compacted).unwrap().expect("nothing was trimmed");
            made += 1;
        }
        self.log.end_compaction(&run.report()).unwrap();
        (run.report(), made)
    }

    fn records(&self) -> Vec<String> {
        records_of(&self.log)
    }

    fn all_batches(&self) -> Vec<RecordBatch> {
        batches_of(&self.log)
    }

    fn segments(&self) -> Vec<i64> {
        let names = self.disk.list(Path::new(DIR)).unwrap();
        names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect()
    }

    fn check_compaction(&mut self, now_ms: i64) {
        let (before, batches_before) = (self.committed(), self.all_batches());
        let Some(plan) = self.plan(now_ms) else { return };
        let (report, _) = self.install(plan);
        let after = self.committed();
        let below = report.compacted_below;
        let past_horizon: HashSet<i64> = batches_before
            .iter()
            .filter(|batch| batch.delete_horizon_ms().is_some_and(|horizon_ms| horizon_ms <= now_ms))
            .flat_map(|batch| batch.base_offset()..batch.next_offset())
            .collect();

        let expected: Vec<_> = before
            .iter()
            .filter(|seen| {
                let is_latest = !before
                    .iter()
                    .any(|other| other.key == seen.key && other.offset > seen.offset && other.offset < below);
                let is_over = seen.value.is_none() && past_horizon.contains(&seen.offset);
                seen.offset >= below || (is_latest && !is_over)
            })
            .cloned()
            .collect();
        assert_eq!(after, expected, "compacted below {below}");
        self.check_markers();
        self.check_producers(&batches_before);
        assert!(self.log.reader().verify().unwrap().is_empty());
        let reopened = open(&self.disk, SEGMENT_BYTES).0;
        assert_eq!(batches_of(&reopened), self.all_batches());
    }

    /// What is left of a decided transaction is followed by its marker.
    fn check_markers(&self) {
        let mut unmarked: BTreeMap<i64, i64> = BTreeMap::new();
        for batch in self.all_batches().iter().filter(|batch| batch.is_transactional()) {
            match batch.is_control() {
                true => drop(unmarked.remove(&batch.producer_id())),
                false => drop(unmarked.entry(batch.producer_id()).or_insert(batch.base_offset())),
            }
        }
        for (producer, first) in unmarked {
            assert!(self.open.get(&producer).is_some_and(|open| *open <= first), "{producer} has no marker");
        }
    }

    fn check_producers(&self, before: &[RecordBatch]) {
        let is_there = |batches: &[RecordBatch], last: &LastBatch| {
            let is_it = |batch: &RecordBatch| {
                batch.producer_id() == last.producer_id && Some(batch.last_offset()) == last.last_data_offset
            };
            batches.iter().any(is_it)
        };
        let after = self.all_batches();
        for last in self.producers.values().filter(|last| is_there(before, last)) {
            assert!(is_there(&after, last), "the last batch of {} is gone", last.producer_id);
        }
    }

    /// What a reader of committed records gets, with its offset and time.
    fn committed(&self) -> Vec<Seen> {
        let stable_offset = self.stable_offset();
        let batches = self.all_batches();
        let visible = batches.iter().filter(|batch| {
            let is_aborted = self.aborted.iter().any(|aborted| {
                aborted.producer_id == batch.producer_id()
                    && (aborted.first_offset..aborted.last_offset).contains(&batch.base_offset())
            });
            !batch.is_control() && !is_aborted && batch.base_offset() < stable_offset
        });
        visible.flat_map(seen_in).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    offset: i64,
    timestamp_ms: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

fn seen_in(batch: &RecordBatch) -> Vec<Seen> {
    let records = match batch.compression_codec() {
        0 => Ok(batch.records_bytes().to_vec()),
        codec => Turned.decompress(codec, &batch.records_bytes()),
    };
    let Ok(records) = records else { return Vec::new() };
    let seen = batch.records_in(&records).map(|record| {
        let record = record.unwrap();
        Seen {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.unwrap_or_default().to_vec(),
            value: record.value.map(<[u8]>::to_vec),
        }
    });
    seen.collect()
}

fn seen(log: &Log) -> Vec<Seen> {
    batches_of(log).iter().filter(|batch| !batch.is_control()).flat_map(seen_in).collect()
}

fn records_of(log: &Log) -> Vec<String> {
    batches_of(log).iter().flat_map(told).collect()
}

/// "3 a=1" for a value, "3 a-" for a tombstone, "3 commit 7" for a marker.
fn told(batch: &RecordBatch) -> Vec<String> {
    let seen = seen_in(batch);
    if seen.is_empty() && !batch.is_empty() {
        return vec![format!("{} unreadable", batch.base_offset())];
    }
    let tell = |seen: &Seen| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match &seen.value {
            _ if batch.is_control() => {
                let ending = if seen.key[3] == 1 { "commit" } else { "abort" };
                format!("{} {ending} {}", seen.offset, batch.producer_id())
            }
            Some(value) => format!("{} {}={}", seen.offset, text(&seen.key), text(value)),
            None => format!("{} {}-", seen.offset, text(&seen.key)),
        }
    };
    seen.iter().map(tell).collect()
}

/// All batches, those without records too.
fn batches_of(log: &Log) -> Vec<RecordBatch> {
    let (reader, mut next, mut batches) = (log.reader(), log.start_offset(), Vec::new());
    while let Some(region) = reader.locate(next, i64::MAX, 1 << 20).unwrap() {
        next = region.next_offset;
        let mut rest = region.read().unwrap();
        while !rest.is_empty() {
            let (batch, behind) = RecordBatch::parse(rest).unwrap();
            batch.verify().unwrap();
            batches.push(batch);
            rest = behind;
        }
    }
    batches
}

fn batch_of(
    producer: i64,
    sequence: i32,
    attributes: i16,
    base_offset: i64,
    records: &[(&str, Option<&str>)],
    timestamp_ms: i64,
) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.start(base_offset, timestamp_ms);
    if producer >= 0 {
        builder.set_producer(producer, 0, sequence);
    }
    builder.set_attributes(attributes);
    for (index, (key, value)) in records.iter().enumerate() {
        let value = value.map(|value| [value.as_bytes()]);
        let value = value.as_ref().map(|parts| &parts[..]);
        builder.push(
            base_offset + index as i64,
            timestamp_ms + index as i64,
            Some(key.as_bytes()),
            value,
            &[],
        );
    }
    builder.finish()
}

/// The batch with other bytes for its records, said to be compressed.
fn compress(batch: &Bytes, records: &[u8]) -> Vec<u8> {
    let mut compressed = [&batch[..61], records].concat();
    let length = compressed.len() as i32 - 12;
    compressed[8..12].copy_from_slice(&length.to_be_bytes());
    compressed[22] |= 4;
    let crc = crc_fast::crc32_iscsi(&compressed[21..]);
    compressed[17..21].copy_from_slice(&crc.to_be_bytes());
    compressed
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES, index_interval_bytes: 64, ..LogConfig::default() }
}

fn flush(log: &mut Log, disk: &MemoryDisk) {
    log.take_dirty().unwrap().flush(disk).unwrap();
}
