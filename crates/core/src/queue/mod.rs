//! A queue: a log with one cursor and its exceptions, as a machine that takes calls and pushes effects.
//!
//! Every message has an offset. An unsettled offset is in exactly one place: *ready* (waiting),
//! *held* (given out, not settled) or *leaving* (on its way to dead letters). What is ready is kept as
//! runs of offsets, so a million waiting messages cost as much as one; the messages themselves are in
//! memory or in the log.
//!
//! The queue reads no clock: `now_ms` is milliseconds since 1970-01-01 UTC. Its task calls
//! [`Queue::on_timeout`] when [`Queue::next_timeout`] has come, and ends each turn with
//! [`Queue::take_unwritten`].

mod consumers;
mod effects;
mod expiry;
mod overflow;
mod rules;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use consumers::Consumers;
use window::Window;

use crate::message::{Block, Message};
use crate::range_set::RangeSet;

pub use consumers::{ConsumerId, SharedLimit, Subscription};
pub use effects::{Delivery, Effect, Effects, Reason};
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
}

/// Who holds a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    Consumer(ConsumerId),
    /// Whoever asked [`Queue::get`] with this token.
    Getter(u64),
}

#[derive(Debug)]
struct Held {
    by: Holder,
    since_ms: i64,
}

/// A message on its way to dead letters.
#[derive(Debug)]
struct Leaving {
    reason: Reason,
    /// Its effect was pushed; until then it waits to be loaded.
    announced: bool,
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
    /// Waiting offsets, one set for each priority, lowest first.
    ready: Vec<RangeSet>,
    /// Body bytes that wait.
    ready_bytes: u64,
    held: BTreeMap<u64, Held>,
    leaving: BTreeMap<u64, Leaving>,
    /// Given back while not in memory: loaded first, since its priority and size say where it stands.
    strays: BTreeSet<u64>,
    settled: RangeSet,
    /// How often an offset came back; only those that did.
    returns: BTreeMap<u64, u32>,
    /// Below this offset nobody knows what was given out before the restart, so all counts as redelivered.
    uncertain_below: u64,
    window: Window,
    /// Everything below was offered to the log.
    unwritten_from: u64,
    /// Everything below that was offered to the log is in it, as safely as the log promises.
    stored_upto: u64,
    /// Where the load under way started.
    loading: Option<u64>,
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
        let levels = usize::from(rules.priority_max) + 1;
        let consumers = Consumers::new(rules.single_active_consumer);
        Queue {
            rules,
            next: 0,
            ready: vec![RangeSet::new(); levels],
            ready_bytes: 0,
            held: BTreeMap::new(),
            leaving: BTreeMap::new(),
            strays: BTreeSet::new(),
            settled: RangeSet::new(),
            returns: BTreeMap::new(),
            uncertain_below: 0,
            window: Window::default(),
            unwritten_from: 0,
            stored_upto: 0,
            loading: None,
            gets: VecDeque::new(),
            consumers,
            exempt_from: u64::MAX,
            used_ms: now_ms,
            swept_ms: now_ms,
            lost: 0,
        }
    }

    /// Takes over what a log holds: `kept` says every offset that is in it and not settled, with its
    /// priority and body size. Offsets it skips below `next` are done.
    pub fn recover(
        &mut self,
        next: u64,
        kept: impl IntoIterator<Item = Kept>,
        certain: bool,
        out: &mut Effects,
    ) {
        self.settled.insert_range(0..next);
        for Kept {
            offsets,
            priority,
            body_bytes,
        } in kept
        {
            for offset in offsets.clone() {
                self.settled.remove(offset);
            }
            let level = self.level(priority);
            self.ready[level].insert_range(offsets);
            self.ready_bytes += body_bytes;
        }
        self.next = next;
        self.unwritten_from = next;
        self.stored_upto = next;
        self.uncertain_below = if certain { 0 } else { next };
        self.want_head(out);
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn next_offset(&self) -> u64 {
        self.next
    }

    pub fn ready_count(&self) -> u64 {
        self.ready.iter().map(RangeSet::len).sum::<u64>() + self.strays.len() as u64
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
        self.settled
            .runs()
            .next()
            .filter(|run| run.start == 0)
            .map_or(0, |run| run.end)
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
        self.dispatch_newcomers(base, now_ms, out);
        self.drop_overflow(out);
    }

    /// Newcomers get one chance to be taken before they can expire: a message may live zero milliseconds.
    fn dispatch_newcomers(&mut self, base: u64, now_ms: i64, out: &mut Effects) {
        self.exempt_from = base;
        self.dispatch(now_ms, out);
        self.exempt_from = u64::MAX;
        self.expire_head(now_ms, out);
    }

    /// Gives offsets to the messages and puts them in line.
    fn take_in(&mut self, block: &Arc<Block>, picks: Picks) -> u64 {
        let base = self.next;
        let count = picks.len() as u64;
        self.next += count;
        if self.ready.len() == 1 {
            self.ready[0].insert_range(base..base + count);
        } else {
            for at in 0..picks.len() {
                let level = self.level(block.traits(picks.index(at)).priority);
                self.ready[level].insert(base + at as u64);
            }
        }
        self.ready_bytes += (0..picks.len())
            .map(|at| block.body_bytes(picks.index(at)))
            .sum::<u64>();
        self.window.insert(base, block.clone(), picks, false);
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
        self.used_ms = now_ms;
        self.consumers.add(consumer, subscription);
        self.dispatch(now_ms, out);
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
        self.dispatch(now_ms, out);
    }

    /// Messages left for the client: its window opens by as many.
    pub fn sent(&mut self, consumer: ConsumerId, messages: u32, now_ms: i64, out: &mut Effects) {
        self.consumers.sent(consumer, messages);
        self.dispatch(now_ms, out);
    }

    /// A limit that consumers share has room again.
    pub fn room_in_shared_limit(&mut self, now_ms: i64, out: &mut Effects) {
        self.consumers.line_up_all();
        self.dispatch(now_ms, out);
    }

    /// Asks for one message; the answer comes as [`Effect::Got`].
    pub fn get(&mut self, token: u64, no_ack: bool, now_ms: i64, out: &mut Effects) {
        self.used_ms = now_ms;
        self.gets.push_back(WaitingGet { token, no_ack });
        self.dispatch(now_ms, out);
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
        for offset in offsets {
            let Some(held) = self.held.remove(&offset) else {
                continue;
            };
            match outcome {
                Outcome::Accept => self.finish(offset, out),
                Outcome::Release => self.release(offset, out),
                Outcome::Reject => self.leave(offset, Reason::Rejected, out),
            }
            if let Holder::Consumer(consumer) = held.by {
                self.consumers.settled(consumer);
            }
        }
        self.move_on(now_ms, out);
    }

    /// The message is with the dead letter exchange's queues, as safe as they promise.
    pub fn dead_lettered(&mut self, offset: u64, out: &mut Effects) {
        if self.leaving.remove(&offset).is_some() {
            self.finish(offset, out);
        }
    }

    /// Drops all that waits and says how many that were.
    pub fn purge(&mut self, out: &mut Effects) -> u64 {
        let purged = self.ready_count();
        for offset in std::mem::take(&mut self.strays) {
            self.finish(offset, out);
        }
        for level in 0..self.ready.len() {
            let waiting = std::mem::take(&mut self.ready[level]);
            for offset in waiting.iter() {
                self.finish(offset, out);
            }
        }
        self.ready_bytes = 0;
        purged
    }

    /// The queue goes: its subscriptions end.
    pub fn close(&mut self, out: &mut Effects) {
        for consumer in self.consumers.ids() {
            out.push(Effect::Cancel { consumer });
        }
        for WaitingGet { token, .. } in self.gets.drain(..) {
            out.push(Effect::Got {
                token,
                delivery: None,
                ready: 0,
            });
        }
    }

    /// Messages that came since the last call, are not done and should be in the log: `wanted` picks
    /// among them. A message settled before this is never written.
    pub fn take_unwritten(
        &mut self,
        wanted: impl Fn(&Message<'_>) -> bool,
        mut write: impl FnMut(u64, Message<'_>),
    ) {
        let (settled, from) = (&self.settled, self.unwritten_from);
        self.window.visit_unwritten(from, |offset, block, index| {
            if settled.contains(offset) {
                return true;
            }
            let message = block.message(index);
            let writes = wanted(&message);
            if writes {
                write(offset, message);
            }
            writes
        });
        self.unwritten_from = self.next;
    }

    /// What was offered to the log below `offset` is in it.
    pub fn stored(&mut self, offset: u64) {
        self.stored_upto = self.stored_upto.max(offset);
    }

    /// Lets go of messages that the log can give back, but for the head of the line.
    pub fn evict(&mut self) {
        let head = self.ready_head().unwrap_or(self.next);
        self.window.evict_all_but(head, self.stored_upto);
    }

    /// Bytes of the blocks it keeps in memory; a shared block counts whole.
    pub fn resident_bytes(&self) -> usize {
        self.window.cost_bytes()
    }

    /// What the log gave back for [`Effect::Load`]: it read all of `covered`, and found these
    /// messages, offsets rising.
    pub fn loaded(
        &mut self,
        covered: Range<u64>,
        block: &Arc<Block>,
        offsets: &[u64],
        now_ms: i64,
        out: &mut Effects,
    ) {
        self.loading = None;
        let mut found = RangeSet::new();
        let mut run: Vec<(u64, u32)> = Vec::new();
        for (index, &offset) in offsets.iter().enumerate() {
            if self.settled.contains(offset) || self.window.get(offset).is_some() {
                continue;
            }
            found.insert(offset);
            if run.last().is_some_and(|(last, _)| last + 1 != offset) {
                self.insert_run(block, &mut run);
            }
            run.push((offset, index as u32));
        }
        self.insert_run(block, &mut run);
        self.give_up_missing(covered, &found, out);
        for offset in found.iter() {
            self.came_home(offset, out);
        }
        self.move_on(now_ms, out);
    }

    /// Somebody may have waited for this message to be in memory.
    fn came_home(&mut self, offset: u64, out: &mut Effects) {
        if self.strays.remove(&offset) {
            self.line_up_again(offset);
        }
        if let Some(leaving) = self.leaving.get(&offset).filter(|leaving| !leaving.announced) {
            let reason = leaving.reason;
            self.leave(offset, reason, out);
        }
    }

    /// After any change: who can be served, what has expired, what is too much.
    fn move_on(&mut self, now_ms: i64, out: &mut Effects) {
        self.dispatch(now_ms, out);
        self.expire_head(now_ms, out);
        self.drop_overflow(out);
    }

    fn insert_run(&mut self, block: &Arc<Block>, run: &mut Vec<(u64, u32)>) {
        let Some(&(base, _)) = run.first() else { return };
        let indices: Vec<u32> = run.drain(..).map(|(_, index)| index).collect();
        self.window
            .insert(base, block.clone(), Picks::from_indices(&indices), true);
    }

    /// A waiting offset that the log should have held and did not is damage: it is counted, not waited for.
    fn give_up_missing(&mut self, covered: Range<u64>, found: &RangeSet, out: &mut Effects) {
        let missing: Vec<u64> = self
            .ready
            .iter()
            .flat_map(|level| level.runs())
            .flat_map(|run| run.start.max(covered.start)..run.end.min(covered.end))
            .chain(self.strays.range(covered.clone()).copied())
            .chain(self.leaving.range(covered.clone()).map(|(&offset, _)| offset))
            .filter(|&offset| !found.contains(offset) && self.window.get(offset).is_none())
            .collect();
        for offset in missing {
            for level in &mut self.ready {
                level.remove(offset);
            }
            self.strays.remove(&offset);
            self.leaving.remove(&offset);
            self.lost += 1;
            self.finish(offset, out);
        }
    }

    fn level(&self, priority: u8) -> usize {
        usize::from(priority.min(self.rules.priority_max))
    }

    fn ready_head(&self) -> Option<u64> {
        self.ready.iter().rev().find_map(RangeSet::first)
    }

    fn pop_head(&mut self) -> Option<u64> {
        self.ready.iter_mut().rev().find_map(RangeSet::pop_first)
    }

    /// Hands out waiting messages while somebody can take them and they are at hand.
    fn dispatch(&mut self, now_ms: i64, out: &mut Effects) {
        while self.serve_get(now_ms, out) || self.serve_consumer(now_ms, out) {}
        self.want_head(out);
    }

    fn serve_get(&mut self, now_ms: i64, out: &mut Effects) -> bool {
        if self.gets.is_empty() {
            return false;
        }
        self.expire_head(now_ms, out);
        let head = self.ready_head();
        if head.is_none() && !self.strays.is_empty() || head.is_some_and(|at| self.window.get(at).is_none()) {
            return false;
        }
        let WaitingGet { token, no_ack } = self.gets.pop_front().expect("seen above");
        let delivery = head.map(|_| self.hand_out(Holder::Getter(token), no_ack, now_ms, out));
        out.push(Effect::Got {
            token,
            delivery,
            ready: self.ready_count(),
        });
        true
    }

    fn serve_consumer(&mut self, now_ms: i64, out: &mut Effects) -> bool {
        if !self.consumers.anyone_waiting() {
            return false;
        }
        self.expire_head(now_ms, out);
        if self
            .ready_head()
            .is_none_or(|head| self.window.get(head).is_none())
        {
            return false;
        }
        let Some((to, no_ack)) = self.consumers.take_next() else {
            return false;
        };
        let delivery = self.hand_out(Holder::Consumer(to), no_ack, now_ms, out);
        out.push(Effect::Deliver { to, no_ack, delivery });
        true
    }

    /// Takes the head, which is in memory, out of the line.
    fn hand_out(&mut self, by: Holder, no_ack: bool, now_ms: i64, out: &mut Effects) -> Delivery {
        let offset = self.pop_head().expect("the caller saw a head");
        let (block, index) = self.window.get(offset).expect("the caller saw it in memory");
        let (block, index) = (block.clone(), index);
        self.ready_bytes -= block.body_bytes(index);
        let returns = self.returns.get(&offset).copied().unwrap_or(0);
        let redelivered = returns > 0 || offset < self.uncertain_below;
        if no_ack {
            self.finish(offset, out);
        } else {
            self.held.insert(offset, Held { by, since_ms: now_ms });
        }
        Delivery {
            offset,
            redelivered,
            returns,
            block,
            index,
        }
    }

    /// Back to its place, unless it came back too often.
    fn release(&mut self, offset: u64, out: &mut Effects) {
        let returns = self.returns.entry(offset).or_insert(0);
        *returns += 1;
        let returns = u64::from(*returns);
        if self.rules.delivery_limit.is_some_and(|limit| returns > limit) {
            return self.leave(offset, Reason::DeliveryLimit, out);
        }
        match self.window.get(offset) {
            Some(_) => self.line_up_again(offset),
            None => {
                self.strays.insert(offset);
            }
        }
    }

    fn line_up_again(&mut self, offset: u64) {
        let (block, index) = self.window.get(offset).expect("the caller saw it in memory");
        let (priority, bytes) = (block.traits(index).priority, block.body_bytes(index));
        let level = self.level(priority);
        self.ready[level].insert(offset);
        self.ready_bytes += bytes;
    }

    /// The message leaves unwanted, and is no longer ready or held.
    fn leave(&mut self, offset: u64, reason: Reason, out: &mut Effects) {
        if !self.rules.dead_letters {
            return self.finish(offset, out);
        }
        let at_hand = self
            .window
            .get(offset)
            .map(|(block, index)| (block.clone(), index));
        self.leaving.insert(
            offset,
            Leaving {
                reason,
                announced: at_hand.is_some(),
            },
        );
        if let Some((block, index)) = at_hand {
            out.push(Effect::DeadLetter {
                offset,
                reason,
                block,
                index,
            });
        }
    }

    /// Done with: forgotten here, and remembered as settled.
    fn finish(&mut self, offset: u64, out: &mut Effects) {
        self.settled.insert(offset);
        self.window.release(offset);
        if !self.returns.is_empty() {
            self.returns.remove(&offset);
        }
        out.settle(offset);
    }

    /// What must be in memory is: the head, whose expiry matters even when nobody waits for it, and
    /// whatever went somewhere while it was not.
    fn want_head(&mut self, out: &mut Effects) {
        if self.loading.is_some() {
            return;
        }
        let absent = self.ready_head().filter(|&head| self.window.get(head).is_none());
        let stray = || self.strays.first().copied();
        let unannounced = || {
            self.leaving
                .iter()
                .find(|(_, leaving)| !leaving.announced)
                .map(|(&offset, _)| offset)
        };
        if let Some(from) = absent.or_else(stray).or_else(unannounced) {
            self.loading = Some(from);
            out.push(Effect::Load { from });
        }
    }
}

/// A run of offsets that a log still holds for a queue.
#[derive(Debug, Clone)]
pub struct Kept {
    pub offsets: Range<u64>,
    pub priority: u8,
    pub body_bytes: u64,
}
