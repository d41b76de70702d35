//! Commands and effects as words: the one place where stories touch the queue.
//!
//! Commands: `publish a b/p5/ttl=9/size=3/transient`, `prepare 7 a b` (for a transaction), `commit 7`, `subscribe 1 prefetch=1 priority=2 window=9 no_ack
//! exclusive`, `unsubscribe 1`, `get 7 no_ack`, `accept a`, `release a`, `reject a`, `sent 1 2`, `purge`,
//! `at 500`, `write` (to the log), `stored`, `evict`, `load` (answers the load under way), `damage a` (in
//! the log), `dead_lettered a`, `restart certain`, `close`, `count`, `settled`, `touch`, `timeout`.

use std::collections::HashMap;

use super::world::{Item, SimulatedLog, block_of, name_of};
use crate::message::Traits;
use crate::queue::*;

pub(super) fn plain() -> Rules {
    Rules::default()
}

pub(super) fn dead_letters() -> Rules {
    Rules { dead_letters: true, ..plain() }
}

pub(super) fn priorities() -> Rules {
    Rules { priority_max: 5, ..plain() }
}

pub(super) fn most(length_max: u64, overflow: Overflow) -> Rules {
    Rules { length_max: Some(length_max), overflow, ..dead_letters() }
}

/// Runs the script and compares what the queue had to say.
#[track_caller]
pub(super) fn check(rules: Rules, script: &str, expected: &[&str]) {
    let mut world = World::new(rules);
    for command in script.split(';').map(str::trim) {
        let words: Vec<&str> = command.split_whitespace().collect();
        world.run(words[0], &words[1..]);
        world.note_effects();
    }
    assert_eq!(world.said, expected, "after: {script}");
}

struct World {
    rules: Rules,
    queue: Queue,
    out: Effects,
    now_ms: i64,
    log: SimulatedLog,
    offsets: HashMap<String, u64>,
    load_from: Option<u64>,
    settled: Vec<Range<u64>>,
    said: Vec<String>,
}

impl World {
    fn new(rules: Rules) -> World {
        World {
            queue: Queue::new(rules.clone(), 0),
            rules,
            out: Effects::default(),
            now_ms: 0,
            log: SimulatedLog::default(),
            offsets: HashMap::new(),
            load_from: None,
            settled: Vec::new(),
            said: Vec::new(),
        }
    }

    fn run(&mut self, command: &str, words: &[&str]) {
        match command {
            "publish" => self.publish(words, None),
            "prepare" => self.publish(&words[1..], Some(words[0].parse().unwrap())),
            "commit" => self.queue.commit(words[0].parse().unwrap(), self.now_ms, &mut self.out),
            "subscribe" => self.subscribe(words),
            "unsubscribe" => self.queue.unsubscribe(consumer(words[0]), self.now_ms, &mut self.out),
            "sent" => {
                let messages = words[1].parse().unwrap();
                self.queue.sent(consumer(words[0]), messages, self.now_ms, &mut self.out);
            }
            "get" => {
                let no_ack = words.contains(&"no_ack");
                self.queue.get(words[0].parse().unwrap(), no_ack, self.now_ms, &mut self.out);
            }
            "accept" => self.settle(words, Outcome::Accept),
            "release" => self.settle(words, Outcome::Release),
            "reject" => self.settle(words, Outcome::Reject),
            "dead_lettered" => self.queue.dead_lettered(self.offsets[words[0]], self.now_ms, &mut self.out),
            "purge" => {
                let purged = self.queue.purge(&mut self.out);
                self.said.push(format!("purged {purged}"));
            }
            "touch" => self.queue.touch(self.now_ms),
            "close" => self.queue.close(&mut self.out),
            "at" => {
                self.now_ms = words[0].parse().unwrap();
                self.queue.on_timeout(self.now_ms, &mut self.out);
            }
            "timeout" => self.said.push(format!("timeout {:?}", self.queue.next_timeout())),
            "write" => {
                let names = self.log.write(&mut self.queue);
                self.said.push(format!("written {}", names.join(" ")));
            }
            "stored" => self.queue.stored(self.queue.next_offset()),
            "evict" => self.queue.evict(),
            "load" => {
                let from = self.load_from.take().expect("a load under way");
                self.log.answer(from, 100, &mut self.queue, self.now_ms, &mut self.out);
            }
            "damage" => drop(self.log.kept.remove(&self.offsets[words[0]])),
            "restart" => self.restart(words[0] == "certain"),
            "count" => self.said.push(format!(
                "ready {} ({} bytes) held {} leaving {} lost {}",
                self.queue.ready_count(),
                self.queue.ready_bytes(),
                self.queue.held_count(),
                self.queue.leaving_count(),
                self.queue.lost_count(),
            )),
            "settled" => {
                let settled = std::mem::take(&mut self.settled);
                self.said.push(format!("settled {settled:?}"));
            }
            other => panic!("no command {other}"),
        }
    }

