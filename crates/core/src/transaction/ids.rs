//! Producer ids: reserved on disk in blocks, so that none is ever given out twice, and few writes are needed.

use super::{Call, Coordinator, Effect, Effects, Ticket};
use crate::producer::ProducerId;

/// Ids reserved at a time. Those left over at a restart are lost.
const BLOCK: i64 = 1000;
/// With fewer left the next block is reserved.
const LOW: i64 = 100;

#[derive(Debug)]
pub(super) struct ProducerIds {
    next: i64,
    reserved_upto: i64,
    reserving: Option<(Ticket, i64)>,
}

impl ProducerIds {
    pub(super) fn new(first_free_id: i64) -> ProducerIds {
        ProducerIds { next: first_free_id, reserved_upto: first_free_id, reserving: None }
    }

    pub(super) fn persisted(&mut self, ticket: Ticket) -> bool {
        match self.reserving {
            Some((reserving, upto)) if reserving == ticket => {
                self.reserved_upto = upto;
                self.reserving = None;
                true
            }
            _ => false,
        }
    }
}

impl Coordinator {
    /// An id for the call, which is made again later if there is none.
    pub(super) fn take_id(&mut self, call: impl FnOnce() -> Call, out: &mut Effects) -> Option<ProducerId> {
        let ids = &mut self.ids;
        if ids.reserving.is_none() && ids.reserved_upto - ids.next < LOW {
            self.last_ticket += 1;
            let (ticket, upto) = (Ticket(self.last_ticket), ids.reserved_upto + BLOCK);
            ids.reserving = Some((ticket, upto));
            out.push(Effect::ReserveIds { ticket, upto });
        }
        if ids.next == ids.reserved_upto {
            self.waiting.push(call());
            return None;
        }
        ids.next += 1;
        Some(ProducerId(ids.next - 1))
    }
}
