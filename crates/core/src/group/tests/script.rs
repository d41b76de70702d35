//! Requests and answers as words: the one place where stories touch the group.
//!
//! The number after a verb is the token; a newcomer with token 1 gets the id `m1`.
//!
//! - `join 1`, with `as=m1` (its id), `static=x`, `needs_id`, `skips`, `session=10000`, `rebalance=60000`,
//!   `type=consumer`, `knows=range,sticky` (best first), `topics=t+u` (`topics=?` cannot be read), `says=more`
//! - `sync 2 as=m1 gen=1`, from the leader with `gives=m1:p0,m2:p1`; `static=x`, `type=..`, `protocol=..`
//! - `beat as=m1 gen=1`; `leave m1 static=x m2/static=y`
//! - `commit 3 t-0=10 as=m1 gen=1`, with `meta=text`, `keep=1000`, `producer=7`; `end 7 commit`, `end 7 abort`
//! - `fetch t-0`, `fetch all`, each with `stable`; `forget 4 t-0`; `topic_gone t`; `delete 5`
//! - `at 5000` runs every timer up to then; `hold` lets writes wait for `persist` or `fail` (one each) or
//!   `flow` (all, and those to come); `log` tells what was written since; `restart`
//! - `state`, `timeout`, `describe`, `subscribed`

use crate::producer::ProducerId;
use std::collections::VecDeque;
use std::sync::Arc;

use super::restored;
use super::words::*;
use crate::group::*;

pub(super) fn rules() -> Rules {
    Rules { initial_delay_ms: 0, ..Rules::default() }
}

/// Runs the script and compares what the group had to say.
#[track_caller]
pub(super) fn check(rules: Rules, script: &str, expected: &[&str]) {
    assert_eq!(told(World::new(rules), script), expected, "after: {script}");
}

/// The same, from the restart in the script on, which comes with other rules.
#[track_caller]
pub(super) fn check_changing(first: Rules, later: Rules, script: &str, expected: &[&str]) {
    let (before, _) = script.split_once("restart").expect("a restart");
    let world = || World { rules: later, ..World::new(first) };
    let said_before = told(world(), before).len();
    assert_eq!(told(world(), script)[said_before..], *expected, "after: {script}");
}

fn told(mut world: World, script: &str) -> Vec<String> {
    for command in script.split(';').map(str::trim).filter(|command| !command.is_empty()) {
        let words: Vec<&str> = command.split_whitespace().collect();
        world.run(words[0], &words[1..]);
        world.carry_out();
    }
    world.said
}

struct World {
    rules: Rules,
    group: Group,
    out: Effects,
    now_ms: i64,
    holds: bool,
    waiting: VecDeque<(WriteId, Vec<Stored>)>,
    log: Vec<Stored>,
    told: usize,
    said: Vec<String>,
}

impl World {
    fn new(rules: Rules) -> World {
        World {
            rules,
            group: Group::new(rules, 0),
            out: Effects::new(),
            now_ms: 0,
            holds: false,
            waiting: VecDeque::new(),
            log: Vec::new(),
            told: 0,
            said: Vec::new(),
        }
    }

    fn run(&mut self, command: &str, words: &[&str]) {
        let now_ms = self.now_ms;
        match command {
            "join" => self.group.join(token(words), join(words), now_ms, &mut self.out),
            "sync" => self.group.sync(token(words), sync(words), &mut self.out),
            "beat" => {
                let answer = self.group.heartbeat(&identity(words), generation(words).unwrap(), now_ms);
                let who = value(words, "as").unwrap();
                self.said.push(format!(
                    "{who} {}",
                    answer.map_or_else(|why| why.to_string(), |()| "beats".into())
                ));
            }
            "leave" => self.leave(words),
            "commit" => self.group.commit(token(words), commit(words), now_ms, &mut self.out),
            "end" => {
                let producer = ProducerId(words[0].parse().unwrap());
                let committed = words[1] == "commit";
                self.log.push(Stored::TransactionEnded { producer, committed });
                self.group.transaction_ended(producer, committed);
            }
            "fetch" => self.fetch(words),
            "forget" => {
                let partitions = words[1..].iter().map(|word| partition(word)).collect();
                self.group.delete_offsets(token(words), partitions, &mut self.out);
            }
            "topic_gone" => self.group.topic_deleted(words[0], &mut self.out),
            "delete" => self.group.delete(token(words), &mut self.out),
            "at" => self.pass_until(words[0].parse().unwrap()),
            "hold" => self.holds = true,
            "flow" => self.holds = false,
            "persist" => self.finish_write(true),
            "fail" => self.finish_write(false),
            "log" => self.tell_log(),
            "restart" => {
                let log = self.log.clone();
                self.waiting.clear();
                self.group = restored(self.rules, log, now_ms, &mut self.out);
            }
            "state" => self.said.push(format!("{:?} {}", self.group.state(), self.group.generation())),
            "timeout" => self.said.push(format!("timeout {:?}", self.group.next_timeout())),
            "describe" => self.describe(),
            "subscribed" => self.said.push(format!("{:?}", self.group.subscribed)),
            other => panic!("no command {other}"),
        }
    }

