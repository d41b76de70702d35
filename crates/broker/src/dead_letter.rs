//! Messages that leave a queue unwanted: to the dead letter exchange, with their history written in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cauce_amqp::death::{self, Death};
use cauce_amqp::without_header;
use cauce_core::message::{BlockBuilder, Message, Traits};
use cauce_core::queue::{Picks, Reason};

use crate::clock::now_ms;
use crate::queue_task::{QueueHandle, Receipts};
use crate::routing::EnvelopeFacts;
use crate::vhost::Vhost;

/// Counts down the queues that take the message; then its old queue may forget it. So a crash in
/// between leaves two copies, never none.
#[derive(Debug)]
pub struct Receipt {
    source: Arc<QueueHandle>,
    offset: u64,
    missing: AtomicUsize,
}

impl Receipt {
    pub(crate) fn new(source: Arc<QueueHandle>, offset: u64) -> Receipt {
        Receipt { source, offset, missing: AtomicUsize::new(0) }
    }

    pub(crate) fn one_done(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.source.dead_lettered(self.offset);
        }
    }
}

/// Publishes a message that died in `queue` to the queues its dead letter exchange routes to.
pub(crate) fn publish(
    vhost: &Arc<Vhost>,
    queue: &str,
    message: &Message<'_>,
    reason: Reason,
    receipt: Option<Receipt>,
) {
    let targets = prepare(vhost, queue, message, reason);
    let Some((letter, targets)) = targets.filter(|(_, targets)| !targets.is_empty()) else {
        if let Some(receipt) = receipt {
            receipt.source.dead_lettered(receipt.offset);
        }
        return;
    };
    let mut block = BlockBuilder::new();
    block.push(Message {
        exchange: letter.exchange.as_bytes(),
        routing_key: letter.routing_key.as_bytes(),
        envelope: &letter.envelope,
        body: message.body,
        traits: Traits { ttl_ms: None, arrived_ms: now_ms(), ..message.traits },
    });
    let block = block.finish(vhost.memory().gauge());
    let receipt = receipt.map(|mut receipt| {
        *receipt.missing.get_mut() = targets.len();
        Arc::new(receipt)
    });
    for target in targets {
        let receipts = receipt.clone().map_or(Receipts::Nobody, Receipts::DeadLetter);
        target.publish_now(block.clone(), Picks::Run(0..1), receipts);
    }
}

struct Letter {
    exchange: String,
    routing_key: String,
    envelope: Vec<u8>,
}

/// The message as it goes on, and to whom; `None` if it goes nowhere.
fn prepare(
    vhost: &Vhost,
    queue: &str,
    message: &Message<'_>,
    reason: Reason,
) -> Option<(Letter, Vec<Arc<QueueHandle>>)> {
    let topology = vhost.topology();
    let limits = &topology.queue(queue)?.limits;
    let exchange = limits.dead_letter_exchange.clone()?;
    let old_key = String::from_utf8_lossy(message.routing_key);
    let own_key = limits.dead_letter_routing_key.clone();
    let reason = match reason {
        Reason::Expired => death::Reason::Expired,
        Reason::Rejected => death::Reason::Rejected,
        Reason::MaxLength => death::Reason::MaxLength,
        Reason::DeliveryLimit => death::Reason::DeliveryLimit,
    };
    let history = Death {
        queue,
        reason,
        exchange: &String::from_utf8_lossy(message.exchange),
        routing_keys: &[&old_key],
        time_s: now_ms() as u64 / 1000,
    };
    let envelope = death::dead_letter(message.envelope, &history).ok()?;
    // Copies keep going to the same places, unless the queue names one place for its dead letters.
    let envelope = if own_key.is_some() { without_header(&envelope, "CC") } else { envelope };
    let facts = EnvelopeFacts(&envelope);
    let copies = facts.copies();
    let routing_key = own_key.unwrap_or_else(|| old_key.into_owned());
    let mut keys = vec![routing_key.as_str()];
    keys.extend(copies.iter().map(String::as_str));
    let mut targets = vhost.route(&topology, &exchange, &keys, &facts).unwrap_or_default();
    targets.retain(|target| {
        let circles = death::cycle(&envelope, &target.name);
        if circles {
            tracing::warn!(queue, to = %target.name, "dropped a message that would circle between queues for ever");
        }
        !circles
    });
    Some((Letter { exchange, routing_key, envelope }, targets))
}
