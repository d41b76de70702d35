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
use crate::limits::{
    CROWDED_BYTES, LOAD_BYTES, LOAD_IDLE_BYTES, RECORD_BATCH_BYTES, RESIDENT_BYTES_MAX, RESIDENT_BYTES_SHORT,
    TURN_COMMANDS_MAX, UNSTORED_BYTES_MAX,
};
use crate::mark::Mark;
use crate::memory::Pressure;
use crate::pace::{Headroom, Pace};
use crate::queue_handle::{
    ConfirmTag, DeleteError, Event, Link, QueueCommand, QueueHandle, Receipts, Room, Share, Status,
    ToConsumer, answer_for_the_gone,
};
use crate::settled::Notes;
use crate::storage::{Job, QueueId, report_damage};
use crate::stored;
use crate::transactions::Part;
use crate::vhost::Vhost;

/// A confirm that waits for the log.
#[derive(Debug)]
enum Pending {
    Tag(Link, ConfirmTag),
    DeadLetter(Arc<DeadLetterReceipt>),
}

/// A part of a transaction that came.
#[derive(Debug)]
struct Preparing {
    transaction: u64,
    /// Its messages.
    offsets: Range<u64>,
    notes: Notes,
    done: oneshot::Sender<()>,
}

/// How a transaction will end deliveries, once it is committed.
#[derive(Debug)]
struct Ending {
    settles: Vec<(Outcome, Vec<u64>)>,
    /// Notes about them were written.
    noted: bool,
    /// Messages that found the queue full.
    refused: usize,
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
    /// Whether any of them does not outlive a restart.
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
    /// Who waits for the end of a consumer. Should the queue end with it, they wait for that too.
    leaving: Option<oneshot::Sender<()>>,
    gets: Vec<(u64, Link)>,
    /// Those whose messages are not written yet.
    preparing: Vec<Preparing>,
    /// By transaction.
    endings: HashMap<u64, Ending, foldhash::fast::RandomState>,
    /// Transactions whose notes count from this turn on.
    committed: Vec<u64>,
    /// Transactions without a number, which wait until all below an offset is written.
    flushing: Vec<(u64, oneshot::Sender<()>)>,
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
        let (handle, mailbox) = QueueHandle::new(id, name, delays_for, queue.rules().tells_returns);
        let written = queue.settled().gaps_below(queue.next_offset());
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
            leaving: None,
            gets: Vec::new(),
            preparing: Vec::new(),
            endings: HashMap::default(),
            committed: Vec::new(),
            flushing: Vec::new(),
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
        // What leaves the queue needs the exchanges and bindings that come back after it.
        self.vhost.started().await;
        self.finish_turn();
        // Set anew only when the time changes: setting it costs more than a message.
        let mut timer = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        let mut timer_at = None;
        loop {
            let wake_at = self.queue.next_timeout().into_iter().chain(self.pace.next_timeout()).min();
            if wake_at.is_some() && wake_at != timer_at {
                timer.as_mut().reset(tokio::time::Instant::now() + wake_at.map_or(Duration::ZERO, until));
                timer_at = wake_at;
            }
            tokio::select! {
                biased;
                count = mailbox.recv_many(&mut commands, TURN_COMMANDS_MAX) => if count == 0 { return },
                () = timer.as_mut(), if wake_at.is_some() => {
                    timer_at = None;
                    self.queue.on_timeout(now_ms(), &mut self.effects);
                }
            }
            let now_ms = now_ms();
            let mut end = None;
            let mut turn = commands.drain(..);
            for command in turn.by_ref() {
                if let ControlFlow::Break(how) = self.obey(command, now_ms) {
                    end = Some(how);
                    break;
                }
            }
            self.finish_turn();
            match end {
                None => {}
                Some(End::Deleted) => {
                    self.answer_the_rest(turn, mailbox);
                    return self.vhost.storage().send(Job::Forget { queue: self.handle.id });
                }
                Some(End::Stopped(done)) => {
                    self.remember_given_out();
                    self.leave_mark();
                    let _ = done.send(());
                    // The node ends. Until it has, nobody may take this queue for one that is gone.
                    return std::future::pending().await;
                }
            }
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

    fn obey(&mut self, command: QueueCommand, now_ms: i64) -> ControlFlow<End> {
        let out = &mut self.effects;
        match command {
            QueueCommand::Publish { share, room } => {
                let room = self.publish(share, room, now_ms);
                room.into_iter().for_each(|room| self.pace.hold(room));
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
            QueueCommand::Sent { consumer, units } => self.queue.sent(consumer, units, now_ms, out),
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
            QueueCommand::Stored { upto, bytes, reader } => {
                self.reader = Some(reader);
                self.unstored_bytes -= bytes;
                self.queue.stored(upto);
                self.confirm_below(upto);
            }
            // Every turn ends with a look at the memory.
            QueueCommand::Evict => {}
            QueueCommand::Prepare { transaction, part, room, done } => {
                self.prepare(transaction, part, done, now_ms);
                room.into_iter().for_each(|room| self.pace.hold(room));
            }
            QueueCommand::Commit { transaction } => self.commit(transaction, now_ms),
            QueueCommand::Stop { done } => return ControlFlow::Break(End::Stopped(done)),
        }
        ControlFlow::Continue(())
    }

    /// The room is given back unless somebody waits for it.
    fn publish(
        &mut self,
        Share { block, picks, receipts }: Share,
        mut room: Option<Room>,
        now_ms: i64,
    ) -> Option<Room> {
        self.placed.clear();
        self.queue.publish(&block, &picks, now_ms, &mut self.effects, &mut self.placed);
        if self.queue.rules().dead_letters_refused() {
            self.note_refused(&receipts, &mut room);
        }
        match receipts {
            Receipts::Nobody | Receipts::Room(_) => {}
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
                Some(&Published::At(offset)) => {
                    self.arrived.push_back((offset, Pending::DeadLetter(receipt)))
                }
                _ => receipt.one_done(),
            },
        }
        room
    }

    /// What was refused goes to dead letters, and whoever sent it waits for that: a publisher for its room,
    /// another queue to settle it.
    fn note_refused(&mut self, receipts: &Receipts, room: &mut Option<Room>) {
        let refused = self.refused_count();
        if refused == 0 {
            return;
        }
        let awaited = match receipts {
            Receipts::DeadLetter(receipt) => Awaited::By(receipt.clone().goes_on()),
            Receipts::Room(room) => Awaited::Room(room.clone()),
            Receipts::Nobody | Receipts::Connection { .. } => {
                room.take().map_or(Awaited::Nobody, |room| Awaited::Room(Arc::new(room)))
            }
        };
        self.refused.extend(std::iter::repeat_n(awaited, refused));
    }

    /// Of what was just published or prepared.
    fn refused_count(&self) -> usize {
        self.placed.iter().filter(|&&placed| placed == Published::Refused).count()
    }

    fn delete(
        &mut self,
        if_unused: bool,
        if_empty: bool,
        done: oneshot::Sender<Result<u64, DeleteError>>,
    ) -> ControlFlow<End> {
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
        ControlFlow::Break(End::Deleted)
    }

    fn prepare(&mut self, transaction: Option<u64>, part: Part, done: oneshot::Sender<()>, now_ms: i64) {
        let Part { block, picks, settles, .. } = part;
        self.placed.clear();
        let Some(transaction) = transaction else {
            self.queue.publish(&block, &picks, now_ms, &mut self.effects, &mut self.placed);
            self.note_refused_of_transaction(self.refused_count());
            self.settle_all(settles, now_ms);
            return self.flushing.push((self.queue.next_offset(), done));
        };
        let from = self.queue.next_offset();
        self.queue.prepare(transaction, &block, &picks, &mut self.placed);
        let offsets = from..self.queue.next_offset();
        let notes = self.notes_of(&settles);
        let refused = self.refused_count();
        self.endings.insert(transaction, Ending { settles, noted: !notes.is_empty(), refused });
        self.preparing.push(Preparing { transaction, offsets, notes, done });
    }

    fn commit(&mut self, transaction: u64, now_ms: i64) {
        let Some(Ending { settles, noted, refused }) = self.endings.remove(&transaction) else {
            return;
        };
        self.note_refused_of_transaction(refused);
        self.queue.commit(transaction, now_ms, &mut self.effects);
        self.settle_all(settles, now_ms);
        if noted {
            self.committed.push(transaction);
        }
    }

    /// Nobody waits for them: the commit did not depend on it.
    fn note_refused_of_transaction(&mut self, count: usize) {
        if self.queue.rules().dead_letters_refused() {
            self.refused.extend(std::iter::repeat_n(Awaited::Nobody, count));
        }
    }

    fn settle_all(&mut self, settles: Vec<(Outcome, Vec<u64>)>, now_ms: i64) {
        for (outcome, offsets) in settles {
            self.queue.settle(offsets, outcome, now_ms, &mut self.effects);
        }
    }

    /// What a restart must know of such an end of deliveries, as far as their messages are in the log.
    fn notes_of(&self, settles: &[(Outcome, Vec<u64>)]) -> Notes {
        let mut notes = Notes::default();
        let dead_letters = self.queue.rules().dead_letters;
        for (outcome, offsets) in settles {
            let kept = |offset: &&u64| self.queue.holds(**offset) && self.written.contains(**offset);
            for &offset in offsets.iter().filter(kept) {
                match outcome {
                    Outcome::Release => notes.returned.push((offset, self.queue.returns_of(offset) + 1)),
                    Outcome::Reject if dead_letters => add_range(&mut notes.unwanted, offset..offset + 1),
                    Outcome::Reject | Outcome::Accept => add_range(&mut notes.done, offset..offset + 1),
                }
            }
        }
        notes
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
        self.write_notes();
        self.answer_transactions();
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
            Headroom::None
        } else if self.queue.consumer_count() > 0 && self.queue.resident_bytes() > CROWDED_BYTES {
            Headroom::Crowded
        } else {
            Headroom::Plenty
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
                Effect::Load { from } => {
                    let bytes = if self.queue.consumer_count() > 0 { LOAD_BYTES } else { LOAD_IDLE_BYTES };
                    load(&self.handle, &self.vhost, self.reader.clone(), from, bytes);
                }
                Effect::Unused => self.vhost.delete_unused(self.handle.clone(), self.leaving.take()),
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
        let (batch, written, preparing) = (&mut self.batch, &mut self.written, &self.preparing);
        let has_paged = &mut self.has_paged;
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
                    let outlives = durable && message.traits.persistent;
                    promised |= outlives;
                    *has_paged |= !outlives;
                    let transaction = preparing.iter().find(|part| part.offsets.contains(&offset));
                    stored::push(batch, offset, &message, transaction.map(|part| part.transaction));
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

    /// What became of messages; only of what is in the log it needs remembering.
    fn write_notes(&mut self) {
        let queue = self.handle.id;
        for transaction in self.committed.drain(..) {
            self.vhost.storage().send(Job::Committed { queue, transaction });
        }
        let mut notes = Notes::default();
        for range in self.effects.drain_settled() {
            self.written.remove_range(range, |run| add_range(&mut notes.done, run));
        }
        let written = &self.written;
        notes.returned.extend(self.effects.drain_returned().filter(|(offset, _)| written.contains(*offset)));
        if !notes.is_empty() {
            self.vhost.storage().send(Job::Settle { queue, notes, floor: self.queue.floor() });
        }
    }

    /// Transactions hear when what they brought is safe.
    fn answer_transactions(&mut self) {
        let (queue, decided) = (self.handle.id, self.queue.offered_upto());
        for part in self.preparing.extract_if(.., |part| part.offsets.end <= decided) {
            let Preparing { transaction, mut offsets, notes, done } = part;
            let mut writes = offsets.any(|offset| self.written.contains(offset));
            if !notes.is_empty() {
                writes = true;
                self.vhost.storage().send(Job::Prepare { queue, transaction, notes });
            }
            if writes {
                self.vhost.storage().send(Job::Flush { done });
            }
        }
        for (_, done) in self.flushing.extract_if(.., |(upto, _)| *upto <= decided) {
            self.vhost.storage().send(Job::Flush { done });
        }
    }

    fn remember_given_out(&mut self) {
        let given_out: Vec<Range<u64>> = self.queue.given_out().runs().collect();
        let notes = Notes { given_out, ..Notes::default() };
        if self.queue.rules().durable && !notes.is_empty() {
            let floor = self.queue.floor();
            self.vhost.storage().send(Job::Settle { queue: self.handle.id, notes, floor });
        }
    }

    fn leave_mark(&self) {
        // Of transactions that are not over the log must be asked.
        let is_plain = self.endings.is_empty() && !self.has_paged;
        if let Some(mark) = is_plain.then(|| Mark::of(&self.queue, &self.written)).flatten() {
            self.vhost.storage().send(Job::Mark { queue: self.handle.id, mark });
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

/// How a queue's task ends.
enum End {
    Deleted,
    Stopped(oneshot::Sender<()>),
}

/// Offsets mostly come in a row: the last range grows instead of a new one.
fn add_range(ranges: &mut Vec<Range<u64>>, added: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == added.start => last.end = added.end,
        _ => ranges.push(added),
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
