//! The task that owns every transactional id: it calls their machine, and carries out what it asks for.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use cauce_core::stream::Marker;
use cauce_core::topic::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use cauce_core::transaction::{self, Effect, Effects, Rules, TransactionError, TransactionalId};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::TransactionalIds;
use super::command::{Command, Request, TransactionalError};
use super::held::Held;
use super::loading::{self, Loaded};
use super::parked::Parked;
use super::under_way::{Report, UnderWay};
use crate::clock::Clock;
use crate::limits::{LOADING_PATIENCE, TURN_COMMANDS_MAX};
use crate::node::Node;

/// One node never takes over from another.
const COORDINATOR_EPOCH: i32 = 0;

/// A coordinator that does not run yet.
pub(crate) struct Coordinator {
    mailbox: UnboundedReceiver<Command>,
}

impl Coordinator {
    pub(crate) fn new() -> (TransactionalIds, Coordinator) {
        let (ids, mailbox) = TransactionalIds::new();
        (ids, Coordinator { mailbox })
    }

    /// Begins to read what the topic holds. All topics must be back by then.
    pub(crate) fn start(self, node: &Arc<Node>) {
        let rules = node.settings().transaction_rules();
        let task = Task {
            rules,
            node: Arc::downgrade(node),
            clock: Clock::start(),
            machine: transaction::Coordinator::new(rules),
            asked: HashMap::default(),
            last_token: 0,
            held: Held::default(),
            parked: Parked::default(),
            under_way: UnderWay::default(),
            effects: Effects::default(),
        };
        tokio::spawn(task.run(self.mailbox));
    }
}

/// Told when the task has stopped, by whoever asked for that.
type Stopped = oneshot::Sender<()>;

pub(super) struct Task {
    rules: Rules,
    pub(super) node: Weak<Node>,
    pub(super) clock: Clock,
    pub(super) machine: transaction::Coordinator,
    /// Requests the machine has not answered, by their token.
    pub(super) asked: HashMap<u64, Request, foldhash::fast::RandomState>,
    pub(super) last_token: u64,
    held: Held,
    parked: Parked,
    under_way: UnderWay,
    pub(super) effects: Effects,
}

impl Task {
    async fn run(mut self, mut mailbox: UnboundedReceiver<Command>) {
        let stopped = match self.load(&mut mailbox).await {
            ControlFlow::Continue(()) => self.serve(&mut mailbox).await,
            ControlFlow::Break(stopped) => stopped,
        };
        // Whatever was asked is answered, and what was decided is carried out.
        self.parked.refuse_all(TransactionalError::Unavailable);
        while let Some(report) = self.under_way.next().await {
            self.note(report);
            self.parked.refuse_all(TransactionalError::Unavailable);
        }
        if let Some(stopped) = stopped {
            let _ = stopped.send(());
        }
    }

    /// Reads the topic. Whoever asks waits, but not for long; for ever it is turned away if the topic cannot be read.
    async fn load(&mut self, mailbox: &mut UnboundedReceiver<Command>) -> ControlFlow<Option<Stopped>> {
        let topic = self.node.upgrade().and_then(|node| node.topics().get(TRANSACTIONS_TOPIC));
        let Some(topic) = topic else { return ControlFlow::Continue(()) };
        let mut reading = tokio::task::spawn_blocking(move || loading::read(&topic));
        let patience = tokio::time::sleep(LOADING_PATIENCE);
        tokio::pin!(patience);
        let (mut waits, mut error) = (true, TransactionalError::Loading);
        loop {
            tokio::select! {
                read = &mut reading, if error == TransactionalError::Loading => match read {
                    Ok(Ok(loaded)) => {
                        self.take_up(loaded);
                        return ControlFlow::Continue(());
                    }
                    Ok(Err(reason)) => {
                        tracing::error!(%reason, "the topic of transactions cannot be read: none is served");
                        error = TransactionalError::Unavailable;
                    }
                    Err(_) => return ControlFlow::Break(None),
                },
                () = &mut patience, if waits => waits = false,
                command = mailbox.recv(), if !waits => match command.map(|command| command.refuse(error)) {
                    None => return ControlFlow::Break(None),
                    Some(None) => {}
                    Some(Some(stopped)) => return ControlFlow::Break(Some(stopped)),
                },
            }
        }
    }

