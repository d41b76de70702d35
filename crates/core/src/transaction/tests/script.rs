//! Commands and effects as words: the one place where stories touch the coordinator.
//!
//! Producers are written `7/0` (id and epoch), partitions as one word. Commands: `init a` (transactional id a),
//! `init a expect=7/0 timeout=9`, `add a 7/0 t u v2`, `verify a 7/0 t`, `commit a 7/0 v2`, `abort a 7/0`,
//! `at 500`, `show a`, `timeout`, `restart`, `given a 7/0 Ongoing t u` (a restart with this record on disk).
//!
//! Records are persisted and partitions marked at once, until `hold`; from then on by `persist` (the oldest record),
//! `mark t`; `go` ends that.

use crate::partition::TopicPartition;
use std::collections::{BTreeMap, VecDeque};

use crate::producer::{Ending, Producer, ProducerId, TransactionVersion};
use crate::transaction::*;

pub(super) const TIMEOUT_MS: i32 = 1000;

/// Runs the script and compares what the coordinator had to say.
#[track_caller]
pub(super) fn check(script: &str, expected: &[&str]) {
    let mut world = World::new();
    for command in script.split(';').map(str::trim) {
        let words: Vec<&str> = command.split_whitespace().collect();
        world.run(words[0], &words[1..]);
        world.carry_out();
    }
    assert_eq!(world.said, expected, "after: {script}");
}

struct World {
    coordinator: Coordinator,
    out: Effects,
    disk: BTreeMap<TransactionalId, Record>,
    first_free_id: i64,
    persisting: VecDeque<Effect>,
    marking: Vec<(TransactionalId, Producer, TopicPartition)>,
    holds: bool,
    token: u64,
    now_ms: i64,
    said: Vec<String>,
}

impl World {
    fn new() -> World {
        World {
            coordinator: Coordinator::new(Rules::default()),
            out: Effects::default(),
            disk: BTreeMap::new(),
            first_free_id: 0,
            persisting: VecDeque::new(),
            marking: Vec::new(),
            holds: false,
            token: 0,
            now_ms: 0,
            said: Vec::new(),
        }
    }

    fn run(&mut self, command: &str, words: &[&str]) {
        match command {
            "init" => self.init(words),
            "add" => {
                self.token += 1;
                let partitions: Vec<_> = words[2..].iter().filter_map(|word| partition(word)).collect();
                let (producer, version) = (producer(words[1]), version(words));
                let (out, now_ms) = (&mut self.out, self.now_ms);
                self.coordinator.add_partitions(
                    self.token,
                    words[0],
                    producer,
                    &partitions,
                    version,
                    now_ms,
                    out,
                );
            }
            "verify" => {
                let partition = partition(words[2]).unwrap();
                let verified = self.coordinator.verify_partition(words[0], producer(words[1]), &partition);
                self.said.push(verified.map_or_else(|error| error.to_string(), |()| "verified".into()));
            }
            "commit" => self.end(words, Ending::Commit),
            "abort" => self.end(words, Ending::Abort),
            "at" => {
                self.now_ms = words[0].parse().unwrap();
                self.coordinator.on_timeout(self.now_ms, &mut self.out);
            }
            "timeout" => self.said.push(format!("timeout {:?}", self.coordinator.next_timeout())),
            "show" => {
                let shown = self.coordinator.get(words[0]).map(show);
                self.said.push(shown.unwrap_or_else(|| "unknown".into()));
            }
            "restart" => self.restart(),
            "given" => {
                self.disk.insert(words[0].into(), given(words, self.now_ms));
                self.restart();
            }
            "hold" => self.holds = true,
            "go" => self.holds = false,
            "persist" => self.persist(),
            "mark" => {
                let marked = partition(words[0]).unwrap();
                let marking = self.marking.extract_if(.., |(_, _, partition)| *partition == marked);
                for (id, producer, partition) in marking.collect::<Vec<_>>() {
                    self.coordinator.marked(&id, producer, &partition, self.now_ms, &mut self.out);
                }
            }
            other => panic!("no command {other}"),
        }
    }

    fn init(&mut self, words: &[&str]) {
        self.token += 1;
        let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
        let id = words[0].trim_matches('"');
        let timeout_ms = value("timeout=").map_or(TIMEOUT_MS, |word| word.parse().unwrap());
        let expected = value("expect=").map(producer);
        self.coordinator.init_producer_id(self.token, id, timeout_ms, expected, self.now_ms, &mut self.out);
    }

    fn end(&mut self, words: &[&str], ending: Ending) {
        self.token += 1;
        let (producer, version) = (producer(words[1]), version(words));
        let (out, now_ms) = (&mut self.out, self.now_ms);
        self.coordinator.end(self.token, words[0], producer, ending, version, now_ms, out);
    }

