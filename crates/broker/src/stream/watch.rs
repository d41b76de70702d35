//! Who waits for a partition to show more. Nobody polls.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::handle::PartitionHandle;

#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<Watching>);

#[derive(Debug, Default)]
struct Watching {
    last: u64,
    waiters: HashMap<u64, Arc<Notify>, foldhash::fast::RandomState>,
}

impl Watchers {
    pub(super) fn wake(&self) {
        self.0.lock().waiters.values().for_each(|waiter| waiter.notify_one());
    }
}

/// While this is held its waiter is woken. One waiter can watch many partitions.
#[derive(Debug)]
pub struct Watch {
    handle: Arc<PartitionHandle>,
    number: u64,
}

impl Watch {
    pub(super) fn new(handle: Arc<PartitionHandle>, waiter: Arc<Notify>) -> Watch {
        let mut watching = handle.watchers().0.lock();
        watching.last += 1;
        let number = watching.last;
        watching.waiters.insert(number, waiter);
        drop(watching);
        Watch { handle, number }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.handle.watchers().0.lock().waiters.remove(&self.number);
    }
}
