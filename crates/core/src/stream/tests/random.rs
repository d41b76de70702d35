//! Random producers that repeat, skip and come back in new epochs, over restarts, against a simple model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::reader::{self, Entry};
use crate::producer::{Ending, Producer, ProducerId, TransactionVersion};
use crate::stream::*;

#[derive(Debug, Clone)]
enum Op {
    /// So far from the sequence that is due.
    Send {
        id: i64,
        off: i32,
        records: u32,
        transactional: bool,
        fresh_guard: bool,
    },
    /// Again, what was sent so many batches before.
    Repeat {
        back: usize,
    },
    Plain(u32),
    NewEpoch(i64),
    End {
        id: i64,
        ending: Ending,
        late: bool,
    },
    Stored(u64),
    Trim(u64),
    Snapshot,
    Restart {
        from_snapshot: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let ending = prop_oneof![Just(Ending::Commit), Just(Ending::Abort)];
    let off = prop_oneof![8 => Just(0), 1 => -3..3];
    prop_oneof![
        12 => (0i64..4, off, 1u32..4, prop::bool::weighted(0.7), prop::bool::weighted(0.9)).prop_map(
            |(id, off, records, transactional, fresh_guard)| Op::Send { id, off, records, transactional, fresh_guard }
        ),
        4 => (1usize..8).prop_map(|back| Op::Repeat { back }),
        2 => (1u32..4).prop_map(Op::Plain),
        1 => (0i64..4).prop_map(Op::NewEpoch),
        5 => (0i64..4, ending, prop::bool::weighted(0.2)).prop_map(|(id, ending, late)| Op::End { id, ending, late }),
        5 => (0u64..9).prop_map(Op::Stored),
        1 => (0u64..20).prop_map(Op::Trim),
        1 => Just(Op::Snapshot),
        2 => any::<bool>().prop_map(|from_snapshot| Op::Restart { from_snapshot }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_doubled_skipped_or_seen_before_it_is_decided(
        ops in prop::collection::vec(op(), 0..120),
        newer_rules in any::<bool>(),
    ) {
        let mut run = Run::new(newer_rules);
        for op in ops {
            run.step(op);
            run.check();
        }
    }
}

#[derive(Debug, Default, Clone)]
struct Client {
    epoch: i16,
    next_sequence: i32,
    guard: Option<Guard>,
    /// It was got since the last transaction ended.
    guard_is_fresh: bool,
}

struct Run {
    version: TransactionVersion,
    stream: Stream,
    log: Vec<(u64, Entry)>,
    clients: BTreeMap<i64, Client>,
    snapshots: Vec<Vec<u8>>,
    /// What was once visible stays so.
    stable: u64,
}

impl Run {
    fn new(newer_rules: bool) -> Run {
        let version = match newer_rules {
            true => TransactionVersion::EpochPerTransaction,
            false => TransactionVersion::Classic,
        };
        let stream = Stream::new(Rules::default(), 0, 0);
        Run { version, stream, log: Vec::new(), clients: BTreeMap::new(), snapshots: Vec::new(), stable: 0 }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Send { id, off, records, transactional, fresh_guard } => {
                self.send(id, off, records, transactional, fresh_guard);
            }
            Op::Repeat { back } => self.repeat(back),
            Op::Plain(records) => {
                let batch = Batch { records, timestamp_ms: 0, sender: None };
                let at = self.stream.append(&batch, None, 0).unwrap();
                assert_eq!(at, Appended::At(self.end_of_log()));
                self.log.push((self.end_of_log(), Entry::Batch(batch)));
            }
            Op::NewEpoch(id) => {
                let client = self.clients.entry(id).or_default();
                (client.epoch, client.next_sequence) = (client.epoch + 1, 0);
            }
            Op::End { id, ending, late } => self.end(id, ending, late),
            Op::Stored(more) => {
                let upto = (self.stream.high_watermark() + more).min(self.stream.end());
                self.stream.stored(upto);
            }
            Op::Trim(by) => {
                let upto = (self.stream.log_start() + by).min(self.stream.high_watermark());
                self.stream.trim(upto);
            }
            Op::Snapshot => self.snapshots.push(self.stream.snapshot()),
            Op::Restart { from_snapshot } => self.restart(from_snapshot),
        }
    }

    fn end_of_log(&self) -> u64 {
        self.log.last().map_or(0, |(offset, entry)| offset + entry.offsets())
    }

    fn batches_of(&self, producer: Producer) -> impl DoubleEndedIterator<Item = (u64, Batch)> {
        self.log.iter().filter_map(move |(offset, entry)| match entry {
            Entry::Batch(batch) if batch.sender.is_some_and(|sender| sender.producer == producer) => {
                Some((*offset, *batch))
            }
            _ => None,
        })
    }

    /// Whether the log holds a transaction of the producer without its end.
    fn has_open(&self, id: ProducerId) -> bool {
        let last = self.log.iter().rev().find_map(|(_, entry)| match entry {
            Entry::Marker(marker) if marker.producer.id == id => Some(false),
            Entry::Batch(Batch { sender: Some(sender), .. })
                if sender.producer.id == id && sender.transactional =>
            {
                Some(true)
            }
            _ => None,
        });
        last == Some(true)
    }

    fn send(&mut self, id: i64, off: i32, records: u32, transactional: bool, fresh_guard: bool) {
        let client = self.clients.entry(id).or_default().clone();
        let producer = Producer { id: ProducerId(id), epoch: client.epoch };
        let first_sequence = (client.next_sequence + off).max(0);
        let sender = Sender { producer, first_sequence: Some(first_sequence), transactional };
        let batch = Batch { records, timestamp_ms: 0, sender: Some(sender) };
        let known = self.stream.producers().any(|view| view.producer.id == producer.id);
        let open = self.has_open(producer.id);
        let mut guard = client.guard;
        if fresh_guard {
            guard = self.stream.verification(&sender, self.version, 0).unwrap();
            let client = self.clients.get_mut(&id).unwrap();
            (client.guard, client.guard_is_fresh) = (guard, true);
        }
        let repeated = self.batches_of(producer).rev().take(5).any(|(_, earlier)| earlier == batch);
        match self.stream.append(&batch, guard, 0) {
            Ok(Appended::At(offset)) => {
                assert_eq!(offset, self.end_of_log());
                assert!(first_sequence == client.next_sequence || !known, "a gap");
                assert!(transactional || !open, "outside of the open transaction");
                assert!(!transactional || open || self.clients[&id].guard_is_fresh, "verified too early");
                self.log.push((offset, Entry::Batch(batch)));
                self.clients.get_mut(&id).unwrap().next_sequence = first_sequence + records as i32;
            }
            Ok(Appended::Before { .. }) => {
                let same = |(_, earlier): (u64, Batch)| {
                    let earlier_sender = earlier.sender.unwrap();
                    (earlier_sender.first_sequence, earlier.records) == (Some(first_sequence), records)
                };
                assert!(self.batches_of(producer).any(same), "never came before");
            }
            Err(AppendError::OutOfOrder { .. }) => assert!(off != 0 && !repeated),
            Err(AppendError::NotInTransaction { .. } | AppendError::VerifiedTooEarly { .. }) => {
                assert!(transactional && !fresh_guard);
            }
            Err(AppendError::OutsideTransaction { .. }) => assert!(open && !transactional),
            Err(other) => panic!("{other}"),
        }
    }

    fn repeat(&mut self, back: usize) {
        let Some(at) = self.log.len().checked_sub(back) else { return };
        let (offset, Entry::Batch(batch)) = self.log[at] else { return };
        let Some(sender) = batch.sender else { return };
        let later = self.batches_of(sender.producer).filter(|(later, _)| *later > offset).count();
        let epoch_now = self.stream.producers().find(|view| view.producer.id == sender.producer.id);
        let remembered =
            later < 5 && epoch_now.is_some_and(|view| view.producer.epoch == sender.producer.epoch);
        match self.stream.append(&batch, None, 0) {
            Ok(Appended::Before { first_offset, last_offset, .. }) => {
                assert_eq!((first_offset, last_offset), (offset, offset + u64::from(batch.records) - 1));
            }
            Ok(at) => panic!("doubled: {at:?}"),
            Err(_) => assert!(!remembered, "forgotten: {batch:?}"),
        }
    }

    fn end(&mut self, id: i64, ending: Ending, late: bool) {
        let newer = self.version == TransactionVersion::EpochPerTransaction;
        let client = self.clients.entry(id).or_default();
        let epoch = client.epoch + i16::from(newer && !late);
        let producer = Producer { id: ProducerId(id), epoch };
        let marker = Marker { producer, ending, coordinator_epoch: 0, version: self.version };
        let open = self.has_open(producer.id);
        match self.stream.end_transaction(&marker, 0) {
            Ok(offset) => {
                assert_eq!(offset, self.end_of_log());
                self.log.push((offset, Entry::Marker(marker)));
                let client = self.clients.get_mut(&id).unwrap();
                client.guard_is_fresh = false;
                if newer && !late {
                    (client.epoch, client.next_sequence) = (epoch, 0);
                }
            }
            Err(error) => assert!(newer && late && open, "{error}"),
        }
    }

    /// What was stored is there again, and perhaps more.
    fn restart(&mut self, from_snapshot: bool) {
        let stored = self.stream.high_watermark();
        let log_start = self.stream.log_start();
        self.log.retain(|(offset, _)| *offset < stored);
        let end = self.end_of_log();
        self.stream = Stream::new(Rules::default(), 0, 0);
        self.snapshots
            .retain(|bytes| Stream::from_snapshot(Rules::default(), bytes, 0).unwrap().end() <= end);
        if let Some(bytes) = self.snapshots.last().filter(|_| from_snapshot) {
            self.stream = Stream::from_snapshot(Rules::default(), bytes, 0).unwrap();
        }
        let known = self.stream.end();
        let log = self.log.iter().filter(|(offset, _)| *offset >= known);
        log.for_each(|(offset, entry)| entry.replay(*offset, &mut self.stream, 0));
        self.stream.recovered(end);
        self.stream.trim(log_start);
        self.clients_as_the_log_says();
    }

    /// Clients learn what was lost and go on from there.
    fn clients_as_the_log_says(&mut self) {
        for (&id, client) in &mut self.clients {
            let view = self.stream.producers().find(|view| view.producer.id == ProducerId(id));
            client.guard = None;
            client.epoch = view.map_or(client.epoch, |view| view.producer.epoch);
            client.next_sequence = view.and_then(|view| view.last_sequence).map_or(0, |last| last + 1);
        }
    }

    fn check(&mut self) {
        let stream = &self.stream;
        let stable = stream.last_stable_offset();
        assert!(stream.log_start() <= stable && stable <= stream.high_watermark());
        assert!(self.stable <= stable, "the reader saw {} and now only {stable}", self.stable);
        self.stable = stable;
        assert_eq!(stream.end(), self.end_of_log());
        for step in [1, 7, 1000] {
            let seen = reader::committed(stream, &self.log, step);
            assert_eq!(seen, reader::truth(&self.log, stream.log_start(), stable), "step {step}");
        }
    }
}
