//! A broker in memory: a coordinator, partitions, and a disk that lags behind both.

use crate::partition::TopicPartition;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::producer::{Ending, Producer, TransactionVersion};
use crate::stream::tests::reader::Entry;
use crate::stream::{self, Appended, Batch, Guard, Marker, Sender, Stream};
use crate::transaction::*;

pub(super) const PARTITIONS: usize = 3;

/// Producer ids reserved at a time.
const IDS: i64 = 1000;

/// A batch on its way. The tag stands for its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Produce {
    pub(super) client: usize,
    pub(super) producer: Producer,
    pub(super) partition: usize,
    pub(super) first_sequence: i32,
    pub(super) records: u32,
    pub(super) tag: i64,
}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Stored,
    TryAgain,
    Fenced,
}

/// Work inside of the broker that takes a while.
#[derive(Debug, Clone)]
pub(super) enum Delayed {
    Append(Produce, Option<Guard>),
    Mark { id: TransactionalId, marker: Marker, partition: usize },
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) stream: Stream,
    pub(super) log: Vec<(u64, Entry)>,
    /// Wait until everything up to an offset is stored.
    appended: Vec<(u64, Produce)>,
    marked: Vec<(u64, TransactionalId, Producer)>,
}

impl Partition {
    fn new() -> Partition {
        let stream = Stream::new(stream::Rules::default(), 0, 0);
        Partition { stream, log: Vec::new(), appended: Vec::new(), marked: Vec::new() }
    }

    /// The log ends after so many entries, which are all stored.
    fn restart(&mut self, entries: usize) {
        self.log.truncate(entries);
        let log = std::mem::take(&mut self.log);
        *self = Partition { log, ..Partition::new() };
        for (offset, entry) in &self.log {
            entry.replay(*offset, &mut self.stream, 0);
        }
        let end = self.log.last().map_or(0, |(offset, entry)| offset + entry.offsets());
        self.stream.recovered(end);
    }
}

