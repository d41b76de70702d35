//! How many messages a publisher may have sent by now.

use std::time::Duration;

/// A steady rate. A publisher that fell behind catches up, so the rate holds over the whole run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// 0 is no limit.
    per_second: u64,
}

impl Pace {
    pub(super) fn new(per_second: u64) -> Pace {
        Pace { per_second }
    }

    /// How many more are due `elapsed` after the start, when `sent` are gone.
    pub(super) fn due(self, elapsed: Duration, sent: u64) -> u64 {
        if self.per_second == 0 {
            return u64::MAX;
        }
        let all = elapsed.as_nanos() * u128::from(self.per_second) / 1_000_000_000;
        (all as u64).saturating_sub(sent)
    }

    /// How long after the start the next one after `sent` is due.
    pub(super) fn next_after(self, sent: u64) -> Duration {
        if self.per_second == 0 {
            return Duration::ZERO;
        }
        let nanos = (u128::from(sent) + 1) * 1_000_000_000;
        Duration::from_nanos(nanos.div_ceil(u128::from(self.per_second)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_the_whole_run() {
        let pace = Pace::new(1000);
        assert_eq!(pace.due(Duration::ZERO, 0), 0);
        assert_eq!(pace.due(Duration::from_millis(10), 0), 10);
        assert_eq!(pace.due(Duration::from_millis(10), 10), 0);
        assert_eq!(pace.due(Duration::from_secs(2), 500), 1500);
        assert_eq!(pace.due(Duration::from_millis(1), 7), 0);
    }

    #[test]
    fn waiting_as_told_makes_one_due() {
        for per_second in [1, 3, 7, 999, 1_000_000] {
            let pace = Pace::new(per_second);
            for sent in [0, 1, 2, 1000, 123_457] {
                assert!(pace.due(pace.next_after(sent), sent) >= 1, "{per_second}/s after {sent}");
            }
        }
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(Pace::new(0).due(Duration::ZERO, 5), u64::MAX);
        assert_eq!(Pace::new(0).next_after(5), Duration::ZERO);
    }
}
