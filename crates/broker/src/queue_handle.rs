//! A queue as others reach it: the commands its task takes, and what it tells connections.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cauce_core::message::Block;
use cauce_core::queue::{ConsumerId, Delivery, Holder, Outcome, Picks, SubscribeError, Subscription};
use cauce_log::LogReader;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::dead_letter::Receipt as DeadLetterReceipt;
use crate::limits::MAILBOX_BYTES_MAX;
use crate::storage::QueueId;
use crate::transactions::Part;

/// The way up to a connection. It never waits: what a connection gets is bounded by the credit it gave.
pub type Link = UnboundedSender<Event>;

/// What queues tell a connection.
#[derive(Debug)]
pub enum Event {
    Deliver {
        queue: Arc<QueueHandle>,
        deliveries: Vec<ToConsumer>,
    },
    /// Messages of a stream.
    Read {
        deliveries: Vec<ToConsumer>,
    },
    Got {
        token: u64,
        delivery: Option<Delivery>,
        ready: u64,
    },
    /// Publishes that are as safe as they get (`true`) or were refused, by the tags they came with.
    Confirmed(Vec<(ConfirmTag, bool)>),
    /// The queue ended this subscription.
    Cancelled {
        consumer: ConsumerId,
    },
    /// A delivery was held longer than the queue allows.
    Overdue {
        holder: Holder,
        queue: Arc<str>,
    },
    /// The node asks the connection to end, with this reason.
    Close {
        reason: String,
    },
}

#[derive(Debug)]
pub struct ToConsumer {
    pub consumer: ConsumerId,
    pub delivery: Delivery,
}

/// Where a confirm belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfirmTag {
    pub channel: u16,
    /// Which of the channels that had this number, one after the other.
    pub life: u32,
    pub sequence: u64,
}

/// Who hears what became of the messages of a batch.
#[derive(Debug)]
pub enum Receipts {
    Nobody,
    /// One a message, in order; `None` if nobody waits to hear of it.
    Connection {
        link: Link,
        tags: Vec<Option<ConfirmTag>>,
    },
    DeadLetter(Arc<DeadLetterReceipt>),
    /// Nobody hears, but the room of who published what led to it is not free before.
    Room(Arc<Room>),
}

impl Receipts {
    /// All messages of the batch were taken, or none was.
    pub(crate) fn answer(self, taken: bool) {
        match self {
            Receipts::Nobody | Receipts::Room(_) => {}
            Receipts::Connection { link, tags } => {
                let confirms = tags.into_iter().flatten().map(|tag| (tag, taken)).collect();
                let _ = link.send(Event::Confirmed(confirms));
            }
            Receipts::DeadLetter(receipt) => receipt.one_done(),
        }
    }
}

/// One queue's share of a block.
#[derive(Debug)]
pub struct Share {
    pub block: Arc<Block>,
    pub picks: Picks,
    pub receipts: Receipts,
}

/// Room in a queue's mailbox, taken until the queue has taken what was put there.
#[derive(Debug)]
pub struct Room(OwnedSemaphorePermit);

impl Room {
    pub(crate) fn bytes(&self) -> usize {
        self.0.num_permits()
    }
}

impl From<OwnedSemaphorePermit> for Room {
    fn from(permit: OwnedSemaphorePermit) -> Room {
        Room(permit)
    }
}

