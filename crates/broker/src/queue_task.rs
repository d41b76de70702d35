//! The task that owns one queue: it takes commands in batches, calls the machine, and carries its
//! effects out. Nobody else changes the queue.

use std::collections::{HashMap, VecDeque};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use cauce_core::message::BlockBuilder;
use cauce_core::queue::{ConsumerId, Effect, Effects, Holder, Outcome, Published, Queue, Reason};
use cauce_core::range_set::RangeSet;
use cauce_log::{BatchBuilder, LogReader};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use crate::clock::now_ms;
use crate::dead_letter::{self, Awaited, Receipt as DeadLetterReceipt};
use crate::limits::{LOAD_BYTES, TURN_COMMANDS_MAX};
use crate::queue_handle::{
    ConfirmTag, DeleteError, Event, Link, QueueCommand, QueueHandle, Receipts, Room, Share, Status,
    ToConsumer, answer_for_the_gone,
};
use crate::storage::{Job, QueueId, report_damage};
use crate::stored;
use crate::vhost::Vhost;

/// A confirm that waits for the log.
#[derive(Debug)]
enum Pending {
    Tag(Link, ConfirmTag),
    DeadLetter(Arc<DeadLetterReceipt>),
}

pub(crate) struct QueueTask {
    handle: Arc<QueueHandle>,
    vhost: Arc<Vhost>,
    queue: Queue,
    effects: Effects,
    placed: Vec<Published>,
    batch: BatchBuilder,
    /// Offsets that were handed to the storage thread and are not done.
    written: RangeSet,
    reader: Option<LogReader>,
    /// By offset, rising.
    pending: VecDeque<(u64, Pending)>,
    /// Publishes of this turn whose place in the log is not yet decided.
    arrived: Vec<(u64, Pending)>,
    links: HashMap<ConsumerId, Link, foldhash::fast::RandomState>,
    /// Who waits for the end of a consumer. Should the queue end with it, they wait for that too.
    leaving: Option<oneshot::Sender<()>>,
    gets: Vec<(u64, Link)>,
    /// Who asked for the state of the queue after this turn.
    asked: Vec<oneshot::Sender<Status>>,
    /// Sent to connections that are gone.
    bounced: Vec<u64>,
    /// Who waits for newcomers that were refused and are to go to dead letters.
    refused: VecDeque<Awaited>,
    up: Up,
}

impl QueueTask {
    pub(crate) fn spawn(
        id: QueueId,
        name: Arc<str>,
        vhost: Arc<Vhost>,
        queue: Queue,
        effects: Effects,
        reader: Option<LogReader>,
    ) -> Arc<QueueHandle> {
        let delays_for = queue.rules().holds_until_due.then(|| name.clone());
        let (handle, mailbox) = QueueHandle::new(id, name, delays_for);
        let mut written = RangeSet::new();
        written.insert_range(0..queue.next_offset());
        let task = QueueTask {
            handle: handle.clone(),
            vhost,
            queue,
            effects,
            placed: Vec::new(),
            batch: BatchBuilder::new(),
            written,
            reader,
            pending: VecDeque::new(),
            arrived: Vec::new(),
            links: HashMap::default(),
            leaving: None,
            gets: Vec::new(),
            asked: Vec::new(),
            bounced: Vec::new(),
            refused: VecDeque::new(),
            up: Up::default(),
        };
        tokio::spawn(task.run(mailbox));
        handle
    }