pub(super) struct Broker {
    pub(super) coordinator: Coordinator,
    pub(super) partitions: Vec<Partition>,
    pub(super) now_ms: i64,
    out: Effects,
    disk: BTreeMap<TransactionalId, Record>,
    first_free_id: i64,
    persisting: VecDeque<Effect>,
    pub(super) delayed: Vec<Delayed>,
    adding: BTreeMap<u64, (Produce, Option<Guard>)>,
    /// Under which transactional id a batch came, and by which rules.
    verified_as: BTreeMap<i64, (&'static str, TransactionVersion)>,
    last_token: u64,
    /// Asked since the last start and not answered.
    open_tokens: BTreeSet<u64>,
    /// For clients.
    pub(super) answers: Vec<(u64, Result<Answer, TransactionError>)>,
    pub(super) outcomes: Vec<(Produce, Outcome)>,
}

pub(super) fn topic_partition(partition: usize) -> TopicPartition {
    TopicPartition { topic: Arc::from("t"), partition: partition as i32 }
}

impl Broker {
    pub(super) fn new() -> Broker {
        Broker {
            coordinator: Coordinator::new(Rules::default()),
            partitions: (0..PARTITIONS).map(|_| Partition::new()).collect(),
            now_ms: 0,
            out: Effects::default(),
            disk: BTreeMap::new(),
            first_free_id: 0,
            persisting: VecDeque::new(),
            delayed: Vec::new(),
            adding: BTreeMap::new(),
            verified_as: BTreeMap::new(),
            last_token: 0,
            open_tokens: BTreeSet::new(),
            answers: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    fn token(&mut self) -> u64 {
        self.last_token += 1;
        self.open_tokens.insert(self.last_token);
        self.last_token
    }

    pub(super) fn init(&mut self, id: &str, timeout_ms: i32) -> u64 {
        let token = self.token();
        self.coordinator.init_producer_id(token, id, timeout_ms, None, self.now_ms, &mut self.out);
        self.carry_out();
        token
    }

    pub(super) fn add(
        &mut self,
        id: &str,
        producer: Producer,
        partition: usize,
        version: TransactionVersion,
    ) -> u64 {
        let token = self.token();
        let partitions = [topic_partition(partition)];
        let (out, now_ms) = (&mut self.out, self.now_ms);
        self.coordinator.add_partitions(token, id, producer, &partitions, version, now_ms, out);
        self.carry_out();
        token
    }

    pub(super) fn end(
        &mut self,
        id: &str,
        producer: Producer,
        ending: Ending,
        version: TransactionVersion,
    ) -> u64 {
        let token = self.token();
        self.coordinator.end(token, id, producer, ending, version, self.now_ms, &mut self.out);
        self.carry_out();
        token
    }

    /// A batch arrives. The first of a transaction is verified, or its partition added.
    pub(super) fn produce(&mut self, id: &'static str, batch: Produce, version: TransactionVersion) {
        self.verified_as.insert(batch.tag, (id, version));
        let guard =
            self.partitions[batch.partition].stream.verification(&sender(&batch), version, self.now_ms);
        let guard = match guard {
            Ok(Some(guard)) => Some(guard),
            Ok(None) => return self.delayed.push(Delayed::Append(batch, None)),
            Err(_) => return self.outcomes.push((batch, Outcome::Fenced)),
        };
        if version == TransactionVersion::EpochPerTransaction {
            let token = self.last_token + 1;
            self.adding.insert(token, (batch, guard));
            assert_eq!(self.add(id, batch.producer, batch.partition, version), token);
            return;
        }
        match self.coordinator.verify_partition(id, batch.producer, &topic_partition(batch.partition)) {
            Ok(()) => self.delayed.push(Delayed::Append(batch, guard)),
            Err(error) => self.outcomes.push((batch, outcome_of(error))),
        }
    }

    pub(super) fn do_delayed(&mut self, at: usize) {
        match self.delayed.remove(at) {
            Delayed::Append(batch, guard) => self.append(batch, guard),
            Delayed::Mark { id, marker, partition: at } => {
                let partition = &mut self.partitions[at];
                let marked = partition.stream.end_transaction(&marker, self.now_ms);
                let offset = marked.expect("the coordinator's markers are never refused");
                partition.log.push((offset, Entry::Marker(marker)));
                partition.marked.push((offset, id, marker.producer));
            }
        }
    }

    fn append(&mut self, produce: Produce, guard: Option<Guard>) {
        let partition = &mut self.partitions[produce.partition];
        let sender = Some(sender(&produce));
        let batch = Batch { records: produce.records, timestamp_ms: produce.tag, sender };
        match partition.stream.append(&batch, guard, self.now_ms) {
            Ok(Appended::At(offset)) => {
                let twice = partition.log.iter().any(|(_, entry)| *entry == Entry::Batch(batch));
                assert!(!twice, "appended twice: {produce:?}");
                partition.log.push((offset, Entry::Batch(batch)));
                partition.appended.push((offset + u64::from(batch.records) - 1, produce));
            }
            Ok(Appended::Before { last_offset, .. }) => partition.appended.push((last_offset, produce)),
            Err(stream::AppendError::StaleEpoch { .. }) => self.outcomes.push((produce, Outcome::Fenced)),
            Err(stream::AppendError::VerifiedTooEarly { .. }) => {
                let (id, version) = self.verified_as[&produce.tag];
                self.produce(id, produce, version);
            }
            Err(_) => self.outcomes.push((produce, Outcome::TryAgain)),
        }
    }

    /// So many more offsets of a partition are stored.
    pub(super) fn store(&mut self, at: usize, offsets: u64) {
        let partition = &mut self.partitions[at];
        let upto = (partition.stream.high_watermark() + offsets).min(partition.stream.end());
        partition.stream.stored(upto);
        let appended = partition.appended.extract_if(.., |(offset, _)| *offset < upto);
        self.outcomes.extend(appended.map(|(_, produce)| (produce, Outcome::Stored)));
        let marked: Vec<_> = partition.marked.extract_if(.., |(offset, ..)| *offset < upto).collect();
        for (_, id, producer) in marked {
            // A marker is told twice: that must not matter.
            self.coordinator.marked(&id, producer, &topic_partition(at), self.now_ms, &mut self.out);
            self.coordinator.marked(&id, producer, &topic_partition(at), self.now_ms, &mut self.out);
        }
        self.carry_out();
    }

    pub(super) fn pass(&mut self, time_ms: i64) {
        self.now_ms += time_ms;
        self.coordinator.on_timeout(self.now_ms, &mut self.out);
        self.carry_out();
    }

    /// A record is on disk, not always the oldest.
    pub(super) fn persist(&mut self, choice: usize) -> bool {
        let at = choice % self.persisting.len().max(1);
        let Some(effect) = self.persisting.remove(at) else { return false };
        match self.write(effect) {
            Some(ticket) => self.coordinator.persisted(ticket, self.now_ms, &mut self.out),
            None => {
                let block = self.first_free_id - IDS..self.first_free_id;
                self.coordinator.ids_reserved(block, self.now_ms, &mut self.out);
            }
        }
        self.carry_out();
        true
    }

    /// The ticket of a record.
    fn write(&mut self, effect: Effect) -> Option<Ticket> {
        match effect {
            Effect::Persist { ticket, transactional_id, record: Some(record) } => {
                self.disk.insert(transactional_id, record);
                Some(ticket)
            }
            Effect::Persist { ticket, transactional_id, record: None } => {
                self.disk.remove(&transactional_id);
                Some(ticket)
            }
            Effect::ReserveIds => {
                self.first_free_id += IDS;
                None
            }
            other => panic!("nothing to write: {other:?}"),
        }
    }

    fn carry_out(&mut self) {
        for effect in self.out.drain().collect::<Vec<_>>() {
            match effect {
                Effect::Persist { .. } | Effect::ReserveIds => self.persisting.push_back(effect),
                Effect::WriteMarkers { transactional_id, producer, ending, version, partitions } => {
                    let marker = Marker { producer, ending, coordinator_epoch: 0, version };
                    self.delayed.extend(partitions.iter().map(|partition| Delayed::Mark {
                        id: transactional_id.clone(),
                        marker,
                        partition: partition.partition as usize,
                    }));
                }
                Effect::Answer { token, answer } => {
                    assert!(self.open_tokens.remove(&token), "{token} is answered twice");
                    match (self.adding.remove(&token), answer) {
                        (Some((batch, guard)), Ok(_)) => self.delayed.push(Delayed::Append(batch, guard)),
                        (Some((batch, _)), Err(error)) => self.outcomes.push((batch, outcome_of(error))),
                        (None, answer) => self.answers.push((token, answer)),
                    }
                }
            }
        }
    }

    /// The process ends and starts again. Some of what was on its way to the disk arrived.
    pub(super) fn restart(&mut self, arrived: usize) {
        for partition in &mut self.partitions {
            let stored = partition.stream.high_watermark();
            let entries = partition.log.iter().filter(|(offset, _)| *offset < stored).count();
            let unstored = partition.log.len() - entries;
            partition.restart(entries + arrived % (unstored + 1));
        }
        for _ in 0..arrived % (self.persisting.len() + 1) {
            let effect = self.persisting.pop_front().expect("counted");
            self.write(effect);
        }
        self.persisting.clear();
        self.delayed.clear();
        self.adding.clear();
        self.open_tokens.clear();
        self.answers.clear();
        self.outcomes.clear();
        let (records, out) = (self.disk.clone(), &mut self.out);
        self.coordinator = Coordinator::restore(Rules::default(), records, self.now_ms, out);
        self.carry_out();
    }

    /// Until nothing is under way.
    pub(super) fn settle(&mut self) {
        loop {
            let persisted = self.persist(0);
            let delayed = !self.delayed.is_empty();
            if delayed {
                self.do_delayed(0);
            }
            (0..PARTITIONS).for_each(|partition| self.store(partition, u64::MAX / 2));
            if !persisted && !delayed && self.persisting.is_empty() && self.delayed.is_empty() {
                break;
            }
        }
        assert!(self.open_tokens.is_empty(), "never answered: {:?}", self.open_tokens);
    }
}

fn sender(batch: &Produce) -> Sender {
    Sender { producer: batch.producer, first_sequence: Some(batch.first_sequence), transactional: true }
}

fn outcome_of(error: TransactionError) -> Outcome {
    match error {
        TransactionError::Concurrent => Outcome::TryAgain,
        _ => Outcome::Fenced,
    }
}
