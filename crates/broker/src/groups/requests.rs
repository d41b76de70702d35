//! What each request asks of its group. What a group that is not there has to say is decided here.

use std::ops::ControlFlow;

use cauce_core::group::{Commit, Effects, Fetched, Group, Join, JoinAnswer, Refusal, Share, State, Sync};
use cauce_core::partition::TopicPartition;
use cauce_core::stream::Guard;
use tokio::sync::oneshot;

use super::GroupId;
use super::command::{Answer, Command, Fetch, GroupError, Listed, refuse};
use super::coordinator::{Along, Task};
use crate::limits::GROUPS_MAX;

impl Task {
    /// Whoever asked may be gone by the time of the answer.
    pub(super) fn obey(&mut self, command: Command) -> ControlFlow<oneshot::Sender<()>> {
        match command {
            Command::Join { group, join, done } => self.join(&group, *join, done),
            Command::Sync { group, sync, done } => self.sync(&group, sync, done),
            Command::Heartbeat { group, identity, generation, done } => {
                let _ =
                    done.send(self.member_call(&group, |group, now_ms, _| {
                        group.heartbeat(&identity, generation, now_ms)
                    }));
            }
            Command::Leave { group, leaving, done } => {
                let _ = done
                    .send(self.member_call(&group, |group, now_ms, out| group.leave(&leaving, now_ms, out)));
            }
            Command::Commit { group, commit, guard, done } => self.commit(&group, commit, guard, done),
            Command::Fetch { group, fetch, done } => drop(done.send(Ok(self.fetch(&group, fetch)))),
            Command::Describe { group, done } => {
                let alive = self.groups.get(&group).filter(|group| group.state() != State::Dead);
                let _ = done.send(alive.map(Group::describe).ok_or(GroupError::Unknown));
            }
            Command::List { done } => drop(done.send(Ok(self.list()))),
            Command::Delete { group, done } => self.delete(&group, done),
            Command::DeleteOffsets { group, partitions, done } => {
                self.delete_offsets(&group, partitions, done);
            }
            Command::Notice(notice) => self.note(notice),
            Command::Stop { done } => return ControlFlow::Break(done),
        }
        ControlFlow::Continue(())
    }

    fn join(&mut self, id: &GroupId, join: Join, done: Answer<JoinAnswer>) {
        let is_known = self.groups.get(id).is_some();
        if !is_known && join.identity.member.is_some() {
            return refuse(done, Refusal::UnknownMember.into());
        }
        if !is_known && self.groups.len() >= GROUPS_MAX {
            return refuse(done, GroupError::TooMany);
        }
        let token = self.waiting.joins.add(done);
        self.call(id, |group, now_ms, out| group.join(token, join, now_ms, out));
    }

    fn sync(&mut self, id: &GroupId, sync: Sync, done: Answer<Share>) {
        if self.groups.get(id).is_none() {
            return refuse(done, Refusal::UnknownMember.into());
        }
        let token = self.waiting.syncs.add(done);
        self.call(id, |group, _, out| group.sync(token, sync, out));
    }

    /// A group that is not there has no members.
    fn member_call<T>(
        &mut self,
        id: &GroupId,
        act: impl FnOnce(&mut Group, i64, &mut Effects) -> Result<T, Refusal>,
    ) -> Result<T, GroupError> {
        match self.groups.get(id) {
            Some(_) => Ok(self.call(id, act)?),
            None => Err(Refusal::UnknownMember.into()),
        }
    }

    /// Whoever has no generation may commit to a group that is not there, and so makes it.
    fn commit(
        &mut self,
        id: &GroupId,
        commit: Commit,
        guard: Option<Guard>,
        done: Answer<Vec<TopicPartition>>,
    ) {
        let is_known = self.groups.get(id).is_some();
        if !is_known && commit.generation.is_some() {
            return refuse(done, GroupError::Unknown);
        }
        if !is_known && self.groups.len() >= GROUPS_MAX {
            return refuse(done, GroupError::TooMany);
        }
        let grows = || self.groups.get(id).is_none_or(|group| group.would_grow(&commit));
        if self.node.upgrade().is_some_and(|node| node.memory().is_spent()) && grows() {
            return refuse(done, GroupError::NoMemory);
        }
        let token = self.waiting.commits.add(done);
        let along = Along { guard, ..Along::default() };
        self.call_along(id, &along, |group, now_ms, out| group.commit(token, commit, now_ms, out));
    }

    fn fetch(&self, id: &GroupId, fetch: Fetch) -> Vec<(TopicPartition, Fetched)> {
        let Fetch { partitions, require_stable } = fetch;
        match self.groups.get(id) {
            Some(group) => group.fetch(partitions.as_deref(), require_stable),
            None => partitions.into_iter().flatten().map(|at| (at, Fetched::Nothing)).collect(),
        }
    }

    fn list(&self) -> Vec<Listed> {
        let alive = self.groups.iter().filter(|(_, group)| group.state() != State::Dead);
        let listed = alive.map(|(id, group)| Listed {
            group: id.clone(),
            protocol_type: group.protocol_type().cloned(),
            state: group.state(),
        });
        listed.collect()
    }

    fn delete(&mut self, id: &GroupId, done: Answer<()>) {
        if self.groups.get(id).is_none() {
            return refuse(done, GroupError::Unknown);
        }
        let token = self.waiting.deletions.add(done);
        self.call(id, |group, _, out| group.delete(token, out));
    }

    fn delete_offsets(
        &mut self,
        id: &GroupId,
        partitions: Vec<TopicPartition>,
        done: Answer<Vec<TopicPartition>>,
    ) {
        if self.groups.get(id).is_none() {
            return refuse(done, GroupError::Unknown);
        }
        let token = self.waiting.offset_deletions.add(done);
        self.call(id, |group, _, out| group.delete_offsets(token, partitions, out));
    }
}
