//! A node in memory with a listener on the loopback, and a client that says what it is told to say.

use std::sync::Arc;
use std::time::Duration;

use cauce_amqp::frame::{self, FrameKind, PROTOCOL_HEADER};
use cauce_amqp::method::*;
use cauce_amqp::{Method, RawTable, write_publish};
use cauce_broker::{Flush, Node, NodeConfig, QueueHandle};
use cauce_core::exchange::{Destination, ExchangeKind};
use cauce_core::topology::{ExchangeSpec, QueueSpec};
use cauce_core::{Table, Value};
use cauce_log::MemoryDisk;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::amqp::{Limits, listen};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const FRAME_MAX: u32 = 131_072;

pub(super) struct Server {
    pub(super) node: Arc<Node>,
    port: u16,
}

impl Server {
    pub(super) async fn start() -> Server {
        Server::with(Limits::default(), 256 << 20).await
    }

    pub(super) async fn with(limits: Limits, memory_bytes: usize) -> Server {
        let config = NodeConfig { flush: Flush::Os, memory_bytes, ..NodeConfig::default() };
        Server::on(MemoryDisk::new(), config, limits).await
    }

    pub(super) async fn over(disk: MemoryDisk, flush: Flush) -> Server {
        Server::on(disk, NodeConfig { flush, ..NodeConfig::default() }, Limits::default()).await
    }

    async fn on(disk: MemoryDisk, config: NodeConfig, limits: Limits) -> Server {
        let node = Node::start(Arc::new(disk), config).expect("an empty disk opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        tokio::spawn(listen(listener, node.clone(), limits, 1000));
        Server { node, port }
    }

    /// A transient queue.
    pub(super) fn queue(&self, name: &str) -> Arc<QueueHandle> {
        let vhost = self.node.vhost("/").expect("the default one");
        let (target, _) = vhost.declare_queue(name, QueueSpec::default(), 0).expect("a new queue");
        target.queue().expect("no stream").clone()
    }

    /// A few queues and exchanges that are not there yet; the odd ones are as the dice say.
    pub(super) fn declare_for_random(&self, dice: u64) {
        let vhost = self.node.vhost("/").expect("the default one");
        let mut arguments = Table::new();
        arguments.set("x-dead-letter-exchange", Value::text(""));
        arguments.set("x-dead-letter-routing-key", Value::text(["a", "b", "c"][dice as usize % 3]));
        arguments.set("x-max-length", Value::I32((dice >> 8) as i32 & 7));
        arguments.set("x-overflow", Value::text(["drop-head", "reject-publish-dlx"][dice as usize >> 4 & 1]));
        let odd = QueueSpec { arguments, durable: dice & 64 != 0, ..QueueSpec::default() };
        for (name, spec) in
            [("a", QueueSpec::default()), ("b", odd.clone()), ("c", odd), ("d", QueueSpec::default())]
        {
            drop(vhost.declare_queue(name, spec, 0));
        }
        let arguments = Table::from_iter([("x-queue-type", Value::text("stream"))]);
        let stream = QueueSpec { arguments, durable: true, ..QueueSpec::default() };
        drop(vhost.declare_queue("s", stream, 0));
        for (name, kind) in [("x", ExchangeKind::Topic), ("y", ExchangeKind::Fanout)] {
            drop(vhost.declare_exchange(name, ExchangeSpec::new(kind)));
            drop(vhost.bind(name, Destination::queue("a"), "#", Table::new()));
            drop(vhost.bind(name, Destination::queue("b"), "a", Table::new()));
            drop(vhost.bind(name, Destination::queue("s"), "#", Table::new()));
        }
        let mut arguments = Table::new();
        arguments.set("x-delayed-type", Value::text("fanout"));
        let kind = ExchangeKind::parse("x-delayed-message", &arguments).expect("a kind that is served");
        drop(vhost.declare_exchange("held", ExchangeSpec { arguments, ..ExchangeSpec::new(kind) }));
        drop(vhost.bind("held", Destination::queue("c"), "", Table::new()));
    }

    /// Whatever was declared goes, with all it holds.
    pub(super) async fn delete_everything(&self) {
        let vhost = self.node.vhost("/").expect("the default one");
        for topic in self.node.topics().all() {
            self.node.delete_topic(&topic.name).await.expect("it may go");
        }
        let queues: Vec<_> = vhost.topology().queues().map(|entry| entry.name.to_string()).collect();
        for name in queues {
            vhost.delete_queue(&name, 0, false, false).await.expect("it may go");
        }
        let exchanges: Vec<_> = vhost.topology().exchanges().map(|entry| entry.name().to_owned()).collect();
        for name in exchanges.iter().filter(|name| !name.is_empty() && !name.starts_with("amq.")) {
            vhost.delete_exchange(name, false).expect("it may go").wait().await;
        }
    }

    pub(super) async fn connect(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("it listens");
        Client { stream, input: Vec::new() }
    }

    /// A client that is logged in.
    pub(super) async fn client(&self, heartbeat: u16) -> Client {
        let mut client = self.connect().await;
        client.log_in(heartbeat).await;
        client
    }
}

/// A frame, taken out of the buffer it came in.
pub(super) struct Heard {
    pub(super) kind: FrameKind,
    pub(super) channel: u16,
    pub(super) payload: Vec<u8>,
}

impl Heard {
    pub(super) fn method(&self) -> Option<Method<'_>> {
        (self.kind == FrameKind::Method)
            .then(|| Method::decode(&self.payload).expect("the server writes well"))
    }