#[derive(Debug)]
pub(crate) enum QueueCommand {
    Publish {
        share: Share,
        room: Option<Room>,
    },
    Subscribe {
        consumer: ConsumerId,
        subscription: Subscription,
        link: Link,
        done: oneshot::Sender<Result<(), SubscribeError>>,
    },
    Unsubscribe {
        consumer: ConsumerId,
        done: Option<oneshot::Sender<()>>,
    },
    Sent {
        consumer: ConsumerId,
        units: u32,
    },
    RoomInSharedLimit,
    Get {
        token: u64,
        no_ack: bool,
        link: Link,
    },
    Settle {
        offsets: Vec<u64>,
        outcome: Outcome,
    },
    Touch,
    Purge {
        done: oneshot::Sender<u64>,
    },
    Status {
        done: oneshot::Sender<Status>,
    },
    /// Answers, then ends the task; what is in the queue is gone.
    Delete {
        if_unused: bool,
        if_empty: bool,
        done: oneshot::Sender<Result<u64, DeleteError>>,
    },
    DeadLettered {
        offset: u64,
    },
    Loaded {
        covered: Range<u64>,
        block: Arc<Block>,
        offsets: Vec<u64>,
    },
    Stored {
        upto: u64,
        bytes: usize,
        reader: LogReader,
    },
    Evict,
    /// Takes a part of a transaction; one without a number has no other and counts at once. The answer means
    /// that something was written and is as safe as it gets; if there was nothing to write there is none.
    Prepare {
        transaction: Option<u64>,
        part: Part,
        room: Option<Room>,
        done: oneshot::Sender<()>,
    },
    Commit {
        transaction: u64,
    },
    /// Remembers for the next run what was given out, and rests.
    Stop {
        done: oneshot::Sender<()>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub ready: u64,
    pub held: u64,
    pub consumers: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    #[error("in use")]
    InUse,
    #[error("not empty")]
    NotEmpty,
}

/// Commands to one queue. Sending to a queue that is gone does nothing.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox(UnboundedSender<QueueCommand>);

impl Mailbox {
    pub(crate) fn send(&self, command: QueueCommand) {
        if let Err(refused) = self.0.send(command) {
            answer_for_the_gone(refused.0);
        }
    }
}

/// A queue that was deleted takes everything and keeps nothing.
pub(crate) fn answer_for_the_gone(command: QueueCommand) {
    if let QueueCommand::Publish { share, .. } = command {
        share.receipts.answer(true);
    }
}

/// A block that is larger than the mailbox may have it alone.
pub(crate) fn room_bytes(block: &Block) -> u32 {
    block.cost_bytes().min(MAILBOX_BYTES_MAX) as u32
}

/// A queue as others see it.
#[derive(Debug)]
pub struct QueueHandle {
    pub(crate) id: QueueId,
    pub name: Arc<str>,
    /// The exchange whose delayed messages it holds; clients do not see such a queue.
    pub(crate) delays_for: Option<Arc<str>>,
    /// Whether deliveries say how often the message had come back.
    pub tells_returns: bool,
    pub(crate) mailbox: Mailbox,
    /// Bytes that publishers may still put into the mailbox.
    room: Arc<Semaphore>,
    counts: Counts,
}

/// Numbers anybody may read without asking the task; true as of its last turn.
#[derive(Debug, Default)]
struct Counts {
    ready: AtomicU64,
    held: AtomicU64,
    consumers: AtomicU64,
}

impl QueueHandle {
    /// The handle, and the end of its mailbox for the task to read.
    pub(crate) fn new(
        id: QueueId,
        name: Arc<str>,
        delays_for: Option<Arc<str>>,
        tells_returns: bool,
    ) -> (Arc<QueueHandle>, UnboundedReceiver<QueueCommand>) {
        let (sender, mailbox) = unbounded_channel();
        let handle = QueueHandle {
            id,
            name,
            delays_for,
            tells_returns,
            mailbox: Mailbox(sender),
            room: Arc::new(Semaphore::new(MAILBOX_BYTES_MAX)),
            counts: Counts::default(),
        };
        (Arc::new(handle), mailbox)
    }

    /// For the task: how things stand at the end of a turn.
    pub(crate) fn set_status(&self, status: Status) {
        self.counts.ready.store(status.ready, Ordering::Relaxed);
        self.counts.held.store(status.held, Ordering::Relaxed);
        self.counts.consumers.store(status.consumers as u64, Ordering::Relaxed);
    }

    /// Whether messages live in it for as long as their exchange delays them.
    pub fn is_delay(&self) -> bool {
        self.delays_for.is_some()
    }

    /// The queue goes with all it holds; nobody waits to hear of it.
    pub(crate) fn discard(&self) {
        let (done, _) = oneshot::channel();
        self.mailbox.send(QueueCommand::Delete { if_unused: false, if_empty: false, done });
    }

    /// Hands messages over; waits while the queue has too many bytes in its mailbox.
    pub async fn publish(&self, block: Arc<Block>, picks: Picks, receipts: Receipts) {
        let share = Share { block, picks, receipts };
        let room = self.room_for(&share).await;
        self.publish_in(room, share);
    }

    /// Hands messages over if there is room for them in the mailbox; otherwise they come back.
    pub fn try_publish(&self, share: Share) -> Result<(), Share> {
        match self.room.clone().try_acquire_many_owned(room_bytes(&share.block)) {
            Ok(permit) => {
                self.publish_in(Room(permit), share);
                Ok(())
            }
            Err(_) => Err(share),
        }
    }

