//! The one place that reads the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Milliseconds since 1970-01-01 UTC.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Begins as the wall clock does and then goes on by itself: nobody's session ends because somebody sets the time.
/// It stands still or runs with tokio's time, which tests move by hand.
#[derive(Debug)]
pub(crate) struct Clock {
    start_ms: i64,
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start_ms: now_ms(), start: Instant::now() }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.start_ms + self.start.elapsed().as_millis() as i64
    }

    /// For ever, if there is no such time.
    pub(crate) async fn sleep_until(&self, at_ms: Option<i64>) {
        let Some(at_ms) = at_ms else { return std::future::pending().await };
        let after = Duration::from_millis(at_ms.saturating_sub(self.start_ms).max(0) as u64);
        // What is too far away is not lived to see.
        match self.start.checked_add(after) {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}