    /// `basic.deliver`, or what kind of frame it is.
    pub(super) fn name(&self) -> String {
        self.method().map_or_else(|| format!("{:?}", self.kind), |method| method.name().to_owned())
    }
}

pub(super) struct Client {
    pub(super) stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    pub(super) async fn log_in(&mut self, heartbeat: u16) {
        self.send(&PROTOCOL_HEADER).await;
        self.expect("connection.start").await;
        let start = ConnectionStartOk {
            client_properties: RawTable(&[]),
            mechanism: "PLAIN",
            response: b"\0guest\0guest",
            locale: "en_US",
        };
        self.say(0, start).await;
        self.expect("connection.tune").await;
        self.say(0, ConnectionTuneOk { channel_max: 0, frame_max: FRAME_MAX, heartbeat }).await;
        self.say(0, ConnectionOpen { virtual_host: "/" }).await;
        self.expect("connection.open-ok").await;
    }

    pub(super) async fn open_channel(&mut self, channel: u16) {
        self.say(channel, ChannelOpen {}).await;
        self.expect("channel.open-ok").await;
    }

    pub(super) async fn consume(&mut self, channel: u16, queue: &str, no_ack: bool) {
        let consume = BasicConsume {
            queue,
            consumer_tag: queue,
            no_local: false,
            no_ack,
            exclusive: false,
            no_wait: false,
            arguments: RawTable(&[]),
        };
        self.say(channel, consume).await;
        self.expect("basic.consume-ok").await;
    }

    /// As `send`, to a server that may have hung up.
    pub(super) async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await {
            Ok(sent) => sent,
            Err(_) => panic!("the server does not read"),
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server reads");
    }

    pub(super) async fn say<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        let mut out = Vec::new();
        method.into().write_frame(channel, &mut out);
        self.send(&out).await;
    }

    pub(super) async fn publish(&mut self, channel: u16, key: &str, body: &[u8]) {
        self.send(&publishes(channel, &[key], body)).await;
    }

    /// The next frame; `None` once the server has hung up.
    pub(super) async fn hear(&mut self) -> Option<Heard> {
        tokio::time::timeout(PATIENCE, self.next_frame()).await.expect("the server says something")
    }

    /// The next frame that is no heartbeat must be this.
    #[track_caller]
    pub(super) fn expect(&mut self, name: &str) -> impl Future<Output = Heard> {
        let caller = std::panic::Location::caller();
        async move {
            loop {
                let Some(heard) = self.hear().await else { panic!("{caller}: hung up where {name} was due") };
                if heard.kind == FrameKind::Heartbeat {
                    continue;
                }
                let found = match heard.method() {
                    Some(Method::ConnectionClose(close)) => format!("close: {}", close.reply_text),
                    Some(Method::ChannelClose(close)) if name != "channel.close" => {
                        format!("close: {}", close.reply_text)
                    }
                    _ => heard.name(),
                };
                assert!(found == name || heard.name() == name, "{caller}: {found} where {name} was due");
                return heard;
            }
        }
    }

    /// The body of the next delivery, which must come next.
    pub(super) async fn expect_delivery(&mut self) -> Vec<u8> {
        self.expect("basic.deliver").await;
        self.expect("Header").await;
        self.expect("Body").await.payload
    }

    async fn next_frame(&mut self) -> Option<Heard> {
        loop {
            let parsed = frame::parse(&self.input, FRAME_MAX).expect("the server writes frames");
            if let Some((frame, size)) = parsed {
                let heard =
                    Heard { kind: frame.kind, channel: frame.channel, payload: frame.payload.to_vec() };
                self.input.drain(..size);
                return Some(heard);
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

/// The message to each of these queues.
pub(super) fn publishes(channel: u16, keys: &[&str], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for key in keys {
        write_publish(&mut out, FRAME_MAX, channel, b"", key.as_bytes(), false, &[0, 0], body);
    }
    out
}
