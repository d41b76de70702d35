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

use std::collections::VecDeque;
use std::sync::Arc;

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
                self.group = Group::restore(self.rules, log, now_ms, &mut self.out);
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

fn tell(effect: Effect) -> String {
    match effect {
        Effect::Joined { token, answer } => format!("{}: {}", token.0, tell_join(answer)),
        Effect::Synced { token, answer } => {
            let share = answer.map(|share| format!("gets {}", read(&share.assignment)));
            format!("{}: {}", token.0, share.unwrap_or_else(|why| why.to_string()))
        }
        Effect::Committed { token, answer } => {
            format!("{}: {}", token.0, tell_but("committed", answer))
        }
        Effect::OffsetsDeleted { token, answer } => format!("{}: {}", token.0, tell_but("forgotten", answer)),
        Effect::Deleted { token, answer } => {
            format!("{}: {}", token.0, answer.map_or_else(|why| why.to_string(), |()| "deleted".into()))
        }
        Effect::Gone => "gone".into(),
        Effect::Persist { .. } => unreachable!("carried out"),
    }
}

fn tell_join(answer: JoinAnswer) -> String {
    match answer {
        JoinAnswer::Refused(refusal) => refusal.to_string(),
        JoinAnswer::IdRequired(id) => format!("come back as {id}"),
        JoinAnswer::Joined(membership) => {
            let Membership { member, generation, protocol, leader, skip_assignment, members, .. } =
                membership;
            let role = match leader == member {
                true if skip_assignment => "skips for".into(),
                true => "leads".into(),
                false => format!("follows {leader}"),
            };
            let members: String = members.iter().map(|member| format!(" {}", member.id)).collect();
            format!("{member} in {generation} {protocol} {role}{members}")
        }
    }
}

fn tell_but(done: &str, answer: Result<Vec<TopicPartition>, Refusal>) -> String {
    match answer {
        Err(refusal) => refusal.to_string(),
        Ok(others) if others.is_empty() => done.into(),
        Ok(others) => format!("{done} but{}", others.iter().map(|at| format!(" {at}")).collect::<String>()),
    }
}

pub(super) fn tell_record(record: &GroupRecord) -> String {
    match record {
        GroupRecord::Offset(at, offset) => format!("{at}={}", offset.offset),
        GroupRecord::OffsetGone(at) => format!("{at} gone"),
        GroupRecord::Gone => "group gone".into(),
        GroupRecord::Snapshot(snapshot) => {
            let member = |member: &MemberRecord| format!(" {}:{}", member.id, read(&member.assignment));
            let members: String = snapshot.members.iter().map(member).collect();
            format!("generation {}{members}", snapshot.generation)
        }
    }
}

fn read(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn value<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn number(words: &[&str], key: &str) -> Option<i64> {
    value(words, key).map(|value| value.parse().unwrap())
}

fn token(words: &[&str]) -> Token {
    Token(words[0].parse().unwrap())
}

fn generation(words: &[&str]) -> Option<i32> {
    number(words, "gen").map(|generation| generation as i32)
}

fn identity(words: &[&str]) -> Identity {
    Identity { member: value(words, "as").map(Arc::from), instance: value(words, "static").map(Arc::from) }
}

/// `m1`, `static=x` or `m1/static=x`.
fn leaver(word: &str) -> Identity {
    let parts: Vec<&str> = word.split('/').collect();
    let member = Some(parts[0]).filter(|part| !part.contains('='));
    Identity { member: member.map(Arc::from), instance: value(&parts, "static").map(Arc::from) }
}

pub(super) fn partition(word: &str) -> TopicPartition {
    let (topic, partition) = word.split_once('-').unwrap();
    TopicPartition { topic: topic.into(), partition: partition.parse().unwrap() }
}

fn join(words: &[&str]) -> Join {
    let topics: Option<Vec<Arc<str>>> = match value(words, "topics") {
        Some("?") => None,
        topics => Some(topics.unwrap_or("t").split('+').map(Arc::from).collect()),
    };
    let said = format!("{}{}", value(words, "topics").unwrap_or("t"), value(words, "says").unwrap_or(""));
    let knows = value(words, "knows").unwrap_or("range").split(',').filter(|name| !name.is_empty());
    let protocol = |name: &str| Protocol {
        name: name.into(),
        metadata: Arc::from(said.as_bytes()),
        topics: topics.clone(),
    };
    Join {
        identity: identity(words),
        fresh_id: format!("m{}", words[0]).into(),
        needs_id: words.contains(&"needs_id"),
        skips_assignment: words.contains(&"skips"),
        client_id: "client".into(),
        client_host: "host".into(),
        session_timeout_ms: number(words, "session").unwrap_or(10_000),
        rebalance_timeout_ms: number(words, "rebalance").unwrap_or(60_000),
        protocol_type: value(words, "type").unwrap_or("consumer").into(),
        protocols: knows.map(protocol).collect(),
    }
}

fn sync(words: &[&str]) -> Sync {
    let share = |word: &str| {
        let (member, share) = word.split_once(':').unwrap();
        (Arc::from(member), Arc::from(share.as_bytes()))
    };
    Sync {
        identity: identity(words),
        generation: generation(words).unwrap(),
        protocol_type: value(words, "type").map(Arc::from),
        protocol: value(words, "protocol").map(Arc::from),
        assignments: value(words, "gives")
            .into_iter()
            .flat_map(|gives| gives.split(','))
            .map(share)
            .collect(),
    }
}

fn commit(words: &[&str]) -> Commit {
    let offset = |word: &&str| {
        let (at, offset) = word.split_once('=')?;
        at.contains('-').then(|| OffsetToCommit {
            at: partition(at),
            offset: offset.parse().unwrap(),
            leader_epoch: None,
            metadata: value(words, "meta").unwrap_or("").into(),
        })
    };
    Commit {
        identity: identity(words),
        generation: generation(words),
        producer: number(words, "producer").map(|id| Producer { id: ProducerId(id), epoch: 0 }),
        retention_ms: number(words, "keep"),
        offsets: words[1..].iter().filter_map(offset).collect(),
    }
}