    fn restart(&mut self) {
        self.persisting.clear();
        self.marking.clear();
        let records = self.disk.clone();
        let (out, now_ms) = (&mut self.out, self.now_ms);
        self.coordinator = Coordinator::restore(Rules::default(), records, now_ms, out);
    }

    fn carry_out(&mut self) {
        loop {
            for effect in self.out.drain().collect::<Vec<_>>() {
                self.note(effect);
            }
            if self.holds || self.persisting.is_empty() && self.marking.is_empty() {
                return;
            }
            if !self.persisting.is_empty() {
                self.persist();
            }
            for (id, producer, partition) in std::mem::take(&mut self.marking) {
                self.coordinator.marked(&id, producer, &partition, self.now_ms, &mut self.out);
            }
        }
    }

    fn note(&mut self, effect: Effect) {
        match effect {
            Effect::Persist { ref transactional_id, ref record, .. } => {
                if self.holds {
                    let shown = record.as_ref().map_or_else(|| "nothing".into(), show);
                    self.said.push(format!("persist {transactional_id} {shown}"));
                }
                self.persisting.push_back(effect);
            }
            Effect::ReserveIds => {
                if self.holds {
                    self.said.push("reserve ids".into());
                }
                self.persisting.push_back(effect);
            }
            Effect::WriteMarkers { transactional_id, producer, ending, partitions, .. } => {
                let names: Vec<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
                self.said.push(format!("{ending:?} {} in {}", shown(producer), names.join(" ")));
                self.marking.extend(
                    partitions.into_iter().map(|partition| (transactional_id.clone(), producer, partition)),
                );
            }
            Effect::Answer { token, answer } => self.said.push(match answer {
                Ok(Answer::Producer(producer)) => format!("{token} is {}", shown(producer)),
                Ok(Answer::Added) => format!("{token} added"),
                Ok(Answer::Ended(producer)) => format!("{token} ended, now {}", shown(producer)),
                Err(error) => format!("{token} {error}"),
            }),
        }
    }

    fn persist(&mut self) {
        let ticket = match self.persisting.pop_front().expect("something to persist") {
            Effect::Persist { ticket, transactional_id, record: Some(record) } => {
                self.disk.insert(transactional_id, record);
                ticket
            }
            Effect::Persist { ticket, transactional_id, record: None } => {
                self.disk.remove(&transactional_id);
                ticket
            }
            Effect::ReserveIds => {
                let block = self.first_free_id..self.first_free_id + 1000;
                self.first_free_id = block.end;
                return self.coordinator.ids_reserved(block, self.now_ms, &mut self.out);
            }
            other => panic!("{other:?}"),
        };
        self.coordinator.persisted(ticket, self.now_ms, &mut self.out);
    }
}

fn show(record: &Record) -> String {
    let names: Vec<&str> = record.partitions.iter().map(|partition| &*partition.topic).collect();
    format!("{:?} {} [{}]", record.state, shown(record.producer), names.join(" "))
}

fn shown(producer: Producer) -> String {
    format!("{}/{}", producer.id.0, producer.epoch)
}

pub(super) fn producer(word: &str) -> Producer {
    let (id, epoch) = word.split_once('/').unwrap();
    Producer { id: ProducerId(id.parse().unwrap()), epoch: epoch.parse().unwrap() }
}

fn partition(word: &str) -> Option<TopicPartition> {
    let is_partition = !matches!(word, "v1" | "v2");
    is_partition.then(|| TopicPartition { topic: word.into(), partition: 0 })
}

fn version(words: &[&str]) -> TransactionVersion {
    match words.contains(&"v2") {
        true => TransactionVersion::EpochPerTransaction,
        false => TransactionVersion::Classic,
    }
}

fn given(words: &[&str], now_ms: i64) -> Record {
    let state = match words[2] {
        "Empty" => State::Empty,
        "Ongoing" => State::Ongoing,
        "PrepareCommit" => State::PrepareCommit,
        "PrepareAbort" => State::PrepareAbort,
        "CompleteCommit" => State::CompleteCommit,
        "CompleteAbort" => State::CompleteAbort,
        other => panic!("no state {other}"),
    };
    let producer = producer(words[1]);
    Record {
        producer,
        previous_id: Some(producer.id),
        next_id: None,
        state,
        version: version(words),
        timeout_ms: TIMEOUT_MS,
        partitions: words[3..].iter().filter_map(|word| partition(word)).collect(),
        started_ms: Some(now_ms),
        updated_ms: now_ms,
    }
}
