//! What a client may do: RabbitMQ's permissions in the virtual host of the topics, put to what Kafka's clients ask for.
//!
//! The three patterns are held against the names of topics, groups and transactional ids. What concerns the node as a
//! whole is a matter of the user's tags.

use std::sync::Arc;

use cauce_broker::stream::TOPICS_VHOST;
use cauce_core::access::Operation;
use cauce_kafka::ErrorCode;

use super::connection::Call;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Principal {
    /// Somebody who did not log in, where nobody has to: it may do everything.
    Anonymous,
    User(Arc<str>),
}

/// What is wanted of something that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Configure,
    Write,
    Read,
    /// To hear of it, as everybody may who may do anything with it.
    Describe,
}

/// What is wanted of the node as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClusterRight {
    Alter,
    Describe,
    /// To have a producer id, as everybody may who may write anything at all.
    IdempotentWrite,
}

impl Call {
    pub(super) fn may(&self, right: Right, name: &str) -> bool {
        let Principal::User(user) = &self.principal else { return true };
        let users = &self.service.node.users;
        let allows = |operation| users.allows(user, TOPICS_VHOST, operation, name);
        match right {
            Right::Configure => allows(Operation::Configure),
            Right::Write => allows(Operation::Write),
            Right::Read => allows(Operation::Read),
            Right::Describe => {
                [Operation::Read, Operation::Write, Operation::Configure].into_iter().any(allows)
            }
        }
    }

    pub(super) fn may_of_cluster(&self, right: ClusterRight) -> bool {
        let Principal::User(user) = &self.principal else { return true };
        let users = &self.service.node.users;
        let administers = users.has_tag(user, "administrator");
        match right {
            ClusterRight::Alter => administers,
            ClusterRight::Describe => administers || users.has_tag(user, "monitoring"),
            ClusterRight::IdempotentWrite => users
                .permissions(user, TOPICS_VHOST)
                .is_some_and(|permissions| !permissions.write.as_str().is_empty()),
        }
    }

    pub(super) fn check_topic(&self, right: Right, topic: &str) -> Result<(), ErrorCode> {
        self.may(right, topic).then_some(()).ok_or(ErrorCode::TopicAuthorizationFailed)
    }

    pub(super) fn check_group(&self, right: Right, group: &str) -> Result<(), ErrorCode> {
        self.may(right, group).then_some(()).ok_or(ErrorCode::GroupAuthorizationFailed)
    }

    pub(super) fn check_transactional_id(&self, right: Right, id: &str) -> Result<(), ErrorCode> {
        self.may(right, id).then_some(()).ok_or(ErrorCode::TransactionalIdAuthorizationFailed)
    }

    pub(super) fn check_cluster(&self, right: ClusterRight) -> Result<(), ErrorCode> {
        self.may_of_cluster(right).then_some(()).ok_or(ErrorCode::ClusterAuthorizationFailed)
    }

    /// What may be done with a topic, as bits.
    pub(super) fn topic_operations(&self, topic: &str) -> i32 {
        use operation::*;
        self.operations(
            topic,
            &[
                (Right::Read, &[READ]),
                (Right::Write, &[WRITE]),
                (Right::Configure, &[CREATE, DELETE, ALTER, ALTER_CONFIGS]),
                (Right::Describe, &[DESCRIBE, DESCRIBE_CONFIGS]),
            ],
        )
    }

    /// What may be done with a group, as bits.
    pub(super) fn group_operations(&self, group: &str) -> i32 {
        use operation::*;
        self.operations(
            group,
            &[(Right::Read, &[READ]), (Right::Configure, &[DELETE]), (Right::Describe, &[DESCRIBE])],
        )
    }

    /// What may be done with the node as a whole, as bits.
    pub(super) fn cluster_operations(&self) -> i32 {
        use operation::*;
        let each: [(ClusterRight, &[i32]); 3] = [
            (ClusterRight::Alter, &[CREATE, ALTER, CLUSTER_ACTION, ALTER_CONFIGS]),
            (ClusterRight::Describe, &[DESCRIBE, DESCRIBE_CONFIGS]),
            (ClusterRight::IdempotentWrite, &[IDEMPOTENT_WRITE]),
        ];
        let granted = each.into_iter().filter(|(right, _)| self.may_of_cluster(*right));
        granted.map(|(_, numbers)| bits(numbers)).sum()
    }

    fn operations(&self, name: &str, each: &[(Right, &[i32])]) -> i32 {
        let granted = each.iter().filter(|(right, _)| self.may(*right, name));
        granted.map(|(_, numbers)| bits(numbers)).sum()
    }
}

fn bits(numbers: &[i32]) -> i32 {
    numbers.iter().map(|number| 1 << number).sum()
}

/// Numbers of operations, as the protocol counts them.
mod operation {
    pub(super) const READ: i32 = 3;
    pub(super) const WRITE: i32 = 4;
    pub(super) const CREATE: i32 = 5;
    pub(super) const DELETE: i32 = 6;
    pub(super) const ALTER: i32 = 7;
    pub(super) const DESCRIBE: i32 = 8;
    pub(super) const CLUSTER_ACTION: i32 = 9;
    pub(super) const DESCRIBE_CONFIGS: i32 = 10;
    pub(super) const ALTER_CONFIGS: i32 = 11;
    pub(super) const IDEMPOTENT_WRITE: i32 = 12;
}
