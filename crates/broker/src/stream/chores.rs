//! What housekeeping asks of a partition: its task adds what it knows, the storage thread does it.

use std::io;
use std::sync::Arc;

use cauce_core::stream::{Decided, Stream};
use cauce_core::topic::TopicConfig;
use cauce_log::{
    AbortedTransaction, Compacted, Compaction, CompactionReport, CompactionRules, Dirty, Disk, LastBatch,
    Log, LogError, Removed, Replaced, StreamState,
};
use tokio::sync::oneshot;

use super::handle::{PartitionCommand, PartitionMailbox};

#[derive(Debug)]
pub(crate) enum Chore {
    /// Lets go of what is too old or too much.
    Retain { done: oneshot::Sender<Removed> },
    /// Says what is to be compacted, if it is time.
    Plan { keys_bytes_max: usize, done: oneshot::Sender<Option<Planned>> },
    /// Puts a compacted segment in place.
    Install { compacted: Compacted, done: oneshot::Sender<Option<Replaced>> },
    /// All that a compaction made is in place.
    End { report: CompactionReport, done: oneshot::Sender<()> },
}

/// A compaction to come.
#[derive(Debug)]
pub(crate) struct Planned {
    compaction: Compaction,
    /// Nothing, where all is flushed before it is promised.
    unflushed: Dirty,
    disk: Arc<dyn Disk>,
}

impl Planned {
    /// Flushes what must be, on a thread that may wait.
    pub(crate) fn ready(self) -> io::Result<Compaction> {
        self.unflushed.flush(&*self.disk)?;
        Ok(self.compaction)
    }
}

/// A chore with what the task knows.
#[derive(Debug)]
pub(crate) enum ChoreJob {
    Retain {
        config: Arc<TopicConfig>,
        now_ms: i64,
        mailbox: PartitionMailbox,
        done: oneshot::Sender<Removed>,
    },
    Plan(Box<PlanJob>),
    Install {
        compacted: Compacted,
        done: oneshot::Sender<Option<Replaced>>,
    },
    End {
        report: CompactionReport,
        done: oneshot::Sender<()>,
    },
}

#[derive(Debug)]
pub(crate) struct PlanJob {
    rules: CompactionRules,
    state: StreamState,
    now_ms: i64,
    /// What the partition knows of all below the offset.
    end: u64,
    snapshot: Vec<u8>,
    done: oneshot::Sender<Option<Planned>>,
}

/// What is told once all that was written is safe.
#[derive(Debug)]
pub(crate) enum ChoreDone {
    Retained { start: u64, removed: Removed, mailbox: PartitionMailbox, done: oneshot::Sender<Removed> },
    Planned { planned: Box<Option<Planned>>, done: oneshot::Sender<Option<Planned>> },
    Installed { replaced: Option<Replaced>, done: oneshot::Sender<Option<Replaced>> },
    Ended { done: oneshot::Sender<()> },
}

impl Chore {
    /// Of transactions that were aborted nothing is left below, if it ends a compaction that left no doubt.
    pub(super) fn nothing_aborted_below(&self) -> Option<u64> {
        let Chore::End { report, .. } = self else { return None };
        let is_sure = !report.is_damaged && report.unreadable_batches == 0;
        is_sure.then_some(report.compacted_below as u64)
    }

    /// All that the task gave the storage thread comes first.
    pub(super) fn prepare(
        self,
        stream: &Stream,
        config: Arc<TopicConfig>,
        mailbox: &PartitionMailbox,
        now_ms: i64,
    ) -> ChoreJob {
        match self {
            Chore::Retain { done } => ChoreJob::Retain { config, now_ms, mailbox: mailbox.clone(), done },
            Chore::Plan { keys_bytes_max, done } => ChoreJob::Plan(Box::new(PlanJob {
                rules: compaction_rules(&config, keys_bytes_max),
                state: state_of(stream.decided()),
                now_ms,
                end: stream.end(),
                snapshot: stream.snapshot(),
                done,
            })),
            Chore::Install { compacted, done } => ChoreJob::Install { compacted, done },
            Chore::End { report, done } => ChoreJob::End { report, done },
        }
    }
}

