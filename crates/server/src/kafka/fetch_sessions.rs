//! What clients fetch again and again (KIP-227): they name their partitions once and then only what changes, and are
//! told only what changed.
//!
//! A session is a convenience. Whoever gets none, or finds it gone, says everything with every request.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use cauce_core::topic::NAME_BYTES_MAX;
use cauce_kafka::messages::fetch::{FetchRequest, FetchTopic, PartitionData};
use cauce_kafka::{ErrorCode, Text, Uuid};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Partitions that all sessions may hold together.
const PARTITIONS_MAX: usize = 100_000;

/// A session may lose its place to another one when it was idle for so long.
const IDLE_MIN: Duration = Duration::from_secs(120);

/// The epoch of a request that begins a session, and of one that wants none.
const FIRST_EPOCH: i32 = 0;
const NO_SESSION_EPOCH: i32 = -1;

/// The first version that names topics by their ids.
const IDS_SINCE: i16 = 13;

/// A partition as requests name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Named {
    pub(super) topic: Text,
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
}

/// What is wanted of a partition.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) of: Named,
    pub(super) offset: i64,
    pub(super) bytes_max: i32,
    pub(super) leader_epoch: i32,
}

/// What a request asks for, all in all.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) wanted: Vec<Wanted>,
    /// 0 for none.
    pub(super) session: i32,
    /// The client knows the answers it got before.
    is_incremental: bool,
}

#[derive(Debug)]
pub(super) struct FetchSessions {
    slots: usize,
    random: RandomState,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    sessions: HashMap<i32, Session>,
    partitions: usize,
    count: u64,
}

#[derive(Debug)]
struct Session {
    /// That of the next request.
    epoch: i32,
    has_ids: bool,
    last_used: Instant,
    /// By turn: who got something goes to the end, so that nobody starves where a response has no room for all.
    by_turn: BTreeMap<u64, Cached>,
    turns: HashMap<Named, u64>,
    next_turn: u64,
}

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    /// What the client was told last.
    high_watermark: i64,
    log_start: i64,
}

impl FetchSessions {
    pub(super) fn new(slots: usize) -> FetchSessions {
        FetchSessions { slots, random: RandomState::new(), open: Mutex::default() }
    }

    /// What a request asks for. It may begin a session, go on with one, or end it.
    pub(super) fn begin(
        &self,
        request: FetchRequest,
        version: i16,
        now: Instant,
    ) -> Result<Asked, ErrorCode> {
        let mut open = self.open.lock();
        let (id, epoch, has_ids) = (request.session_id, request.session_epoch, version >= IDS_SINCE);
        if epoch == FIRST_EPOCH || epoch == NO_SESSION_EPOCH {
            open.close(id);
            let topics = request.topics.into_iter();
            let (wanted, session) = match epoch {
                FIRST_EPOCH => {
                    let wanted = distinct(topics.map(kept).flat_map(wanted_of));
                    let session = self.begin_session(&mut open, &wanted, has_ids, now);
                    (wanted, session)
                }
                _ => (distinct(topics.flat_map(wanted_of)), 0),
            };
            return Ok(Asked { wanted, session, is_incremental: false });
        }
        let session = open.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.has_ids != has_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        if request.topics.iter().any(|topic| topic.topic.len() > NAME_BYTES_MAX) {
            return Err(ErrorCode::InvalidTopic);
        }
        let before = session.turns.len();
        session.change(request);
        session.epoch = epoch.checked_add(1).unwrap_or(FIRST_EPOCH + 1);
        session.last_used = now;
        let wanted: Vec<Wanted> = session.by_turn.values().map(|cached| cached.wanted.clone()).collect();
        open.partitions = open.partitions + wanted.len() - before;
        if open.partitions > PARTITIONS_MAX {
            open.close(id);
        }
        Ok(Asked { wanted, session: id, is_incremental: true })
    }

    /// The session's number, 0 if there is no room for another.
    fn begin_session(&self, open: &mut Open, wanted: &[Wanted], has_ids: bool, now: Instant) -> i32 {
        if open.sessions.len() >= self.slots {
            open.close_idle(now);
        }
        let is_full = open.sessions.len() >= self.slots;
        let is_too_much = open.partitions + wanted.len() > PARTITIONS_MAX;
        // No topic has such a name, and a session would keep it.
        let has_no_name = wanted.iter().any(|wanted| wanted.of.topic.len() > NAME_BYTES_MAX);
        if is_full || is_too_much || has_no_name || wanted.is_empty() {
            return 0;
        }
        let id = loop {
            open.count += 1;
            let id = (self.random.hash_one(open.count) & 0x7fff_ffff) as i32;
            if id != 0 && !open.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            epoch: FIRST_EPOCH + 1,
            has_ids,
            last_used: now,
            by_turn: BTreeMap::new(),
            turns: HashMap::new(),
            next_turn: 0,
        };
        wanted.iter().for_each(|wanted| session.want(wanted.clone()));
        open.partitions += session.turns.len();
        open.sessions.insert(id, session);
        id
    }

