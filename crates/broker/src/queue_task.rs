//! The task that owns one queue: it takes commands in batches, calls the machine, and carries its
//! effects out. Nobody else changes the queue.

mod keeping;
mod transactions;
mod up;

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use cauce_core::queue::{ConsumerId, Effects, Published, Queue};
use cauce_core::range_set::RangeSet;
use cauce_log::{BatchBuilder, LogReader};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use crate::clock::now_ms;
use crate::dead_letter::Awaited;
use crate::limits::{
    CROWDED_BYTES, RESIDENT_BYTES_MAX, RESIDENT_BYTES_SHORT, TURN_COMMANDS_MAX, UNSTORED_BYTES_MAX,
};
use crate::memory::Pressure;
use crate::pace::{Headroom, Pace};
use crate::queue_handle::{
    DeleteError, Link, QueueCommand, QueueHandle, Receipts, Room, Share, Status, answer_for_the_gone,
};
use crate::storage::{Job, QueueId};
use crate::vhost::Vhost;
use transactions::{Ending, Preparing};
use up::{Pending, Up};

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
}

/// How a queue's task ends.
enum End {
    Deleted,
    Stopped(oneshot::Sender<()>),
}

fn until(at_ms: i64) -> Duration {
    Duration::from_millis(at_ms.saturating_sub(now_ms()).max(0) as u64)
}