    async fn run(mut self, mut mailbox: UnboundedReceiver<QueueCommand>) {
        let mut commands = Vec::with_capacity(TURN_COMMANDS_MAX);
        self.finish_turn();
        loop {
            let wake_at = self.queue.next_timeout();
            let timeout = async {
                match wake_at {
                    Some(at) => tokio::time::sleep(until(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                count = mailbox.recv_many(&mut commands, TURN_COMMANDS_MAX) => if count == 0 { return },
                () = timeout => self.queue.on_timeout(now_ms(), &mut self.effects),
            }
            let now_ms = now_ms();
            let mut ended = false;
            let mut turn = commands.drain(..);
            for command in turn.by_ref() {
                if self.obey(command, now_ms).is_break() {
                    ended = true;
                    break;
                }
            }
            if ended {
                self.finish_turn();
                self.answer_the_rest(turn, mailbox);
                return self.vhost.storage().send(Job::Forget { queue: self.handle.id });
            }
            self.finish_turn();
        }
    }

    /// The queue is gone. Its messages went with it, which is what was asked for: whoever waits for them
    /// hears that they arrived.
    fn answer_the_rest(
        &mut self,
        turn: impl Iterator<Item = QueueCommand>,
        mut mailbox: UnboundedReceiver<QueueCommand>,
    ) {
        mailbox.close();
        let late = std::iter::from_fn(|| mailbox.try_recv().ok());
        self.confirm_below(u64::MAX);
        self.send_up();
        turn.chain(late).for_each(answer_for_the_gone);
    }

    fn obey(&mut self, command: QueueCommand, now_ms: i64) -> ControlFlow<()> {
        let out = &mut self.effects;
        match command {
            QueueCommand::Publish { share, room } => {
                self.publish(share, room, now_ms);
            }
            QueueCommand::Subscribe { consumer, subscription, link, done } => {
                let answer = self.queue.subscribe(consumer, subscription, now_ms, out);
                if answer.is_ok() {
                    self.links.insert(consumer, link);
                }
                // The answer goes before the first delivery, which leaves at the end of the turn.
                let _ = done.send(answer);
            }
            QueueCommand::Unsubscribe { consumer, done } => {
                self.queue.unsubscribe(consumer, now_ms, out);
                self.leaving = done;
                // What was on its way this turn still goes up before the answer.
                self.carry_out_effects();
                self.send_up();
                self.links.remove(&consumer);
                if let Some(done) = self.leaving.take() {
                    let _ = done.send(());
                }
            }
            QueueCommand::Sent { consumer, messages } => self.queue.sent(consumer, messages, now_ms, out),
            QueueCommand::RoomInSharedLimit => self.queue.room_in_shared_limit(now_ms, out),
            QueueCommand::Get { token, no_ack, link } => {
                self.gets.push((token, link));
                self.queue.get(token, no_ack, now_ms, out);
            }
            QueueCommand::Settle { offsets, outcome } => self.queue.settle(offsets, outcome, now_ms, out),
            QueueCommand::Touch => self.queue.touch(now_ms),
            QueueCommand::Purge { done } => drop(done.send(self.queue.purge(out))),
            QueueCommand::Status { done } => self.asked.push(done),
            QueueCommand::Delete { if_unused, if_empty, done } => {
                return self.delete(if_unused, if_empty, done);
            }
            QueueCommand::DeadLettered { offset } => self.queue.dead_lettered(offset, now_ms, out),
            QueueCommand::Loaded { covered, block, offsets } => {
                self.queue.loaded(covered, &block, &offsets, now_ms, out);
            }
            QueueCommand::Stored { upto, reader } => {
                self.reader = Some(reader);
                self.queue.stored(upto);
                self.confirm_below(upto);
            }
            QueueCommand::Evict => self.queue.evict(),
        }
        ControlFlow::Continue(())
    }

    fn publish(&mut self, Share { block, picks, receipts }: Share, room: Option<Room>, now_ms: i64) {
        self.placed.clear();
        self.queue.publish(&block, &picks, now_ms, &mut self.effects, &mut self.placed);
        if self.queue.rules().dead_letters_refused() {
            self.note_refused(&receipts, room);
        }
        match receipts {
            Receipts::Nobody | Receipts::Room(_) => {}
            Receipts::Connection { link, tags } => {
                for (&placed, tag) in self.placed.iter().zip(tags) {
                    let Some(tag) = tag else { continue };
                    match placed {
                        Published::At(offset) => {
                            self.arrived.push((offset, Pending::Tag(link.clone(), tag)));
                        }
                        Published::Refused => self.up.confirm(&link, tag, false),
                    }
                }
            }
            Receipts::DeadLetter(receipt) => match self.placed.first() {
                Some(&Published::At(offset)) => self.arrived.push((offset, Pending::DeadLetter(receipt))),
                _ => receipt.one_done(),
            },
        }
    }

    /// What was refused goes to dead letters, and whoever sent it waits for that: a publisher for its room,
    /// another queue to settle it.
    fn note_refused(&mut self, receipts: &Receipts, room: Option<Room>) {
        let refused = self.placed.iter().filter(|&&placed| placed == Published::Refused).count();
        if refused == 0 {
            return;
        }
        let awaited = match receipts {
            Receipts::DeadLetter(receipt) => Awaited::By(receipt.clone().goes_on()),
            Receipts::Room(room) => Awaited::Room(room.clone()),
            Receipts::Nobody | Receipts::Connection { .. } => {
                room.map_or(Awaited::Nobody, |room| Awaited::Room(Arc::new(room)))
            }
        };
        self.refused.extend(std::iter::repeat_n(awaited, refused));
    }

    fn delete(
        &mut self,
        if_unused: bool,
        if_empty: bool,
        done: oneshot::Sender<Result<u64, DeleteError>>,
    ) -> ControlFlow<()> {
        let refusal = if if_unused && self.queue.consumer_count() > 0 {
            Some(DeleteError::InUse)
        } else if if_empty && self.queue.ready_count() > 0 {
            Some(DeleteError::NotEmpty)
        } else {
            None
        };
        if let Some(error) = refusal {
            let _ = done.send(Err(error));
            return ControlFlow::Continue(());
        }
        let ready = self.queue.ready_count();
        self.queue.close(&mut self.effects);
        let _ = done.send(Ok(ready));
        ControlFlow::Break(())
    }

    fn status(&self) -> Status {
        Status {
            ready: self.queue.ready_count(),
            held: self.queue.held_count(),
            consumers: self.queue.consumer_count(),
        }
    }

    fn finish_turn(&mut self) {
        self.carry_out_effects();
        self.write_arrivals();
        self.decide_confirms();
        self.send_up();
        self.take_back_bounced();
        self.settle_written();
        if self.vhost.memory().is_paging() {
            self.queue.evict();
        }
        let status = self.status();
        self.handle.set_status(status);
        for done in self.asked.drain(..) {
            let _ = done.send(status);
        }
    }

    fn send_up(&mut self) {
        for (link, deliveries) in self.up.deliveries.drain(..) {
            let queue = self.handle.clone();
            if let Err(bounced) = link.send(Event::Deliver { queue, deliveries }) {
                let Event::Deliver { deliveries, .. } = bounced.0 else {
                    continue;
                };
                self.bounced.extend(deliveries.iter().map(|to| to.delivery.offset));
                self.links.retain(|_, other| !other.same_channel(&link));
                for to in deliveries {
                    self.queue.unsubscribe(to.consumer, now_ms(), &mut self.effects);
                }
            }
        }
        for (link, confirms) in self.up.confirms.drain(..) {
            let _ = link.send(Event::Confirmed(confirms));
        }
        for (link, consumer) in self.up.cancels.drain(..) {
            let _ = link.send(Event::Cancelled { consumer });
        }
    }

    /// Each round takes a dead consumer out of the queue, so this ends.
    fn take_back_bounced(&mut self) {
        while !self.bounced.is_empty() {
            let offsets = std::mem::take(&mut self.bounced);
            self.queue.settle(offsets, Outcome::Release, now_ms(), &mut self.effects);
            self.carry_out_effects();
            self.send_up();
        }
    }

    fn carry_out_effects(&mut self) {
        for effect in self.effects.drain() {
            match effect {
                Effect::Deliver { to, delivery, no_ack: _ } => {
                    if let Some(link) = self.links.get(&to) {
                        self.up.deliver(link, ToConsumer { consumer: to, delivery });
                    }
                }
                Effect::Got { token, delivery, ready } => {
                    if let Some(at) = self.gets.iter().position(|(other, _)| *other == token) {
                        let (_, link) = self.gets.swap_remove(at);
                        if let Err(bounced) = link.send(Event::Got { token, delivery, ready }) {
                            let Event::Got { delivery, .. } = bounced.0 else {
                                continue;
                            };
                            self.bounced.extend(delivery.map(|delivery| delivery.offset));
                        }
                    }
                }
                Effect::Cancel { consumer } => {
                    if let Some(link) = self.links.get(&consumer) {
                        self.up.cancels.push((link.clone(), consumer));
                    }
                }
                Effect::Overdue { holder } => {
                    if let Holder::Consumer(consumer) = holder
                        && let Some(link) = self.links.get(&consumer)
                    {
                        let _ = link.send(Event::Overdue { holder, queue: self.handle.name.clone() });
                    }
                }
                Effect::DeadLetter { offset, reason, block, index } => {
                    let awaited = Awaited::By(DeadLetterReceipt::new(self.handle.clone(), offset));
                    let message = block.message(index);
                    match &self.handle.delays_for {
                        Some(exchange) => dead_letter::resume(&self.vhost, exchange, &message, awaited),
                        None => {
                            dead_letter::publish(&self.vhost, &self.handle.name, &message, reason, awaited);
                        }
                    }
                }
                Effect::DeadLetterRefused { block, index } => {
                    let message = block.message(index);
                    let awaited = self.refused.pop_front().expect("noted when it was refused");
                    dead_letter::publish(
                        &self.vhost,
                        &self.handle.name,
                        &message,
                        Reason::MaxLength,
                        awaited,
                    );
                }
                Effect::Load { from } => load(&self.handle, &self.vhost, self.reader.clone(), from),
                Effect::Unused => self.vhost.delete_unused(self.handle.clone(), self.leaving.take()),
            }
        }
    }

    /// What came this turn and is to be kept becomes one record batch.
    fn write_arrivals(&mut self) {
        let durable = self.queue.rules().durable;
        let paging = self.vhost.memory().is_paging();
        let (batch, written) = (&mut self.batch, &mut self.written);
        let mut empty = true;
        self.queue.take_unwritten(
            |message| paging || (durable && message.traits.persistent),
            |offset, message| {
                if empty {
                    batch.start(offset as i64, message.traits.arrived_ms);
                    empty = false;
                }
                stored::push(batch, offset, &message);
                written.insert(offset);
            },
        );
        if !empty {
            let (batch, upto) = (self.batch.finish(), self.queue.next_offset());
            let mailbox = self.handle.mailbox.clone();
            self.vhost.storage().send(Job::Append { queue: self.handle.id, batch, upto, mailbox });
        }
    }

    /// Only what is in the log needs remembering as done.
    fn settle_written(&mut self) {
        let mut offsets: Vec<Range<u64>> = Vec::new();
        for range in self.effects.drain_settled() {
            for offset in range {
                if !self.written.remove(offset) {
                    continue;
                }
                match offsets.last_mut() {
                    Some(last) if last.end == offset => last.end += 1,
                    _ => offsets.push(offset..offset + 1),
                }
            }
        }
        if !offsets.is_empty() {
            let floor = self.queue.floor();
            self.vhost.storage().send(Job::Settle { queue: self.handle.id, offsets, floor });
        }
    }

    /// What is not in the log is as safe as it gets; the rest waits for the log.
    fn decide_confirms(&mut self) {
        for (offset, pending) in self.arrived.drain(..) {
            if self.written.contains(offset) {
                self.pending.push_back((offset, pending));
            } else {
                self.up.confirm_pending(pending);
            }
        }
    }

    fn confirm_below(&mut self, upto: u64) {
        while self.pending.front().is_some_and(|(offset, _)| *offset < upto) {
            let (_, pending) = self.pending.pop_front().expect("seen above");
            self.up.confirm_pending(pending);
        }
    }
}

fn until(at_ms: i64) -> Duration {
    Duration::from_millis(at_ms.saturating_sub(now_ms()).max(0) as u64)
}

/// Reads from the log off the runtime's threads and sends what it finds as a command.
fn load(handle: &Arc<QueueHandle>, vhost: &Arc<Vhost>, reader: Option<LogReader>, from: u64) {
    let (mailbox, gauge) = (handle.mailbox.clone(), vhost.memory().gauge().clone());
    let name = handle.name.clone();
    tokio::task::spawn_blocking(move || {
        let mut block = BlockBuilder::new();
        let mut offsets = Vec::new();
        let mut end = from + 1;
        let read = reader.as_ref().map(|reader| reader.read(from as i64, LOAD_BYTES));
        reader.iter().for_each(|reader| report_damage(&name, reader));
        match read {
            Some(Ok(batches)) => {
                for batch in &batches {
                    end = end.max(batch.last_offset() as u64 + 1);
                    for record in batch.records().flatten() {
                        stored::copy_into(&mut block, &mut offsets, &record);
                    }
                }
            }
            Some(Err(error)) => tracing::error!(queue = %name, from, %error, "reading the log failed"),
            None => tracing::error!(queue = %name, from, "a message is neither in memory nor in a log"),
        }
        mailbox.send(QueueCommand::Loaded { covered: from..end, block: block.finish(&gauge), offsets });
    });
}

/// What goes up this turn, gathered by connection.
#[derive(Debug, Default)]
struct Up {
    deliveries: Vec<(Link, Vec<ToConsumer>)>,
    confirms: Vec<(Link, Vec<(ConfirmTag, bool)>)>,
    /// They hear of it after all they were sent.
    cancels: Vec<(Link, ConsumerId)>,
}

impl Up {
    fn deliver(&mut self, link: &Link, to_consumer: ToConsumer) {
        gather(&mut self.deliveries, link, to_consumer);
    }

    fn confirm(&mut self, link: &Link, tag: ConfirmTag, taken: bool) {
        gather(&mut self.confirms, link, (tag, taken));
    }

    fn confirm_pending(&mut self, pending: Pending) {
        match pending {
            Pending::Tag(link, tag) => self.confirm(&link, tag, true),
            Pending::DeadLetter(receipt) => receipt.one_done(),
        }
    }
}

fn gather<T>(groups: &mut Vec<(Link, Vec<T>)>, link: &Link, item: T) {
    // Mostly the same connection as just before.
    match groups.iter_mut().rev().find(|(other, _)| other.same_channel(link)) {
        Some((_, items)) => items.push(item),
        None => groups.push((link.clone(), vec![item])),
    }
}
