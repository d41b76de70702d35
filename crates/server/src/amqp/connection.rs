//! One client: its socket, its channels, and what is on its way in either direction.
//!
//! The task reads much, acts on all of it, hands each queue its share once, and writes once. It may
//! wait for a queue; no queue ever waits for it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cauce_amqp::method::*;
use cauce_amqp::reply::ReplyCode;
use cauce_broker::{Alarms, ConfirmTag, Event, Link, Node, QueueHandle, Target, Vhost};
use cauce_core::queue::ConsumerId;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Limits;
use super::channel::{Channel, Mode};
use super::confirms::Confirm;
use super::consume::Consumer;
use super::fault::{Fault, no_queue};
use super::get::Getting;
use super::handshake::Session;
use super::outbox::Outbox;
use super::publish::Publisher;
use super::reply_to::is_reply_queue;
use super::settle::Settling;
use super::stream::not_supported;

/// Why a client is not listened to. What it sends meanwhile is read only to hear that it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// Memory or disk is short, and it publishes.
    Alarm,
    /// A queue has no room for what it published, or has not answered it.
    Queue,
    /// It must take what it asked for first.
    Client,
}

/// Events taken from the mailbox at a time.
const EVENTS_MAX: usize = 64;

pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) node: Arc<Node>,
    pub(super) vhost: Arc<Vhost>,
    pub(super) user: String,
    pub(super) limits: Limits,
    pub(super) frame_max: u32,
    pub(super) channel_max: u16,
    pub(super) heartbeat: Duration,
    /// Whether the client understands `basic.cancel` from us, and `connection.blocked`.
    pub(super) hears_cancel: bool,
    hears_blocked: bool,
    pub(super) peer: SocketAddr,
    pub(super) stream: TcpStream,
    pub(super) input: Vec<u8>,
    pub(super) out: Outbox,
    pub(super) channels: HashMap<u16, Channel>,
    pub(super) consumers: HashMap<ConsumerId, Consumer, foldhash::fast::RandomState>,
    pub(super) getting: Getting,
    /// Reply queues of channels that are gone.
    pub(super) reply_queues: Vec<Arc<QueueHandle>>,
    pub(super) publisher: Publisher,
    pub(super) settling: Settling,
    pub(super) link: Link,
    mailbox: UnboundedReceiver<Event>,
    alarms: watch::Receiver<Alarms>,
    /// Channels with a body that has come in part.
    pub(super) bodies: usize,
    /// Channels with confirms to tell.
    pub(super) told_soon: Vec<u16>,
    /// Channels opened so far.
    pub(super) lives: u32,
    /// The client says nothing more.
    pub(super) at_end: bool,
    /// Only who publishes is stopped by an alarm.
    pub(super) publishes: bool,
    told_blocked: bool,
    /// The class and method that ended the connection, if one did.
    pub(super) blamed: (u16, u16),
    pub(super) last_heard: Instant,
    pub(super) last_said: Instant,
}

impl Connection {
    pub(super) fn new(node: Arc<Node>, limits: Limits, session: Session) -> Connection {
        let (link, mailbox) = unbounded_channel();
        let alarms = node.memory().alarms();
        Connection {
            id: node.next_id(),
            vhost: session.vhost,
            user: session.user,
            limits,
            frame_max: session.frame_max,
            channel_max: session.channel_max,
            heartbeat: session.heartbeat,
            hears_cancel: session.hears_cancel,
            hears_blocked: session.hears_blocked,
            peer: session.peer,
            stream: session.stream,
            input: session.input,
            out: Outbox::default(),
            channels: HashMap::new(),
            consumers: HashMap::default(),
            getting: Getting::default(),
            reply_queues: Vec::new(),
            publisher: Publisher::default(),
            settling: Settling::default(),
            link,
            mailbox,
            bodies: 0,
            told_soon: Vec::new(),
            lives: 0,
            at_end: false,
            alarms,
            publishes: false,
            told_blocked: false,
            blamed: (0, 0),
            last_heard: Instant::now(),
            last_said: Instant::now(),
            node,
        }
    }

