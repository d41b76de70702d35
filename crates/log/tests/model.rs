//! Random use of a log, compared with a list of batches.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use cauce_log::{FileDisk, FlushStrategy, Log, LogConfig, MemoryDisk, RecordBatch};
use common::{DIR, batch, offsets_of, open, read_from};
use proptest::collection::vec;
use proptest::prelude::*;

const SEGMENT_BYTES: u64 = 700;
const GAP_BYTES: u64 = 61;

#[derive(Debug, Clone)]
enum Step {
    Append {
        batches: usize,
        records: i64,
        value_bytes: usize,
        gap: i64,
    },
    /// Reads from this share (in percent) of what is there.
    Read {
        percent: i64,
        bytes_max: usize,
    },
    FindTime {
        percent: i64,
    },
    Trim {
        percent: i64,
    },
    RetainBytes {
        percent: u64,
    },
    RetainTime {
        percent: i64,
    },
    Reopen,
}

#[derive(Default)]
struct Model {
    batches: Vec<Bytes>,
    /// Where gaps end. Each is filled with a batch of nothing but a header.
    gap_ends: Vec<i64>,
    end_offset: i64,
}

proptest! {
    #[test]
    fn a_log_is_a_list_of_batches(steps in vec(a_step(), 1..60)) {
        let disk = MemoryDisk::new();
        let mut model = Model::default();
        let mut log = open(&disk, SEGMENT_BYTES).0;
        for step in &steps {
            match step {
                Step::Reopen => log = reopen(&disk, &mut log),
                step => model.take(step, &mut log),
            }
            model.check(&log);
        }
    }
}

#[test]
fn a_log_on_the_real_disk_is_read_back_after_reopening() {
    let root = tempfile::tempdir().unwrap();
    let disk = Arc::new(FileDisk::new(root.path().to_owned(), FlushStrategy::Adaptive));
    let config = LogConfig { segment_bytes: SEGMENT_BYTES, ..LogConfig::default() };
    let open = || Log::open(disk.clone(), DIR.into(), config.clone()).unwrap();
    let (mut log, _) = open();
    let batches: Vec<_> = (0..50).map(|offset| batch(offset, 1, 50)).collect();
    log.append_all(&batches).unwrap();
    drop(log);
    let (log, recovery) = open();
    assert_eq!(recovery, Default::default());
    assert_eq!(common::read_all(&log), batches);
}

fn a_step() -> impl Strategy<Value = Step> {
    let append = (1..4usize, 1..4i64, 0..120usize, prop_oneof![4 => Just(0i64), 1 => 1..9i64]);
    let append = append.prop_map(|(batches, records, value_bytes, gap)| Step::Append {
        batches,
        records,
        value_bytes,
        gap,
    });
    let percent = || 0..=100i64;
    prop_oneof![
        8 => append,
        4 => (percent(), 0..900usize).prop_map(|(percent, bytes_max)| Step::Read { percent, bytes_max }),
        2 => percent().prop_map(|percent| Step::FindTime { percent }),
        1 => percent().prop_map(|percent| Step::Trim { percent }),
        1 => (0..=100u64).prop_map(|percent| Step::RetainBytes { percent }),
        1 => percent().prop_map(|percent| Step::RetainTime { percent }),
        1 => Just(Step::Reopen),
    ]
}

fn reopen(disk: &MemoryDisk, log: &mut Log) -> Log {
    log.remove_retired().unwrap();
    let (reopened, recovery) = open(disk, SEGMENT_BYTES);
    assert_eq!(recovery, Default::default());
    assert_eq!(reopened.start_offset(), log.start_offset());
    reopened
}

