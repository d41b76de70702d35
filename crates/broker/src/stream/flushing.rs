//! When a log is flushed though nobody waits for that: with `--flush os`, by `flush.messages` and `flush.ms`.

use std::collections::{BTreeSet, HashMap};

use cauce_core::topic::TopicConfig;

/// Logs with records that were not flushed, by their numbers. Only those that are to be.
#[derive(Debug, Default)]
pub(super) struct Unflushed {
    logs: HashMap<u64, Written, foldhash::fast::RandomState>,
    /// When, and which.
    due: BTreeSet<(i64, u64)>,
}

#[derive(Debug, Default)]
struct Written {
    messages: i64,
    due_ms: Option<i64>,
}

impl Unflushed {
    /// Whether these are so many that the log is flushed now.
    pub(super) fn wrote(&mut self, log: u64, messages: i64, config: &TopicConfig, now_ms: i64) -> bool {
        if config.flush_messages == i64::MAX && config.flush_ms == i64::MAX {
            return false;
        }
        let written = self.logs.entry(log).or_default();
        written.messages += messages;
        if written.messages >= config.flush_messages {
            self.forget(log);
            return true;
        }
        if written.due_ms.is_none() && config.flush_ms < i64::MAX {
            let due_ms = now_ms.saturating_add(config.flush_ms);
            written.due_ms = Some(due_ms);
            self.due.insert((due_ms, log));
        }
        false
    }

    /// It was flushed, or is gone.
    pub(super) fn forget(&mut self, log: u64) {
        if let Some(Written { due_ms: Some(due_ms), .. }) = self.logs.remove(&log) {
            self.due.remove(&(due_ms, log));
        }
    }

    pub(super) fn next_ms(&self) -> Option<i64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// A log that waited for long enough.
    pub(super) fn take_due(&mut self, now_ms: i64) -> Option<u64> {
        let (due_ms, log) = *self.due.first()?;
        if due_ms > now_ms {
            return None;
        }
        self.forget(log);
        Some(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_flushed_after_so_many_messages_or_so_long() {
        let config = TopicConfig { flush_messages: 5, flush_ms: 100, ..TopicConfig::default() };
        let mut unflushed = Unflushed::default();
        assert!(!unflushed.wrote(1, 4, &config, 0));
        assert!(!unflushed.wrote(2, 3, &config, 50));
        assert_eq!(unflushed.next_ms(), Some(100));
        assert!(unflushed.wrote(1, 1, &config, 60));
        assert_eq!((unflushed.next_ms(), unflushed.take_due(149)), (Some(150), None));
        assert_eq!((unflushed.take_due(150), unflushed.take_due(150)), (Some(2), None));
        assert!(!unflushed.wrote(2, 4, &config, 160));
        unflushed.forget(2);
        assert_eq!(unflushed.next_ms(), None);
        assert!(!unflushed.wrote(3, i64::MAX - 1, &TopicConfig::default(), 0));
        assert!(unflushed.logs.is_empty());
    }
}
