//! One AMQP consumer of a topic: a task that reads ahead of its client, as far as acknowledgements allow.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use cauce_core::message::BlockBuilder;
use cauce_core::queue::{ConsumerId, Delivery, window_units};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot};

use super::cursor::{Cursor, Start};
use super::face::StreamHandle;
use super::mapping::MessageReader;
use crate::limits::{STREAM_AHEAD_BYTES, STREAM_READ_BYTES};
use crate::queue_handle::{Event, Link, ToConsumer};

/// What a consumer asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub start: Start,
    /// One partition, or all of them.
    pub partition: Option<i32>,
    /// Deliveries that may be unacknowledged.
    pub prefetch: u32,
}

/// Why nobody is made a consumer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    #[error("topic '{topic}' has {has} partitions, and none of number {wanted}")]
    NoPartition { topic: String, has: usize, wanted: i32 },
    #[error(
        "topic '{topic}' has {has} partitions, and an offset is one partition's: name it in 'x-stream-partition'"
    )]
    WhichPartition { topic: String, has: usize },
}

#[derive(Debug)]
enum Command {
    Sent(u32),
    Settled(u32),
    End(oneshot::Sender<()>),
}

/// The way to a consumer's task, which ends when this is gone.
#[derive(Debug)]
pub struct StreamConsumer {
    pub stream: Arc<StreamHandle>,
    mailbox: UnboundedSender<Command>,
}

impl StreamConsumer {
    /// Messages left for the client, of so many [`window_units`].
    pub fn sent(&self, units: u32) {
        let _ = self.mailbox.send(Command::Sent(units));
    }

    /// So many were acknowledged.
    pub fn settled(&self, messages: u32) {
        let _ = self.mailbox.send(Command::Settled(messages));
    }

    /// Nothing is delivered after the answer.
    pub async fn end(&self) {
        let (done, answer) = oneshot::channel();
        let _ = self.mailbox.send(Command::End(done));
        let _ = answer.await;
    }
}

impl StreamHandle {
    /// Starts a consumer; where it begins is decided with the answer.
    pub async fn subscribe(
        self: &Arc<Self>,
        consumer: ConsumerId,
        wish: Wish,
        link: Link,
    ) -> Result<StreamConsumer, WishError> {
        let waiter = Arc::new(Notify::new());
        let cursors = self.cursors(wish, &waiter).await?;
        let (mailbox, commands) = unbounded_channel();
        let task = ConsumerTask {
            stream: self.clone(),
            reads_all: wish.partition.is_none(),
            cursors,
            turn: 0,
            waiter,
            consumer,
            link,
            credit: wish.prefetch,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
        };
        self.consumer_came();
        tokio::spawn(task.run(commands));
        Ok(StreamConsumer { stream: self.clone(), mailbox })
    }

    async fn cursors(&self, wish: Wish, waiter: &Arc<Notify>) -> Result<Vec<Cursor>, WishError> {
        let partitions = self.topic.partitions();
        let (topic, has) = (self.topic.name.to_string(), partitions.len());
        let wanted = match wish.partition {
            Some(wanted) if self.topic.partition(wanted).is_none() => {
                return Err(WishError::NoPartition { topic, has, wanted });
            }
            Some(wanted) => wanted as usize..wanted as usize + 1,
            None if has > 1 && matches!(wish.start, Start::Offset(_)) => {
                return Err(WishError::WhichPartition { topic, has });
            }
            None => 0..has,
        };
        let mut cursors = Vec::with_capacity(wanted.len());
        for partition in &partitions[wanted] {
            let messages = MessageReader::new(&topic, (has > 1).then_some(partition.at.partition));
            cursors.push(Cursor::new(partition.clone(), wish.start, messages, waiter).await);
        }
        Ok(cursors)
    }
}

