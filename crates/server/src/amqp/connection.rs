//! One client: its socket, its channels, and what is on its way in either direction.
//!
//! The task reads much, acts on all of it, hands each queue its share once, and writes once. It may
//! wait for a queue; no queue ever waits for it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cauce_amqp::frame::{self, HEARTBEAT_FRAME};
use cauce_amqp::method::*;
use cauce_amqp::properties::PropertiesSummary;
use cauce_amqp::reply::ReplyCode;
use cauce_amqp::{Content, ContentAssembler, Frame, FrameKind};
use cauce_broker::{Alarms, ConfirmTag, Event, Link, Node, QueueHandle, Vhost};
use cauce_core::queue::{ConsumerId, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Limits;
use super::channel::{Channel, Mode, OwnedPublish, TooMuch};
use super::confirms::Confirm;
use super::consume::{Consumer, Getting, Outbox, REPLY_TO, Settling};
use super::fault::Fault;
use super::handshake::Session;
use super::publish::{Author, Publisher, parse_expiration};

/// Events taken from the mailbox at a time.
const EVENTS_MAX: usize = 64;

/// The sequence number of publishes that a transaction waits for; those of confirms begin at 1.
const COMMIT: u64 = 0;

/// How long a client has to answer `connection.close`.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) node: Arc<Node>,
    pub(super) vhost: Arc<Vhost>,
    pub(super) user: String,
    pub(super) limits: Limits,
    pub(super) frame_max: u32,
    channel_max: u16,
    heartbeat: Duration,
    /// Whether the client understands `basic.cancel` from us, and `connection.blocked`.
    pub(super) hears_cancel: bool,
    hears_blocked: bool,
    peer: SocketAddr,
    stream: TcpStream,
    input: Vec<u8>,
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
    /// Publishes of a transaction that queues have not answered.
    committing: usize,
    alarms: watch::Receiver<Alarms>,
    /// Only who publishes is stopped by an alarm.
    publishes: bool,
    told_blocked: bool,
    last_heard: Instant,
    last_said: Instant,
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
            committing: 0,
            alarms,
            publishes: false,
            told_blocked: false,
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
            let wake_at = self.next_heartbeat();
            let reads = !self.is_stopped_by_alarm() && !self.is_held_up();
            tokio::select! {
                biased;
                count = self.mailbox.recv_many(&mut events, EVENTS_MAX) => {
                    debug_assert!(count > 0, "the connection holds a sender itself");
                    for event in events.drain(..) {
                        self.hear(event)?;
                    }
                    self.tell_confirms();
                }
                ready = self.stream.readable(), if reads => {
                    ready?;
                    if self.read_some()? == Some(0) {
                        return Ok(());
                    }
                }
                ready = self.stream.writable(), if !self.out.is_empty() => ready?,
                changed = self.alarms.changed() => drop(changed),
                () = tokio::time::sleep_until(wake_at) => self.keep_alive()?,
            }
        }
    }

    fn is_stopped_by_alarm(&self) -> bool {
        self.publishes && self.alarms.borrow().any()
    }

    /// Whether the client must take what it asked for before it is heard again.
    fn is_held_up(&self) -> bool {
        self.out.is_full() || !self.getting.is_empty()
    }

    /// `Some(0)` at the end of the stream, `None` if there is nothing yet.
    fn read_some(&mut self) -> Result<Option<usize>, Fault> {
        if self.input.capacity() - self.input.len() < self.limits.read_bytes / 2 {
            self.input.reserve(self.limits.read_bytes);
        }
        match self.stream.try_read_buf(&mut self.input) {
            Ok(count) => {
                self.last_heard = Instant::now();
                Ok(Some(count))
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write_some(&mut self) -> Result<(), Fault> {
        while !self.out.is_empty() {
            match self.stream.try_write(self.out.bytes()) {
                Ok(count) => {
                    self.out.written(count);
                    self.last_said = Instant::now();
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            if self.out.is_empty() {
                self.out.report_sent(&mut self.consumers);
                self.out.fill(&mut self.channels, &mut self.consumers, self.frame_max);
            }
        }
        Ok(())
    }

    /// Acts on every whole frame that was read; true once the client said goodbye.
    async fn take_input(&mut self) -> Result<bool, Fault> {
        if self.input.is_empty() || self.is_held_up() {
            return Ok(false);
        }
        self.publisher.start_turn();
        // Taken out, so that frames can be read from it while the connection changes.
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        let mut ended = Ok(false);
        while !self.is_held_up() {
            match frame::parse(&input[at..], self.frame_max) {
                Ok(Some((frame, size))) => {
                    at += size;
                    ended = self.take_frame(frame).await;
                    if !matches!(ended, Ok(false)) {
                        break;
                    }
                    if self.publisher.is_full() {
                        self.publisher.flush(&self.vhost, &self.link).await;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    ended = Err(error.into());
                    break;
                }
            }
        }
        self.hand_over().await;
        self.tell_confirms();
        input.drain(..at);
        self.input = input;
        ended
    }

    /// Everything gathered goes to its queues.
    pub(super) async fn hand_over(&mut self) {
        self.publisher.flush(&self.vhost, &self.link).await;
        self.settling.flush();
    }

    /// Hears what queues said so far.
    pub(super) fn hear_all(&mut self) -> Result<(), Fault> {
        while let Ok(event) = self.mailbox.try_recv() {
            self.hear(event)?;
        }
        Ok(())
    }

    /// Waits until all that was published and settled is as safe as it gets.
    pub(super) async fn hand_over_and_flush(&mut self, settled: &[Arc<QueueHandle>]) -> Result<(), Fault> {
        self.hand_over().await;
        while self.committing > 0 {
            let event = self.mailbox.recv().await.expect("the connection holds a sender itself");
            self.hear(event)?;
        }
        for queue in settled {
            queue.status().await;
        }
        self.node.flush().await;
        Ok(())
    }

    async fn take_frame(&mut self, frame: Frame<'_>) -> Result<bool, Fault> {
        if frame.kind == FrameKind::Heartbeat {
            return match frame.channel {
                0 => Ok(false),
                _ => Err(Fault::connection(ReplyCode::FrameError, "heartbeat on a channel")),
            };
        }
        if frame.channel == 0 {
            return self.take_connection_frame(frame);
        }
        match self.take_channel_frame(frame).await {
            Err(Fault::Channel { code, text }) => {
                self.close_channel(frame, code, &text);
                Ok(false)
            }
            other => other.map(|()| false),
        }
    }

    fn take_connection_frame(&mut self, frame: Frame<'_>) -> Result<bool, Fault> {
        if frame.kind != FrameKind::Method {
            return Err(Fault::connection(ReplyCode::UnexpectedFrame, "content on channel 0"));
        }
        match Method::decode(frame.payload)? {
            Method::ConnectionClose(_) => {
                self.say(0, ConnectionCloseOk {});
                self.write_some()?;
                Ok(true)
            }
            Method::ConnectionUpdateSecret(_) => {
                self.say(0, ConnectionUpdateSecretOk {});
                Ok(false)
            }
            method => {
                tracing::warn!(peer = %self.peer, method = method.name(), "a method out of its turn on channel 0");
                let text = "unexpected method in connection state running";
                Err(Fault::connection(ReplyCode::ChannelError, text))
            }
        }
    }

    async fn take_channel_frame(&mut self, frame: Frame<'_>) -> Result<(), Fault> {
        let number = frame.channel;
        let Some(channel) = self.channels.get_mut(&number) else {
            return self.open_channel(frame);
        };
        if channel.closing {
            return self.take_closing_frame(frame);
        }
        match frame.kind {
            FrameKind::Method => match decode_publish(frame.payload) {
                Some(publish) => {
                    let publish = publish?;
                    if publish.immediate {
                        return Err(Fault::connection(ReplyCode::NotImplemented, "immediate=true"));
                    }
                    Ok(channel.content.publish(&publish)?)
                }
                None => {
                    channel.content.method()?;
                    self.take_method(number, Method::decode(frame.payload)?).await
                }
            },
            FrameKind::Header | FrameKind::Body => self.take_content(frame),
            FrameKind::Heartbeat => unreachable!("heartbeats were dealt with before"),
        }
    }

    /// Publishes the message if it is whole with what came.
    fn take_content(&mut self, frame: Frame<'_>) -> Result<(), Fault> {
        let number = frame.channel;
        // Taken out and put back, since the message borrows from it.
        let mut content = std::mem::replace(&mut self.channel(number).content, ContentAssembler::new(0));
        let whole = match frame.kind {
            FrameKind::Header => content.header(frame.payload),
            _ => content.body(frame.payload),
        };
        let result = match whole {
            Ok(Some(message)) => self.publish(number, &message),
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
        self.channel(number).content = content;
        result
    }

    /// The channel of a frame that was found to come on an open one.
    pub(super) fn channel(&mut self, number: u16) -> &mut Channel {
        self.channels.get_mut(&number).expect("the frame came on an open channel")
    }

    fn open_channel(&mut self, frame: Frame<'_>) -> Result<(), Fault> {
        let number = frame.channel;
        if self.channels.len() >= self.channel_max.into() {
            let text = format!(
                "number of channels opened ({}) has reached the negotiated channel_max ({})",
                self.channels.len(),
                self.channel_max
            );
            return Err(Fault::connection(ReplyCode::NotAllowed, text));
        }
        let opens = frame.kind == FrameKind::Method
            && matches!(Method::decode(frame.payload)?, Method::ChannelOpen(_));
        if !opens {
            return Err(Fault::connection(ReplyCode::ChannelError, "expected 'channel.open'"));
        }
        self.channels.insert(number, Channel::new(self.limits.body_bytes_max));
        self.say(number, ChannelOpenOk {});
        Ok(())
    }

    /// While we wait for `channel.close-ok`, all else on the channel is let by.
    fn take_closing_frame(&mut self, frame: Frame<'_>) -> Result<(), Fault> {
        if frame.kind != FrameKind::Method {
            return Ok(());
        }
        match Method::decode(frame.payload)? {
            Method::ChannelCloseOk(_) => drop(self.channels.remove(&frame.channel)),
            Method::ChannelClose(_) => {
                self.channels.remove(&frame.channel);
                self.say(frame.channel, ChannelCloseOk {});
            }
            _ => {}
        }
        Ok(())
    }

    fn publish(&mut self, number: u16, content: &Content<'_>) -> Result<(), Fault> {
        self.publishes = true;
        let channel = self.channels.get_mut(&number).expect("the content came on an open channel");
        if let Mode::Transaction(transaction) = &mut channel.mode {
            let memory = self.node.memory();
            return transaction.publish(OwnedPublish::from(content), memory).map_err(|TooMuch| {
                let text = format!(
                    "open transactions hold more than {} bytes, a quarter of the memory budget",
                    memory.transactions_bytes_max()
                );
                Fault::new(ReplyCode::PreconditionFailed, text)
            });
        }
        self.publish_now(number, content)
    }

    /// Routes the message and gathers it for its queues.
    pub(super) fn publish_now(&mut self, number: u16, content: &Content<'_>) -> Result<(), Fault> {
        let summary = PropertiesSummary::parse(content.properties)?;
        if summary.reply_to == Some(REPLY_TO) {
            let properties = self.with_reply_queue(number, content.properties)?;
            return self.publish_now(
                number,
                &Content { properties: &properties, body: (&*content.body).into(), ..*content },
            );
        }
        let ttl_ms = summary.expiration.map(parse_expiration).transpose()?;
        let author = Author { vhost: &self.vhost, node: &self.node, user: &self.user };
        let route = self.publisher.route(author, content, &summary)?;
        if route.is_empty() && content.mandatory {
            self.out.say_return(number, self.frame_max, content);
        }
        let channel = self.channel(number);
        let tag = match &mut channel.mode {
            Mode::Confirm(confirms) => {
                Some(ConfirmTag { channel: number, sequence: confirms.published(route.len() as u32) })
            }
            Mode::Transaction(_) => {
                self.committing += route.len();
                Some(ConfirmTag { channel: number, sequence: COMMIT })
            }
            Mode::Plain => None,
        };
        self.publisher.add(content, &summary, ttl_ms, &route, tag);
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<(), Fault> {
        match event {
            Event::Deliver { queue, deliveries } => self.receive(&queue, deliveries),
            Event::Got { token, delivery, ready } => self.answer_get(token, delivery, ready),
            Event::Confirmed(confirms) => {
                for (tag, taken) in confirms {
                    if tag.sequence == COMMIT {
                        self.committing -= 1;
                        continue;
                    }
                    if let Some(Channel { mode: Mode::Confirm(confirms), .. }) =
                        self.channels.get_mut(&tag.channel)
                    {
                        confirms.answered(tag.sequence, taken);
                    }
                }
            }
            Event::Cancelled { consumer } => self.cancelled(consumer),
            Event::Overdue { holder, queue } => self.overdue(holder, &queue),
            Event::Close { reason } => return Err(Fault::connection(ReplyCode::ConnectionForced, reason)),
        }
        Ok(())
    }

    fn tell_confirms(&mut self) {
        for (&number, channel) in &mut self.channels {
            let Mode::Confirm(confirms) = &mut channel.mode else {
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

    fn next_heartbeat(&self) -> Instant {
        if self.heartbeat.is_zero() {
            return Instant::now() + Duration::from_secs(86_400);
        }
        (self.last_said + self.heartbeat / 2).min(self.last_heard + self.heartbeat * 2)
    }

    fn keep_alive(&mut self) -> Result<(), Fault> {
        if self.heartbeat.is_zero() {
            return Ok(());
        }
        let now = Instant::now();
        if self.is_stopped_by_alarm() {
            // We do not read, so silence says nothing.
            self.last_heard = now;
        }
        if now >= self.last_heard + self.heartbeat * 2 {
            let text = format!("missed heartbeats from client, timeout: {}s", self.heartbeat.as_secs());
            tracing::warn!(peer = %self.peer, "{text}");
            return Err(Fault::Gone(std::io::Error::new(std::io::ErrorKind::TimedOut, text)));
        }
        if now >= self.last_said + self.heartbeat / 2 {
            self.last_said = now;
            if self.out.is_empty() {
                self.out.raw(&HEARTBEAT_FRAME);
            }
        }
        Ok(())
    }

    fn close_channel(&mut self, frame: Frame<'_>, code: ReplyCode, text: &str) {
        let (class_id, method_id) = match frame.kind {
            FrameKind::Method => Method::decode(frame.payload).map_or((0, 0), |method| method.id()),
            _ => BasicPublish::ID,
        };
        tracing::info!(peer = %self.peer, channel = frame.channel, code = code.code(), "closing a channel: {text}");
        self.fail_channel(frame.channel, code, text, (class_id, method_id));
    }

    /// Tells the client the channel is over and gives back what it held.
    pub(super) fn fail_channel(&mut self, number: u16, code: ReplyCode, text: &str, method: (u16, u16)) {
        self.drop_channel_state(number);
        let reply_text = shorten(text);
        let close =
            ChannelClose { reply_code: code.code(), reply_text, class_id: method.0, method_id: method.1 };
        self.out.say(number, close);
    }

    /// The channel gives back what it held; it stays known as closing.
    pub(super) fn drop_channel_state(&mut self, number: u16) {
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        channel.closing = true;
        channel.content.reset();
        let mut unsettled = channel.take_all();
        if let Mode::Transaction(transaction) = &mut channel.mode {
            let transaction = std::mem::take(transaction);
            unsettled.extend(transaction.settles.into_iter().flat_map(|settle| settle.unsettled));
        }
        let consumers = channel.consumers.clone();
        // The queues forget the consumers first, so that nothing given back is given out to them again.
        for id in consumers {
            if let Some(consumer) = self.consumers.get(&id) {
                consumer.queue.forget_consumer(id);
            }
            self.drop_consumer(id);
        }
        self.settling.add(unsettled, Outcome::Release);
        self.settling.flush();
    }

    async fn say_close(&mut self, code: ReplyCode, text: &str) {
        let reply_text = shorten(text);
        self.say(0, ConnectionClose { reply_code: code.code(), reply_text, class_id: 0, method_id: 0 });
        let _ = tokio::time::timeout(CLOSE_WAIT, self.wait_for_close_ok()).await;
    }

    async fn wait_for_close_ok(&mut self) -> std::io::Result<()> {
        let bytes = self.out.take_bytes();
        self.stream.write_all(&bytes).await?;
        // Frames that were under way are let by, unread; only the goodbye matters.
        let mut input = std::mem::take(&mut self.input);
        loop {
            let mut at = 0;
            while let Ok(Some((frame, size))) = frame::parse(&input[at..], self.frame_max) {
                at += size;
                let over = frame.channel == 0
                    && matches!(
                        Method::decode(frame.payload),
                        Ok(Method::ConnectionCloseOk(_) | Method::ConnectionClose(_))
                    );
                if over {
                    return Ok(());
                }
            }
            input.drain(..at);
            if input.len() > self.frame_max as usize || self.stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn leave(&mut self) {
        // What was published before the end counts, though nobody will be told.
        self.hand_over().await;
        let numbers: Vec<u16> = self.channels.keys().copied().collect();
        for number in numbers {
            self.drop_channel_state(number);
        }
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

    /// The queue of that name, if this connection may use it.
    pub(super) fn queue(&self, name: &str) -> Result<Arc<QueueHandle>, Fault> {
        Ok(self.vhost.topology().queue_for(name, self.id)?.handle.clone())
    }
}

/// Reply texts are short strings.
fn shorten(text: &str) -> &str {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
