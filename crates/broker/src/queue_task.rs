//! The task that owns one queue: it takes commands in batches, calls the machine, and carries its
//! effects out. Nobody else changes the queue.

use std::collections::{HashMap, VecDeque};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use cauce_core::message::{Block, BlockBuilder};
use cauce_core::queue::{ConsumerId, Effect, Effects, Holder, Outcome, Picks, Published, Queue, Reason};
use cauce_core::range_set::RangeSet;
use cauce_log::{BatchBuilder, LogReader};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use crate::clock::now_ms;
use crate::dead_letter::{self, Receipt as DeadLetterReceipt};
use crate::limits::{
    CROWDED_BYTES, LOAD_BYTES, LOAD_IDLE_BYTES, RECORD_BATCH_BYTES, RESIDENT_BYTES_MAX, RESIDENT_BYTES_SHORT,
    TURN_COMMANDS_MAX, UNSTORED_BYTES_MAX,
};
use crate::mark::{self, Mark};
use crate::memory::Pressure;
use crate::pace::{Pace, Room};
use crate::queue_handle::{
    ConfirmTag, DeleteError, Event, Link, QueueCommand, QueueHandle, Receipts, Status, ToConsumer,
    answer_for_the_gone,
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
    /// Whether the log was given anything that does not outlive a restart.
    has_paged: bool,
    /// Bytes on their way to the log.
    unstored_bytes: usize,
    reader: Option<LogReader>,
    /// Publishers that wait for the queue to catch up.
    pace: Pace,
    /// By offset, rising.
    pending: VecDeque<(u64, Pending)>,
    /// Publishes of which it is not decided yet whether they are written, by offset, rising.
    arrived: VecDeque<(u64, Pending)>,
    links: HashMap<ConsumerId, Link, foldhash::fast::RandomState>,
    gets: Vec<(u64, Link)>,
    /// Who asked for the state of the queue after this turn.
    asked: Vec<oneshot::Sender<Status>>,
    /// Sent to connections that are gone.
    bounced: Vec<u64>,
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
        let mut from = 0;
        for done in queue.settled().runs() {
            written.insert_range(from..done.start);
            from = done.end;
        }
        written.insert_range(from..queue.next_offset());
        let task = QueueTask {
            handle: handle.clone(),
            vhost,
            queue,
            effects,
            placed: Vec::new(),
            batch: BatchBuilder::new(),
            written,
            has_paged: false,
            unstored_bytes: 0,
            reader,
            pace: Pace::default(),
            pending: VecDeque::new(),
            arrived: VecDeque::new(),
            links: HashMap::default(),
            gets: Vec::new(),
            asked: Vec::new(),
            bounced: Vec::new(),
            up: Up::default(),
        };
        tokio::spawn(task.run(mailbox));
        handle
    }

    async fn run(mut self, mut mailbox: UnboundedReceiver<QueueCommand>) {
        let mut commands = Vec::with_capacity(TURN_COMMANDS_MAX);
        self.finish_turn();
        loop {
            let wake_at = self.queue.next_timeout().into_iter().chain(self.pace.next_timeout()).min();
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
        let arrived: Vec<_> = self.arrived.drain(..).collect();
        self.pending.extend(arrived);
        self.confirm_below(u64::MAX);
        self.send_up();
        turn.chain(late).for_each(answer_for_the_gone);
    }

    fn obey(&mut self, command: QueueCommand, now_ms: i64) -> ControlFlow<()> {
        let out = &mut self.effects;
        match command {
            QueueCommand::Publish { block, picks, receipts, permit } => {
                self.publish(&block, &picks, receipts, now_ms);
                if let Some(permit) = permit {
                    self.pace.hold(permit);
                }
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
                // What was on its way this turn still goes up before the answer.
                self.carry_out_effects();
                self.send_up();
                self.links.remove(&consumer);
                if let Some(done) = done {
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
            QueueCommand::DeadLettered { offset } => self.queue.dead_lettered(offset, out),
            QueueCommand::Loaded { covered, block, offsets } => {
                self.queue.loaded(covered, &block, &offsets, now_ms, out);
            }
            QueueCommand::Stored { upto, bytes, reader } => {
                self.reader = Some(reader);
                self.unstored_bytes -= bytes;
                self.queue.stored(upto);
                self.confirm_below(upto);
            }
            // Every turn ends with a look at the memory.
            QueueCommand::Evict => {}
            QueueCommand::Mark { done } => {
                self.mark();
                let _ = done.send(());
            }
        }
        ControlFlow::Continue(())
    }

    fn publish(&mut self, block: &Arc<Block>, picks: &Picks, receipts: Receipts, now_ms: i64) {
        self.placed.clear();
        self.queue.publish(block, picks, now_ms, &mut self.effects, &mut self.placed);
        match receipts {
            Receipts::Nobody => {}
            Receipts::Connection { link, tags } => {
                for (&placed, tag) in self.placed.iter().zip(tags) {
                    let Some(tag) = tag else { continue };
                    match placed {
                        Published::At(offset) => {
                            self.arrived.push_back((offset, Pending::Tag(link.clone(), tag)));
                        }
                        Published::Refused => self.up.confirm(&link, tag, false),
                    }
                }
            }
            Receipts::DeadLetter(receipt) => match self.placed.first() {
                Some(&Published::At(offset)) => self.arrived.push_back((offset, Pending::DeadLetter(receipt))),
                _ => receipt.one_done(),
            },
        }
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
        self.bound_memory();
        let status = self.status();
        self.handle.set_status(status);
        for done in self.asked.drain(..) {
            let _ = done.send(status);
        }
    }

    /// Lets go of messages the log can give back and nobody takes soon, and of publishers if there is room.
    fn bound_memory(&mut self) {
        match self.vhost.memory().pressure() {
            Pressure::None => self.queue.evict_beyond(RESIDENT_BYTES_MAX),
            Pressure::Paging => self.queue.evict_beyond(RESIDENT_BYTES_SHORT),
            Pressure::Tight => {
                self.queue.evict();
                self.queue.compact();
            }
        }
        let room = if self.unstored_bytes > UNSTORED_BYTES_MAX {
            Room::None
        } else if self.queue.consumer_count() > 0 && self.queue.resident_bytes() > CROWDED_BYTES {
            Room::Crowded
        } else {
            Room::Plenty
        };
        self.pace.let_go(room, now_ms());
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
                        let _ = link.send(Event::Cancelled { consumer });
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
                    let receipt = DeadLetterReceipt::new(self.handle.clone(), offset);
                    if let Some(exchange) = &self.handle.delays_for {
                        dead_letter::resume(&self.vhost, exchange, &block.message(index), receipt);
                        continue;
                    }
                    dead_letter::publish(
                        &self.vhost,
                        &self.handle.name,
                        &block.message(index),
                        reason,
                        Some(receipt),
                    );
                }
                Effect::DeadLetterRefused { block, index } => {
                    let message = block.message(index);
                    dead_letter::publish(&self.vhost, &self.handle.name, &message, Reason::MaxLength, None);
                }
                Effect::Load { from } => {
                    let bytes = if self.queue.consumer_count() > 0 { LOAD_BYTES } else { LOAD_IDLE_BYTES };
                    load(&self.handle, &self.vhost, self.reader.clone(), from, bytes);
                }
                Effect::Unused => self.vhost.delete_unused(self.handle.clone()),
            }
        }
    }

    /// What is to be kept becomes record batches. What is too much for now goes when the log has taken some.
    fn write_arrivals(&mut self) {
        let pages = match self.vhost.memory().pressure() {
            Pressure::None => false,
            Pressure::Paging => self.queue.unwritten_bytes() > RESIDENT_BYTES_SHORT,
            Pressure::Tight => true,
        };
        if pages {
            self.queue.write_all();
        }
        let durable = self.queue.rules().durable;
        let (batch, written, has_paged) = (&mut self.batch, &mut self.written, &mut self.has_paged);
        let (mut batches, mut bytes, mut promised) = (Vec::new(), 0, false);
        while self.unstored_bytes + bytes <= UNSTORED_BYTES_MAX {
            let mut is_started = false;
            let more = self.queue.take_unwritten(
                |message| pages || (durable && message.traits.persistent),
                |offset, message| {
                    if batch.len_bytes() >= RECORD_BATCH_BYTES && is_started {
                        batches.push(batch.finish());
                        is_started = false;
                    }
                    if !is_started {
                        batch.start(offset as i64, message.traits.arrived_ms);
                        is_started = true;
                    }
                    promised |= durable && message.traits.persistent;
                    *has_paged |= !message.traits.persistent;
                    stored::push(batch, offset, &message);
                    written.insert(offset);
                },
            );
            if is_started {
                batches.push(batch.finish());
            }
            bytes = batches.iter().map(|batch| batch.len()).sum();
            if !more {
                break;
            }
        }
        if !batches.is_empty() {
            self.unstored_bytes += bytes;
            let (charge, upto) = (self.vhost.memory().gauge().charge(bytes), self.queue.log_end());
            let (queue, mailbox) = (self.handle.id, self.handle.mailbox.clone());
            self.vhost.storage().send(Job::Append { queue, batches, charge, promised, upto, mailbox });
        }
    }

    /// Leaves a mark if all that waits is in the log, all that is in the log waits, and little is to be said.
    fn mark(&self) {
        let (queue, rules) = (&self.queue, self.queue.rules());
        let plain = rules.durable && rules.priority_max == 0 && !rules.holds_until_due && !self.has_paged;
        let quiet = queue.held_count() + queue.leaving_count() == 0;
        if !plain || !quiet || self.written.is_empty() || self.written.len() != queue.ready_count() {
            return;
        }
        let kept: Vec<Range<u64>> = self.written.runs().collect();
        if kept.len() <= mark::RUNS_MAX {
            let mark = Mark { end: 0, kept, body_bytes: queue.ready_bytes() };
            self.vhost.storage().send(Job::Mark { queue: self.handle.id, mark });
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
        let decided = self.queue.offered_upto();
        while self.arrived.front().is_some_and(|(offset, _)| *offset < decided) {
            let (offset, pending) = self.arrived.pop_front().expect("seen above");
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
fn load(handle: &Arc<QueueHandle>, vhost: &Arc<Vhost>, reader: Option<LogReader>, from: u64, bytes: usize) {
    let (mailbox, gauge) = (handle.mailbox.clone(), vhost.memory().gauge().clone());
    let name = handle.name.clone();
    tokio::task::spawn_blocking(move || {
        let mut block = BlockBuilder::new();
        let mut offsets = Vec::new();
        let mut end = from + 1;
        let read = reader.as_ref().map(|reader| reader.read(from as i64, bytes));
        reader.iter().for_each(|reader| report_damage(&name, reader));
        match read {
            Some(Ok(batches)) => {
                let last = batches.last().map_or(0, |batch| batch.last_offset() as u64 + 1);
                end = end.max(last);
                let records = batches.iter().flat_map(|batch| batch.records()).flatten();
                for record in records.filter(|record| record.offset as u64 >= from) {
                    if block.len_bytes() >= bytes {
                        end = record.offset as u64;
                        break;
                    }
                    stored::copy_into(&mut block, &mut offsets, &record);
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
