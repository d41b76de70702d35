//! A journal is changed, rewritten and crashed, and its entries are those that were promised.

mod common;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cauce_log::{Disk, Journal, MemoryDisk, Recovery};
use common::{content_of, disk_with};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

const DIR: &str = "queue/settled";
const FIRST_FILE: &str = "queue/settled/00000000000000000000.journal";

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Flush,
    /// Keeps every entry, as owners of much live state do, or only the last.
    Rewrite {
        keep_all: bool,
    },
    Kill,
}

#[test]
fn a_new_journal_is_empty() {
    let (journal, entries, recovery) = open(&MemoryDisk::new());
    assert!(entries.is_empty());
    assert_eq!((journal.size_bytes(), recovery), (0, Recovery::default()));
    assert!(!journal.should_rewrite());
}

#[test]
fn entries_come_back_in_order() {
    let disk = MemoryDisk::new();
    let (mut journal, ..) = open(&disk);
    journal.append(&[b"a", b"", b"c"]).unwrap();
    journal.append(&[]).unwrap();
    journal.append(&[b"d"]).unwrap();
    assert_eq!(open(&disk).1, ["a", "", "c", "d"]);
}

#[test]
fn a_rewritten_journal_holds_the_snapshot_and_what_follows() {
    let disk = MemoryDisk::new();
    let (mut journal, ..) = open(&disk);
    journal.append(&[b"a", b"b"]).unwrap();
    journal.rewrite(["ab"]).unwrap();
    journal.append(&[b"c"]).unwrap();
    let (mut journal, entries, _) = open(&disk);
    assert_eq!(entries, ["ab", "c"]);
    assert_eq!(file_count(&disk), 2);
    journal.take_dirty().flush(&disk).unwrap();
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), ["00000000000000000001.journal"]);
    journal.rewrite(Vec::<Bytes>::new()).unwrap();
    assert!(open(&disk).1.is_empty());
}

#[test]
fn nothing_is_flushed_but_by_the_group_flush_and_old_files_go_nevertheless() {
    let disk = MemoryDisk::new();
    let (mut journal, ..) = open(&disk);
    journal.append(&[b"a"]).unwrap();
    journal.take_dirty().flush(&disk).unwrap();
    let syncs = disk.syncs();
    for _ in 0..9 {
        journal.rewrite([b"a"]).unwrap();
        journal.append(&[b"b"]).unwrap();
    }
    assert_eq!(disk.syncs(), syncs);
    assert_eq!(file_count(&disk), 3);
    assert_eq!(open(&disk.crash(None)).1, ["a"]);
    journal.take_dirty().flush(&disk).unwrap();
    assert_eq!((file_count(&disk), open(&disk.crash(None)).1), (1, vec!["a".into(), "b".into()]));
}

#[test]
fn a_rewriting_that_a_crash_cut_anywhere_leaves_the_old_state() {
    let disk = MemoryDisk::new();
    let (mut journal, ..) = open(&disk);
    journal.append(&[b"old"]).unwrap();
    journal.rewrite(["new", "whole"]).unwrap();
    let path = Path::new(DIR).join("00000000000000000001.journal");
    let content = content_of(&disk, &path);
    for cut in 0..content.len() {
        disk.open(&path).unwrap().write_all_at(&content, 0).unwrap();
        disk.open(&path).unwrap().set_len(cut as u64).unwrap();
        let (_, entries, recovery) = open(&disk);
        assert_eq!((entries, recovery), (vec!["old".into()], Recovery::default()), "cut at {cut}");
        assert_eq!(file_count(&disk), 1);
    }
}

#[test]
fn a_journal_is_worth_rewriting_once_it_outgrew_its_snapshot() {
    let disk = MemoryDisk::new();
    let (mut journal, ..) = open(&disk);
    let entry = vec![1; 40 << 10];
    journal.append(&[&entry]).unwrap();
    assert!(!journal.should_rewrite());
    journal.append(&[&entry]).unwrap();
    assert!(journal.should_rewrite());
    journal.rewrite([&entry]).unwrap();
    assert!(!journal.should_rewrite());
    for _ in 0..2 {
        journal.append(&[&entry]).unwrap();
        assert!(!journal.should_rewrite());
    }
    // A restart remembers how much of the file is snapshot.
    let (mut journal, ..) = open(&disk);
    assert!(!journal.should_rewrite());
    journal.append(&[&entry, &entry]).unwrap();
    assert!(journal.should_rewrite());
}

#[test]
fn a_large_snapshot_is_cut_into_batches() {
    let disk = MemoryDisk::new();
    let (mut journal, ..) = open(&disk);
    let entries: Vec<_> = (0..100u8).map(|n| vec![n; 10_000]).collect();
    journal.rewrite(&entries).unwrap();
    assert_eq!(open(&disk).1, entries);
}

