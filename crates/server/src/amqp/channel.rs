//! The state of one channel: what it publishes under, what it was given and has not settled.

use std::collections::VecDeque;
use std::sync::Arc;

use cauce_amqp::ContentAssembler;
use cauce_broker::{Memory, QueueHandle};
use cauce_core::message::Charge;
use cauce_core::queue::{ConsumerId, SharedLimit};

use super::confirms::Confirms;
use super::source::Source;

/// What a publish on the channel means.
#[derive(Debug)]
pub(super) enum Mode {
    Plain,
    Confirm(Confirms),
    Transaction(Transaction),
}

/// Publishes and acknowledgements that wait for `tx.commit`.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) publishes: Vec<OwnedPublish>,
    pub(super) settles: Vec<PendingSettle>,
    charges: Option<[Charge; 2]>,
}

/// More than open transactions may hold.
#[derive(Debug)]
pub(super) struct TooMuch;

impl Transaction {
    /// Keeps the message for the commit, and charges it to the memory of the node until then.
    pub(super) fn publish(&mut self, publish: OwnedPublish, memory: &Memory) -> Result<(), TooMuch> {
        let bytes = size_of::<OwnedPublish>()
            + publish.exchange.len()
            + publish.routing_key.len()
            + publish.properties.len()
            + publish.body.len();
        if memory.transactions().bytes() + bytes > memory.transactions_bytes_max() {
            return Err(TooMuch);
        }
        let fresh = || [memory.gauge().charge(0), memory.transactions().charge(0)];
        self.charges.get_or_insert_with(fresh).iter_mut().for_each(|charge| charge.grow(bytes));
        self.publishes.push(publish);
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct OwnedPublish {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) mandatory: bool,
    pub(super) properties: Vec<u8>,
    pub(super) body: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct PendingSettle {
    pub(super) unsettled: Vec<Unsettled>,
    pub(super) outcome: cauce_core::queue::Outcome,
}

/// A message that was given to the client and not acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Unsettled {
    pub(super) tag: u64,
    pub(super) source: Source,
    pub(super) offset: u64,
    /// If it counts for the limit that the channel's consumers share.
    pub(super) consumer: Option<ConsumerId>,
}

#[derive(Debug)]
pub(super) struct Channel {
    /// Which of the channels that had its number; answers to an earlier one are not for it.
    pub(super) life: u32,
    pub(super) content: ContentAssembler,
    /// For the part of a body that has come.
    pub(super) body_charges: Option<[Charge; 2]>,
    pub(super) mode: Mode,
    /// By delivery tag, from `first_tag` on; `None` is settled.
    unsettled: VecDeque<Option<Unsettled>>,
    first_tag: u64,
    /// Prefetch of consumers to come, zero for no limit.
    pub(super) prefetch: u32,
    pub(super) shared_limit: Arc<SharedLimit>,
    pub(super) last_queue: Option<String>,
    /// We closed it, and wait for the client to say it knows.
    pub(super) closing: bool,
    pub(super) consumers: Vec<ConsumerId>,
    /// Where replies to what the channel publishes go, if it asked for any.
    pub(super) reply_queue: Option<Arc<QueueHandle>>,
}

impl Channel {
    pub(super) fn new(life: u32, body_bytes_max: u64) -> Channel {
        Channel {
            life,
            content: ContentAssembler::new(body_bytes_max),
            body_charges: None,
            mode: Mode::Plain,
            unsettled: VecDeque::new(),
            first_tag: 1,
            prefetch: 0,
            shared_limit: SharedLimit::new(0),
            last_queue: None,
            closing: false,
            consumers: Vec::new(),
            reply_queue: None,
        }
    }

    /// The next delivery tag; what is `None` needs no acknowledgement.
    pub(super) fn next_tag(&mut self, unsettled: Option<Unsettled>) -> u64 {
        let tag = self.first_tag + self.unsettled.len() as u64;
        let unsettled = unsettled.map(|unsettled| Unsettled { tag, ..unsettled });
        if unsettled.is_none() && self.unsettled.is_empty() {
            self.first_tag += 1;
        } else {
            self.unsettled.push_back(unsettled);
        }
        tag
    }

    /// Takes what a tag stands for; with `multiple` all up to it, and a tag of zero then means all.
    /// `None` for a tag that was never given or is settled.
    pub(super) fn take(&mut self, tag: u64, multiple: bool) -> Option<Vec<Unsettled>> {
        let end = self.first_tag + self.unsettled.len() as u64;
        if multiple {
            if tag == 0 {
                return Some(self.take_all());
            }
            if tag >= end || tag < self.first_tag {
                return None;
            }
            let count = (tag - self.first_tag + 1) as usize;
            self.first_tag = tag + 1;
            let taken = self.unsettled.drain(..count).flatten().collect();
            self.forget_settled_front();
            return Some(taken);
        }
        let at = tag.checked_sub(self.first_tag)? as usize;
        let taken = self.unsettled.get_mut(at)?.take()?;
        self.forget_settled_front();
        Some(vec![taken])
    }

    pub(super) fn take_all(&mut self) -> Vec<Unsettled> {
        self.first_tag += self.unsettled.len() as u64;
        self.unsettled.drain(..).flatten().collect()
    }

    /// As if these had never been taken.
    pub(super) fn put_back(&mut self, unsettled: Vec<Unsettled>) {
        for one in unsettled {
            while one.tag < self.first_tag {
                self.unsettled.push_front(None);
                self.first_tag -= 1;
            }
            let at = (one.tag - self.first_tag) as usize;
            if at >= self.unsettled.len() {
                self.unsettled.resize(at + 1, None);
            }
            self.unsettled[at] = Some(one);
        }
    }

    fn forget_settled_front(&mut self) {
        while let Some(None) = self.unsettled.front() {
            self.unsettled.pop_front();
            self.first_tag += 1;
        }
    }
}
