//! Members of groups, as clients play them.

use std::sync::Arc;

use cauce_broker::Node;
use cauce_broker::groups::{GroupError, GroupId, subscribed_topics};
use cauce_core::group::{
    Commit, Fetched, Identity, Join, JoinAnswer, Membership, OffsetToCommit, Protocol, Refusal, Sync,
};
use cauce_core::partition::TopicPartition;

/// A subscription to the topic `t`, in its first version.
const SUBSCRIPTION: &[u8] = &[0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];

pub(crate) fn group(name: &str) -> GroupId {
    Arc::from(name)
}

pub(crate) fn at() -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: 0 }
}

pub(crate) fn commit(member: Option<Arc<str>>, generation: Option<i32>, offset: i64) -> Commit {
    let identity = Identity { member, instance: None };
    let offsets = vec![OffsetToCommit { at: at(), offset, leader_epoch: None, metadata: "".into() }];
    Commit { identity, generation, producer: None, retention_ms: None, offsets }
}

pub(crate) fn commit_at(topic: &str, offset: i64) -> Commit {
    let mut commit = commit(None, None, offset);
    commit.offsets[0].at.topic = topic.into();
    commit
}

/// As somebody who chooses partitions without the group's help.
pub(crate) async fn commit_alone(node: &Node, name: &str, offset: i64) -> Result<(), GroupError> {
    node.groups().commit(group(name), commit(None, None, offset), None).await.map(drop)
}

pub(crate) async fn committed(node: &Node, name: &str) -> Option<i64> {
    let fetched = node.groups().fetch(group(name), Some(vec![at()]), false).await.unwrap();
    match &fetched[..] {
        [(_, Fetched::At(offset))] => Some(offset.offset),
        _ => None,
    }
}

/// Waits until groups are served.
pub(crate) async fn ready(node: &Node) {
    while node.groups().list().await == Err(GroupError::Loading) {
        tokio::task::yield_now().await;
    }
}

pub(crate) struct Member {
    group: GroupId,
    id: Option<Arc<str>>,
    metadata: Vec<u8>,
    pub(crate) generation: i32,
}

impl Member {
    pub(crate) fn new(name: &str) -> Member {
        Member { group: group(name), id: None, metadata: SUBSCRIPTION.to_vec(), generation: 0 }
    }

    pub(crate) fn known_as(id: &str, name: &str) -> Member {
        Member { id: Some(id.into()), ..Member::new(name) }
    }

    pub(crate) fn says(self, metadata: Vec<u8>) -> Member {
        Member { metadata, ..self }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { member: self.id.clone(), instance: None }
    }

    pub(crate) async fn try_join(&mut self, node: &Node) -> Result<Membership, GroupError> {
        let topics = subscribed_topics("consumer", &self.metadata);
        let protocol = Protocol { name: "range".into(), metadata: self.metadata[..].into(), topics };
        let join = Join {
            identity: self.identity(),
            fresh_id: node.random_name().into(),
            needs_id: false,
            skips_assignment: true,
            client_id: "tests".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            charge: Arc::new(node.memory().gauge().charge(self.metadata.len())),
        };
        match node.groups().join(self.group.clone(), join).await? {
            JoinAnswer::Joined(membership) => Ok(membership),
            JoinAnswer::IdRequired(_) => panic!("nobody said that it can come again"),
            JoinAnswer::Refused(refusal) => Err(refusal.into()),
        }
    }

    async fn sync(&self, node: &Node, membership: &Membership) -> Result<(), GroupError> {
        let shares = membership.members.iter().map(|member| (member.id.clone(), Arc::from(&b"share"[..])));
        let sync = Sync {
            identity: self.identity(),
            generation: membership.generation,
            protocol_type: None,
            protocol: None,
            assignments: shares.collect(),
        };
        let share = node.groups().sync(self.group.clone(), sync).await?;
        assert_eq!(&share.assignment[..], b"share");
        Ok(())
    }

    /// Joins and syncs, again and again while others come and go.
    async fn settle(&mut self, node: &Node) {
        loop {
            let membership = match self.try_join(node).await {
                Ok(membership) => membership,
                Err(GroupError::Refused(Refusal::UnknownMember)) => {
                    self.id = None;
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            self.id = Some(membership.member.clone());
            self.generation = membership.generation;
            match self.sync(node, &membership).await {
                Ok(()) => return,
                Err(GroupError::Refused(Refusal::Rebalancing | Refusal::UnknownMember)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) async fn heartbeat(&mut self, node: &Node) -> Result<(), GroupError> {
        node.groups().heartbeat(self.group.clone(), self.identity(), self.generation).await
    }

    pub(crate) async fn commit(&mut self, node: &Node, offset: i64) -> Result<(), GroupError> {
        let commit = commit(self.id.clone(), Some(self.generation), offset);
        node.groups().commit(self.group.clone(), commit, None).await.map(drop)
    }

    pub(crate) async fn leave(&mut self, node: &Node) {
        let left = node.groups().leave(self.group.clone(), vec![self.identity()]).await.unwrap();
        assert_eq!(left, [Ok(())]);
        self.id = None;
    }
}

/// Until all of them are members of one generation.
pub(crate) async fn settled(node: &Node, members: &mut [&mut Member]) {
    loop {
        match members {
            [one] => one.settle(node).await,
            [one, other] => drop(tokio::join!(one.settle(node), other.settle(node))),
            _ => panic!("one or two at a time"),
        }
        if members.iter().all(|member| member.generation == members[0].generation) {
            return;
        }
    }
}

/// Time only passes when it is told to.
pub(crate) fn by_hand<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let (end, ended) = std::sync::mpsc::channel::<()>();
    // While somebody is at work elsewhere, paused time does not jump to the next timer.
    runtime.spawn_blocking(move || ended.recv());
    let result = runtime.block_on(life);
    drop(end);
    result
}
