//! A queue: a log with one cursor and its exceptions, as a machine that takes calls and pushes effects.
//!
//! Every message has an offset. An unsettled offset is in exactly one place: *ready* (waiting),
//! *prepared* (brought by a transaction that is not committed), *held* (given out, not settled) or
//! *leaving* (on its way to dead letters). What is ready is kept as runs of offsets, so a million waiting
//! messages cost as much as one; the messages themselves are in memory or in the log.
//!
//! The queue reads no clock: `now_ms` is milliseconds since 1970-01-01 UTC. Its task calls
//! [`Queue::on_timeout`] when [`Queue::next_timeout`] has come, and ends each turn with
//! [`Queue::take_unwritten`].

mod consumers;
mod delay;
mod effects;
mod expiry;
mod leaving;
mod line;
mod loading;
mod overflow;
mod rules;
mod serving;
#[cfg(test)]
mod tests;
mod transaction;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use consumers::Consumers;
use leaving::Leaving;
use line::Line;
use transaction::Prepared;
use window::Window;

use crate::message::Block;
use crate::range_set::RangeSet;

pub use consumers::{ConsumerId, SharedLimit, Subscription, window_units};
pub use effects::{Delivery, Effect, Effects, Reason};
pub use loading::{Kept, Past};
pub use rules::{Overflow, Rules};
pub use window::Picks;

/// How a delivery ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done with.
    Accept,
    /// Back to where it was.
    Release,
    /// Unwanted: to dead letters, or gone.
    Reject,
}

/// Why somebody may not subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    #[error("the queue has an exclusive consumer")]
    ExclusiveTaken,
    #[error("the queue has consumers, so none can be exclusive")]
    NotAlone,
    #[error("the queue serves one consumer after another, so none can be exclusive")]
    TakesTurns,
}

/// Who holds a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    Consumer(ConsumerId),
    /// Whoever asked [`Queue::get`] with this token.
    Getter(u64),
}

/// Room for so many held messages stays when none is: more was a rare peak.
const HELD_PLACES_KEPT: usize = 16_384;

#[derive(Debug)]
struct Held {
    by: Holder,
    since_ms: i64,
}

#[derive(Debug)]
struct WaitingGet {
    token: u64,
    no_ack: bool,
}

#[derive(Debug)]
pub struct Queue {
    rules: Rules,
    /// The offset of the next message.
    next: u64,
    line: Line,
    /// When each message is due, in a queue that holds them until then; they are not in line.
    schedule: BTreeSet<(i64, u64)>,
    /// Body bytes of what is in line.
    ready_bytes: u64,
    /// By offset.
    held: HashMap<u64, Held, foldhash::fast::RandomState>,
    leaving: BTreeMap<u64, Leaving>,
    /// Those of `leaving` that wait to go, in order.
    unannounced: VecDeque<u64>,
    /// Those of `leaving` that are on their way, and their body bytes.
    announced: u64,
    announced_bytes: u64,
    /// What transactions brought, each until it is committed.
    prepared: BTreeMap<u64, Prepared>,
    prepared_count: u64,
    prepared_bytes: u64,
    /// Given back while not in memory: loaded first, since its priority and size say where it stands.
    strays: BTreeSet<u64>,
    settled: RangeSet,
    /// How often an offset came back; only those that did.
    returns: BTreeMap<u64, u32>,
    /// Given out before a restart, as far as anybody knows.
    given_out_before: RangeSet,
    window: Window,
    /// Everything below that was offered to the log is in it, as safely as the log promises.
    stored_upto: u64,
    /// All below that comes to be offered to the log is wanted there.
    write_all_upto: u64,
    /// A load is under way.
    loading: bool,
    /// What the last load for the head covered.
    loaded: Range<u64>,
    gets: VecDeque<WaitingGet>,
    consumers: Consumers,
    /// Offsets from here on do not expire: they just came.
    exempt_from: u64,
    used_ms: i64,
    /// When overdue deliveries were last looked for.
    swept_ms: i64,
    /// Messages that the log could not give back.
    lost: u64,
}

/// Where a message of a published batch ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    At(u64),
    Refused,
}

