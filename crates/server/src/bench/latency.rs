//! Latencies, recorded by each worker for itself and added up at the end.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

#[derive(Debug)]
pub(super) struct Latencies(Histogram<u64>);

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Latencies {
    pub(super) fn new() -> Latencies {
        // One microsecond to an hour in nanoseconds; anything longer counts as an hour.
        let histogram = Histogram::new_with_bounds(1000, 3_600_000_000_000, 3);
        Latencies(histogram.expect("the bounds are constants in order"))
    }

    #[inline]
    pub(super) fn record(&mut self, nanos: u64, count: u64) {
        self.0.saturating_record_n(nanos, count);
    }

    pub(super) fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// `None` when nothing was recorded.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| millis(self.0.value_at_quantile(quantile));
        Some(Percentiles {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: millis(self.0.max()),
        })
    }
}

fn millis(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_workers_together() {
        let (mut fast, mut slow) = (Latencies::new(), Latencies::new());
        (1..=900).for_each(|_| fast.record(1_000_000, 1));
        slow.record(20_000_000, 95);
        slow.record(300_000_000, 5);
        fast.add(&slow);
        let found = fast.percentiles().expect("a thousand were recorded");
        for (value, expected) in
            [(found.p50, 1.0), (found.p95, 20.0), (found.p99, 20.0), (found.p999, 300.0), (found.max, 300.0)]
        {
            assert!((value / expected - 1.0).abs() < 0.001, "{value} instead of {expected}");
        }
    }

    #[test]
    fn nothing_recorded_is_no_number() {
        assert_eq!(Latencies::new().percentiles(), None);
    }
}