struct ConsumerTask {
    stream: Arc<StreamHandle>,
    reads_all: bool,
    cursors: Vec<Cursor>,
    /// The cursor that is next: each gives some, one after the other.
    turn: usize,
    waiter: Arc<Notify>,
    consumer: ConsumerId,
    link: Link,
    /// Messages that may be given out until some are acknowledged.
    credit: u32,
    /// Units and bytes of what was given out at a time and has not all left for the client.
    ahead: VecDeque<(u32, usize)>,
    ahead_bytes: usize,
}

impl ConsumerTask {
    async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        let _ = self.serve(&mut commands).await;
        self.stream.consumer_left();
    }

    async fn serve(&mut self, commands: &mut UnboundedReceiver<Command>) -> ControlFlow<()> {
        loop {
            loop {
                match commands.try_recv() {
                    Ok(command) => self.obey(command)?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return ControlFlow::Break(()),
                }
            }
            self.look_whether_gone()?;
            if self.has_room() && self.read_on().await? {
                continue;
            }
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command)?,
                    None => return ControlFlow::Break(()),
                },
                () = self.waiter.notified() => {}
            }
        }
    }

    fn obey(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Sent(units) => self.left_for_client(units),
            Command::Settled(messages) => self.credit += messages,
            Command::End(done) => {
                let _ = done.send(());
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn look_whether_gone(&self) -> ControlFlow<()> {
        if !self.cursors.iter().any(|cursor| cursor.partition.is_gone()) {
            return ControlFlow::Continue(());
        }
        let _ = self.link.send(Event::Cancelled { consumer: self.consumer });
        ControlFlow::Break(())
    }

    fn has_room(&self) -> bool {
        self.credit > 0 && self.ahead_bytes < STREAM_AHEAD_BYTES
    }

    fn left_for_client(&mut self, mut units: u32) {
        while let Some((count, bytes)) = self.ahead.front_mut() {
            if *count > units {
                *count -= units;
                return;
            }
            units -= *count;
            self.ahead_bytes -= *bytes;
            self.ahead.pop_front();
        }
    }

    /// Gives the client some of the next partition that has any; false if none has.
    async fn read_on(&mut self) -> ControlFlow<(), bool> {
        self.meet_new_partitions().await;
        for _ in 0..self.cursors.len() {
            self.turn = (self.turn + 1) % self.cursors.len();
            if self.cursors[self.turn].fill().await {
                self.deliver()?;
                return ControlFlow::Continue(true);
            }
        }
        ControlFlow::Continue(false)
    }

    /// Those that a topic got meanwhile are read from their beginning.
    async fn meet_new_partitions(&mut self) {
        let partitions = self.stream.topic.partitions();
        if !self.reads_all || self.cursors.len() == partitions.len() {
            return;
        }
        self.cursors.iter_mut().for_each(Cursor::tell_partition);
        while self.cursors.len() < partitions.len() {
            let partition = &partitions[self.cursors.len()];
            let messages = MessageReader::new(&self.stream.topic.name, Some(partition.at.partition));
            self.cursors.push(Cursor::new(partition.clone(), Start::First, messages, &self.waiter).await);
        }
    }

    fn deliver(&mut self) -> ControlFlow<()> {
        let (mut block, mut offsets) = (BlockBuilder::new(), Vec::new());
        self.cursors[self.turn].take(&mut block, &mut offsets, self.credit as usize, STREAM_READ_BYTES);
        if offsets.is_empty() {
            return ControlFlow::Continue(());
        }
        let block = block.finish(self.stream.gauge());
        self.credit -= offsets.len() as u32;
        let units = (0..block.len() as u32).map(|index| window_units(block.body_bytes(index)));
        self.ahead.push_back((units.fold(0, u32::saturating_add), block.cost_bytes()));
        self.ahead_bytes += block.cost_bytes();
        let deliveries = offsets.into_iter().zip(0..).map(|(offset, index)| {
            let delivery = Delivery { offset, redelivered: false, returns: 0, block: block.clone(), index };
            ToConsumer { consumer: self.consumer, delivery }
        });
        match self.link.send(Event::Read { deliveries: deliveries.collect() }) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}
