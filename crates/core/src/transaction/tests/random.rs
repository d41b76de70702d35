//! Random clients, some of them fenced and not knowing it, against a broker that is slow, forgets and starts again.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::client::{Client, Request, Story, TIMEOUT_MS, client_of, deliver};
use super::world::{Broker, PARTITIONS};
use crate::producer::{Ending, TransactionVersion};
use crate::stream::tests::reader::{self, Entry};
use crate::transaction::State;

const CLIENTS_MAX: usize = 8;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn transactions_are_seen_whole_or_not_at_all(
        steps in prop::collection::vec((0u8..120, any::<u16>()), 0..1500),
        versions in prop::collection::vec(any::<bool>(), 2),
    ) {
        let mut run = Run::new(&versions);
        for (n, (kind, choice)) in steps.into_iter().enumerate() {
            run.step(kind, choice);
            if n % 8 == 0 {
                run.check_partitions();
            }
        }
        run.finish();
    }
}

struct Run {
    broker: Broker,
    clients: Vec<Client>,
    network: Vec<Request>,
    asked: BTreeMap<u64, Request>,
    tags: i64,
    /// What was once visible stays so.
    stable: [u64; PARTITIONS],
}

impl Run {
    fn new(newer_rules: &[bool]) -> Run {
        let version = |newer: bool| match newer {
            true => TransactionVersion::EpochPerTransaction,
            false => TransactionVersion::Classic,
        };
        let clients = ["a", "b"].into_iter().zip(newer_rules).enumerate();
        let clients = clients.map(|(number, (id, &newer))| Client::new(number, id, version(newer)));
        Run {
            broker: Broker::new(),
            clients: clients.collect(),
            network: Vec::new(),
            asked: BTreeMap::new(),
            tags: 0,
            stable: [0; PARTITIONS],
        }
    }

    fn step(&mut self, kind: u8, choice: u16) {
        let number = usize::from(choice);
        match kind {
            0..38 => {
                self.tags += 1;
                let client = number % self.clients.len();
                self.clients[client].step(choice / 8, self.tags, &mut self.network);
            }
            38..70 if !self.network.is_empty() => {
                let request = self.network.remove(number % self.network.len());
                self.hand_over(request, choice / 8);
            }
            70..85 => drop(self.broker.persist(number)),
            85..100 if !self.broker.delayed.is_empty() => {
                self.broker.do_delayed(number % self.broker.delayed.len());
            }
            100..115 => self.broker.store(number % PARTITIONS, u64::from(choice / 8 % 32)),
            115 => self.broker.pass(i64::from(choice % 200)),
            116 if choice.is_multiple_of(4) && self.clients.len() < CLIENTS_MAX => {
                let Client { id, version, .. } = self.clients[number / 4 % 2];
                self.clients.push(Client::new(self.clients.len(), id, version));
            }
            117 if choice.is_multiple_of(2) => {
                self.broker.restart(number / 2);
                self.asked.clear();
            }
            118 => self.revive(number),
            _ => {}
        }
        self.tell_clients(choice);
    }

    /// Who was fenced comes back as a new incarnation.
    fn revive(&mut self, number: usize) {
        let fenced: Vec<usize> = (0..self.clients.len()).filter(|&n| self.clients[n].fenced).collect();
        if let Some(&client) = fenced.get(number % fenced.len().max(1)) {
            self.clients[client].come_back();
        }
    }

    /// Some requests arrive twice, where that can be.
    fn hand_over(&mut self, request: Request, choice: u16) {
        let newer = self.clients[client_of(&request)].version == TransactionVersion::EpochPerTransaction;
        if choice.is_multiple_of(6) && (newer || !matches!(request, Request::End { .. })) {
            self.network.push(request);
        }
        if let Some(token) = deliver(request, &self.clients, &mut self.broker) {
            self.asked.insert(token, request);
        }
    }

    /// Some answers are lost.
    fn tell_clients(&mut self, choice: u16) {
        for (token, answer) in std::mem::take(&mut self.broker.answers) {
            let request = self.asked.remove(&token).expect("it was asked");
            if choice % 8 != 1 {
                self.clients[client_of(&request)].answer(request, answer);
            }
        }
        for (produce, outcome) in std::mem::take(&mut self.broker.outcomes) {
            if choice % 8 != 2 {
                self.clients[produce.client].outcome(produce, outcome);
            }
        }
    }

    fn check_partitions(&mut self) {
        for (partition, stable) in self.broker.partitions.iter().zip(&mut self.stable) {
            let stream = &partition.stream;
            assert!(*stable <= stream.last_stable_offset());
            *stable = stream.last_stable_offset();
            let seen = reader::committed(stream, &partition.log, 5);
            assert_eq!(seen, reader::truth(&partition.log, 0, stream.last_stable_offset()));
            let mut due = BTreeMap::new();
            for (_, entry) in &partition.log {
                let Entry::Batch(batch) = entry else { continue };
                let sender = batch.sender.expect("all batches have one");
                let due = due.entry(sender.producer).or_insert(0);
                assert_eq!(sender.first_sequence, Some(*due), "{sender:?}");
                *due += batch.records as i32;
            }
        }
    }

    /// Everything under way arrives, and what was left open is aborted in time.
    fn finish(&mut self) {
        for request in std::mem::take(&mut self.network) {
            self.hand_over(request, 1);
        }
        self.broker.settle();
        self.tell_clients(0);
        self.broker.pass(i64::from(TIMEOUT_MS) + 1);
        self.broker.settle();
        self.check_partitions();
        for (id, record) in self.broker.coordinator.iter() {
            let done = matches!(record.state, State::Empty | State::CompleteCommit | State::CompleteAbort);
            assert!(done, "{id} is {:?}", record.state);
        }
        let mut visible = BTreeSet::new();
        for partition in &self.broker.partitions {
            assert_eq!(partition.stream.last_stable_offset(), partition.stream.end());
            let offsets = reader::committed(&partition.stream, &partition.log, 100);
            visible.extend(partition.log.iter().filter_map(|(offset, entry)| match entry {
                Entry::Batch(batch) if offsets.contains(offset) => Some(batch.timestamp_ms),
                _ => None,
            }));
        }
        for story in self.clients.iter().flat_map(|client| &client.stories) {
            check_story(story, &visible);
        }
    }
}

fn check_story(story: &Story, visible: &BTreeSet<i64>) {
    let seen: BTreeSet<i64> = story.sent.intersection(visible).copied().collect();
    match (story.asked, story.answered) {
        (_, Some(Ending::Commit)) => assert_eq!(seen, story.sent, "committed and lost: {story:?}"),
        (Some(Ending::Commit), None) => {
            assert!(seen.is_empty() || seen == story.sent, "torn: {seen:?} of {story:?}");
        }
        _ => assert!(seen.is_empty(), "seen and never committed: {seen:?} of {story:?}"),
    }
}
