//! So many bytes in a second, and no more at once when there were few for a while.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Nobody is stopped for less: a sleep takes longer than it is asked to.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// What was not used in good time is lost. Who was held up by a slow disk would else make up for it in one go.
const CATCH_UP_MAX: Duration = Duration::from_millis(20);

/// However low the rate.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(super) struct Throttle {
    bytes_per_second: f64,
    /// When what has passed was due to have passed.
    due: Cell<Instant>,
}

impl Throttle {
    pub(super) fn new(bytes_per_second: f64, now: Instant) -> Throttle {
        Throttle { bytes_per_second, due: Cell::new(now) }
    }

    /// Lets these bytes through: how long to wait before any more are asked for.
    pub(super) fn pass(&self, bytes: u64, now: Instant) -> Duration {
        let from = now.checked_sub(CATCH_UP_MAX).map_or(now, |earliest| self.due.get().max(earliest));
        let takes = Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second);
        let due = from + takes.unwrap_or(PAUSE_MAX).min(PAUSE_MAX);
        self.due.set(due);
        Some(due.saturating_duration_since(now)).filter(|pause| *pause >= PAUSE_MIN).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_second_lets_through_what_it_may() {
        let start = Instant::now();
        let throttle = Throttle::new(10.0 * MB as f64, start);
        let mut now = start;
        for _ in 0..1000 {
            now += throttle.pass(MB / 100, now);
        }
        let (took, due) = (now - start, ms(1000));
        assert!(took <= due && took + PAUSE_MIN + CATCH_UP_MAX >= due, "{took:?}");
    }

    #[test]
    fn who_was_held_up_does_not_make_up_for_it() {
        let start = Instant::now();
        let throttle = Throttle::new(10.0 * MB as f64, start);
        let later = start + ms(5000);
        assert_eq!(throttle.pass(MB, later), ms(100) - CATCH_UP_MAX);
    }

    #[test]
    fn without_a_limit_nobody_waits_and_the_smallest_is_not_for_ever() {
        let start = Instant::now();
        assert_eq!(Throttle::new(f64::MAX, start).pass(u64::MAX, start), Duration::ZERO);
        assert_eq!(Throttle::new(f64::MIN_POSITIVE, start).pass(1, start), PAUSE_MAX);
    }
}
