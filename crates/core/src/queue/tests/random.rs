//! Random runs, with a log in memory, against a model that keeps one plain entry for each message.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::world::{Item, SimulatedLog, block_of, name_of};
use crate::message::Traits;
use crate::queue::*;

/// Priority, size, persistence and lifetime of a message.
type Sketch = (u8, usize, bool, Option<u64>);

#[derive(Debug, Clone)]
enum Op {
    Publish(Vec<Sketch>),
    Prepare(Vec<Sketch>),
    /// The so many-th of those that are not.
    Commit(usize),
    Subscribe {
        id: u64,
        no_ack: bool,
        prefetch: u32,
        window: u32,
    },
    Unsubscribe(u64),
    Sent(u64, u32),
    Get {
        no_ack: bool,
    },
    /// Every so many of what is held, from there on.
    Settle(Outcome, usize, usize),
    DeadLettered(usize),
    Purge,
    Pass(i64),
    Write,
    /// What is in memory only is wanted in the log.
    WriteAll,
    Stored,
    Evict,
    Compact,
    Load(usize),
    Restart {
        certain: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let message = (0u8..5, 0usize..9, prop::bool::weighted(0.8), prop::option::weighted(0.2, 0u64..40));
    let outcome = prop_oneof![Just(Outcome::Accept), Just(Outcome::Release), Just(Outcome::Reject)];
    prop_oneof![
        6 => prop::collection::vec(message.clone(), 0..6).prop_map(Op::Publish),
        2 => prop::collection::vec(message, 0..6).prop_map(Op::Prepare),
        2 => (0usize..3).prop_map(Op::Commit),
        2 => (0u64..4, any::<bool>(), 0u32..4, 0u32..6)
            .prop_map(|(id, no_ack, prefetch, window)| Op::Subscribe { id, no_ack, prefetch, window }),
        1 => (0u64..4).prop_map(Op::Unsubscribe),
        3 => (0u64..4, 1u32..6).prop_map(|(id, messages)| Op::Sent(id, messages)),
        3 => any::<bool>().prop_map(|no_ack| Op::Get { no_ack }),
        6 => (outcome, 0usize..6, 1usize..4).prop_map(|(outcome, skip, step)| Op::Settle(outcome, skip, step)),
        3 => (0usize..4).prop_map(Op::DeadLettered),
        1 => Just(Op::Purge),
        2 => (0i64..30).prop_map(Op::Pass),
        4 => Just(Op::Write),
        4 => Just(Op::Stored),
        4 => Just(Op::Evict),
        2 => Just(Op::WriteAll),
        3 => Just(Op::Compact),
        6 => (1usize..5).prop_map(Op::Load),
        1 => any::<bool>().prop_map(|certain| Op::Restart { certain }),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let overflow = prop_oneof![
        Just(Overflow::DropHead),
        Just(Overflow::RejectPublish),
        Just(Overflow::RejectPublishDeadLetter)
    ];
    (
        prop_oneof![Just(0u8), Just(3u8)],
        prop::option::weighted(0.3, 0u64..8),
        prop::option::weighted(0.2, 0u64..30),
        overflow,
        any::<bool>(),
        prop::option::weighted(0.3, 0u64..3),
        (prop::option::weighted(0.3, 1u64..4), prop::option::weighted(0.3, 1u64..20)),
    )
        .prop_map(
            |(
                priority_max,
                length_max,
                length_bytes_max,
                overflow,
                dead_letters,
                delivery_limit,
                leaving,
            )| Rules {
                priority_max,
                length_max,
                length_bytes_max,
                overflow,
                dead_letters,
                delivery_limit,
                leaving_max: leaving.0,
                leaving_bytes_max: leaving.1,
                ..Rules::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_message_is_in_one_place_and_leaves_once(rules in rules(), ops in prop::collection::vec(op(), 0..90)) {
        let mut run = Run::new(rules);
        for op in ops {
            run.step(op);
        }
        run.drain();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// By a transaction that is not committed.
    Prepared(u64),
    Ready,
    Held,
    /// On its way out, and whether somebody was told.
    Leaving(Reason, bool),
    /// Accepted, or handed out for good: to be reported.
    Done,
}

#[derive(Debug)]
struct Entry {
    item: Item,
    place: Place,
    returns: u32,
    uncertain: bool,
}

struct Run {
    rules: Rules,
    queue: Queue,
    out: Effects,
    now_ms: i64,
    log: SimulatedLog,
    written_upto: u64,
    log_end: u64,
    load_from: Option<u64>,
    /// What is not reported as settled.
    model: BTreeMap<u64, Entry>,
    /// The step drops whatever waits.
    purging: bool,
    transactions: u64,
    gets: u64,
    gets_answered: u64,
}

impl Run {
    fn new(rules: Rules) -> Run {
        Run {
            queue: Queue::new(rules.clone(), 0),
            rules,
            out: Effects::default(),
            now_ms: 0,
            log: SimulatedLog::default(),
            written_upto: 0,
            log_end: 0,
            load_from: None,
            model: BTreeMap::new(),
            purging: false,
            transactions: 0,
            gets: 0,
            gets_answered: 0,
        }
    }

    fn step(&mut self, op: Op) {
        let now_ms = self.now_ms;
        match op {
            Op::Publish(messages) => self.publish(messages, None),
            Op::Prepare(messages) => {
                self.transactions += 1;
                self.publish(messages, Some(self.transactions));
            }
            Op::Commit(nth) => self.commit(nth),
            Op::Subscribe { id, no_ack, prefetch, window } => {
                let subscription = Subscription {
                    no_ack,
                    exclusive: false,
                    priority: (id % 2) as i32,
                    prefetch,
                    shared: None,
                    window,
                };
                self.queue.unsubscribe(ConsumerId(id), now_ms, &mut self.out);
                let subscribed = self.queue.subscribe(ConsumerId(id), subscription, now_ms, &mut self.out);
                assert_eq!(subscribed, Ok(()));
            }
            Op::Unsubscribe(id) => self.queue.unsubscribe(ConsumerId(id), now_ms, &mut self.out),
            Op::Sent(id, messages) => self.queue.sent(ConsumerId(id), messages, now_ms, &mut self.out),
            Op::Get { no_ack } => {
                self.gets += 1;
                self.queue.get(self.gets, no_ack, now_ms, &mut self.out);
            }
            Op::Settle(outcome, skip, step) => self.settle(outcome, skip, step),
            Op::DeadLettered(nth) => self.dead_lettered(nth),
            Op::Purge => {
                let waiting = self.waiting().count() as u64;
                assert_eq!(self.queue.purge(&mut self.out), waiting);
                self.purging = true;
            }
            Op::Pass(ms) => {
                self.now_ms += ms;
                self.queue.on_timeout(self.now_ms, &mut self.out);
            }
            Op::Write => {
                self.log.write(&mut self.queue);
                self.written_upto = self.queue.next_offset();
                self.log_end = self.queue.log_end();
            }
            Op::WriteAll => self.queue.write_all(),
            Op::Stored => self.queue.stored(self.log_end),
            Op::Evict => self.queue.evict(),
            Op::Compact => self.queue.compact(),
            Op::Load(most) => {
                if let Some(from) = self.load_from.take() {
                    self.log.answer(from, most, &mut self.queue, now_ms, &mut self.out);
                }
            }
            Op::Restart { certain } => self.restart(certain),
        }
        self.observe();
        self.compare();
    }

    fn publish(&mut self, messages: Vec<Sketch>, transaction: Option<u64>) {
        let mut items = Vec::new();
        for (n, (priority, body_bytes, persistent, ttl_ms)) in messages.into_iter().enumerate() {
            let traits = Traits { persistent, priority, ttl_ms, arrived_ms: self.now_ms };
            let name = format!("{}+{n}", self.queue.next_offset());
            items.push(Item { name, body_bytes, traits });
        }
        // Every other message of the block, as routing would pick.
        let picks: Vec<u32> = (0..items.len() as u32).filter(|n| n % 3 != 1).collect();
        let (block, all) = (block_of(&items), Picks::from_indices(&picks));
        let mut placed = Vec::new();
        match transaction {
            None => self.queue.publish(&block, &all, self.now_ms, &mut self.out, &mut placed),
            Some(transaction) => self.queue.prepare(transaction, &block, &all, &mut placed),
        }
        assert_eq!(placed.len(), picks.len());
        for (index, placed) in picks.into_iter().zip(placed) {
            if let Published::At(offset) = placed {
                let entry = Entry {
                    item: items[index as usize].clone(),
                    place: transaction.map_or(Place::Ready, Place::Prepared),
                    returns: 0,
                    uncertain: false,
                };
                assert!(self.model.insert(offset, entry).is_none());
            }
        }
    }

    fn commit(&mut self, nth: usize) {
        let prepared = self.model.values().filter_map(|entry| match entry.place {
            Place::Prepared(transaction) => Some(transaction),
            _ => None,
        });
        let prepared: BTreeSet<u64> = prepared.collect();
        let Some(&transaction) = prepared.iter().nth(nth) else {
            return;
        };
        for entry in self.model.values_mut().filter(|entry| entry.place == Place::Prepared(transaction)) {
            entry.place = Place::Ready;
        }
        self.queue.commit(transaction, self.now_ms, &mut self.out);
    }

    fn settle(&mut self, outcome: Outcome, skip: usize, step: usize) {
        let held = self.offsets_in(|place| place == Place::Held);
        let offsets: Vec<u64> = held.into_iter().skip(skip).step_by(step).collect();
        for offset in &offsets {
            let entry = self.model.get_mut(offset).unwrap();
            entry.place = match outcome {
                Outcome::Accept => Place::Done,
                Outcome::Reject => Place::Leaving(Reason::Rejected, false),
                Outcome::Release => {
                    entry.returns += 1;
                    let limit = self.rules.delivery_limit;
                    match limit.is_some_and(|limit| u64::from(entry.returns) > limit) {
                        true => Place::Leaving(Reason::DeliveryLimit, false),
                        false => Place::Ready,
                    }
                }
            };
        }
        self.queue.settle(offsets, outcome, self.now_ms, &mut self.out);
    }

    fn dead_lettered(&mut self, nth: usize) {
        let leaving = self.offsets_in(|place| matches!(place, Place::Leaving(_, true)));
        if let Some(offset) = leaving.get(nth) {
            self.model.get_mut(offset).unwrap().place = Place::Done;
            self.queue.dead_lettered(*offset, self.now_ms, &mut self.out);
        }
    }

    /// A clean stop: what should be written is.
    fn restart(&mut self, certain: bool) {
        self.log.write(&mut self.queue);
        self.written_upto = self.queue.next_offset();
        self.log_end = self.written_upto;
        for offset in self.offsets_in(|place| matches!(place, Place::Prepared(_))) {
            self.model.remove(&offset);
            self.log.kept.remove(&offset);
        }
        let (kept, past) = self.log.kept_beyond(&self.queue, certain);
        self.queue = Queue::new(self.rules.clone(), self.now_ms);
        self.load_from = None;
        self.gets_answered = self.gets;
        self.queue.recover(self.written_upto, kept, past, &mut self.out);
        self.model.retain(|_, entry| entry.item.traits.persistent);
        for entry in self.model.values_mut() {
            let was_given_out = matches!(entry.place, Place::Held | Place::Leaving(Reason::Rejected, _));
            entry.uncertain |= !certain || was_given_out;
            entry.place = match self.rules.is_past_delivery_limit(entry.returns) {
                true => Place::Leaving(Reason::DeliveryLimit, false),
                false => Place::Ready,
            };
        }
    }

    fn offsets_in(&self, place: impl Fn(Place) -> bool) -> Vec<u64> {
        let found = self.model.iter().filter(|(_, entry)| place(entry.place));
        found.map(|(&offset, _)| offset).collect()
    }

    fn waiting(&self) -> impl Iterator<Item = (&u64, &Entry)> {
        self.model.iter().filter(|(_, entry)| entry.place == Place::Ready)
    }

    fn expired(&self, entry: &Entry) -> bool {
        let ttl_ms = entry.item.traits.ttl_ms;
        ttl_ms.is_some_and(|ttl_ms| entry.item.traits.arrived_ms + ttl_ms as i64 <= self.now_ms)
    }

    /// Carries the effects out on the model; each must be right at its time.
    fn observe(&mut self) {
        let settled: RangeSet = self.take_settled();
        self.log.note_returns(&mut self.out);
        for effect in self.out.drain().collect::<Vec<_>>() {
            match effect {
                Effect::Deliver { no_ack, delivery, .. } => self.handed_out(&delivery, no_ack, &settled),
                Effect::Got { token, delivery, .. } => {
                    self.gets_answered += 1;
                    assert_eq!(token, self.gets_answered);
                    match delivery {
                        Some(delivery) => self.handed_out(&delivery, false, &settled),
                        None => assert!(self.waiting().all(|(offset, _)| settled.contains(*offset))),
                    }
                }
                Effect::DeadLetter { offset, reason, block, index } => {
                    let entry = &self.model[&offset];
                    assert_eq!(name_of(&block, index), entry.item.name);
                    match entry.place {
                        Place::Ready => self.check_drop(offset, reason),
                        place => assert_eq!(place, Place::Leaving(reason, false)),
                    }
                    self.model.get_mut(&offset).unwrap().place = Place::Leaving(reason, true);
                }
                Effect::DeadLetterRefused { .. } => {
                    assert_eq!(self.rules.overflow, Overflow::RejectPublishDeadLetter);
                }
                Effect::Load { from } => assert!(self.load_from.replace(from).is_none()),
                Effect::Cancel { .. } | Effect::Overdue { .. } | Effect::Unused => panic!("{effect:?}"),
            }
        }
        for offset in settled.iter() {
            let entry = &self.model[&offset];
            match entry.place {
                Place::Done | Place::Held => {}
                Place::Prepared(_) => panic!("{offset} went before its commit"),
                Place::Leaving(..) => assert!(!self.rules.dead_letters, "dropped {offset}"),
                Place::Ready if self.purging => {}
                Place::Ready => self.check_drop(
                    offset,
                    match self.expired(entry) {
                        true => Reason::Expired,
                        false => Reason::MaxLength,
                    },
                ),
            }
            self.model.remove(&offset);
        }
        self.purging = false;
        assert!(self.model.values().all(|entry| entry.place != Place::Done));
    }

    fn take_settled(&mut self) -> RangeSet {
        let mut settled = RangeSet::new();
        for range in self.out.drain_settled() {
            let before = settled.len();
            settled.insert_range(range.clone());
            assert_eq!(settled.len() - before, range.end - range.start, "reported twice: {range:?}");
        }
        settled
    }

    /// It was the first in line, and is nobody else's.
    fn handed_out(&mut self, delivery: &Delivery, no_ack: bool, settled: &RangeSet) {
        let offset = delivery.offset;
        let level = |entry: &Entry| entry.item.traits.priority.min(self.rules.priority_max);
        let entry = &self.model[&offset];
        assert_eq!(entry.place, Place::Ready, "{offset}");
        assert_eq!(name_of(&delivery.block, delivery.index), entry.item.name);
        assert_eq!(
            (delivery.returns, delivery.redelivered),
            (entry.returns, entry.returns > 0 || entry.uncertain)
        );
        let before = self
            .waiting()
            .filter(|(other, _)| !settled.contains(**other) || **other == offset)
            .find(|(other, ahead)| {
                level(ahead) > level(entry) || level(ahead) == level(entry) && **other < offset
            });
        // A nearly full queue serves those that fit before it looks at the next, which may be more urgent.
        if let Some((ahead, _)) = before {
            let newer = *ahead > offset && self.rules.priority_max > 0;
            assert!(newer && self.queue.refuses_newcomers(), "{offset} overtook {ahead}");
        }
        assert!(!no_ack || settled.contains(offset));
        self.model.get_mut(&offset).unwrap().place = Place::Held;
    }

    fn check_drop(&self, offset: u64, reason: Reason) {
        match reason {
            Reason::Expired => assert!(self.expired(&self.model[&offset]), "{offset} was fresh"),
            Reason::MaxLength => assert!(
                self.rules.overflow == Overflow::DropHead
                    && (self.rules.length_max.is_some() || self.rules.length_bytes_max.is_some()),
                "no limit dropped {offset}"
            ),
            other => panic!("{offset} left the line: {other:?}"),
        }
    }

    fn compare(&self) {
        let queue = &self.queue;
        let waiting: Vec<_> = self.waiting().collect();
        assert_eq!(queue.ready_count(), waiting.len() as u64);
        for (&offset, entry) in &self.model {
            let in_line = queue.line.runs().any(|run| run.contains(&offset));
            let places = [
                queue.prepared.values().any(|prepared| prepared.contains(offset)),
                in_line || queue.strays.contains(&offset),
                queue.held.contains_key(&offset),
                queue.leaving.contains_key(&offset),
                queue.settled.contains(offset),
            ];
            let expected = [
                matches!(entry.place, Place::Prepared(_)),
                entry.place == Place::Ready,
                entry.place == Place::Held,
                matches!(entry.place, Place::Leaving(..)),
                false,
            ];
            assert_eq!(places, expected, "{offset}");
        }
        let unsettled = queue.next - queue.settled.len();
        assert_eq!(unsettled, self.model.len() as u64);
        assert_eq!(queue.lost_count(), 0);
        self.check_window();
        match self.load_from {
            None => self.check_at_rest(&waiting),
            Some(from) => assert!(!queue.window.contains(from) || queue.settled.contains(from)),
        }
    }

    /// Chunks do not overlap and know how many of them are not settled.
    fn check_window(&self) {
        let mut end = 0;
        for (offsets, live) in self.queue.window.chunks() {
            assert!(end <= offsets.start);
            end = offsets.end;
            let unsettled = offsets.filter(|&offset| !self.queue.settled.contains(offset));
            assert_eq!((unsettled.count() as u32, live > 0), (live, true));
        }
    }

    /// With nothing to wait for, all that could be done was.
    fn check_at_rest(&self, waiting: &[(&u64, &Entry)]) {
        let bytes: u64 = waiting.iter().map(|(_, entry)| entry.item.body_bytes as u64).sum();
        assert_eq!(self.queue.ready_bytes(), bytes);
        if self.queue.is_way_out_full() {
            return assert!(self.queue.announced > 0);
        }
        assert_eq!(self.gets, self.gets_answered);
        assert!(waiting.is_empty() || !self.queue.consumers.anyone_waiting());
        if self.rules.overflow == Overflow::DropHead {
            let most = self.rules.length_max.unwrap_or(u64::MAX);
            let most_bytes = self.rules.length_bytes_max.unwrap_or(u64::MAX);
            assert!(waiting.len() as u64 <= most && bytes <= most_bytes);
        }
    }

    fn drain(&mut self) {
        while self.queue.prepared_count() > 0 {
            self.step(Op::Commit(0));
        }
        self.step(Op::Subscribe { id: 9, no_ack: false, prefetch: 0, window: 1_000_000 });
        while self.load_from.is_some() {
            self.step(Op::Load(3));
        }
        while self.queue.held_count() + self.queue.leaving_count() > 0 {
            self.step(Op::Settle(Outcome::Accept, 0, 1));
            self.step(Op::DeadLettered(0));
            self.step(Op::Load(3));
        }
        assert!(self.model.is_empty());
        assert_eq!(self.queue.floor(), self.queue.next_offset());
        assert!(self.queue.window.chunks().is_empty());
        assert_eq!(self.queue.resident_bytes(), 0);
    }
}
