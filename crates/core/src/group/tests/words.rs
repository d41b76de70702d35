//! The words of scripts, read and told.

use crate::partition::TopicPartition;
use crate::producer::{Producer, ProducerId};
use std::sync::Arc;

use crate::group::*;
use crate::message::Gauge;

pub(super) fn tell(effect: Effect) -> String {
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

pub(super) fn tell_join(answer: JoinAnswer) -> String {
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

pub(super) fn tell_but(done: &str, answer: Result<Vec<TopicPartition>, Refusal>) -> String {
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

pub(super) fn read(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn value<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

pub(super) fn number(words: &[&str], key: &str) -> Option<i64> {
    value(words, key).map(|value| value.parse().unwrap())
}

pub(super) fn token(words: &[&str]) -> Token {
    Token(words[0].parse().unwrap())
}

pub(super) fn generation(words: &[&str]) -> Option<i32> {
    number(words, "gen").map(|generation| generation as i32)
}

pub(super) fn identity(words: &[&str]) -> Identity {
    Identity { member: value(words, "as").map(Arc::from), instance: value(words, "static").map(Arc::from) }
}

/// `m1`, `static=x` or `m1/static=x`.
pub(super) fn leaver(word: &str) -> Identity {
    let parts: Vec<&str> = word.split('/').collect();
    let member = Some(parts[0]).filter(|part| !part.contains('='));
    Identity { member: member.map(Arc::from), instance: value(&parts, "static").map(Arc::from) }
}

pub(super) fn partition(word: &str) -> TopicPartition {
    let (topic, partition) = word.split_once('-').unwrap();
    TopicPartition { topic: topic.into(), partition: partition.parse().unwrap() }
}

pub(super) fn join(words: &[&str]) -> Join {
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
        charge: Arc::new(Gauge::default().charge(0)),
    }
}

pub(super) fn sync(words: &[&str]) -> Sync {
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

pub(super) fn commit(words: &[&str]) -> Commit {
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
