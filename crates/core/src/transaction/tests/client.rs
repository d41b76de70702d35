//! A client that writes transactions, as well-behaved as clients are: it waits, repeats, and gives up when it is fenced.

use std::collections::BTreeSet;

use super::world::{Broker, Outcome, PARTITIONS, Produce};
use crate::producer::{Ending, Producer, TransactionVersion};
use crate::transaction::{Answer, TransactionError};

pub(super) const TIMEOUT_MS: i32 = 1000;

/// A transaction as its client knows it.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Tags of batches that may have been written, and of those that were said to be stored.
    pub(super) sent: BTreeSet<i64>,
    pub(super) stored: BTreeSet<i64>,
    pub(super) asked: Option<Ending>,
    pub(super) answered: Option<Ending>,
}

/// A request on the network.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request {
    Init { client: usize },
    Add { client: usize, story: usize, producer: Producer, partition: usize },
    Produce(Produce),
    End { client: usize, story: usize, producer: Producer, ending: Ending },
}

impl Request {
    fn client(&self) -> usize {
        match *self {
            Request::Init { client } | Request::Add { client, .. } | Request::End { client, .. } => client,
            Request::Produce(produce) => produce.client,
        }
    }
}

#[derive(Debug)]
pub(super) struct Client {
    number: usize,
    pub(super) id: &'static str,
    pub(super) version: TransactionVersion,
    pub(super) producer: Option<Producer>,
    pub(super) fenced: bool,
    /// A request is on its way.
    waits: bool,
    /// How it wants its transaction to end, as soon as that can be.
    wish: Option<Ending>,
    next_sequences: [i32; PARTITIONS],
    added: BTreeSet<usize>,
    unanswered: Vec<Produce>,
    pub(super) stories: Vec<Story>,
}

impl Client {
    pub(super) fn new(number: usize, id: &'static str, version: TransactionVersion) -> Client {
        Client {
            number,
            id,
            version,
            producer: None,
            fenced: false,
            waits: false,
            wish: None,
            next_sequences: [0; PARTITIONS],
            added: BTreeSet::new(),
            unanswered: Vec::new(),
            stories: vec![Story::default()],
        }
    }

    pub(super) fn come_back(&mut self) {
        let stories = std::mem::take(&mut self.stories);
        *self = Client { stories, ..Client::new(self.number, self.id, self.version) };
        self.stories.push(Story::default());
    }

    fn is_classic(&self) -> bool {
        self.version == TransactionVersion::Classic
    }

    fn story(&mut self) -> &mut Story {
        self.stories.last_mut().expect("there is always one")
    }

    /// Does the next thing, which one of several depends on `choice`.
    pub(super) fn step(&mut self, choice: u16, tag: i64, network: &mut Vec<Request>) {
        let client = self.number;
        if self.fenced || self.waits && !choice.is_multiple_of(32) {
            return;
        }
        self.waits = false;
        let Some(producer) = self.producer else {
            self.waits = true;
            return network.push(Request::Init { client });
        };
        if choice.is_multiple_of(7) && !self.unanswered.is_empty() {
            return network.extend(self.unanswered.iter().copied().map(Request::Produce));
        }
        if choice.is_multiple_of(9) && !self.story().sent.is_empty() {
            let wish = if choice.is_multiple_of(4) { Ending::Abort } else { Ending::Commit };
            self.wish.get_or_insert(wish);
        }
        if let Some(wish) = self.wish {
            return self.end(producer, wish, network);
        }
        let partition = usize::from(choice / 5) % PARTITIONS;
        if self.is_classic() && !self.added.contains(&partition) {
            let story = self.stories.len() - 1;
            self.waits = true;
            return network.push(Request::Add { client, story, producer, partition });
        }
        let waiting = self.unanswered.iter().filter(|produce| produce.partition == partition).count();
        // By the older rules a partition that does not know the producer takes any sequence, so only connections
        // keep its first batches in order. There are none here: one batch at a time.
        if waiting < if self.is_classic() { 1 } else { 3 } {
            let records = 1 + u32::from(choice % 4);
            let first_sequence = self.next_sequences[partition];
            self.next_sequences[partition] += records as i32;
            let produce = Produce { client, producer, partition, first_sequence, records, tag };
            self.unanswered.push(produce);
            self.story().sent.insert(tag);
            network.push(Request::Produce(produce));
        }
    }

    /// Commits when all is stored. By the older rules an abort waits for that too.
    fn end(&mut self, producer: Producer, ending: Ending, network: &mut Vec<Request>) {
        let client = self.number;
        let classic = self.is_classic();
        if !self.unanswered.is_empty() && (classic || ending == Ending::Commit) {
            return;
        }
        self.story().asked = Some(ending);
        // By the older rules a request that comes late would end the next transaction.
        network.retain(|request| {
            !(classic && matches!(request, Request::End { .. }) && request.client() == client)
        });
        let story = self.stories.len() - 1;
        self.waits = true;
        network.push(Request::End { client, story, producer, ending });
    }

    /// A batch is stored, or has to be sent again, or never will be.
    pub(super) fn outcome(&mut self, produce: Produce, outcome: Outcome) {
        let Some(at) = self.unanswered.iter().position(|waiting| *waiting == produce) else { return };
        match outcome {
            Outcome::Stored => {
                self.unanswered.remove(at);
                self.story().stored.insert(produce.tag);
            }
            Outcome::TryAgain => {}
            Outcome::Fenced => self.fenced = true,
        }
    }

    pub(super) fn answer(&mut self, request: Request, answer: Result<Answer, TransactionError>) {
        let stale = match request {
            Request::Init { .. } => self.producer.is_some(),
            Request::Add { story, .. } | Request::End { story, .. } => story + 1 != self.stories.len(),
            Request::Produce(_) => true,
        };
        if stale {
            return;
        }
        self.waits = false;
        match (request, answer) {
            (_, Err(TransactionError::Concurrent)) => {}
            (_, Err(_)) => self.fenced = true,
            (_, Ok(Answer::Producer(producer))) => self.producer = Some(producer),
            (Request::Add { partition, .. }, Ok(Answer::Added)) => drop(self.added.insert(partition)),
            (Request::End { ending, .. }, Ok(Answer::Ended(producer))) => self.ended(ending, producer),
            (request, answer) => panic!("{answer:?} to {request:?}"),
        }
    }

    fn ended(&mut self, ending: Ending, producer: Producer) {
        self.story().answered = Some(ending);
        self.stories.push(Story::default());
        self.wish = None;
        self.added.clear();
        self.unanswered.clear();
        if self.producer != Some(producer) {
            self.next_sequences = [0; PARTITIONS];
        }
        self.producer = Some(producer);
    }
}

/// Hands a request over. Answers to what has a token come later.
pub(super) fn deliver(request: Request, clients: &[Client], broker: &mut Broker) -> Option<u64> {
    let Client { id, version, .. } = clients[request.client()];
    match request {
        Request::Init { .. } => Some(broker.init(id, TIMEOUT_MS)),
        Request::Add { producer, partition, .. } => Some(broker.add(id, producer, partition, version)),
        Request::End { producer, ending, .. } => Some(broker.end(id, producer, ending, version)),
        Request::Produce(produce) => {
            broker.produce(id, produce, version);
            None
        }
    }
}

pub(super) fn client_of(request: &Request) -> usize {
    request.client()
}
