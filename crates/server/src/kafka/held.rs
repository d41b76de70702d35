//! What answers take of the memory budget: from when it is known what they hold until the client has taken them.

use cauce_broker::Memory;
use cauce_core::message::Charge;

/// An answer that is no larger is always given: the system takes it at once, mostly.
const BYTES_FREE: usize = 4 << 10;

/// Too much is held for clients that do not take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("answers that were not taken hold more than {most} bytes, a quarter of the memory budget")]
pub(super) struct Crowded {
    most: usize,
}

/// Memory of one answer, on the gauge of all and on that of answers.
#[derive(Debug)]
pub(super) struct Held {
    _charges: [Charge; 2],
}

impl Held {
    pub(super) fn new(memory: &Memory, bytes: usize) -> Result<Held, Crowded> {
        let held = Held { _charges: [memory.gauge().charge(bytes), memory.answers().charge(bytes)] };
        let most = memory.answers_bytes_max();
        match bytes > BYTES_FREE && memory.answers().bytes() > most {
            true => Err(Crowded { most }),
            false => Ok(held),
        }
    }
}