    fn leave(&mut self, words: &[&str]) {
        let leaving: Vec<Identity> = words.iter().map(|word| leaver(word)).collect();
        match self.group.leave(&leaving, self.now_ms, &mut self.out) {
            Err(refusal) => self.said.push(refusal.to_string()),
            Ok(answers) => {
                for (word, answer) in words.iter().zip(answers) {
                    let outcome = answer.map_or_else(|why| why.to_string(), |()| "left".into());
                    self.said.push(format!("{word} {outcome}"));
                }
            }
        }
    }

    fn fetch(&mut self, words: &[&str]) {
        let stable = words.contains(&"stable");
        let names: Vec<_> =
            words.iter().filter(|word| word.contains('-')).map(|word| partition(word)).collect();
        let partitions = (!words.contains(&"all")).then_some(&names[..]);
        for (at, fetched) in self.group.fetch(partitions, stable) {
            self.said.push(match fetched {
                Fetched::Nothing => format!("{at} nothing"),
                Fetched::Unstable => format!("{at} unstable"),
                Fetched::At(offset) => format!("{at} {}{}", offset.offset, offset.metadata),
            });
        }
    }

    /// Runs each timer at its time; one that does not move on would hang a real task.
    fn pass_until(&mut self, at_ms: i64) {
        for _ in 0..1_000 {
            let Some(due_ms) = self.group.next_timeout().filter(|due_ms| *due_ms <= at_ms) else {
                self.now_ms = at_ms;
                return;
            };
            self.now_ms = self.now_ms.max(due_ms);
            self.group.on_timeout(self.now_ms, &mut self.out);
            self.carry_out();
        }
        panic!("a timer that does not move on: {:?}", self.group);
    }

    fn carry_out(&mut self) {
        while !self.out.is_empty() {
            for effect in std::mem::take(&mut self.out) {
                match effect {
                    Effect::Persist { write, producer, records } => {
                        let stored = |record| match producer {
                            None => Stored::Record(record),
                            Some(producer) => Stored::InTransaction(producer.id, record),
                        };
                        self.waiting.push_back((write, records.into_iter().map(stored).collect()));
                    }
                    effect => self.said.push(tell(effect)),
                }
            }
            while !self.holds && !self.waiting.is_empty() {
                self.finish_write(true);
            }
        }
    }

    fn finish_write(&mut self, stored: bool) {
        let (write, records) = self.waiting.pop_front().expect("a write under way");
        if stored {
            self.log.extend(records);
        }
        self.group.persisted(write, stored, self.now_ms, &mut self.out);
    }

    fn tell_log(&mut self) {
        for stored in &self.log[self.told..] {
            self.said.push(match stored {
                Stored::Record(record) => format!("log {}", tell_record(record)),
                Stored::InTransaction(producer, record) => {
                    format!("log of {}: {}", producer.0, tell_record(record))
                }
                Stored::TransactionEnded { producer, .. } => format!("log end of {}", producer.0),
            });
        }
        self.told = self.log.len();
    }

    fn describe(&mut self) {
        let group = self.group.describe();
        let text = |name: &Option<Arc<str>>| name.as_deref().unwrap_or("none").to_owned();
        self.said.push(format!("{:?} {} {}", group.state, text(&group.protocol_type), text(&group.protocol)));
        for member in group.members {
            self.said.push(format!(
                "{} {} {}@{} {:?} {:?}",
                member.id,
                text(&member.instance),
                member.client_id,
                member.client_host,
                read(&member.metadata),
                read(&member.assignment)
            ));
        }
    }
}
