//! What requests about groups have in common.

use std::sync::Arc;

use cauce_broker::groups::{GroupError, GroupId, Groups};
use cauce_core::group::{Identity, State};
use cauce_core::partition::TopicPartition;
use cauce_kafka::{ErrorCode, Text};

use super::{Call, Right};
use crate::kafka::error::Coded;

impl Call {
    pub(super) fn groups(&self) -> &Groups {
        self.service.node.groups()
    }

    /// The error of each partition that is not there, or not for this client.
    pub(super) fn check_partition(&self, right: Right, at: &TopicPartition) -> Result<(), ErrorCode> {
        self.check_topic(right, &at.topic)?;
        let topic = self.service.node.topics().get(&at.topic);
        let partition = topic.and_then(|topic| topic.partition(at.partition));
        partition.map(drop).ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// A group that has members, and so a name: offsets may be committed for nobody in particular.
    pub(super) fn group_of_members(&self, group: &Text) -> Result<GroupId, ErrorCode> {
        match group.is_empty() {
            true => Err(ErrorCode::InvalidGroupId),
            false => self.group(Right::Read, group),
        }
    }

    /// A group, if the client has that right.
    pub(super) fn group(&self, right: Right, group: &Text) -> Result<GroupId, ErrorCode> {
        self.check_group(right, group)?;
        Ok(shared(group))
    }
}

pub(super) fn identity(member: &Text, instance: Option<&Text>) -> Identity {
    Identity { member: given(member), instance: instance.map(shared) }
}

/// Empty text stands for nothing.
pub(super) fn given(text: &Text) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| shared(text))
}

pub(super) fn shared(text: &Text) -> Arc<str> {
    Arc::from(text.as_str())
}

/// Nobody has generation -1.
pub(super) fn generation(number: i32) -> Option<i32> {
    (number >= 0).then_some(number)
}

pub(super) fn at(topic: &Arc<str>, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.clone(), partition }
}

/// 0 if all is well.
pub(super) fn code_of<T>(result: &Result<T, GroupError>) -> i16 {
    result.as_ref().map_or_else(|error| error.code().code(), |_| ErrorCode::None.code())
}

pub(super) fn state_name(state: State) -> &'static str {
    match state {
        State::Empty => "Empty",
        State::PreparingRebalance => "PreparingRebalance",
        State::CompletingRebalance => "CompletingRebalance",
        State::Stable => "Stable",
        State::Dead => "Dead",
    }
}
