//! What a queue that was stopped in good order says of its log, so that the next start need not read it.
//!
//! It is believed only if the log still ends where it did. Reads check what they find all the same.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use cauce_core::queue::Kept;
use cauce_core::range_set::RangeSet;
use cauce_log::{Disk, Journal, LogError};
use serde::{Deserialize, Serialize};

use crate::storage::{QueueId, queue_dir};

/// More runs than this are not worth it: reading the log is as quick.
pub(crate) const RUNS_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Where the log ends.
    pub(crate) end: u64,
    /// What is in it and not done.
    pub(crate) kept: Vec<Range<u64>>,
    /// Of all their bodies together.
    pub(crate) body_bytes: u64,
}

impl Mark {
    pub(crate) fn write(&self, disk: &Arc<dyn Disk>, queue: QueueId) -> Result<(), LogError> {
        let (mut journal, ..) = Journal::open(disk.clone(), dir(queue))?;
        journal.rewrite([serde_json::to_vec(self).expect("numbers are JSON")])
    }

    /// The mark that was left there, which is gone then.
    pub(crate) fn take(disk: &Arc<dyn Disk>, queue: QueueId) -> Result<Option<Mark>, LogError> {
        if disk.list(&dir(queue))?.is_empty() {
            return Ok(None);
        }
        let (_, entries, _) = Journal::open(disk.clone(), dir(queue))?;
        disk.remove_dir_all(&dir(queue))?;
        Ok(entries.last().and_then(|entry| serde_json::from_slice(entry).ok()))
    }

    /// What is kept but for what was settled since.
    pub(crate) fn kept(&self, settled: &RangeSet) -> Vec<Kept> {
        let mut body_bytes = self.body_bytes;
        let mut kept = Vec::new();
        let mut keep = |offsets: Range<u64>| {
            if !offsets.is_empty() {
                kept.push(Kept { offsets, priority: 0, body_bytes: std::mem::take(&mut body_bytes), due_ms: 0 });
            }
        };
        for run in &self.kept {
            let mut from = run.start;
            for done in settled.runs_within(run.clone()) {
                keep(from..done.start);
                from = done.end;
            }
            keep(from..run.end);
        }
        kept
    }
}

fn dir(queue: QueueId) -> PathBuf {
    queue_dir(queue).join("mark")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_settled_after_the_mark_is_not_kept() {
        let mark = Mark { end: 100, kept: vec![10..20, 30..40], body_bytes: 7 };
        let mut settled = RangeSet::new();
        for range in [0..12, 15..16, 35..40] {
            settled.insert_range(range);
        }
        let kept: Vec<_> = mark.kept(&settled).into_iter().map(|kept| (kept.offsets, kept.body_bytes)).collect();
        assert_eq!(kept, [(12..15, 7), (16..20, 0), (30..35, 0)]);
    }
}