impl Model {
    fn take(&mut self, step: &Step, log: &mut Log) {
        let offset_at =
            |percent| log.start_offset() + (log.end_offset() - log.start_offset()) * percent / 100;
        match step {
            Step::Append { batches, records, value_bytes, gap } => {
                self.append(log, *batches, *records, *value_bytes, *gap)
            }
            Step::Read { percent, bytes_max } => self.check_read(log, offset_at(percent), *bytes_max),
            Step::FindTime { percent } => self.check_time(log, offset_at(percent) * 10 - 5),
            Step::Trim { percent } => {
                let offset = offset_at(percent);
                let freed = log.trim_before(offset).unwrap();
                assert!(self.forget_below(log.start_offset()) == freed && log.start_offset() <= offset);
            }
            Step::RetainBytes { percent } => {
                let kept = log.size_bytes() * percent / 100;
                let freed = log.retain(0, None, Some(kept)).unwrap().bytes;
                assert_eq!(self.forget_below(log.start_offset()), freed);
                assert!(log.size_bytes() >= kept);
            }
            Step::RetainTime { percent } => {
                let now_ms = offset_at(percent) * 10;
                let freed = log.retain(now_ms, Some(0), None).unwrap().bytes;
                assert_eq!(self.forget_below(log.start_offset()), freed);
                assert!(log.start_offset() * 10 <= now_ms.max(log.end_offset() * 10));
            }
            Step::Reopen => unreachable!("reopening is the caller's"),
        }
    }

    fn append(&mut self, log: &mut Log, batches: usize, records: i64, value_bytes: usize, gap: i64) {
        let base = |index: usize| self.end_offset + gap + records * index as i64;
        let new: Vec<_> = (0..batches).map(|index| batch(base(index), records, value_bytes)).collect();
        if gap > 0 {
            self.gap_ends.push(base(0));
        }
        self.end_offset = base(batches);
        log.append_all(&new).unwrap();
        self.batches.extend(new);
    }

    /// How many bytes were below.
    fn forget_below(&mut self, start_offset: i64) -> u64 {
        let (gone, kept) = std::mem::take(&mut self.batches)
            .into_iter()
            .partition(|batch| offsets_of(batch).end <= start_offset);
        self.batches = kept;
        let gone: Vec<Bytes> = gone;
        let gaps_before = self.gap_ends.len();
        self.gap_ends.retain(|end| *end > start_offset);
        size_bytes(&gone, gaps_before - self.gap_ends.len())
    }

    fn check_read(&self, log: &Log, from: i64, bytes_max: usize) {
        let mut expected = Vec::new();
        let mut bytes = 0;
        for batch in self.batches.iter().filter(|batch| offsets_of(batch).end > from) {
            bytes += batch.len();
            if !expected.is_empty() && bytes > bytes_max {
                break;
            }
            expected.push(batch.clone());
        }
        let read = log.reader().read(from, bytes_max).unwrap();
        let read: Vec<_> = read.into_iter().map(RecordBatch::into_bytes).collect();
        // A read may stop at the end of a segment, but not before it has something.
        assert_eq!(read, expected[..read.len()]);
        assert_eq!(read.is_empty(), expected.is_empty());
    }

    /// Each record's time is ten times its offset.
    fn check_time(&self, log: &Log, timestamp_ms: i64) {
        let mut offsets = self.batches.iter().flat_map(offsets_of);
        let expected = offsets.find(|offset| offset * 10 >= timestamp_ms).map(|offset| (offset, offset * 10));
        assert_eq!(log.reader().offset_for_time(timestamp_ms, &common::Plain).unwrap(), expected);
    }

    fn check(&self, log: &Log) {
        assert_eq!(log.end_offset(), self.end_offset);
        assert_eq!(log.size_bytes(), size_bytes(&self.batches, self.gap_ends.len()));
        assert_eq!(read_from(&log.reader(), log.start_offset()), self.batches);
        assert!(log.reader().take_damage().is_empty());
    }
}

fn size_bytes(batches: &[Bytes], gaps: usize) -> u64 {
    batches.iter().map(|batch| batch.len() as u64).sum::<u64>() + gaps as u64 * GAP_BYTES
}
