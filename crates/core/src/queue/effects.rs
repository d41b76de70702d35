//! What a queue asks its task to do.

use std::ops::Range;
use std::sync::Arc;

use super::{ConsumerId, Holder};
use crate::message::Block;

/// Why a message left unwanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Expired,
    Rejected,
    MaxLength,
    DeliveryLimit,
    /// Its delay is over. Only in a queue that [holds until due](super::Rules::holds_until_due).
    Due,
}

/// A message on its way to somebody.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub offset: u64,
    pub redelivered: bool,
    /// Times it was given out and came back.
    pub returns: u32,
    pub block: Arc<Block>,
    pub index: u32,
}

#[derive(Debug, Clone)]
pub enum Effect {
    Deliver {
        to: ConsumerId,
        no_ack: bool,
        delivery: Delivery,
    },
    /// The answer to [`get`](super::Queue::get), with what still waits.
    Got {
        token: u64,
        delivery: Option<Delivery>,
        ready: u64,
    },
    /// The queue ended this subscription.
    Cancel {
        consumer: ConsumerId,
    },
    /// It held a message longer than the queue allows.
    Overdue {
        holder: Holder,
    },
    /// Publish it to the dead letter exchange, then call
    /// [`dead_lettered`](super::Queue::dead_lettered).
    DeadLetter {
        offset: u64,
        reason: Reason,
        block: Arc<Block>,
        index: u32,
    },
    /// A refused newcomer that goes to dead letters all the same.
    DeadLetterRefused {
        block: Arc<Block>,
        index: u32,
    },
    /// Read from the log from this offset on, then call [`loaded`](super::Queue::loaded).
    Load {
        from: u64,
    },
    /// Nobody uses the queue any more and its rules say it goes then.
    Unused,
}

/// Effects in the order they must be carried out, and what is done.
#[derive(Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
    settled: Vec<Range<u64>>,
    returned: Vec<(u64, u32)>,
}

impl Effects {
    pub(super) fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    /// Offsets mostly end in a row: the last range grows instead of a new one.
    pub(super) fn settle(&mut self, offsets: Range<u64>) {
        match self.settled.last_mut() {
            Some(last) if last.end == offsets.start => last.end = offsets.end,
            _ => self.settled.push(offsets),
        }
    }

    pub(super) fn return_of(&mut self, offset: u64, times: u32) {
        self.returned.push((offset, times));
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.settled.is_empty() && self.returned.is_empty()
    }

    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect> {
        self.list.drain(..)
    }

    /// Offsets to remember as done over restarts.
    pub fn drain_settled(&mut self) -> std::vec::Drain<'_, Range<u64>> {
        self.settled.drain(..)
    }

    /// Offsets that came back, and how often by now, to remember over restarts; some may be done since.
    pub fn drain_returned(&mut self) -> std::vec::Drain<'_, (u64, u32)> {
        self.returned.drain(..)
    }
}
