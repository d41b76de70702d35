//! Producer ids, each given out once. They are reserved on disk in blocks; what is left of one at a restart is lost.

use std::ops::Range;

use cauce_core::producer::ProducerId;

use crate::definitions::Change;
use crate::node::Node;

/// Ids reserved at a time.
const BLOCK: i64 = 1000;

#[derive(Debug)]
pub(crate) struct ProducerIds {
    /// The first that is not reserved.
    first_free: parking_lot::Mutex<i64>,
    /// What is left of the block for producers without a transactional id.
    block: tokio::sync::Mutex<Range<i64>>,
}

impl ProducerIds {
    pub(crate) fn new(first_free: i64) -> ProducerIds {
        ProducerIds { first_free: first_free.into(), block: Range::default().into() }
    }

    pub(crate) fn change(&self) -> Option<Change> {
        let upto = *self.first_free.lock();
        (upto > 0).then_some(Change::ProducerIds { upto })
    }
}

impl Node {
    /// An id nobody has, which is reserved as safely as anything that is defined.
    pub async fn next_producer_id(&self) -> ProducerId {
        // Held while a block is reserved: the others wait for the same block.
        let mut block = self.shared.producer_ids.block.lock().await;
        loop {
            if let Some(id) = block.next() {
                return ProducerId(id);
            }
            *block = self.reserve_producer_ids().await;
        }
    }

    /// A block for whoever asks, safely reserved by the time of the answer. May be given up: its ids are lost then.
    pub(crate) fn reserve_producer_ids(&self) -> impl Future<Output = Range<i64>> + use<> {
        let (ids, saved) = {
            let mut first_free = self.shared.producer_ids.first_free.lock();
            let ids = *first_free..*first_free + BLOCK;
            *first_free = ids.end;
            (ids, self.shared.define(&Change::ProducerIds { upto: *first_free }))
        };
        async {
            // The storage thread answers or ends the process.
            let _ = saved.await;
            ids
        }
    }
}
