//! Who gets the next message: highest priority first, then whoever waited longest.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerId(pub u64);

/// Unsettled messages that several consumers may hold together.
#[derive(Debug)]
pub struct SharedLimit {
    /// Zero means no limit.
    max: AtomicU32,
    held: AtomicU32,
}

impl SharedLimit {
    pub fn new(max: u32) -> Arc<SharedLimit> {
        Arc::new(SharedLimit { max: AtomicU32::new(max), held: AtomicU32::new(0) })
    }

    pub fn set_max(&self, max: u32) {
        self.max.store(max, Ordering::Release);
    }

    pub fn is_set(&self) -> bool {
        self.max.load(Ordering::Acquire) != 0
    }

    /// Takes one place, if there is one.
    fn acquire(&self) -> bool {
        self.held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                let max = self.max.load(Ordering::Acquire);
                (max == 0 || held < max).then_some(held + 1)
            })
            .is_ok()
    }

    /// Gives places back; true if somebody may have been waiting for one.
    pub fn release(&self, places: u32) -> bool {
        let held = self.held.fetch_sub(places, Ordering::AcqRel);
        let max = self.max.load(Ordering::Acquire);
        max != 0 && held >= max
    }
}

/// What a subscriber asks for.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Messages count as settled when they are sent.
    pub no_ack: bool,
    pub exclusive: bool,
    pub priority: i32,
    /// Unsettled messages at a time; zero means no limit.
    pub prefetch: u32,
    /// A limit it shares with others.
    pub shared: Option<Arc<SharedLimit>>,
    /// What it takes before it reports that it left for the client, in [`window_units`].
    pub window: u32,
}

/// What a message takes of a consumer's window: one, and more if it is large, so that messages on their way are
/// bounded in bytes too.
pub fn window_units(body_bytes: u64) -> u32 {
    const UNIT_BYTES: u64 = 2048;
    u32::try_from(body_bytes / UNIT_BYTES).map_or(u32::MAX, |more| more.saturating_add(1))
}

#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) subscription: Subscription,
    unsettled: u32,
    /// Below zero after a large message.
    window: i64,
    /// Stands in the line of those that can take a message.
    waiting: bool,
}

impl Consumer {
    fn has_room(&self) -> bool {
        let prefetch = self.subscription.prefetch;
        self.window > 0 && (self.subscription.no_ack || prefetch == 0 || self.unsettled < prefetch)
    }
}

#[derive(Debug, Default)]
pub(super) struct Consumers {
    all: HashMap<ConsumerId, Consumer, foldhash::fast::RandomState>,
    /// In the order they came.
    order: Vec<ConsumerId>,
    /// Those with room, by priority, highest first.
    lines: Vec<(i32, VecDeque<ConsumerId>)>,
    /// With one active consumer at a time: which.
    single_active: bool,
    active: Option<ConsumerId>,
}

impl Consumers {
    pub(super) fn new(single_active: bool) -> Consumers {
        Consumers { single_active, ..Consumers::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ConsumerId> + '_ {
        self.order.iter().copied()
    }

    pub(super) fn has_exclusive(&self) -> bool {
        // It is alone, so nobody needs to look through many.
        self.all.len() == 1 && self.all.values().any(|consumer| consumer.subscription.exclusive)
    }

    pub(super) fn add(&mut self, id: ConsumerId, subscription: Subscription) {
        let window = i64::from(subscription.window);
        self.all.insert(id, Consumer { subscription, unsettled: 0, window, waiting: false });
        self.order.push(id);
        self.choose_active();
        self.line_up(id);
    }

    /// True if it was there.
    pub(super) fn remove(&mut self, id: ConsumerId) -> bool {
        if self.all.remove(&id).is_none() {
            return false;
        }
        self.order.retain(|&other| other != id);
        for (_, line) in &mut self.lines {
            line.retain(|&other| other != id);
        }
        if self.active == Some(id) {
            self.active = None;
            self.choose_active();
        }
        true
    }

    /// The active one keeps its place until it leaves, whoever comes.
    fn choose_active(&mut self) {
        if !self.single_active || self.active.is_some() {
            return;
        }
        let highest = self.order.iter().map(|id| self.all[id].subscription.priority).max();
        self.active =
            self.order.iter().copied().find(|id| Some(self.all[id].subscription.priority) == highest);
        if let Some(id) = self.active {
            self.line_up(id);
        }
    }

    pub(super) fn active(&self) -> Option<ConsumerId> {
        self.active
    }

    /// Puts the consumer in line if it has room and stands in none.
    pub(super) fn line_up(&mut self, id: ConsumerId) {
        if self.single_active && self.active != Some(id) {
            return;
        }
        let Some(consumer) = self.all.get_mut(&id) else {
            return;
        };
        if consumer.waiting || !consumer.has_room() {
            return;
        }
        consumer.waiting = true;
        let priority = consumer.subscription.priority;
        let at = self.lines.partition_point(|(other, _)| *other > priority);
        if self.lines.get(at).is_none_or(|(other, _)| *other != priority) {
            self.lines.insert(at, (priority, VecDeque::new()));
        }
        self.lines[at].1.push_back(id);
    }

    /// All that stand aside for a shared limit may try again.
    pub(super) fn line_up_all(&mut self) {
        for at in 0..self.order.len() {
            self.line_up(self.order[at]);
        }
    }

    pub(super) fn anyone_waiting(&self) -> bool {
        self.lines.iter().any(|(_, line)| !line.is_empty())
    }

    /// Takes the next consumer for one message and charges it; puts it at the end of its line.
    pub(super) fn take_next(&mut self) -> Option<(ConsumerId, bool)> {
        for at in 0..self.lines.len() {
            while let Some(id) = self.lines[at].1.pop_front() {
                let Some(consumer) = self.all.get_mut(&id) else {
                    continue;
                };
                consumer.waiting = false;
                if !consumer.has_room() {
                    continue;
                }
                let no_ack = consumer.subscription.no_ack;
                let shared = consumer.subscription.shared.as_ref().filter(|_| !no_ack);
                if shared.is_some_and(|limit| !limit.acquire()) {
                    // Its channel is full: `line_up_all` brings it back when a place is free.
                    continue;
                }
                consumer.window -= 1;
                consumer.unsettled += u32::from(!no_ack);
                if consumer.has_room() {
                    consumer.waiting = true;
                    self.lines[at].1.push_back(id);
                }
                return Some((id, no_ack));
            }
        }
        None
    }

    pub(super) fn settled(&mut self, id: ConsumerId) {
        let Some(consumer) = self.all.get_mut(&id) else {
            return;
        };
        consumer.unsettled = consumer.unsettled.saturating_sub(1);
        self.line_up(id);
    }

    /// The message it took was a large one.
    pub(super) fn took_more(&mut self, id: ConsumerId, units: u32) {
        if let Some(consumer) = self.all.get_mut(&id) {
            consumer.window -= i64::from(units);
        }
    }

    /// Messages left for the client, so as many may be sent again.
    pub(super) fn sent(&mut self, id: ConsumerId, units: u32) {
        let Some(consumer) = self.all.get_mut(&id) else {
            return;
        };
        consumer.window += i64::from(units);
        self.line_up(id);
    }
}
