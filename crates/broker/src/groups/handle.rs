//! How others reach the coordinator.

use std::sync::Arc;

use cauce_core::group::{Commit, Description, Fetched, Identity, Join, JoinAnswer, Refusal, Share, Sync};
use cauce_core::partition::TopicPartition;
use cauce_core::producer::{Ending, ProducerId};
use cauce_core::stream::Guard;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::GroupId;
use super::command::{Answer, Command, Fetch, GroupError, Listed, Notice};
use crate::limits::{MEMBER_BYTES_MAX, RECORD_TEXT_BYTES_MAX};

/// The groups of a node. Whoever asks waits for the answer, so the mailbox holds no more than clients ask at a time.
#[derive(Debug)]
pub struct Groups {
    mailbox: UnboundedSender<Command>,
}

impl Groups {
    pub(super) fn new() -> (Groups, UnboundedReceiver<Command>) {
        let (mailbox, commands) = unbounded_channel();
        (Groups { mailbox }, commands)
    }

    /// Answers when the generation begins, which may take as long as the members say.
    pub async fn join(&self, group: GroupId, join: Join) -> Result<JoinAnswer, GroupError> {
        check_name(&group)?;
        check_join(&join)?;
        self.ask(|done| Command::Join { group, join: Box::new(join), done }).await
    }

    /// Answers when the leader has said who gets what.
    pub async fn sync(&self, group: GroupId, sync: Sync) -> Result<Share, GroupError> {
        for (_, assignment) in &sync.assignments {
            check_member(assignment.len())?;
        }
        self.ask(|done| Command::Sync { group, sync, done }).await
    }

    pub async fn heartbeat(
        &self,
        group: GroupId,
        identity: Identity,
        generation: i32,
    ) -> Result<(), GroupError> {
        self.ask(|done| Command::Heartbeat { group, identity, generation, done }).await
    }

    /// Says for each member whether it was there.
    pub async fn leave(
        &self,
        group: GroupId,
        leaving: Vec<Identity>,
    ) -> Result<Vec<Result<(), Refusal>>, GroupError> {
        self.ask(|done| Command::Leave { group, leaving, done }).await
    }

    /// Answers, with those left out because their metadata is too long, when the offsets are as safe as
    /// [`Flush`](crate::Flush) says. `guard` is what the partition gave for a transaction that has no offsets there
    /// yet.
    pub async fn commit(
        &self,
        group: GroupId,
        commit: Commit,
        guard: Option<Guard>,
    ) -> Result<Vec<TopicPartition>, GroupError> {
        check_name(&group)?;
        self.ask(|done| Command::Commit { group, commit, guard, done }).await
    }

    /// How far the group has read in these partitions, or in all. Of a group that is not there nothing is known.
    pub async fn fetch(
        &self,
        group: GroupId,
        partitions: Option<Vec<TopicPartition>>,
        require_stable: bool,
    ) -> Result<Vec<(TopicPartition, Fetched)>, GroupError> {
        let fetch = Fetch { partitions, require_stable };
        self.ask(|done| Command::Fetch { group, fetch, done }).await
    }

    pub async fn describe(&self, group: GroupId) -> Result<Description, GroupError> {
        self.ask(|done| Command::Describe { group, done }).await
    }

    /// All, by name.
    pub async fn list(&self) -> Result<Vec<Listed>, GroupError> {
        self.ask(|done| Command::List { done }).await
    }

    pub async fn delete(&self, group: GroupId) -> Result<(), GroupError> {
        self.ask(|done| Command::Delete { group, done }).await
    }

    /// Forgets offsets; answers with those left alone because the group reads their topic.
    pub async fn delete_offsets(
        &self,
        group: GroupId,
        partitions: Vec<TopicPartition>,
    ) -> Result<Vec<TopicPartition>, GroupError> {
        self.ask(|done| Command::DeleteOffsets { group, partitions, done }).await
    }

    /// The marker of a transaction is stored in that partition of the offsets topic. To be told before the producer may
    /// begin its next transaction.
    pub fn transaction_ended(&self, partition: i32, producer: ProducerId, ending: Ending) {
        self.tell(Command::Notice(Notice::TransactionEnded { partition, producer, ending }));
    }

    /// Comes back once no group knows the topic any more.
    pub(crate) async fn topic_deleted(&self, topic: Arc<str>) {
        let (done, forgotten) = oneshot::channel();
        self.tell(Command::Notice(Notice::TopicDeleted { topic, done }));
        // Nobody sends: the other end is dropped.
        let _ = forgotten.await;
    }

    /// Comes back once all that was asked for is written. Nothing is taken in after that.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        self.tell(Command::Stop { done });
        let _ = stopped.await;
    }

    /// A coordinator that has stopped does not listen.
    fn tell(&self, command: Command) {
        let _ = self.mailbox.send(command);
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, GroupError> {
        let (done, answer) = oneshot::channel();
        self.tell(command(done));
        answer.await.unwrap_or(Err(GroupError::Unavailable))
    }
}

fn check_join(join: &Join) -> Result<(), GroupError> {
    let Join { identity, client_id, client_host, protocol_type, protocols, .. } = join;
    let optional = [&identity.member, &identity.instance].into_iter().flatten();
    let names = protocols.iter().map(|protocol| &protocol.name);
    for name in optional.chain([&join.fresh_id, client_id, client_host, protocol_type]).chain(names) {
        check_name(name)?;
    }
    check_member(protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum())
}

fn check_name(name: &str) -> Result<(), GroupError> {
    match name.len() {
        bytes if bytes > RECORD_TEXT_BYTES_MAX => {
            Err(GroupError::NameTooLong { bytes, most: RECORD_TEXT_BYTES_MAX })
        }
        _ => Ok(()),
    }
}

fn check_member(bytes: usize) -> Result<(), GroupError> {
    match bytes > MEMBER_BYTES_MAX {
        true => Err(GroupError::MemberTooLarge { bytes, most: MEMBER_BYTES_MAX }),
        false => Ok(()),
    }
}
