//! What a turn sends off: deliveries and confirms to connections, dead letters to other queues.

use std::sync::Arc;

use cauce_core::queue::{ConsumerId, Effect, Holder, Outcome, Reason};

use super::QueueTask;
use super::keeping::load;
use crate::clock::now_ms;
use crate::dead_letter::{self, Awaited, Receipt as DeadLetterReceipt};
use crate::limits::{LOAD_BYTES, LOAD_IDLE_BYTES};
use crate::queue_handle::{ConfirmTag, Event, Link, ToConsumer};

/// A confirm that waits for the log.
#[derive(Debug)]
pub(super) enum Pending {
    Tag(Link, ConfirmTag),
    DeadLetter(Arc<DeadLetterReceipt>),
}

/// What goes up this turn, gathered by connection.
#[derive(Debug, Default)]
pub(super) struct Up {
    deliveries: Vec<(Link, Vec<ToConsumer>)>,
    confirms: Vec<(Link, Vec<(ConfirmTag, bool)>)>,
    /// They hear of it after all they were sent.
    cancels: Vec<(Link, ConsumerId)>,
}

impl Up {
    fn deliver(&mut self, link: &Link, to_consumer: ToConsumer) {
        gather(&mut self.deliveries, link, to_consumer);
    }

    pub(super) fn confirm(&mut self, link: &Link, tag: ConfirmTag, taken: bool) {
        gather(&mut self.confirms, link, (tag, taken));
    }

    pub(super) fn confirm_pending(&mut self, pending: Pending) {
        match pending {
            Pending::Tag(link, tag) => self.confirm(&link, tag, true),
            Pending::DeadLetter(receipt) => receipt.one_done(),
        }
    }
}

fn gather<T>(groups: &mut Vec<(Link, Vec<T>)>, link: &Link, item: T) {
    // Mostly the same connection as just before.
    match groups.iter_mut().rev().find(|(other, _)| other.same_channel(link)) {
        Some((_, items)) => items.push(item),
        None => groups.push((link.clone(), vec![item])),
    }
}

impl QueueTask {
    pub(super) fn send_up(&mut self) {
        for (link, deliveries) in self.up.deliveries.drain(..) {
            let queue = self.handle.clone();
            if let Err(bounced) = link.send(Event::Deliver { queue, deliveries }) {
                let Event::Deliver { deliveries, .. } = bounced.0 else {
                    continue;
                };
                self.bounced.extend(deliveries.iter().map(|to| to.delivery.offset));
                self.links.retain(|_, other| !other.same_channel(&link));
                for to in deliveries {
                    self.queue.unsubscribe(to.consumer, now_ms(), &mut self.effects);
                }
            }
        }
        for (link, confirms) in self.up.confirms.drain(..) {
            let _ = link.send(Event::Confirmed(confirms));
        }
        for (link, consumer) in self.up.cancels.drain(..) {
            let _ = link.send(Event::Cancelled { consumer });
        }
    }

    /// Each round takes a dead consumer out of the queue, so this ends.
    pub(super) fn take_back_bounced(&mut self) {
        while !self.bounced.is_empty() {
            let offsets = std::mem::take(&mut self.bounced);
            self.queue.settle(offsets, Outcome::Release, now_ms(), &mut self.effects);
            self.carry_out_effects();
            self.send_up();
        }
    }

    pub(super) fn carry_out_effects(&mut self) {
        for effect in self.effects.drain() {
            match effect {
                Effect::Deliver { to, delivery, no_ack: _ } => {
                    if let Some(link) = self.links.get(&to) {
                        self.up.deliver(link, ToConsumer { consumer: to, delivery });
                    }
                }
                Effect::Got { token, delivery, ready } => {
                    if let Some(at) = self.gets.iter().position(|(other, _)| *other == token) {
                        let (_, link) = self.gets.swap_remove(at);
                        if let Err(bounced) = link.send(Event::Got { token, delivery, ready }) {
                            let Event::Got { delivery, .. } = bounced.0 else {
                                continue;
                            };
                            self.bounced.extend(delivery.map(|delivery| delivery.offset));
                        }
                    }
                }
                Effect::Cancel { consumer } => {
                    if let Some(link) = self.links.get(&consumer) {
                        self.up.cancels.push((link.clone(), consumer));
                    }
                }
                Effect::Overdue { holder } => {
                    if let Holder::Consumer(consumer) = holder
                        && let Some(link) = self.links.get(&consumer)
                    {
                        let _ = link.send(Event::Overdue { holder, queue: self.handle.name.clone() });
                    }
                }
                Effect::DeadLetter { offset, reason, block, index } => {
                    let awaited = Awaited::By(DeadLetterReceipt::new(self.handle.clone(), offset));
                    let message = block.message(index);
                    match &self.handle.delays_for {
                        Some(exchange) => dead_letter::resume(&self.vhost, exchange, &message, awaited),
                        None => {
                            dead_letter::publish(&self.vhost, &self.handle.name, &message, reason, awaited);
                        }
                    }
                }
                Effect::DeadLetterRefused { block, index } => {
                    let message = block.message(index);
                    let awaited = self.refused.pop_front().expect("noted when it was refused");
                    dead_letter::publish(
                        &self.vhost,
                        &self.handle.name,
                        &message,
                        Reason::MaxLength,
                        awaited,
                    );
                }
                Effect::Load { from } => {
                    let bytes = if self.queue.consumer_count() > 0 { LOAD_BYTES } else { LOAD_IDLE_BYTES };
                    load(&self.handle, &self.vhost, self.reader.clone(), from, bytes);
                }
                Effect::Unused => self.vhost.delete_unused(self.handle.clone(), self.leaving.take()),
            }
        }
    }
}