#[test]
fn a_journal_cut_at_any_byte_recovers_the_changes_before_it() {
    let disk = MemoryDisk::new();
    let (mut journal, ..) = open(&disk);
    let (mut ends, mut entries) = (vec![0], Vec::new());
    for n in 0..4u8 {
        journal.append(&[&[n; 9], &[n; 3]]).unwrap();
        ends.push(journal.size_bytes() as usize);
        entries.extend([vec![n; 9], vec![n; 3]]);
    }
    let content = content_of(&disk, Path::new(FIRST_FILE));
    for cut in 0..=content.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        let disk = disk_with(Path::new(FIRST_FILE), &content[..cut]);
        let (mut journal, found, recovery) = open(&disk);
        assert_eq!(found, entries[..whole * 2], "cut at {cut}");
        assert_eq!(recovery.truncated_bytes as usize, cut - ends[whole]);
        journal.append(&[b"next"]).unwrap();
        assert_eq!(open(&disk).1.last().unwrap(), "next");
    }
}

#[test]
fn damage_in_the_middle_is_reported_and_the_rest_kept() {
    let disk = MemoryDisk::new();
    let (mut journal, ..) = open(&disk);
    for entry in [b"a", b"b", b"c"] {
        journal.append(&[entry]).unwrap();
    }
    let mut content = content_of(&disk, Path::new(FIRST_FILE));
    let middle = content.len() / 2;
    content[middle] ^= 1;
    let (_, entries, recovery) = open(&disk_with(Path::new(FIRST_FILE), &content));
    assert_eq!(entries, ["a", "c"]);
    assert_eq!((recovery.damaged.len(), recovery.truncated_bytes), (1, 0));
    assert_eq!(recovery.damaged[0].offsets, 1..2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_power_cut_at_any_flush_leaves_a_state_that_was_reached(steps in vec(a_step(), 1..25), seed: u64) {
        let disk = MemoryDisk::new();
        run(&disk, &steps, u64::MAX);
        for syncs in 0..=disk.syncs() {
            let disk = MemoryDisk::new();
            disk.freeze_at_sync(syncs);
            let states = run(&disk, &steps, syncs);
            check_survivor(&disk.crash(None), &states);
            for torn in 0..4 {
                check_survivor(&disk.crash(Some(seed.wrapping_add(torn))), &states);
            }
        }
    }
}

proptest! {
    #[test]
    fn power_cuts_in_life_after_life_leave_a_state_that_was_reached(
        lives in vec((vec(a_step(), 1..8), 0..25u64, of(any::<u64>())), 1..8),
    ) {
        let mut disk = MemoryDisk::new();
        let mut states = vec![Vec::new()];
        for (steps, syncs, torn) in lives {
            disk.freeze_at_sync(syncs);
            live(&disk, &steps, syncs, &mut states);
            disk = disk.crash(torn);
            check_survivor(&disk.crash(None), &states);
        }
    }
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => any::<u8>().prop_map(Step::Append),
        3 => Just(Step::Flush),
        2 => any::<bool>().prop_map(|keep_all| Step::Rewrite { keep_all }),
        1 => Just(Step::Kill),
    ]
}

/// Every list of entries the journal has held from the last promise on, the promised one first.
fn run(disk: &MemoryDisk, steps: &[Step], syncs: u64) -> Vec<Vec<Bytes>> {
    let mut states = Vec::new();
    live(disk, steps, syncs, &mut states);
    states
}

fn live(disk: &MemoryDisk, steps: &[Step], syncs: u64, states: &mut Vec<Vec<Bytes>>) {
    let (mut journal, mut entries, _) = open(disk);
    states.push(entries.clone());
    for step in steps {
        let mut is_promise = false;
        match step {
            Step::Append(byte) => {
                let entry = Bytes::from(vec![*byte; usize::from(*byte % 7)]);
                journal.append(&[&entry, b"two"]).unwrap();
                entries.extend([entry, Bytes::from_static(b"two")]);
            }
            Step::Flush => {
                journal.take_dirty().flush(disk).unwrap();
                is_promise = true;
            }
            Step::Rewrite { keep_all } => {
                let kept = if *keep_all { 0 } else { entries.len().saturating_sub(1) };
                entries.drain(..kept);
                journal.rewrite(&entries).unwrap();
            }
            Step::Kill => {
                let (reopened, found, _) = open(disk);
                assert_eq!(found, entries);
                journal = reopened;
            }
        }
        if is_promise && disk.syncs() <= syncs {
            states.clear();
        }
        states.push(entries.clone());
    }
}

fn check_survivor(disk: &MemoryDisk, states: &[Vec<Bytes>]) {
    let (mut journal, entries, recovery) = open(disk);
    assert!(recovery.damaged.is_empty(), "{recovery:?}");
    assert!(states.contains(&entries), "{entries:?} is none of {states:?}");
    journal.append(&[b"next"]).unwrap();
    journal.take_dirty().flush(disk).unwrap();
    assert_eq!(open(&disk.crash(None)).1, [&entries[..], &[Bytes::from_static(b"next")]].concat());
}

fn file_count(disk: &MemoryDisk) -> usize {
    disk.list(Path::new(DIR)).unwrap().len()
}

fn open(disk: &MemoryDisk) -> (Journal, Vec<Bytes>, Recovery) {
    Journal::open(Arc::new(disk.clone()), DIR.into()).unwrap()
}