    /// Serves the client until it leaves, then gives back all it held.
    pub(super) async fn run(mut self) {
        self.node.connected(self.id, self.link.clone());
        let ended = self.serve().await;
        if let Err(Fault::Connection { code, text }) = &ended {
            tracing::warn!(peer = %self.peer, user = self.user, code = code.code(), "closing a connection: {text}");
            self.say_close(*code, text).await;
        }
        self.leave().await;
        self.node.disconnected(self.id);
    }

    async fn serve(&mut self) -> Result<(), Fault> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            if self.take_input().await? {
                return Ok(());
            }
            // After the input, which may have shown that the client publishes.
            self.tell_alarm();
            self.out.fill(&mut self.channels, &mut self.consumers, self.frame_max);
            self.write_some()?;
            // What a client that left had published is taken first.
            if self.at_end && (self.input.is_empty() || matches!(self.pause(), None | Some(Pause::Client))) {
                return Ok(());
            }
            let wake_at = self.next_heartbeat();
            let reads = self.reads();
            let waits_for_room = !self.publisher.backlog.is_empty();
            tokio::select! {
                biased;
                count = self.mailbox.recv_many(&mut events, EVENTS_MAX) => {
                    debug_assert!(count > 0, "the connection holds a sender itself");
                    for event in events.drain(..) {
                        self.hear(event)?;
                    }
                    self.tell_confirms();
                }
                () = self.publisher.backlog.hand_over_one(), if waits_for_room => {
                    self.hand_over();
                }
                ready = self.stream.readable(), if reads => {
                    ready?;
                    self.read_some()?;
                }
                broken = self.stream.ready(Interest::ERROR), if !reads => {
                    broken?;
                    return Err(self.broken());
                }
                ready = self.stream.writable(), if !self.out.is_empty() => ready?,
                changed = self.alarms.changed() => drop(changed),
                () = tokio::time::sleep_until(wake_at) => self.keep_alive()?,
            }
        }
    }

    /// Why nothing the client says is acted upon for now, if so.
    pub(super) fn pause(&self) -> Option<Pause> {
        // A body that has begun may end, or those that have begun could fill the memory and wait for each other.
        let alarm = || self.publishes && self.bodies == 0 && self.alarms.borrow().any();
        self.held_up().or_else(|| alarm().then_some(Pause::Alarm))
    }

    /// The same but for alarms, which are looked at once a turn.
    pub(super) fn held_up(&self) -> Option<Pause> {
        if !self.publisher.backlog.is_empty() || !self.getting.is_empty() {
            Some(Pause::Queue)
        } else if self.out.is_full() {
            Some(Pause::Client)
        } else {
            None
        }
    }

    /// Everything gathered goes to its queues, in order. False if some of it waits for a full queue.
    pub(super) fn hand_over(&mut self) -> bool {
        self.publisher.flush(&self.vhost, &self.link);
        let over = self.publisher.backlog.is_empty();
        if over {
            self.settling.flush();
        }
        over
    }

    /// The same, and waits for the queues that are full.
    pub(super) async fn hand_over_all(&mut self) {
        while !self.hand_over() {
            self.publisher.backlog.hand_over_one().await;
        }
    }

    /// Hears what queues said so far.
    pub(super) fn hear_all(&mut self) -> Result<(), Fault> {
        while let Ok(event) = self.mailbox.try_recv() {
            self.hear(event)?;
        }
        Ok(())
    }

    /// The channel of a frame that was found to come on an open one.
    pub(super) fn channel(&mut self, number: u16) -> &mut Channel {
        self.channels.get_mut(&number).expect("the frame came on an open channel")
    }

    fn hear(&mut self, event: Event) -> Result<(), Fault> {
        match event {
            Event::Deliver { queue, deliveries } => self.receive(&queue, deliveries),
            Event::Read { deliveries } => self.receive_read(deliveries),
            Event::Got { token, delivery, ready } => self.answer_get(token, delivery, ready),
            Event::Confirmed(confirms) => {
                for (tag, taken) in confirms {
                    self.confirmed(tag, taken);
                }
            }
            Event::Cancelled { consumer } => self.cancelled(consumer),
            Event::Overdue { holder, queue } => self.overdue(holder, &queue),
            Event::Close { reason } => return Err(Fault::connection(ReplyCode::ConnectionForced, reason)),
        }
        Ok(())
    }

    fn confirmed(&mut self, tag: ConfirmTag, taken: bool) {
        let channel = self.channels.get_mut(&tag.channel).filter(|channel| channel.life == tag.life);
        let Some(Channel { mode: Mode::Confirm(confirms), .. }) = channel else {
            return;
        };
        confirms.answered(tag.sequence, taken);
        if confirms.has_first_news() {
            self.told_soon.push(tag.channel);
        }
    }

    pub(super) fn tell_confirms(&mut self) {
        for number in self.told_soon.drain(..) {
            let Some(Channel { mode: Mode::Confirm(confirms), closing: false, .. }) =
                self.channels.get_mut(&number)
            else {
                continue;
            };
            confirms.tell(|confirm| match confirm {
                Confirm::Ack { sequence, multiple } => {
                    self.out.say(number, BasicAck { delivery_tag: sequence, multiple });
                }
                Confirm::Nack { sequence } => {
                    let nack = BasicNack { delivery_tag: sequence, multiple: false, requeue: false };
                    self.out.say(number, nack);
                }
            });
        }
    }

    pub(super) fn say<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        self.out.say(channel, method);
    }

    fn tell_alarm(&mut self) {
        let alarms = *self.alarms.borrow_and_update();
        if !self.hears_blocked || alarms.any() == self.told_blocked {
            return;
        }
        match alarms.any() {
            true if self.publishes => self.say(0, ConnectionBlocked { reason: alarms.reason() }),
            true => return,
            false => self.say(0, ConnectionUnblocked {}),
        }
        self.told_blocked = alarms.any();
    }

    async fn leave(&mut self) {
        let numbers: Vec<u16> = self.channels.keys().copied().collect();
        for number in numbers {
            self.drop_channel_state(number);
        }
        // What was published before the end counts, though nobody will be told.
        self.hand_over_all().await;
        // What queues sent meanwhile goes back; what they send from now on bounces.
        self.mailbox.close();
        while let Ok(event) = self.mailbox.try_recv() {
            match event {
                Event::Deliver { queue, deliveries } => self.receive(&queue, deliveries),
                Event::Got { token, delivery, ready } => self.answer_get(token, delivery, ready),
                _ => {}
            }
        }
        self.delete_reply_queues().await;
        self.vhost.delete_exclusive(self.id).await;
    }

    /// The queue a method names; an empty name means the last one declared on the channel.
    pub(super) fn queue_name(&self, number: u16, name: &str) -> Result<String, Fault> {
        if !name.is_empty() {
            return Ok(name.to_owned());
        }
        let last = self.channels.get(&number).and_then(|channel| channel.last_queue.clone());
        last.ok_or_else(|| Fault::new(ReplyCode::NotFound, "no previously declared queue"))
    }

    /// The queue of that name, for what streams do not do.
    pub(super) fn queue_for(&self, name: &str, what: &str) -> Result<Arc<QueueHandle>, Fault> {
        match self.target(name)? {
            Target::Queue(queue) => Ok(queue),
            Target::Stream(_) => {
                Err(not_supported(what, &format!("queue '{name}' in vhost '{}'", self.vhost.name)))
            }
        }
    }

    /// The queue or stream of that name, if this connection may use it.
    pub(super) fn target(&self, name: &str) -> Result<Target, Fault> {
        if is_reply_queue(name) {
            return Err(no_queue(name, &self.vhost.name));
        }
        Ok(self.vhost.topology().queue_for(name, self.id)?.handle.clone())
    }
}
