//! The task that owns every group: it calls their machines, and carries out what they ask for.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use cauce_core::group::{Effect, Effects, Group, Rules};
use cauce_core::producer::Ending;
use cauce_core::stream::Guard;
use cauce_core::topic::OFFSETS_TOPIC;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::command::{Command, GroupError, Kept, Notice};
use super::loading::{Loaded, OpenTransactions};
use super::registry::Registry;
use super::waiting::Waiting;
use super::writes::{Write, Writes, Written};
use super::{GroupId, Groups};
use crate::clock::Clock;
use crate::limits::{LOADING_PATIENCE, TURN_COMMANDS_MAX};
use crate::node::Node;

/// A coordinator that does not run yet.
pub(crate) struct Coordinator {
    mailbox: UnboundedReceiver<Command>,
}

impl Coordinator {
    pub(crate) fn new() -> (Groups, Coordinator) {
        let (groups, mailbox) = Groups::new();
        (groups, Coordinator { mailbox })
    }

    /// Begins to read what the topic holds. All topics must be back by then.
    pub(crate) fn start(self, node: &Arc<Node>) {
        let task = Task {
            rules: node.settings().group_rules(),
            node: Arc::downgrade(node),
            clock: Clock::start(),
            groups: Registry::new(node.memory().gauge().clone()),
            waiting: Waiting::default(),
            writes: Writes::default(),
            open: OpenTransactions::default(),
            effects: Effects::new(),
        };
        tokio::spawn(task.run(self.mailbox));
    }
}

/// Told when the task has stopped, by whoever asked for that.
type Stopped = oneshot::Sender<()>;

/// What goes along with the writes of a call.
#[derive(Debug, Clone, Default)]
pub(super) struct Along {
    pub(super) guard: Option<Guard>,
    pub(super) hold: Option<Arc<oneshot::Sender<()>>>,
}

pub(super) struct Task {
    pub(super) rules: Rules,
    pub(super) node: Weak<Node>,
    clock: Clock,
    pub(super) groups: Registry,
    pub(super) waiting: Waiting,
    writes: Writes,
    open: OpenTransactions,
    effects: Effects,
}

impl Task {
    async fn run(mut self, mut mailbox: UnboundedReceiver<Command>) {
        let stopped = match self.load(&mut mailbox).await {
            ControlFlow::Continue(()) => {
                // What was found to be over is so for everybody.
                self.finish_all().await;
                self.serve(&mut mailbox).await
            }
            ControlFlow::Break(stopped) => stopped,
        };
        self.finish_all().await;
        if let Some(stopped) = stopped {
            let _ = stopped.send(());
        }
    }

    async fn finish_all(&mut self) {
        while !self.writes.is_empty() {
            let written = self.writes.next_written().await;
            self.finish(written);
        }
    }

    /// Reads the topic. Everybody waits meanwhile, and is turned away if that takes long; for ever if it cannot be read.
    async fn load(&mut self, mailbox: &mut UnboundedReceiver<Command>) -> ControlFlow<Option<Stopped>> {
        let (rules, now_ms) = (self.rules, self.clock.now_ms());
        let topic = self.node.upgrade().and_then(|node| node.topics().get(OFFSETS_TOPIC));
        let mut reading = tokio::task::spawn_blocking(move || match topic {
            Some(topic) => Loaded::read(&topic, rules, now_ms),
            None => Ok(Loaded::nothing(rules, now_ms)),
        });
        let patience = tokio::time::sleep(LOADING_PATIENCE);
        tokio::pin!(patience);
        let (mut notices, mut waits) = (Vec::new(), true);
        let mut error = GroupError::Loading;
        loop {
            tokio::select! {
                read = &mut reading, if error == GroupError::Loading => match read {
                    Ok(Ok(loaded)) => {
                        self.take_up(loaded);
                        notices.into_iter().for_each(|notice| self.note(notice));
                        return ControlFlow::Continue(());
                    }
                    Ok(Err(reason)) => {
                        tracing::error!(%reason, "the topic of groups cannot be read: no group is served");
                        error = GroupError::Unavailable;
                    }
                    Err(_) => return ControlFlow::Break(None),
                },
                () = &mut patience, if waits => waits = false,
                command = mailbox.recv(), if !waits => match command.map(|command| command.refuse(error)) {
                    None => return ControlFlow::Break(None),
                    Some(None) => {}
                    // Of what cannot be read nothing can be forgotten.
                    Some(Some(Kept::Notice(_))) if error == GroupError::Unavailable => {}
                    Some(Some(Kept::Notice(notice))) => notices.push(notice),
                    Some(Some(Kept::Stop(stopped))) => return ControlFlow::Break(Some(stopped)),
                },
            }
        }
    }

