//! Which publishes the broker has not confirmed, shared by the one that writes and the one that reads.

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
        Settling {
            window: self,
            settled: self.settled(),
        }
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
        } else if tag == self.settled + 1 {
            self.settled = tag;
        } else {
            self.early.push(tag);
        }
    }

    /// Lets the writer go on.
    pub(super) fn announce(&self) {
        self.window.settled.store(self.settled, Ordering::Release);
        self.window.changed.notify_one();
    }
}