impl ChoreJob {
    /// Without a log there is nothing to do, and whoever waits is told so by the end of the channel.
    pub(super) fn carry_out(
        self,
        log: &mut Log,
        disk: &Arc<dyn Disk>,
        flushes: bool,
    ) -> Result<ChoreDone, LogError> {
        match self {
            ChoreJob::Retain { config, now_ms, mailbox, done } => {
                let removed = retain(log, &config, now_ms)?;
                Ok(ChoreDone::Retained { start: log.start_offset() as u64, removed, mailbox, done })
            }
            ChoreJob::Plan(job) => job.carry_out(log, disk, flushes),
            ChoreJob::Install { compacted, done } => {
                Ok(ChoreDone::Installed { replaced: log.install_compacted(compacted)?, done })
            }
            ChoreJob::End { report, done } => {
                log.end_compaction(&report)?;
                Ok(ChoreDone::Ended { done })
            }
        }
    }
}

fn retain(log: &mut Log, config: &TopicConfig, now_ms: i64) -> Result<Removed, LogError> {
    let policy = config.cleanup_policy;
    if policy.compact && config.max_compaction_lag_ms < i64::MAX {
        // The active segment is not compacted, so it must not stay active for longer.
        log.roll_if_due(now_ms)?;
    }
    let retention_ms = Some(config.retention_ms).filter(|ms| policy.delete && *ms >= 0);
    let retention_bytes = u64::try_from(config.retention_bytes).ok().filter(|_| policy.delete);
    Ok(log.retain(now_ms, retention_ms, retention_bytes)?)
}

impl PlanJob {
    /// What a compaction leaves out must not be asked of an older snapshot: so there is one that knows all of it, and
    /// it is flushed first, as is what lets older records go.
    fn carry_out(self, log: &mut Log, disk: &Arc<dyn Disk>, flushes: bool) -> Result<ChoreDone, LogError> {
        let PlanJob { rules, state, now_ms, end, snapshot, done } = self;
        let planned = match log.plan_compaction(&rules, state, now_ms)? {
            None => None,
            Some(compaction) => {
                log.write_snapshot(end as i64, &snapshot)?;
                let unflushed = if flushes { Dirty::default() } else { log.take_dirty()? };
                Some(Planned { compaction, unflushed, disk: disk.clone() })
            }
        };
        Ok(ChoreDone::Planned { planned: Box::new(planned), done })
    }
}

impl ChoreDone {
    /// Who asked may be gone.
    pub(crate) fn tell(self) {
        match self {
            ChoreDone::Retained { start, removed, mailbox, done } => {
                mailbox.send(PartitionCommand::Begins { at: start, removed, done });
            }
            ChoreDone::Planned { planned, done } => drop(done.send(*planned)),
            ChoreDone::Installed { replaced, done } => drop(done.send(replaced)),
            ChoreDone::Ended { done } => drop(done.send(())),
        }
    }
}

pub(super) fn compaction_rules(config: &TopicConfig, keys_bytes_max: usize) -> CompactionRules {
    CompactionRules {
        min_lag_ms: config.min_compaction_lag_ms,
        max_lag_ms: config.max_compaction_lag_ms,
        min_dirty_ratio: config.min_cleanable_dirty_ratio,
        delete_retention_ms: config.delete_retention_ms,
        keys_bytes_max,
    }
}

fn state_of(decided: Decided) -> StreamState {
    let aborted = decided.aborted.iter().map(|aborted| AbortedTransaction {
        producer_id: aborted.producer.0,
        first_offset: aborted.first_offset as i64,
        last_offset: aborted.last_offset as i64,
    });
    let producers = decided.last_written.iter().map(|last| LastBatch {
        producer_id: last.producer.id.0,
        producer_epoch: last.producer.epoch,
        last_data_offset: last.last_offset.map(|offset| offset as i64),
    });
    StreamState {
        stable_offset: decided.below as i64,
        aborted: aborted.collect(),
        producers: producers.collect(),
    }
}
