//! What is remembered of groups, as Kafka writes it.

use std::sync::Arc;

use bytes::Bytes;
use cauce_core::group::{CONSUMER_PROTOCOL_TYPE, CommittedOffset, GroupRecord, MemberRecord, Snapshot};
use cauce_core::partition::TopicPartition;
use cauce_kafka::internal::offsets::{
    GroupKey, GroupValue, GroupValueMember, OffsetKey, OffsetValue, OffsetsRecord,
};
use cauce_kafka::{Text, VersionedError, consumer_protocol};

use super::GroupId;

/// The topics that a member subscribes to, as far as they can be read from what it says for a protocol.
pub fn subscribed_topics(protocol_type: &str, metadata: &[u8]) -> Option<Vec<Arc<str>>> {
    if protocol_type != CONSUMER_PROTOCOL_TYPE {
        return None;
    }
    let topics = consumer_protocol::subscribed_topics(Bytes::copy_from_slice(metadata)).ok()?;
    Some(topics.iter().map(|topic| Arc::from(topic.as_str())).collect())
}

/// Key and value.
pub(super) fn encode(group: &GroupId, record: &GroupRecord) -> (Vec<u8>, Option<Vec<u8>>) {
    let record = match record {
        GroupRecord::Offset(at, value) => {
            OffsetsRecord::Offset { key: offset_key(group, at), value: Some(offset_value(value)) }
        }
        GroupRecord::OffsetGone(at) => OffsetsRecord::Offset { key: offset_key(group, at), value: None },
        GroupRecord::Snapshot(snapshot) => {
            OffsetsRecord::Group { key: GroupKey { group: text(group) }, value: Some(group_value(snapshot)) }
        }
        GroupRecord::Gone => OffsetsRecord::Group { key: GroupKey { group: text(group) }, value: None },
    };
    record.encode()
}

/// `None` for a kind of record that is not known.
pub(super) fn decode(
    key: Bytes,
    value: Option<Bytes>,
) -> Result<Option<(GroupId, GroupRecord)>, VersionedError> {
    Ok(OffsetsRecord::decode(key, value)?.map(|record| match record {
        OffsetsRecord::Offset { key, value } => {
            let at = TopicPartition { topic: shared(&key.topic), partition: key.partition };
            let record = match value {
                Some(value) => GroupRecord::Offset(at, committed(value)),
                None => GroupRecord::OffsetGone(at),
            };
            (shared(&key.group), record)
        }
        OffsetsRecord::Group { key, value } => {
            let record = value.map_or(GroupRecord::Gone, |value| GroupRecord::Snapshot(snapshot(value)));
            (shared(&key.group), record)
        }
    }))
}

fn offset_key(group: &GroupId, at: &TopicPartition) -> OffsetKey {
    OffsetKey { group: text(group), topic: text(&at.topic), partition: at.partition }
}

fn offset_value(value: &CommittedOffset) -> OffsetValue {
    OffsetValue {
        offset: value.offset,
        leader_epoch: value.leader_epoch.unwrap_or(-1),
        metadata: text(&value.metadata),
        commit_timestamp: value.committed_ms,
        expire_timestamp: value.expires_ms.unwrap_or(-1),
    }
}

fn committed(value: OffsetValue) -> CommittedOffset {
    CommittedOffset {
        offset: value.offset,
        leader_epoch: Some(value.leader_epoch).filter(|epoch| *epoch >= 0),
        metadata: shared(&value.metadata),
        committed_ms: value.commit_timestamp,
        expires_ms: Some(value.expire_timestamp).filter(|at_ms| *at_ms >= 0),
    }
}

fn group_value(snapshot: &Snapshot) -> GroupValue {
    let member = |member: &MemberRecord| GroupValueMember {
        member_id: text(&member.id),
        group_instance_id: member.instance.as_ref().map(text),
        client_id: text(&member.client_id),
        client_host: text(&member.client_host),
        rebalance_timeout: millis(member.rebalance_timeout_ms),
        session_timeout: millis(member.session_timeout_ms),
        subscription: Bytes::copy_from_slice(&member.metadata),
        assignment: Bytes::copy_from_slice(&member.assignment),
    };
    GroupValue {
        protocol_type: snapshot.protocol_type.as_ref().map(text).unwrap_or_default(),
        generation: snapshot.generation,
        protocol: snapshot.protocol.as_ref().map(text),
        leader: snapshot.leader.as_ref().map(text),
        current_state_timestamp: snapshot.since_ms,
        members: snapshot.members.iter().map(member).collect(),
    }
}

fn snapshot(value: GroupValue) -> Snapshot {
    let protocol_type = Some(&value.protocol_type).filter(|name| !name.is_empty()).map(shared);
    let member = |member: GroupValueMember| MemberRecord {
        id: shared(&member.member_id),
        instance: member.group_instance_id.as_ref().map(shared),
        client_id: shared(&member.client_id),
        client_host: shared(&member.client_host),
        session_timeout_ms: member.session_timeout.into(),
        rebalance_timeout_ms: match member.rebalance_timeout {
            -1 => member.session_timeout.into(),
            timeout_ms => timeout_ms.into(),
        },
        topics: subscribed_topics(&value.protocol_type, &member.subscription),
        metadata: Arc::from(&member.subscription[..]),
        assignment: Arc::from(&member.assignment[..]),
    };
    Snapshot {
        generation: value.generation,
        protocol: value.protocol.as_ref().map(shared),
        leader: value.leader.as_ref().map(shared),
        since_ms: value.current_state_timestamp,
        members: value.members.into_iter().map(member).collect(),
        protocol_type,
    }
}

fn text(name: &Arc<str>) -> Text {
    Text::from(name.to_string())
}

fn shared(text: &Text) -> Arc<str> {
    Arc::from(text.as_str())
}

/// Clients say it in 32 bits.
fn millis(ms: i64) -> i32 {
    i32::try_from(ms).unwrap_or(i32::MAX)
}
