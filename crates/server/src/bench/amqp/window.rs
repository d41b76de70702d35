//! Which publishes the broker has not confirmed, shared by the one that writes and the one that reads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Delivery tags start at 1. A tag's slot holds the time it was sent, and 0 once it is settled; the
/// writer never runs more than the window ahead of the lowest unsettled tag, so slots do not collide.
#[derive(Debug)]
pub(super) struct Window {
    sent_at: Box<[AtomicU64]>,
    /// All tags up to here are settled.
    settled: AtomicU64,
    changed: Notify,
}

impl Window {
    pub(super) fn new(size: usize) -> Window {
        Window {
            sent_at: (0..size).map(|_| AtomicU64::new(0)).collect(),
            settled: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// How many more may be sent when `sent` are.
    pub(super) fn free(&self, sent: u64) -> u64 {
        self.sent_at.len() as u64 - (sent - self.settled())
    }

    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// The `count` after `sent` go out now.
    pub(super) fn sent(&self, sent: u64, count: u64, now: u64) {
        for tag in sent + 1..=sent + count {
            self.slot(tag).store(now, Ordering::Release);
        }
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn settling(&self) -> Settling<'_> {
        Settling { window: self, settled: self.settled(), early: BTreeSet::new() }
    }

    fn slot(&self, tag: u64) -> &AtomicU64 {
        &self.sent_at[(tag % self.sent_at.len() as u64) as usize]
    }
}

/// The reader's side.
#[derive(Debug)]
pub(super) struct Settling<'a> {
    window: &'a Window,
    settled: u64,
    /// Settled above a tag that is not.
    early: BTreeSet<u64>,
}

impl Settling<'_> {
    /// Calls `each` with the time every newly settled message was sent at. A tag outside of the window
    /// settles nothing.
    pub(super) fn settle(&mut self, tag: u64, multiple: bool, mut each: impl FnMut(u64)) {
        let last = self.settled + self.window.sent_at.len() as u64;
        if tag <= self.settled || tag > last {
            return;
        }
        let first = if multiple { self.settled + 1 } else { tag };
        for tag in first..=tag {
            let sent_at = self.window.slot(tag).swap(0, Ordering::AcqRel);
            if sent_at != 0 {
                each(sent_at);
            }
        }
        if multiple {
            self.settled = tag;
        } else {
            self.early.insert(tag);
        }
        while self.early.first().is_some_and(|&tag| tag <= self.settled + 1) {
            let tag = self.early.pop_first().expect("there is a first");
            self.settled = self.settled.max(tag);
        }
    }

    /// Lets the writer go on.
    pub(super) fn announce(&self) {
        self.window.settled.store(self.settled, Ordering::Release);
        self.window.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_and_multiple_confirms_come_in_any_order() {
        check(&[(1, false), (2, false)], 2, &[1, 2]);
        check(&[(4, true)], 4, &[1, 2, 3, 4]);
        check(&[(2, false), (3, false), (1, false)], 3, &[2, 3, 1]);
        check(&[(3, false), (2, true)], 3, &[3, 1, 2]);
        check(&[(2, false), (4, true), (4, true)], 4, &[2, 1, 3, 4]);
        check(&[(9, true), (0, false)], 0, &[]);
    }

    /// Four messages are sent, each at the time of its tag.
    fn check(confirms: &[(u64, bool)], settled: u64, expected: &[u64]) {
        let window = Window::new(4);
        (0..4).for_each(|sent| window.sent(sent, 1, sent + 1));
        assert_eq!(window.free(4), 0);
        let mut times = Vec::new();
        let mut settling = window.settling();
        for &(tag, multiple) in confirms {
            settling.settle(tag, multiple, |time| times.push(time));
        }
        settling.announce();
        assert_eq!((window.settled(), window.free(4)), (settled, settled), "{confirms:?}");
        assert_eq!(times, expected, "{confirms:?}");
    }
}