    fn publish(&mut self, words: &[&str], transaction: Option<u64>) {
        let items: Vec<Item> = words.iter().map(|word| item(word, self.now_ms)).collect();
        let picks = Picks::Run(0..items.len() as u32);
        let mut placed = Vec::new();
        let expected_base = self.queue.next_offset();
        let block = block_of(&items);
        match transaction {
            None => self.queue.publish(&block, &picks, self.now_ms, &mut self.out, &mut placed),
            Some(transaction) => self.queue.prepare(transaction, &block, &picks, &mut placed),
        }
        assert_eq!(placed.len(), items.len());
        let mut next = expected_base;
        for (item, placed) in items.into_iter().zip(placed) {
            match placed {
                Published::At(offset) => {
                    assert_eq!(offset, next);
                    next += 1;
                    self.offsets.insert(item.name, offset);
                }
                Published::Refused => self.said.push(format!("refused {}", item.name)),
            }
        }
    }

    fn subscribe(&mut self, words: &[&str]) {
        let number = |key: &str| {
            let found = words.iter().find_map(|word| word.strip_prefix(key));
            found.map(|value| value.parse::<u32>().unwrap())
        };
        let subscription = Subscription {
            no_ack: words.contains(&"no_ack"),
            exclusive: words.contains(&"exclusive"),
            priority: number("priority=").unwrap_or(0) as i32,
            prefetch: number("prefetch=").unwrap_or(0),
            shared: None,
            window: number("window=").unwrap_or(1000),
        };
        let subscribed = self.queue.subscribe(consumer(words[0]), subscription, self.now_ms, &mut self.out);
        if let Err(error) = subscribed {
            self.said.push(error.to_string());
        }
    }

    fn settle(&mut self, words: &[&str], outcome: Outcome) {
        let offsets: Vec<u64> = words.iter().map(|word| self.offsets[*word]).collect();
        self.queue.settle(offsets, outcome, self.now_ms, &mut self.out);
    }

    fn restart(&mut self, certain: bool) {
        let (kept, past) = self.log.kept_beyond(&self.queue, certain);
        let next = self.queue.next_offset();
        self.queue = Queue::new(self.rules.clone(), self.now_ms);
        self.queue.recover(next, kept, past, &mut self.out);
    }

    fn note_effects(&mut self) {
        self.settled.extend(self.out.drain_settled());
        self.log.note_returns(&mut self.out);
        for effect in self.out.drain().collect::<Vec<_>>() {
            let said = self.describe(effect);
            self.said.push(said);
        }
    }

    fn describe(&mut self, effect: Effect) -> String {
        match effect {
            Effect::Deliver { to, delivery, .. } => format!("deliver {} to {}", handed(&delivery), to.0),
            Effect::Got { token, delivery: Some(delivery), ready } => {
                format!("got {token} {}, {ready} wait", handed(&delivery))
            }
            Effect::Got { token, .. } => format!("got {token} nothing"),
            Effect::Cancel { consumer } => format!("cancel {}", consumer.0),
            Effect::Overdue { holder } => format!("overdue {holder:?}"),
            Effect::DeadLetter { reason, block, index, .. } => {
                format!("dead {} {reason:?}", name_of(&block, index))
            }
            Effect::DeadLetterRefused { block, index } => format!("dead {} refused", name_of(&block, index)),
            Effect::Load { from } => {
                assert!(self.load_from.replace(from).is_none(), "one load at a time");
                let name = self.offsets.iter().find(|(_, offset)| **offset == from);
                format!("load {}", name.expect("a known offset").0)
            }
            Effect::Unused => "unused".into(),
        }
    }
}

fn handed(delivery: &Delivery) -> String {
    let again = match (delivery.redelivered, delivery.returns) {
        (false, _) => String::new(),
        (true, 0 | 1) => " again".to_owned(),
        (true, times) => format!(" again ({times})"),
    };
    name_of(&delivery.block, delivery.index) + &again
}

fn consumer(word: &str) -> ConsumerId {
    ConsumerId(word.parse().unwrap())
}

/// A message as a word: `name/p5/ttl=9/size=3/transient`.
pub(super) fn item(word: &str, now_ms: i64) -> Item {
    let mut parts = word.split('/');
    let mut item = Item {
        name: parts.next().unwrap().into(),
        body_bytes: 1,
        traits: Traits { persistent: true, arrived_ms: now_ms, ..Traits::default() },
    };
    for part in parts {
        match part.split_once('=') {
            Some(("ttl", value)) => item.traits.ttl_ms = Some(value.parse().unwrap()),
            Some(("size", value)) => item.body_bytes = value.parse().unwrap(),
            None if part == "transient" => item.traits.persistent = false,
            _ => item.traits.priority = part.strip_prefix('p').unwrap().parse().unwrap(),
        }
    }
    item
}