impl Queue {
    pub fn new(rules: Rules, now_ms: i64) -> Queue {
        let consumers = Consumers::new(rules.single_active_consumer);
        Queue {
            line: Line::new(rules.priority_max),
            schedule: BTreeSet::new(),
            rules,
            next: 0,
            ready_bytes: 0,
            held: HashMap::default(),
            leaving: BTreeMap::new(),
            unannounced: VecDeque::new(),
            announced: 0,
            announced_bytes: 0,
            prepared: BTreeMap::new(),
            prepared_count: 0,
            prepared_bytes: 0,
            strays: BTreeSet::new(),
            settled: RangeSet::new(),
            returns: BTreeMap::new(),
            given_out_before: RangeSet::new(),
            window: Window::default(),
            stored_upto: 0,
            write_all_upto: 0,
            loading: false,
            loaded: 0..0,
            gets: VecDeque::new(),
            consumers,
            exempt_from: u64::MAX,
            used_ms: now_ms,
            swept_ms: now_ms,
            lost: 0,
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn next_offset(&self) -> u64 {
        self.next
    }

    pub fn ready_count(&self) -> u64 {
        self.line.len() + self.strays.len() as u64 + self.schedule.len() as u64
    }

    pub fn ready_bytes(&self) -> u64 {
        self.ready_bytes
    }

    pub fn held_count(&self) -> u64 {
        self.held.len() as u64
    }

    pub fn leaving_count(&self) -> u64 {
        self.leaving.len() as u64
    }

    /// Messages of transactions that are not committed.
    pub fn prepared_count(&self) -> u64 {
        self.prepared_count
    }

    pub fn holds(&self, offset: u64) -> bool {
        self.held.contains_key(&offset)
    }

    /// How often the message came back.
    pub fn returns_of(&self, offset: u64) -> u32 {
        self.returns.get(&offset).copied().unwrap_or(0)
    }

    pub fn consumer_count(&self) -> usize {
        self.consumers.len()
    }

    pub fn active_consumer(&self) -> Option<ConsumerId> {
        self.consumers.active()
    }

    pub fn lost_count(&self) -> u64 {
        self.lost
    }

    /// What is done, for the next restart.
    pub fn settled(&self) -> &RangeSet {
        &self.settled
    }

    /// Below this offset everything is done: the log may forget it.
    pub fn floor(&self) -> u64 {
        self.settled.first_run().filter(|run| run.start == 0).map_or(0, |run| run.end)
    }

    /// Takes messages of a block, in order, and says where each went.
    pub fn publish(
        &mut self,
        block: &Arc<Block>,
        picks: &Picks,
        now_ms: i64,
        out: &mut Effects,
        placed: &mut Vec<Published>,
    ) {
        if self.refuses_newcomers() {
            return self.publish_within_limits(block, picks, now_ms, out, placed);
        }
        let base = self.take_in(block, picks.clone());
        placed.extend((0..picks.len() as u64).map(|n| Published::At(base + n)));
        self.serve_newcomers(base, now_ms, out);
    }

    /// Gives offsets to the messages and puts them in line.
    fn take_in(&mut self, block: &Arc<Block>, picks: Picks) -> u64 {
        let base = self.next;
        let count = picks.len() as u64;
        self.next += count;
        if self.rules.holds_until_due {
            self.schedule(base, block, &picks);
        } else if self.line.has_levels() {
            for (offset, at) in (base..).zip(0..picks.len()) {
                let priority = block.traits(picks.index(at)).priority;
                self.line.insert(offset..offset + 1, priority);
            }
        } else {
            self.line.insert(base..base + count, 0);
        }
        self.ready_bytes += (0..picks.len()).map(|at| block.body_bytes(picks.index(at))).sum::<u64>();
        self.window.append(base, block.clone(), picks);
        base
    }

    pub fn subscribe(
        &mut self,
        consumer: ConsumerId,
        subscription: Subscription,
        now_ms: i64,
        out: &mut Effects,
    ) -> Result<(), SubscribeError> {
        if self.consumers.has_exclusive() {
            return Err(SubscribeError::ExclusiveTaken);
        }
        if subscription.exclusive && !self.consumers.is_empty() {
            return Err(SubscribeError::NotAlone);
        }
        if subscription.exclusive && self.rules.single_active_consumer {
            return Err(SubscribeError::TakesTurns);
        }
        self.used_ms = now_ms;
        self.consumers.add(consumer, subscription);
        self.move_on(now_ms, out);
        Ok(())
    }

    /// Ends a subscription. What the consumer holds stays with it until it is settled.
    pub fn unsubscribe(&mut self, consumer: ConsumerId, now_ms: i64, out: &mut Effects) {
        if !self.consumers.remove(consumer) {
            return;
        }
        self.used_ms = now_ms;
        if self.consumers.is_empty() && self.rules.auto_delete {
            return out.push(Effect::Unused);
        }
        self.move_on(now_ms, out);
    }

    /// Messages left for the client: its window opens by as many [`window_units`].
    pub fn sent(&mut self, consumer: ConsumerId, units: u32, now_ms: i64, out: &mut Effects) {
        self.consumers.sent(consumer, units);
        self.move_on(now_ms, out);
    }

    /// A limit that consumers share has room again.
    pub fn room_in_shared_limit(&mut self, now_ms: i64, out: &mut Effects) {
        self.consumers.line_up_all();
        self.move_on(now_ms, out);
    }

    /// Asks for one message; the answer comes as [`Effect::Got`].
    pub fn get(&mut self, token: u64, no_ack: bool, now_ms: i64, out: &mut Effects) {
        self.used_ms = now_ms;
        self.gets.push_back(WaitingGet { token, no_ack });
        self.move_on(now_ms, out);
    }

    /// Something looked the queue up: it counts as used.
    pub fn touch(&mut self, now_ms: i64) {
        self.used_ms = now_ms;
    }

    /// Ends deliveries. Offsets that are not held are passed over: they ended before.
    pub fn settle(
        &mut self,
        offsets: impl IntoIterator<Item = u64>,
        outcome: Outcome,
        now_ms: i64,
        out: &mut Effects,
    ) {
        // Accepted offsets mostly come in a row, and finish as one.
        let mut accepted = 0..0;
        for offset in offsets {
            let Some(held) = self.held.remove(&offset) else {
                continue;
            };
            match outcome {
                Outcome::Accept if accepted.end == offset => accepted.end += 1,
                Outcome::Accept => {
                    self.finish(std::mem::replace(&mut accepted, offset..offset + 1), out);
                }
                Outcome::Release => self.release(offset, out),
                Outcome::Reject => self.leave(offset, Reason::Rejected, out),
            }
            if let Holder::Consumer(consumer) = held.by {
                self.consumers.settled(consumer);
            }
        }
        self.finish(accepted, out);
        if self.held.is_empty() {
            self.held.shrink_to(HELD_PLACES_KEPT);
        }
        self.move_on(now_ms, out);
    }

    /// Drops all that waits and says how many that were.
    pub fn purge(&mut self, out: &mut Effects) -> u64 {
        let purged = self.ready_count();
        for offset in std::mem::take(&mut self.strays) {
            self.finish(offset..offset + 1, out);
        }
        let line = std::mem::replace(&mut self.line, Line::new(self.rules.priority_max));
        for run in line.runs() {
            self.finish(run, out);
        }
        self.ready_bytes = 0;
        // Whoever waited for a message to be loaded waits for nothing now.
        while self.answer_empty(out) {}
        purged
    }

    /// The queue goes: its subscriptions end.
    pub fn close(&mut self, out: &mut Effects) {
        self.announce_all(out);
        let consumers = std::mem::replace(&mut self.consumers, Consumers::new(false));
        for consumer in consumers.ids() {
            out.push(Effect::Cancel { consumer });
        }
        for WaitingGet { token, .. } in self.gets.drain(..) {
            out.push(Effect::Got { token, delivery: None, ready: 0 });
        }
    }

    /// Back to its place, unless it came back too often.
    fn release(&mut self, offset: u64, out: &mut Effects) {
        let returns = self.returns.entry(offset).or_insert(0);
        *returns += 1;
        let returns = *returns;
        out.return_of(offset, returns);
        if self.rules.is_past_delivery_limit(returns) {
            return self.leave(offset, Reason::DeliveryLimit, out);
        }
        if self.window.contains(offset) {
            self.line_up_again(offset);
        } else {
            self.strays.insert(offset);
        }
    }

    fn line_up_again(&mut self, offset: u64) {
        let (block, index) = self.window.get(offset).expect("the caller saw it in memory");
        let (priority, bytes) = (block.traits(index).priority, block.body_bytes(index));
        self.line.insert(offset..offset + 1, priority);
        self.ready_bytes += bytes;
    }

    /// Done with: forgotten here, and remembered as settled.
    fn finish(&mut self, offsets: Range<u64>, out: &mut Effects) {
        if offsets.is_empty() {
            return;
        }
        self.settled.insert_range(offsets.clone());
        self.window.release(offsets.clone());
        while let Some((&offset, _)) = self.returns.range(offsets.clone()).next() {
            self.returns.remove(&offset);
        }
        out.settle(offsets);
    }
}
