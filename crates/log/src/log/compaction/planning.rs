//! Whether it is time to compact a log, and how far.

use std::io;

use super::{Compaction, CompactionRules, StreamState};
use crate::log::Log;
use crate::log::reader::LogReader;
use crate::log::view::{Placed, View};

impl Log {
    /// What is to be compacted, if it is time. All below the stable offset must be flushed before the run begins: what
    /// it leaves out is gone then.
    pub fn plan_compaction(
        &self,
        rules: &CompactionRules,
        state: StreamState,
        now_ms: i64,
    ) -> io::Result<Option<Compaction>> {
        let Some(due) = self.view.due(rules, state.stable_offset, now_ms)? else { return Ok(None) };
        let Due { segments, limit, compacted_below, .. } = due;
        Ok(Some(Compaction {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            view: self.view.clone(),
            config: self.config.clone(),
            rules: rules.clone(),
            state,
            now_ms,
            segments,
            compacted_below,
            limit,
        }))
    }
}

impl LogReader {
    /// How much of the log was not compacted, as a share, if it is time. See [`Log::plan_compaction`].
    pub fn share_to_compact(
        &self,
        rules: &CompactionRules,
        stable_offset: i64,
        now_ms: i64,
    ) -> io::Result<Option<f64>> {
        Ok(self.view.due(rules, stable_offset, now_ms)?.map(|due| due.share))
    }
}

/// What there is to compact.
struct Due {
    segments: Vec<Placed>,
    limit: i64,
    compacted_below: i64,
    share: f64,
}

impl View {
    fn due(&self, rules: &CompactionRules, stable_offset: i64, now_ms: i64) -> io::Result<Option<Due>> {
        let mut segments = self.all();
        let active = segments.pop().expect("a log has a segment").segment;
        let compacted_below = self.compacted_below().max(self.start_offset());
        let limit = stable_offset.min(active.base_offset);
        if limit <= compacted_below {
            return Ok(None);
        }
        let limit = limit.min(limit_by_age(&segments, compacted_below, rules, now_ms)?);
        segments.retain(|placed| placed.segment.base_offset < limit);
        let (dirty, clean): (Vec<&Placed>, Vec<_>) =
            segments.iter().partition(|placed| placed.offset_limit > compacted_below);
        let bytes = |of: &[&Placed]| of.iter().map(|placed| placed.segment.len_bytes()).sum::<u64>() as f64;
        let share = bytes(&dirty) / (bytes(&dirty) + bytes(&clean)).max(1.0);
        let is_time = share > rules.min_dirty_ratio || waits_too_long(&dirty, rules, now_ms)?;
        let is_due = limit > compacted_below && !dirty.is_empty() && is_time;
        Ok(is_due.then_some(Due { segments, limit, compacted_below, share }))
    }
}

/// Up to where records are old enough to be compacted.
fn limit_by_age(
    segments: &[Placed],
    compacted_below: i64,
    rules: &CompactionRules,
    now_ms: i64,
) -> io::Result<i64> {
    if rules.min_lag_ms > 0 {
        for placed in segments.iter().filter(|placed| placed.offset_limit > compacted_below) {
            let latest_ms = placed.segment.max_timestamp()?;
            if latest_ms.is_some_and(|latest_ms| latest_ms > now_ms.saturating_sub(rules.min_lag_ms)) {
                return Ok(placed.segment.base_offset);
            }
        }
    }
    Ok(i64::MAX)
}

fn waits_too_long(dirty: &[&Placed], rules: &CompactionRules, now_ms: i64) -> io::Result<bool> {
    if rules.max_lag_ms == i64::MAX {
        return Ok(false);
    }
    let oldest_ms = now_ms.saturating_sub(rules.max_lag_ms);
    for placed in dirty {
        if let Some(first_ms) = placed.segment.look_for_first_timestamp()? {
            return Ok(first_ms < oldest_ms);
        }
    }
    Ok(false)
}
