//! Housekeeping: now and then old segments go, and topics that are compacted lose what newer records replaced.
//!
//! One partition after the other, and beside all else: what takes long (reading and writing anew) is done on a thread
//! of its own, and what only the storage thread may do are short jobs among its others.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use cauce_core::message::Gauge;
use tokio::sync::oneshot;

use super::chores::{Chore, Planned, compaction_rules};
use super::codec::Compression;
use super::handle::{PartitionCommand, PartitionHandle};
use super::throttle::Throttle;
use super::topics::Topic;
use crate::clock::now_ms;
use crate::node::Node;

/// The first look comes soon after the start: a node that is often restarted would keep all for ever.
const FIRST_LOOK_MS: i64 = 30_000;

impl Node {
    /// Keeps house for as long as the node is there.
    pub(crate) fn start_housekeeping(self: &Arc<Self>) {
        let settings = &self.settings().node;
        let (look_ms, compact_ms) = (settings.retention_check_interval_ms, settings.cleaner_backoff_ms);
        let node = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut looks = every(look_ms);
            while let Some(node) = at_next(&mut looks, &node).await {
                node.remove_old_records().await;
            }
        });
        if !settings.cleaner_enable {
            return;
        }
        let node = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut looks = every(compact_ms);
            while let Some(node) = at_next(&mut looks, &node).await {
                node.compact_topics().await;
            }
        });
    }

    /// Lets go of what retention says, in all topics.
    pub async fn remove_old_records(&self) {
        for topic in self.topics().all() {
            let config = topic.config();
            let may_roll = config.cleanup_policy.compact && config.max_compaction_lag_ms < i64::MAX;
            if !config.cleanup_policy.delete && !may_roll {
                continue;
            }
            for partition in topic.partitions().iter().filter(|partition| partition.reader().is_some()) {
                let Some(removed) = partition.chore(|done| Chore::Retain { done }).await else { continue };
                if removed.bytes > 0 {
                    tracing::info!(partition = %partition.at, bytes = removed.bytes, "old records were removed");
                    // Here the files really go.
                    let _ = tokio::task::spawn_blocking(move || drop(removed)).await;
                }
            }
        }
    }

    /// Compacts all that is due, what has most to lose first.
    pub async fn compact_topics(&self) {
        let settings = &self.settings().node;
        let keys_bytes_max =
            (settings.cleaner_dedupe_bytes as usize).min(self.memory().compaction_bytes_max());
        for partition in self.partitions_to_compact(keys_bytes_max) {
            let planned = partition.chore(|done| Chore::Plan { keys_bytes_max, done }).await.flatten();
            let Some(planned) = planned else { continue };
            let run = Run {
                partition: partition.clone(),
                gauge: self.memory().gauge().clone(),
                throttle: Throttle::new(settings.cleaner_bytes_per_second, Instant::now()),
            };
            let ran = tokio::task::spawn_blocking(move || run.carry_out(planned)).await;
            match ran {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) if partition.is_gone() => {}
                Ok(Err(error)) => {
                    tracing::warn!(partition = %partition.at, %error, "a compaction was given up; it is tried again");
                }
                Err(error) => tracing::error!(partition = %partition.at, %error, "a compaction failed"),
            }
        }
    }

    fn partitions_to_compact(&self, keys_bytes_max: usize) -> Vec<Arc<PartitionHandle>> {
        let mut due: Vec<_> = self
            .topics()
            .all()
            .iter()
            .filter(|topic| topic.config().cleanup_policy.compact)
            .flat_map(|topic| shares_to_compact(topic, keys_bytes_max))
            .collect();
        due.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        due.into_iter().map(|(_, partition)| partition).collect()
    }
}

fn every(interval_ms: i64) -> tokio::time::Interval {
    let first = tokio::time::Instant::now() + duration(interval_ms.min(FIRST_LOOK_MS));
    let mut looks = tokio::time::interval_at(first, duration(interval_ms));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    looks
}

fn duration(ms: i64) -> Duration {
    Duration::from_millis(ms.max(1) as u64)
}

async fn at_next(looks: &mut tokio::time::Interval, node: &Weak<Node>) -> Option<Arc<Node>> {
    looks.tick().await;
    node.upgrade()
}

/// The partitions of a topic in which it is time, and how much of each was not compacted.
fn shares_to_compact(topic: &Arc<Topic>, keys_bytes_max: usize) -> Vec<(f64, Arc<PartitionHandle>)> {
    let rules = compaction_rules(&topic.config(), keys_bytes_max);
    let share = |partition: &Arc<PartitionHandle>| {
        let stable_offset = partition.extent().last_stable as i64;
        let share = partition.reader()?.share_to_compact(&rules, stable_offset, now_ms());
        let share = share.unwrap_or_else(|error| {
            tracing::warn!(partition = %partition.at, %error, "a log cannot be looked at");
            None
        });
        Some((share?, partition.clone()))
    };
    topic.partitions().iter().filter_map(share).collect()
}

/// A compaction on its own thread.
struct Run {
    partition: Arc<PartitionHandle>,
    gauge: Gauge,
    throttle: Throttle,
}

impl Run {
    fn carry_out(self, planned: Planned) -> io::Result<()> {
        let pace = |bytes| match self.partition.is_gone() {
            true => ControlFlow::Break(()),
            false => {
                std::thread::sleep(self.throttle.pass(bytes, Instant::now()));
                ControlFlow::Continue(())
            }
        };
        let mut run = planned.ready()?.begin(&Compression, &pace)?;
        let _keys = self.gauge.charge(run.keys_bytes());
        let (mut before, mut after) = (0, 0);
        while let Some(compacted) = run.make_next()? {
            let installed = self.partition.chore_now(|done| Chore::Install { compacted, done });
            let Some(replaced) = installed.flatten() else { return Ok(()) };
            (before, after) = (before + replaced.bytes_before, after + replaced.bytes_after);
        }
        let report = run.report();
        tracing::info!(partition = %self.partition.at, ?report, before, after, "a log was compacted");
        self.partition.chore_now(|done| Chore::End { report, done });
        Ok(())
    }
}

impl PartitionHandle {
    /// `None` when the partition is gone, or nothing was ever written to it.
    async fn chore<T>(&self, chore: impl FnOnce(oneshot::Sender<T>) -> Chore) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.mailbox().send(PartitionCommand::Chore(chore(done)));
        answer.await.ok()
    }

    /// The same, for a thread that may wait.
    fn chore_now<T>(&self, chore: impl FnOnce(oneshot::Sender<T>) -> Chore) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.mailbox().send(PartitionCommand::Chore(chore(done)));
        answer.blocking_recv().ok()
    }
}
