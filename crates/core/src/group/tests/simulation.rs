//! Clients, a group and its log, in virtual time; and what must hold after every step.

use crate::partition::TopicPartition;
use crate::producer::{Producer, ProducerId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::client::{Client, Doing, PARTITIONS};
use super::random::Op;
use super::restored;
use crate::group::*;

/// The first two share an instance, the third is static too.
pub(super) const CLIENTS: usize = 6;

/// A request without an answer.
#[derive(Default)]
pub(super) struct Asked {
    /// Who joins or syncs.
    pub(super) client: Option<usize>,
    /// What a commit says.
    pub(super) commit: Option<(TopicPartition, i64)>,
}

pub(super) struct Simulation {
    pub(super) rules: Rules,
    pub(super) group: Group,
    pub(super) out: Effects,
    pub(super) now_ms: i64,
    pub(super) clients: Vec<Client>,
    pub(super) writes: VecDeque<(WriteId, Vec<Stored>)>,
    pub(super) log: Vec<Stored>,
    pub(super) last_token: u64,
    pub(super) asked: BTreeMap<Token, Asked>,
    /// Who was told to own a partition in a generation.
    pub(super) owners: BTreeMap<(i32, i32), Arc<str>>,
    pub(super) last_shared: i32,
    /// Rises with every commit.
    pub(super) last_offset: i64,
    /// At least so far the group has read, as somebody was told.
    pub(super) promised: BTreeMap<TopicPartition, i64>,
    /// The same, once the producer commits.
    pub(super) promised_within: BTreeMap<(i64, TopicPartition), i64>,
    /// Somebody wants offsets gone in this step.
    pub(super) removing: bool,
}

impl Simulation {
    pub(super) fn new(rules: Rules) -> Simulation {
        let client = |n: usize| Client {
            instance: [Some("x"), Some("x"), Some("y")].get(n).copied().flatten().map(Arc::from),
            modern: n % 2 == 1,
            session_timeout_ms: 6_000 + 1_000 * n as i64,
            protocols: vec!["range"],
            says: 0,
            member: None,
            generation: 0,
            doing: Doing::Nothing,
        };
        Simulation {
            rules,
            group: Group::new(rules, 0),
            out: Effects::new(),
            now_ms: 0,
            clients: (0..CLIENTS).map(client).collect(),
            writes: VecDeque::new(),
            log: Vec::new(),
            last_token: 0,
            asked: BTreeMap::new(),
            owners: BTreeMap::new(),
            last_shared: 0,
            last_offset: 0,
            promised: BTreeMap::new(),
            promised_within: BTreeMap::new(),
            removing: false,
        }
    }

    pub(super) fn step(&mut self, op: Op) {
        match op {
            Op::Act(n) => self.act(n),
            Op::Repeat(n) => self.repeat(n),
            Op::Crash(n) => self.clients[n].reset(),
            Op::Leave(n) => {
                let identity = self.clients[n].identity();
                self.clients[n].reset();
                self.leave(identity);
            }
            Op::Expel(n) => {
                let instance = self.clients[n].instance.clone();
                self.leave(Identity { member: None, instance });
            }
            Op::Commit(n) => self.commit(Some(n), None),
            Op::CommitWithin { producer, client } => self.commit(client, Some(producer)),
            Op::CommitFromOutside => self.commit(None, None),
            Op::End { producer, committed } => self.end_transaction(producer, committed),
            Op::ChangeMind(n) => {
                let client = &mut self.clients[n];
                client.says = client.says.wrapping_add(1);
                client.protocols = [vec!["range"], vec!["range", "sticky"], vec!["sticky", "range"]]
                    [usize::from(client.says) % 3]
                    .clone();
            }
            Op::Forget(partition) => {
                let token = self.token(Asked::default());
                self.removing = true;
                self.group.delete_offsets(token, vec![at(partition)], &mut self.out);
            }
            Op::TopicGone => {
                self.removing = true;
                self.group.topic_deleted("t", &mut self.out);
            }
            Op::Delete => {
                let token = self.token(Asked::default());
                self.removing = true;
                self.group.delete(token, &mut self.out);
            }
            Op::Pass(ms) => self.pass(ms),
            Op::Persist { stored } => self.finish_write(stored),
            Op::Restart { stored } => self.restart(stored),
        }
        self.observe();
        self.removing = false;
        self.compare();
    }

    fn token(&mut self, asked: Asked) -> Token {
        self.last_token += 1;
        let token = Token(self.last_token);
        self.asked.insert(token, asked);
        token
    }

    /// What a good client does next.
    fn act(&mut self, n: usize) {
        match self.clients[n].doing.clone() {
            Doing::Joining(_) | Doing::Syncing(_) => {}
            Doing::Nothing => self.join(n),
            Doing::Joined(members) => self.sync(n, &members),
            Doing::Owning(_) => {
                let client = &mut self.clients[n];
                let answer = self.group.heartbeat(&client.identity(), client.generation, self.now_ms);
                if let Err(refusal) = answer {
                    client.refused(refusal);
                }
            }
        }
    }

    fn repeat(&mut self, n: usize) {
        match self.clients[n].doing {
            Doing::Joining(_) => self.join(n),
            Doing::Syncing(_) => self.sync(n, &[]),
            _ => {}
        }
    }

    fn join(&mut self, n: usize) {
        let token = self.token(Asked { client: Some(n), commit: None });
        let fresh_id = format!("m{:04}", token.0).into();
        self.clients[n].doing = Doing::Joining(token);
        self.group.join(token, self.clients[n].join(fresh_id), self.now_ms, &mut self.out);
    }

    fn sync(&mut self, n: usize, members: &[MemberId]) {
        let token = self.token(Asked { client: Some(n), commit: None });
        self.clients[n].doing = Doing::Syncing(token);
        self.group.sync(token, self.clients[n].sync(members), &mut self.out);
    }

    fn leave(&mut self, identity: Identity) {
        let answers = self.group.leave(&[identity], self.now_ms, &mut self.out);
        assert!(answers.is_err() == (self.group.state() == State::Dead));
    }

    fn commit(&mut self, client: Option<usize>, producer: Option<i64>) {
        let (identity, generation) = match client {
            Some(n) => (self.clients[n].identity(), Some(self.clients[n].generation)),
            None => (Identity::default(), None),
        };
        self.last_offset += 1;
        let at = at(self.last_offset as i32 % PARTITIONS);
        let token = self.token(Asked { client: None, commit: Some((at.clone(), self.last_offset)) });
        let offset =
            OffsetToCommit { at, offset: self.last_offset, leader_epoch: Some(3), metadata: "".into() };
        let producer = producer.map(|id| Producer { id: ProducerId(id), epoch: 0 });
        let commit = Commit { identity, generation, producer, retention_ms: None, offsets: vec![offset] };
        self.group.commit(token, commit, self.now_ms, &mut self.out);
    }

    /// A producer ends its transaction when all it sent was answered.
    fn end_transaction(&mut self, producer: i64, committed: bool) {
        let producer = ProducerId(producer);
        let within = |stored: &Stored| matches!(stored, Stored::InTransaction(id, _) if *id == producer);
        if self.group.state() == State::Dead
            || self.writes.iter().any(|(_, records)| records.iter().any(within))
        {
            return;
        }
        self.log.push(Stored::TransactionEnded { producer, committed });
        self.group.transaction_ended(producer, committed);
        for ((id, at), offset) in std::mem::take(&mut self.promised_within) {
            match id == producer.0 {
                true if committed => self.promise(at, offset),
                true => {}
                false => drop(self.promised_within.insert((id, at), offset)),
            }
        }
    }

    pub(super) fn promise(&mut self, at: TopicPartition, offset: i64) {
        let promised = self.promised.entry(at).or_insert(offset);
        *promised = (*promised).max(offset);
    }

    /// Runs each timer at its time.
    fn pass(&mut self, ms: i64) {
        let until_ms = self.now_ms + ms;
        for _ in 0..500 {
            let Some(due_ms) = self.group.next_timeout().filter(|due_ms| *due_ms <= until_ms) else {
                self.now_ms = until_ms;
                return;
            };
            self.now_ms = self.now_ms.max(due_ms);
            self.group.on_timeout(self.now_ms, &mut self.out);
            self.observe();
        }
        panic!("a timer that does not move on: {:?}", self.group);
    }

    fn finish_write(&mut self, stored: bool) {
        let Some((write, records)) = self.writes.pop_front() else { return };
        if stored {
            self.append(records);
        }
        self.group.persisted(write, stored, self.now_ms, &mut self.out);
    }

    fn append(&mut self, records: Vec<Stored>) {
        for record in &records {
            if let Stored::Record(GroupRecord::OffsetGone(gone)) = record {
                self.promised.remove(gone);
                self.promised_within.retain(|(_, at), _| at != gone);
            }
        }
        self.log.extend(records);
    }

    fn restart(&mut self, stored: usize) {
        for (n, (_, records)) in std::mem::take(&mut self.writes).into_iter().enumerate() {
            if n < stored {
                self.append(records);
            }
        }
        for (_, asked) in std::mem::take(&mut self.asked) {
            asked.client.into_iter().for_each(|n| self.clients[n].doing = Doing::Nothing);
        }
        self.group = restored(self.rules, self.log.clone(), self.now_ms, &mut self.out);
        assert!(matches!(self.group.state(), State::Empty | State::Stable | State::PreparingRebalance));
        assert!(self.group.generation() >= self.last_shared || self.log_is_of_nobody());
        match self.log_is_of_nobody() {
            true => self.forget_group(),
            false => self.check_restored(),
        }
    }

    /// The group was deleted, or never wrote a thing.
    fn log_is_of_nobody(&self) -> bool {
        self.group.is_blank()
    }

    pub(super) fn forget_group(&mut self) {
        self.log.clear();
        self.owners.clear();
        self.last_shared = 0;
        self.promised.clear();
        self.promised_within.clear();
    }

    /// From here on everybody behaves and nothing fails: the group comes to rest, is left, and goes.
    pub(super) fn settle(&mut self) {
        for producer in 0..2 {
            self.flow();
            self.step(Op::End { producer, committed: false });
        }
        let living = 1..1 + self.rules.members_max.min(CLIENTS - 1);
        for n in 0..CLIENTS {
            self.clients[n].protocols = vec!["range", "sticky"];
            if !living.contains(&n) {
                self.clients[n].reset();
            }
        }
        let settled = (0..400).any(|_| {
            living.clone().for_each(|n| self.behave(n));
            self.flow();
            self.step(Op::Pass(1_000));
            self.is_settled(living.clone())
        });
        assert!(settled, "{:?}\n{:?}", self.clients, self.group);
        living.clone().for_each(|n| self.step(Op::Leave(n)));
        // One that crashed may still be expected to come back with its id.
        self.step(Op::Pass(15_000));
        self.flow();
        assert_eq!(self.group.state(), State::Empty);
        self.step(Op::Restart { stored: 0 });
        self.step(Op::Pass(50_000));
        self.flow();
        let remains = !self.promised.is_empty() || self.log.is_empty() || !self.log_is_of_nobody();
        assert!(remains && self.group.members.is_empty());
    }

    fn flow(&mut self) {
        while !self.writes.is_empty() {
            self.step(Op::Persist { stored: true });
        }
    }

    fn behave(&mut self, n: usize) {
        for _ in 0..4 {
            self.step(Op::Act(n));
            self.flow();
        }
    }

    fn is_settled(&self, living: std::ops::Range<usize>) -> bool {
        let owned = |client: &Client| match &client.doing {
            Doing::Owning(partitions) if client.generation == self.group.generation() => partitions.len(),
            _ => 0,
        };
        let all: usize = self.clients[living.clone()].iter().map(owned).sum();
        self.group.state() == State::Stable
            && self.group.member_count() == living.len()
            && all == PARTITIONS as usize
            && self.asked.is_empty()
    }
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition }
}
