//! Messages that leave a queue unwanted: to the dead letter exchange, with their history written in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cauce_amqp::death::{self, Death};
use cauce_amqp::properties::{Properties, PropertiesBuf, PropertiesSummary};
use cauce_amqp::{strip_bcc, without_header};
use cauce_core::Value;
use cauce_core::message::{BlockBuilder, Message, Traits};
use cauce_core::queue::{Picks, Reason};
use cauce_core::topology::{DELAY_HEADER, Routed};

use crate::clock::now_ms;
use crate::queue_handle::{QueueHandle, Receipts, Room, Share};
use crate::routing::{EnvelopeFacts, with_copies};
use crate::target::Target;
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
    /// One more than there will be targets: whoever sends it is done too once it is sent.
    pub(crate) fn new(source: Arc<QueueHandle>, offset: u64) -> Arc<Receipt> {
        Arc::new(Receipt { source, offset, missing: AtomicUsize::new(1) })
    }

    /// It is not taken where it came, and is sent once more.
    pub(crate) fn goes_on(self: Arc<Receipt>) -> Arc<Receipt> {
        self.missing.fetch_add(1, Ordering::Relaxed);
        self
    }

    pub(crate) fn one_done(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.source.dead_lettered(self.offset);
        }
    }
}

/// Who waits until the targets have a dead letter.
#[derive(Debug, Clone)]
pub(crate) enum Awaited {
    /// The queue it left, where it is settled then.
    By(Arc<Receipt>),
    /// Whoever published it to a queue that had no place for it.
    Room(Arc<Room>),
    Nobody,
}

impl Awaited {
    /// The receipts that go with it to one target.
    fn receipts(&self) -> Receipts {
        match self {
            Awaited::By(receipt) => Receipts::DeadLetter(receipt.clone().goes_on()),
            Awaited::Room(room) => Receipts::Room(room.clone()),
            Awaited::Nobody => Receipts::Nobody,
        }
    }

    /// It is sent to all its targets.
    fn sent(self) {
        if let Awaited::By(receipt) = self {
            receipt.one_done();
        }
    }
}

/// Publishes a message that died in `queue` to the queues its dead letter exchange routes to.
pub(crate) fn publish(
    vhost: &Arc<Vhost>,
    queue: &str,
    message: &Message<'_>,
    reason: Reason,
    awaited: Awaited,
) {
    let Some((letter, targets)) = prepare(vhost, queue, message, reason) else {
        return awaited.sent();
    };
    let message = Message {
        exchange: letter.exchange.as_bytes(),
        routing_key: letter.routing_key.as_bytes(),
        envelope: &letter.envelope,
        body: message.body,
        traits: Traits { ttl_ms: None, arrived_ms: now_ms(), ..message.traits },
    };
    send(vhost, message, targets, awaited);
}

/// Routes on a message whose exchange held it until now.
pub(crate) fn resume(vhost: &Vhost, exchange: &str, message: &Message<'_>, awaited: Awaited) {
    let envelope = after_delay(message.envelope);
    let key = String::from_utf8_lossy(message.routing_key);
    let facts = EnvelopeFacts(message.envelope);
    let copies = facts.copies();
    let keys = with_copies(&key, &copies);
    let mut routed = Routed::default();
    if vhost.topology().route_after_delay(exchange, &keys, &facts, &mut routed).is_err() {
        // The exchange went, and its messages with it.
        return awaited.sent();
    }
    let summary = PropertiesSummary::parse(&envelope).unwrap_or_default();
    let ttl_ms = summary.expiration.and_then(|expiration| expiration.parse().ok());
    let traits = Traits { ttl_ms, arrived_ms: now_ms(), ..message.traits };
    send(vhost, Message { envelope: &envelope, traits, ..*message }, routed.queues, awaited);
}

/// The properties without BCC, and with the delay negated: so clients see that it is over, and how long it was.
fn after_delay(properties: &[u8]) -> Vec<u8> {
    let stripped = strip_bcc(properties);
    let view = Properties::parse(&stripped).ok().and_then(|view| PropertiesBuf::try_from(&view).ok());
    let Some(mut view) = view else { return stripped };
    if let Some(headers) = &mut view.headers
        && let Some(delay_ms) = headers.get(DELAY_HEADER).and_then(Value::as_integer)
    {
        let over = i32::try_from(-delay_ms).map_or(Value::I64(-delay_ms), Value::I32);
        headers.set(DELAY_HEADER, over);
    }
    view.to_bytes()
}

/// How long a delayed exchange must hold a message with these properties, in milliseconds.
pub fn delay_ms(properties: &[u8]) -> Option<u64> {
    let headers = Properties::parse(properties).ok()?.headers()?;
    u64::try_from(headers.get(DELAY_HEADER).ok()??.as_integer()?).ok()
}

/// Hands the message to its targets.
fn send(vhost: &Vhost, message: Message<'_>, targets: Vec<Target>, awaited: Awaited) {
    if targets.is_empty() {
        return awaited.sent();
    }
    let mut block = BlockBuilder::new();
    block.push(message);
    if targets.iter().any(|target| target.is_delay()) {
        let ttl_ms = delay_ms(message.envelope);
        block.push(Message { traits: Traits { ttl_ms, ..message.traits }, ..message });
    }
    let block = block.finish(vhost.memory().gauge());
    for target in targets {
        let receipts = awaited.receipts();
        let index = u32::from(target.is_delay());
        target.publish_now(Share { block: block.clone(), picks: Picks::Run(index..index + 1), receipts });
    }
    awaited.sent();
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
) -> Option<(Letter, Vec<Target>)> {
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
        Reason::Due => unreachable!("queues that hold until due have an exchange to go on to"),
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
    let keys = with_copies(&routing_key, &copies);
    let mut targets = vhost.route(&topology, &exchange, &keys, &facts).unwrap_or_default();
    targets.retain(|target| {
        let circles = death::cycle(&envelope, target.name());
        if circles {
            tracing::warn!(
                queue,
                to = target.name(),
                "dropped a message that would circle between queues for ever"
            );
        }
        !circles
    });
    Some((Letter { exchange, routing_key, envelope }, targets))
}
