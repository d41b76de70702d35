//! What a run came to, for people and for programs.

use serde::Serialize;

use super::latency::Percentiles;
use super::run::Counts;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Seconds measured, without warm-up and drain.
    pub(super) seconds: f64,
    pub(super) published: Count,
    pub(super) consumed: Count,
    pub(super) confirmed: Count,
    /// Publishes the broker answered with `basic.nack`.
    pub(super) refused: u64,
    /// Consumed less published, each times its queues, once everything was drained.
    pub(super) difference: i64,
    /// From publish to delivery.
    pub(super) latency_ms: Option<Percentiles>,
    /// From publish to confirm.
    pub(super) confirm_latency_ms: Option<Percentiles>,
}

#[derive(Debug, Serialize)]
pub(super) struct Count {
    /// From the start to the end of the drain.
    pub(super) total: u64,
    pub(super) measured: u64,
    /// While measured.
    pub(super) per_second: f64,
    /// Megabytes of message bodies per second.
    pub(super) mb_per_second: f64,
}

impl Report {
    pub(super) fn new(seconds: f64, measured: Counts, total: Counts, message_bytes: usize) -> Report {
        let count = |measured: u64, total| {
            let per_second = measured as f64 / seconds;
            Count { total, measured, per_second, mb_per_second: per_second * message_bytes as f64 / 1e6 }
        };
        Report {
            seconds,
            published: count(measured.published, total.published),
            consumed: count(measured.consumed, total.consumed),
            confirmed: count(measured.confirmed, total.confirmed),
            refused: total.refused,
            difference: 0,
            latency_ms: None,
            confirm_latency_ms: None,
        }
    }

    pub(super) fn print(&self) {
        println!("measured for {:.1} s", self.seconds);
        println!();
        println!("{:<12}{:>14}{:>14}{:>14}{:>14}", "", "messages", "per second", "MB/s", "in total");
        for (name, count) in
            [("published", &self.published), ("confirmed", &self.confirmed), ("consumed", &self.consumed)]
        {
            let Count { total, measured, per_second, mb_per_second } = count;
            println!("{name:<12}{measured:>14}{per_second:>14.0}{mb_per_second:>14.1}{total:>14}");
        }
        println!();
        println!("{:<12}{:>10}{:>10}{:>10}{:>10}{:>10}", "ms", "p50", "p95", "p99", "p99.9", "max");
        for (name, found) in [("delivery", self.latency_ms), ("confirm", self.confirm_latency_ms)] {
            match found {
                Some(of) => println!(
                    "{name:<12}{:>10.3}{:>10.3}{:>10.3}{:>10.3}{:>10.3}",
                    of.p50, of.p95, of.p99, of.p999, of.max
                ),
                None => println!("{name:<12}{0:>10}{0:>10}{0:>10}{0:>10}{0:>10}", "-"),
            }
        }
    }
}
