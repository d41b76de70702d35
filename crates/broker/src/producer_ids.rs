//! Producer ids, each given out once. They are reserved on disk in blocks; what is left of one at a restart is lost.

use std::sync::atomic::{AtomicI64, Ordering};

use cauce_core::producer::ProducerId;
use tokio::sync::Mutex;

use crate::definitions::Change;
use crate::node::Node;

/// Ids reserved at a time.
const BLOCK: i64 = 1000;

#[derive(Debug)]
pub(crate) struct ProducerIds {
    next: Mutex<i64>,
    /// The first that is not reserved.
    reserved_upto: AtomicI64,
}

impl ProducerIds {
    pub(crate) fn new(first_free: i64) -> ProducerIds {
        ProducerIds { next: Mutex::new(first_free), reserved_upto: AtomicI64::new(first_free) }
    }

    pub(crate) fn change(&self) -> Option<Change> {
        let upto = self.reserved_upto.load(Ordering::Relaxed);
        (upto > 0).then_some(Change::ProducerIds { upto })
    }
}

impl Node {
    /// An id nobody has, which is reserved as safely as anything that is defined.
    pub async fn next_producer_id(&self) -> ProducerId {
        let ids = &self.shared.producer_ids;
        // Held while a block is reserved: the others wait for the same block.
        let mut next = ids.next.lock().await;
        if *next == ids.reserved_upto.load(Ordering::Relaxed) {
            let upto = *next + BLOCK;
            let saved = self.shared.define(&Change::ProducerIds { upto });
            // The storage thread answers or ends the process.
            let _ = saved.await;
            ids.reserved_upto.store(upto, Ordering::Relaxed);
        }
        *next += 1;
        ProducerId(*next - 1)
    }
}
