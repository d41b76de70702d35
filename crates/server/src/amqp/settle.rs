//! What comes back settled: acknowledgements, gathered for the queues they belong to.

use std::sync::Arc;

use cauce_amqp::reply::ReplyCode;
use cauce_broker::Part;
use cauce_core::message::{BlockBuilder, Gauge};
use cauce_core::queue::{ConsumerId, Outcome, Picks};

use super::channel::{Mode, PendingSettle, Unsettled};
use super::connection::Connection;
use super::fault::Fault;
use super::source::Source;
use super::stream::not_supported;

/// Settlements gathered by queue and outcome, in order.
#[derive(Debug, Default)]
pub(super) struct Settling(Vec<(Source, Outcome, Vec<u64>)>);

impl Settling {
    pub(super) fn add(&mut self, unsettled: Vec<Unsettled>, outcome: Outcome) {
        for Unsettled { source, offset, .. } in unsettled {
            let last = self.0.iter_mut().rev().find(|(other, ..)| other.is(&source));
            match last {
                Some((_, same, offsets)) if *same == outcome => offsets.push(offset),
                _ => self.0.push((source, outcome, vec![offset])),
            }
        }
    }

    /// As what a transaction asks of queues, beside its publishes. What concerns streams stays, for when that is done.
    pub(super) fn add_to(&mut self, parts: &mut Vec<Part>, gauge: &Gauge) {
        let empty = BlockBuilder::new().finish(gauge);
        for (queue, outcome, offsets) in self.0.extract_if(.., |(source, ..)| source.queue().is_some()) {
            let queue = queue.queue().expect("of a queue").clone();
            let at = parts.iter().position(|part| Arc::ptr_eq(&part.queue, &queue)).unwrap_or_else(|| {
                let (block, picks) = (empty.clone(), Picks::Run(0..0));
                parts.push(Part { queue, block, picks, settles: Vec::new() });
                parts.len() - 1
            });
            parts[at].settles.push((outcome, offsets));
        }
    }

    pub(super) fn flush(&mut self) {
        for (source, outcome, offsets) in self.0.drain(..) {
            source.settle(offsets, outcome);
        }
    }
}

impl Connection {
    /// `basic.ack`, `basic.nack` and `basic.reject`.
    pub(super) fn settle(
        &mut self,
        number: u16,
        tag: u64,
        multiple: bool,
        outcome: Outcome,
    ) -> Result<(), Fault> {
        let channel = self.channel(number);
        let Some(unsettled) = channel.take(tag, multiple) else {
            return Err(Fault::new(ReplyCode::PreconditionFailed, format!("unknown delivery tag {tag}")));
        };
        if outcome != Outcome::Accept {
            refuse_return("basic.nack and basic.reject", &unsettled, &self.vhost.name)?;
        }
        let channel = self.channel(number);
        if let Mode::Transaction(transaction) = &mut channel.mode {
            transaction.settles.push(PendingSettle { unsettled, outcome });
            return Ok(());
        }
        self.settle_now(number, unsettled, outcome);
        Ok(())
    }

    pub(super) fn settle_now(&mut self, number: u16, unsettled: Vec<Unsettled>, outcome: Outcome) {
        let places = places(&unsettled);
        self.settling.add(unsettled, outcome);
        self.release_places(number, places);
    }

    /// So many deliveries that counted against the limit of the channel's consumers are over.
    pub(super) fn release_places(&mut self, number: u16, places: u32) {
        let Some(channel) = self.channels.get(&number) else {
            return;
        };
        if places > 0 && channel.shared_limit.release(places) {
            let consumers = channel.consumers.clone();
            self.settling.flush();
            self.wake(&consumers);
        }
    }

    /// Their shared limit has room again.
    pub(super) fn wake(&self, consumers: &[ConsumerId]) {
        for consumer in consumers.iter().filter_map(|id| self.consumers.get(id)) {
            consumer.source.room_in_shared_limit();
        }
    }
}

/// Nothing goes back to a stream, as nothing left it.
pub(super) fn refuse_return(what: &str, unsettled: &[Unsettled], vhost: &str) -> Result<(), Fault> {
    let stream = unsettled.iter().find_map(|one| match &one.source {
        Source::Stream(consumer) => Some(&consumer.stream),
        Source::Queue(_) => None,
    });
    match stream {
        Some(stream) => Err(not_supported(what, &format!("queue '{}' in vhost '{vhost}'", stream.name()))),
        None => Ok(()),
    }
}

/// Those that count for the limit of their channel.
pub(super) fn places(unsettled: &[Unsettled]) -> u32 {
    unsettled.iter().filter(|one| one.consumer.is_some()).count() as u32
}
