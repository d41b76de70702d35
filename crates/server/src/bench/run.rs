//! What all workers of a run share: the clock, the phase, and the counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Times in messages are nanoseconds since its start, so that only this process can read them.
#[derive(Debug)]
pub(super) struct Run {
    start: Instant,
    /// Latencies count: the warm-up is over, the drain has not begun.
    measuring: AtomicBool,
    publishing: AtomicBool,
    pub(super) published: AtomicU64,
    pub(super) confirmed: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) consumed: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) published: u64,
    pub(super) confirmed: u64,
    pub(super) refused: u64,
    pub(super) consumed: u64,
}

impl Run {
    pub(super) fn new() -> Run {
        Run {
            start: Instant::now(),
            measuring: AtomicBool::new(false),
            publishing: AtomicBool::new(true),
            published: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
        }
    }

    /// Never 0, which stands for no time at all.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64 + 1
    }

    pub(super) fn set_measuring(&self, measuring: bool) {
        self.measuring.store(measuring, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }

    pub(super) fn stop_publishing(&self) {
        self.publishing.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_publishing(&self) -> bool {
        self.publishing.load(Ordering::Relaxed)
    }

    pub(super) fn counts(&self) -> Counts {
        // Consumed first: what is read later may only be more, so nothing seems to be consumed unpublished.
        let consumed = self.consumed.load(Ordering::Relaxed);
        Counts {
            consumed,
            confirmed: self.confirmed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            published: self.published.load(Ordering::Relaxed),
        }
    }
}

impl Counts {
    pub(super) fn since(self, earlier: Counts) -> Counts {
        Counts {
            published: self.published - earlier.published,
            confirmed: self.confirmed - earlier.confirmed,
            refused: self.refused - earlier.refused,
            consumed: self.consumed - earlier.consumed,
        }
    }
}
