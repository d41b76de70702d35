//! Commands and answers as words: the one place where stories touch the stream.
//!
//! A batch is `append 7/0 @3 x2 txn`: of producer 7 in epoch 0, its numbers from 3 on, two records, in a transaction.
//! Without `@` nobody numbered it, without `/` nobody sent it. `v2` verifies it by the newer rules first, `v1`
//! by the older ones. Other commands: `verify 7/0 @3 v2` (keeps the guard for `append … guarded`),
//! `commit 7/0`, `abort 7/0 v2 coordinator=4`, `stored` (all) or `stored 4`, `trim 4`, `at 500`, `aborted 0 9`,
//! `offsets`, `decided`, `forget 4`, `read 4`, `producers`, `restart` (from the log), `restart snapshot`, `timeout`.

use super::reader::Entry;
use crate::producer::{Ending, Producer, ProducerId, TransactionVersion};
use crate::stream::*;

#[track_caller]
pub(super) fn check(script: &str, expected: &[&str]) {
    check_with(Rules::default(), script, expected);
}

/// Runs the script and compares what the stream had to say.
#[track_caller]
pub(super) fn check_with(rules: Rules, script: &str, expected: &[&str]) {
    let mut world = World::new(rules);
    for command in script.split(';').map(str::trim) {
        let words: Vec<&str> = command.split_whitespace().collect();
        world.run(words[0], &words[1..]);
    }
    assert_eq!(world.said, expected, "after: {script}");
}

struct World {
    rules: Rules,
    stream: Stream,
    log: Vec<(u64, Entry)>,
    guard: Option<Guard>,
    now_ms: i64,
    said: Vec<String>,
}

impl World {
    fn new(rules: Rules) -> World {
        let stream = Stream::new(rules, 0, 0);
        World { rules, stream, log: Vec::new(), guard: None, now_ms: 0, said: Vec::new() }
    }

    fn run(&mut self, command: &str, words: &[&str]) {
        match command {
            "append" => self.append(words),
            "verify" => {
                let sender = batch(words, self.now_ms).sender.unwrap();
                match self.stream.verification(&sender, version(words), self.now_ms) {
                    Ok(guard) => self.guard = guard,
                    Err(error) => self.said.push(error.to_string()),
                }
            }
            "commit" => self.end(words, Ending::Commit),
            "abort" => self.end(words, Ending::Abort),
            "stored" => {
                let upto = words.first().map_or(self.stream.end(), |word| word.parse().unwrap());
                self.stream.stored(upto);
            }
            "trim" => self.stream.trim(words[0].parse().unwrap()),
            "at" => {
                self.now_ms = words[0].parse().unwrap();
                self.stream.on_timeout(self.now_ms);
            }
            "timeout" => self.said.push(format!("timeout {:?}", self.stream.next_timeout())),
            "aborted" => self.aborted(words),
            "offsets" => self.said.push(format!(
                "start {} stable {} stored {} end {}",
                self.stream.log_start(),
                self.stream.last_stable_offset(),
                self.stream.high_watermark(),
                self.stream.end(),
            )),
            "read" => {
                let from = words[0].parse().unwrap();
                let said = match self.stream.readable(from, Isolation::Committed) {
                    Ok(range) => format!("reads {range:?}"),
                    Err(error) => error.to_string(),
                };
                self.said.push(said);
            }
            "producers" => self.producers(),
            "decided" => self.decided(),
            "forget" => self.stream.forget_aborted(words[0].parse().unwrap()),
            "restart" => self.restart(words.contains(&"snapshot")),
            other => panic!("no command {other}"),
        }
    }

    fn append(&mut self, words: &[&str]) {
        let batch = batch(words, self.now_ms);
        let mut guard = self.guard.filter(|_| words.contains(&"guarded"));
        if words.iter().any(|word| word.starts_with('v')) {
            let sender = batch.sender.as_ref().unwrap();
            match self.stream.verification(sender, version(words), self.now_ms) {
                Ok(verified) => guard = verified,
                Err(error) => return self.said.push(error.to_string()),
            }
        }
        let said = match self.stream.append(&batch, guard, self.now_ms) {
            Ok(Appended::At(offset)) => {
                self.log.push((offset, Entry::Batch(batch)));
                format!("at {offset}")
            }
            Ok(Appended::Before { first_offset, last_offset, .. }) => {
                format!("before at {first_offset}-{last_offset}")
            }
            Err(error) => error.to_string(),
        };
        self.said.push(said);
    }