    /// Waits until there is room; who came first gets it first.
    pub fn room_for(&self, share: &Share) -> impl Future<Output = Room> + Send + use<> {
        self.room_for_block(&share.block)
    }

    fn room_for_block(&self, block: &Block) -> impl Future<Output = Room> + Send + use<> {
        let (room, bytes) = (self.room.clone(), room_bytes(block));
        async move { Room(room.acquire_many_owned(bytes).await.expect("nobody closes it")) }
    }

    pub fn publish_in(&self, room: Room, share: Share) {
        self.mailbox.send(QueueCommand::Publish { share, room: Some(room) });
    }

    /// For the node's own messages, which are bounded where they come from and must not wait.
    pub(crate) fn publish_now(&self, share: Share) {
        self.mailbox.send(QueueCommand::Publish { share, room: None });
    }

    /// Hands over a part of a transaction, and waits as [`publish`](QueueHandle::publish) does.
    pub(crate) async fn prepare(&self, transaction: Option<u64>, part: Part) -> oneshot::Receiver<()> {
        let room = match part.picks.is_empty() {
            true => None,
            false => Some(self.room_for_block(&part.block).await),
        };
        let (done, answer) = oneshot::channel();
        self.mailbox.send(QueueCommand::Prepare { transaction, part, room, done });
        answer
    }

    pub(crate) fn commit(&self, transaction: u64) {
        self.mailbox.send(QueueCommand::Commit { transaction });
    }

    pub(crate) async fn stop(&self) {
        self.ask(|done| QueueCommand::Stop { done }).await;
    }

    pub async fn subscribe(
        &self,
        consumer: ConsumerId,
        subscription: Subscription,
        link: Link,
    ) -> Option<Result<(), SubscribeError>> {
        self.ask(|done| QueueCommand::Subscribe { consumer, subscription, link, done }).await
    }

    /// Ends the subscription; nothing is delivered to it after the answer.
    pub async fn unsubscribe(&self, consumer: ConsumerId) {
        self.ask(|done| QueueCommand::Unsubscribe { consumer, done: Some(done) }).await;
    }

    pub fn forget_consumer(&self, consumer: ConsumerId) {
        self.mailbox.send(QueueCommand::Unsubscribe { consumer, done: None });
    }

    /// So many window units of messages left for the client.
    pub fn sent(&self, consumer: ConsumerId, units: u32) {
        self.mailbox.send(QueueCommand::Sent { consumer, units });
    }

    pub fn room_in_shared_limit(&self) {
        self.mailbox.send(QueueCommand::RoomInSharedLimit);
    }

    pub fn get(&self, token: u64, no_ack: bool, link: Link) {
        self.mailbox.send(QueueCommand::Get { token, no_ack, link });
    }

    pub fn settle(&self, offsets: Vec<u64>, outcome: Outcome) {
        self.mailbox.send(QueueCommand::Settle { offsets, outcome });
    }

    /// Counts as use of the queue.
    pub fn touch(&self) {
        self.mailbox.send(QueueCommand::Touch);
    }

    pub async fn purge(&self) -> u64 {
        self.ask(|done| QueueCommand::Purge { done }).await.unwrap_or(0)
    }

    /// What the queue holds after all that was sent to it before.
    pub async fn status(&self) -> Status {
        let gone = Status { ready: 0, held: 0, consumers: 0 };
        self.ask(|done| QueueCommand::Status { done }).await.unwrap_or(gone)
    }

    pub(crate) async fn delete(&self, if_unused: bool, if_empty: bool) -> Option<Result<u64, DeleteError>> {
        self.ask(|done| QueueCommand::Delete { if_unused, if_empty, done }).await
    }

    pub(crate) fn dead_lettered(&self, offset: u64) {
        self.mailbox.send(QueueCommand::DeadLettered { offset });
    }

    pub(crate) fn evict(&self) {
        self.mailbox.send(QueueCommand::Evict);
    }

    /// As of the queue's last turn.
    pub fn last_status(&self) -> Status {
        Status {
            ready: self.counts.ready.load(Ordering::Relaxed),
            held: self.counts.held.load(Ordering::Relaxed),
            consumers: self.counts.consumers.load(Ordering::Relaxed) as usize,
        }
    }

    /// `None` if the queue is gone.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> QueueCommand) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.mailbox.send(command(done));
        answer.await.ok()
    }
}