    /// Which of the answers, in the order of what was asked for, the client needs to be told.
    pub(super) fn news(&self, asked: &Asked, answers: &[PartitionData]) -> Vec<bool> {
        let mut open = self.open.lock();
        let Some(session) = open.sessions.get_mut(&asked.session) else {
            return vec![true; answers.len()];
        };
        let pairs = asked.wanted.iter().zip(answers);
        pairs.map(|(wanted, answer)| session.tell(&wanted.of, answer) || !asked.is_incremental).collect()
    }
}

/// With bytes of its own: a session would keep those of the whole request.
fn kept(topic: FetchTopic) -> FetchTopic {
    FetchTopic { topic: Text::from(topic.topic.to_string()), ..topic }
}

fn wanted_of(topic: FetchTopic) -> impl Iterator<Item = Wanted> {
    let FetchTopic { topic, topic_id, partitions } = topic;
    partitions.into_iter().map(move |partition| Wanted {
        of: Named { topic: topic.clone(), topic_id, partition: partition.partition },
        offset: partition.fetch_offset,
        bytes_max: partition.partition_max_bytes,
        leader_epoch: partition.current_leader_epoch,
    })
}

/// Each partition once. Who says it again says it better.
fn distinct(all: impl Iterator<Item = Wanted>) -> Vec<Wanted> {
    let (mut distinct, mut places) = (Vec::<Wanted>::new(), HashMap::new());
    for wanted in all {
        match places.entry(wanted.of.clone()) {
            Entry::Occupied(place) => distinct[*place.get()] = wanted,
            Entry::Vacant(place) => {
                place.insert(distinct.len());
                distinct.push(wanted);
            }
        }
    }
    distinct
}

impl Open {
    fn close(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.turns.len();
        }
    }

    /// Closes the session that was idle for longest, if that is long.
    fn close_idle(&mut self, now: Instant) {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.last_used);
        if let Some((&id, _)) =
            oldest.filter(|(_, session)| now.duration_since(session.last_used) >= IDLE_MIN)
        {
            self.close(id);
        }
    }
}

impl Session {
    fn change(&mut self, request: FetchRequest) {
        for wanted in request.topics.into_iter().map(kept).flat_map(wanted_of) {
            self.want(wanted);
        }
        for forgotten in request.forgotten_topics_data {
            for partition in forgotten.partitions {
                let of = Named { topic: forgotten.topic.clone(), topic_id: forgotten.topic_id, partition };
                if let Some(turn) = self.turns.remove(&of) {
                    self.by_turn.remove(&turn);
                }
            }
        }
    }

    fn want(&mut self, wanted: Wanted) {
        match self.turns.get(&wanted.of).and_then(|turn| self.by_turn.get_mut(turn)) {
            Some(cached) => cached.wanted = wanted,
            None => self.put_last(Cached { wanted, high_watermark: -1, log_start: -1 }),
        }
    }

    fn put_last(&mut self, cached: Cached) {
        self.turns.insert(cached.wanted.of.clone(), self.next_turn);
        self.by_turn.insert(self.next_turn, cached);
        self.next_turn += 1;
    }

    /// Whether the client does not know this yet. It does from now on.
    fn tell(&mut self, of: &Named, answer: &PartitionData) -> bool {
        let Some(turn) = self.turns.get(of) else { return true };
        let cached = self.by_turn.get_mut(turn).expect("every turn has its partition");
        let known = (cached.high_watermark, cached.log_start);
        let has_records = answer.records.as_ref().is_some_and(|records| !records.is_empty());
        // After an error all is news.
        let high_watermark = if answer.error_code == 0 { answer.high_watermark } else { -1 };
        (cached.high_watermark, cached.log_start) = (high_watermark, answer.log_start_offset);
        let is_news =
            answer.error_code != 0 || has_records || known != (high_watermark, answer.log_start_offset);
        if has_records {
            let cached = self.by_turn.remove(turn).expect("it was there");
            self.put_last(cached);
        }
        is_news
    }
}

#[cfg(test)]
#[path = "tests/fetch_sessions.rs"]
mod tests;