    fn end(&mut self, words: &[&str], ending: Ending) {
        let coordinator_epoch = words.iter().find_map(|word| word.strip_prefix("coordinator="));
        let marker = Marker {
            producer: producer(words[0]),
            ending,
            coordinator_epoch: coordinator_epoch.map_or(0, |word| word.parse().unwrap()),
            version: version(words),
        };
        let said = match self.stream.end_transaction(&marker, self.now_ms) {
            Ok(offset) => {
                self.log.push((offset, Entry::Marker(marker)));
                format!("marker at {offset}")
            }
            Err(error) => error.to_string(),
        };
        self.said.push(said);
    }

    fn aborted(&mut self, words: &[&str]) {
        let (from, upto) = (words[0].parse().unwrap(), words[1].parse().unwrap());
        let aborted = self.stream.aborted_between(from, upto).into_iter();
        let said: Vec<String> = aborted
            .map(|aborted| {
                let Aborted { producer, first_offset, last_offset, last_stable_offset } = aborted;
                format!("{}: {first_offset}-{last_offset} stable {last_stable_offset}", producer.0)
            })
            .collect();
        self.said.push(format!("aborted [{}]", said.join(", ")));
    }

    fn decided(&mut self) {
        let Decided { below, aborted, mut last_written } = self.stream.decided();
        last_written.sort_unstable_by_key(|last| last.producer);
        let aborted: Vec<_> = aborted.iter().map(|aborted| aborted.producer.0).collect();
        let last_written: Vec<_> = last_written
            .iter()
            .map(|last| format!("{}/{} {:?}", last.producer.id.0, last.producer.epoch, last.last_offset))
            .collect();
        self.said
            .push(format!("decided below {below}, aborted {aborted:?}, last {}", last_written.join(" ")));
    }

    fn producers(&mut self) {
        let mut views: Vec<ProducerView> = self.stream.producers().collect();
        views.sort_unstable_by_key(|view| view.producer);
        for ProducerView { producer, last_sequence, open_from, .. } in views {
            let (id, epoch) = (producer.id.0, producer.epoch);
            self.said.push(format!("{id}/{epoch} last {last_sequence:?} open {open_from:?}"));
        }
    }

    fn restart(&mut self, from_snapshot: bool) {
        let end = self.stream.end();
        let log_start = self.stream.log_start();
        self.stream = match from_snapshot {
            true => Stream::from_snapshot(self.rules, &self.stream.snapshot(), self.now_ms).unwrap(),
            false => Stream::new(self.rules, 0, self.now_ms),
        };
        let known = self.stream.end();
        let log = self.log.iter().filter(|(offset, _)| *offset >= known);
        log.for_each(|(offset, entry)| entry.replay(*offset, &mut self.stream, self.now_ms));
        self.stream.recovered(end);
        self.stream.trim(log_start);
    }
}

fn version(words: &[&str]) -> TransactionVersion {
    match words.contains(&"v2") {
        true => TransactionVersion::EpochPerTransaction,
        false => TransactionVersion::Classic,
    }
}

fn producer(word: &str) -> Producer {
    let (id, epoch) = word.split_once('/').unwrap();
    Producer { id: ProducerId(id.parse().unwrap()), epoch: epoch.parse().unwrap() }
}

fn batch(words: &[&str], now_ms: i64) -> Batch {
    let number = |prefix: char| words.iter().find_map(|word| word.strip_prefix(prefix)?.parse::<i32>().ok());
    let sender = words.first().filter(|word| word.contains('/')).map(|word| Sender {
        producer: producer(word),
        first_sequence: number('@'),
        transactional: words.contains(&"txn"),
    });
    Batch { records: number('x').unwrap_or(1) as u32, timestamp_ms: now_ms, sender }
}
