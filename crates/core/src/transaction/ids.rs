//! Producer ids: whoever gives them out to all reserves them in blocks, so that few writes are needed.

use std::ops::Range;

use super::{Call, Coordinator, Effect, Effects};
use crate::producer::ProducerId;

/// With fewer left the next block is asked for.
const LOW: i64 = 100;

#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    block: Range<i64>,
    /// The block after it.
    following: Range<i64>,
    reserving: bool,
}

impl ProducerIds {
    fn left(&self) -> i64 {
        self.block.end - self.block.start + self.following.end - self.following.start
    }

    fn take(&mut self) -> Option<ProducerId> {
        if self.block.is_empty() {
            self.block = std::mem::take(&mut self.following);
        }
        self.block.next().map(ProducerId)
    }
}

impl Coordinator {
    /// The ids are reserved: nobody else gets them, and nobody ever did.
    pub fn ids_reserved(&mut self, ids: Range<i64>, now_ms: i64, out: &mut Effects) {
        debug_assert!(self.ids.reserving && self.ids.following.is_empty(), "one block at a time");
        self.ids.following = ids;
        self.ids.reserving = false;
        for call in std::mem::take(&mut self.waiting) {
            self.call(call, now_ms, out);
        }
    }

    /// An id for the call, which is made again later if there is none.
    pub(super) fn take_id(&mut self, call: impl FnOnce() -> Call, out: &mut Effects) -> Option<ProducerId> {
        let ids = &mut self.ids;
        let id = ids.take();
        if id.is_none() {
            self.waiting.push(call());
        }
        if !ids.reserving && ids.following.is_empty() && ids.left() < LOW {
            ids.reserving = true;
            out.push(Effect::ReserveIds);
        }
        id
    }
}