    fn take_up(&mut self, loaded: Loaded) {
        self.open = loaded.open;
        for (id, restoring) in loaded.groups {
            let group = restoring.finish(self.clock.now_ms(), &mut self.effects);
            self.groups.insert(id.clone(), group);
            self.carry_out(&id, &Along::default());
        }
        self.forget_deleted_topics();
    }

    /// The node may have ended between the end of a topic and what groups had to say about that.
    fn forget_deleted_topics(&mut self) {
        let Some(node) = self.node.upgrade() else { return };
        let mut topics = BTreeSet::new();
        for (_, group) in self.groups.iter() {
            topics.extend(group.fetch(None, false).into_iter().map(|(at, _)| at.topic));
        }
        for topic in topics.iter().filter(|topic| !node.topics().contains(topic)) {
            self.forget_topic(topic, &Along::default());
        }
    }

    fn forget_topic(&mut self, topic: &str, along: &Along) {
        for id in self.groups.ids() {
            self.call_along(&id, along, |group, _, out| group.topic_deleted(topic, out));
        }
    }

    async fn serve(&mut self, mailbox: &mut UnboundedReceiver<Command>) -> Option<Stopped> {
        let mut commands = Vec::new();
        loop {
            let deadline_ms = self.groups.next_deadline_ms();
            tokio::select! {
                biased;
                written = self.writes.next_written() => self.finish(written),
                count = mailbox.recv_many(&mut commands, TURN_COMMANDS_MAX) => if count == 0 { return None },
                () = self.clock.sleep_until(deadline_ms) => {}
            }
            let mut commands = commands.drain(..);
            while let Some(command) = commands.next() {
                if let ControlFlow::Break(stopped) = self.obey(command) {
                    commands.for_each(|command| drop(command.refuse(GroupError::Unavailable)));
                    return Some(stopped);
                }
            }
            for id in self.groups.due(self.clock.now_ms()) {
                self.call(&id, |group, now_ms, out| group.on_timeout(now_ms, out));
            }
        }
    }

    pub(super) fn note(&mut self, notice: Notice) {
        match notice {
            Notice::TransactionEnded { partition, producer, ending } => {
                // The marker was stored after the offsets of its transaction, so all of those are.
                while let Some(written) = self.writes.take_written() {
                    self.finish(written);
                }
                for id in self.open.remove(&(partition, producer)).unwrap_or_default() {
                    let committed = ending == Ending::Commit;
                    self.call(&id, |group, _, _| group.transaction_ended(producer, committed));
                }
            }
            Notice::TopicDeleted { topic, done } => {
                let hold = Some(Arc::new(done));
                self.forget_topic(&topic, &Along { hold, ..Along::default() });
            }
        }
    }

    /// Calls a group and carries out what it asks for. It is made if it is not there.
    pub(super) fn call<T>(
        &mut self,
        id: &GroupId,
        act: impl FnOnce(&mut Group, i64, &mut Effects) -> T,
    ) -> T {
        self.call_along(id, &Along::default(), act)
    }

    pub(super) fn call_along<T>(
        &mut self,
        id: &GroupId,
        along: &Along,
        act: impl FnOnce(&mut Group, i64, &mut Effects) -> T,
    ) -> T {
        let now_ms = self.clock.now_ms();
        let group = self.groups.get_or_insert(id, || Group::new(self.rules, now_ms));
        let answer = act(group, now_ms, &mut self.effects);
        self.carry_out(id, along);
        answer
    }

    fn carry_out(&mut self, id: &GroupId, along: &Along) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..).filter_map(|effect| self.waiting.answer(effect)) {
            match effect {
                Effect::Persist { write, producer, records } => {
                    let Along { guard, hold } = along.clone();
                    let producer = producer.map(|producer| (producer, guard));
                    let write = Write { group: id.clone(), id: write, producer, records, hold };
                    self.writes.begin(self.node.upgrade().as_deref(), write, self.clock.now_ms());
                }
                Effect::Gone => self.groups.remove(id),
                answer => unreachable!("answers were taken: {answer:?}"),
            }
        }
        self.effects = effects;
        self.groups.review(id);
    }

    /// A write is done, or has failed.
    fn finish(&mut self, written: Written) {
        let Written { group, id, stored, transaction, .. } = written;
        if let Some(transaction) = transaction.filter(|_| stored) {
            self.open.entry(transaction).or_default().insert(group.clone());
        }
        self.call(&group, |group, now_ms, out| group.persisted(id, stored, now_ms, out));
    }
}