    fn take_up(&mut self, loaded: Loaded) {
        let now_ms = self.clock.now_ms();
        if let Some(node) = self.node.upgrade() {
            for (id, record) in &loaded {
                self.held.replace(node.memory().gauge(), id, Some(record));
            }
        }
        self.machine = transaction::Coordinator::restore(self.rules, loaded, now_ms, &mut self.effects);
        self.carry_out();
    }

    async fn serve(&mut self, mailbox: &mut UnboundedReceiver<Command>) -> Option<Stopped> {
        let mut commands = Vec::new();
        loop {
            let deadline_ms = self.machine.next_timeout();
            tokio::select! {
                biased;
                Some(report) = self.under_way.next() => self.note(report),
                count = mailbox.recv_many(&mut commands, TURN_COMMANDS_MAX) => if count == 0 { return None },
                () = self.clock.sleep_until(deadline_ms) => {}
            }
            let mut commands = commands.drain(..);
            while let Some(command) = commands.next() {
                if let ControlFlow::Break(stopped) = self.obey(command) {
                    commands.for_each(|command| drop(command.refuse(TransactionalError::Unavailable)));
                    return Some(stopped);
                }
            }
            self.machine.on_timeout(self.clock.now_ms(), &mut self.effects);
            self.carry_out();
        }
    }

    fn note(&mut self, report: Report) {
        let now_ms = self.clock.now_ms();
        match report {
            Report::Persisted { ticket, id } => {
                self.machine.persisted(ticket, now_ms, &mut self.effects);
                self.carry_out();
                self.resume(&id);
            }
            Report::Marked { id, marker, at } => {
                // Before the producer may begin its next transaction.
                if *at.topic == *OFFSETS_TOPIC
                    && let Some(node) = self.node.upgrade()
                {
                    node.groups().transaction_ended(at.partition, marker.producer.id, marker.ending);
                }
                self.machine.marked(&id, marker.producer, &at, now_ms, &mut self.effects);
                self.carry_out();
            }
            Report::Reserved(ids) => {
                self.machine.ids_reserved(ids, now_ms, &mut self.effects);
                self.carry_out();
            }
        }
    }

    /// Whoever waited for this one goes on, once it is at rest.
    fn resume(&mut self, id: &TransactionalId) {
        if !self.machine.in_transition(id) {
            self.parked.take(id).into_iter().for_each(|request| self.request(request));
        }
    }

    pub(super) fn park(&mut self, request: Request) {
        self.parked.add(request);
    }

    pub(super) fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain() {
            self.carry_out_one(effect);
        }
        self.effects = effects;
    }

    fn carry_out_one(&mut self, effect: Effect) {
        if let Effect::Answer { token, answer } = effect {
            let request = self.asked.remove(&token).expect("every token is answered once");
            return match answer {
                Err(TransactionError::Concurrent) => self.park(request),
                answer => request.answer(answer),
            };
        }
        let Some(node) = self.node.upgrade() else { return };
        match effect {
            Effect::Persist { ticket, transactional_id, record } => {
                let now_ms = self.clock.now_ms();
                self.held.replace(node.memory().gauge(), &transactional_id, record.as_ref());
                self.under_way.persist(&node, ticket, transactional_id, record.as_ref(), now_ms);
            }
            Effect::ReserveIds => self.under_way.reserve_ids(&node),
            Effect::WriteMarkers { transactional_id, producer, ending, version, partitions } => {
                let marker = Marker { producer, ending, coordinator_epoch: COORDINATOR_EPOCH, version };
                for at in partitions {
                    self.under_way.mark(&node, transactional_id.clone(), marker, at);
                }
            }
            Effect::Answer { .. } => unreachable!("answered above"),
        }
    }
}
