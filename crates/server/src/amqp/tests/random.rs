//! Clients that say anything at any time: methods, headers and bodies that are well formed, in no order, and
//! now and then a byte that is not. Nothing panics, answers are answers, a good client is not disturbed, and
//! when all are gone nothing is left of them.
//!
//! `CAUCE_RANDOM_RUNS=1000` runs so many seeds; `CAUCE_RANDOM_SEED=7` begins with that one.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use cauce_amqp::frame::{self, FrameKind};
use cauce_amqp::method::*;
use cauce_amqp::reply::ReplyCode;
use cauce_amqp::{ContentHeader, HEARTBEAT_FRAME, Method, PropertiesBuf, RawTable, encode_table};
use cauce_core::{Table, Value};

use super::client::{Client, FRAME_MAX, Server, publishes};
use crate::amqp::Limits;

/// What every run of the tests tries.
const SEEDS: u64 = 40;
const STEPS: usize = 150;

const BODY_BYTES_MAX: u64 = 100_000;

/// How often clients were told what.
type Answers = BTreeMap<String, u64>;

/// What panicked anywhere in the process.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[test]
fn whatever_clients_say_nothing_breaks() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("CAUCE_RANDOM_SEED").unwrap_or(1);
    let runs = number("CAUCE_RANDOM_RUNS").unwrap_or(SEEDS);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.lock().expect("nobody panics holding it").push(panic.to_string());
        before(panic);
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let limits = Limits { body_bytes_max: BODY_BYTES_MAX, channel_max: 8, ..Limits::default() };
        let server = Server::with(limits, 256 << 20).await;
        server.queue("canary");
        let mut canary = server.client(0).await;
        canary.open_channel(1).await;
        canary.consume(1, "canary", true).await;
        let mut answers = Answers::new();
        for seed in first..first + runs {
            babble(&server, &mut answers, seed).await;
            canary.send(&publishes(1, &["canary"], &seed.to_be_bytes())).await;
            assert_eq!(canary.expect_delivery().await, seed.to_be_bytes(), "seed {seed}");
            let panics = PANICS.lock().expect("nobody panics holding it").clone();
            assert!(panics.is_empty(), "seed {seed}: {panics:?}");
        }
        println!("{answers:?}");
        for seen in
            ["basic.deliver", "basic.get-ok", "basic.return", "basic.ack", "tx.commit-ok", "channel.close"]
        {
            assert!(answers.contains_key(seen), "no client was told {seen}: they say too little");
        }
        drop(canary);
        server.node.all_disconnected().await;
        server.delete_everything().await;
        let memory = server.node.memory();
        for _ in 0..1000 {
            if memory.gauge().bytes() + memory.bodies().bytes() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} bytes are left of nobody", memory.gauge().bytes());
    });
}

/// One client's life.
async fn babble(server: &Server, answers: &mut Answers, seed: u64) {
    let mut dice = Dice { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, tags: BTreeMap::new() };
    let mut client = server.connect().await;
    if dice.one_in(10) {
        let noise: Vec<u8> = (0..dice.below(300)).map(|_| dice.next() as u8).collect();
        let _ = client.try_send(&noise).await;
        return;
    }
    client.log_in(0).await;
    let mut out = Vec::new();
    for channel in 1..=3 {
        Method::from(ChannelOpen {}).write_frame(channel, &mut out);
    }
    client.send(&out).await;
    server.declare_for_random(dice.next());
    for _ in 0..STEPS {
        let mut out = Vec::new();
        dice.frames(&mut out);
        if dice.one_in(150) {
            let at = dice.below(out.len() as u64) as usize;
            out[at] ^= 1 << dice.below(8);
        }
        if client.try_send(&out).await.is_err() || !hear_answers(&mut client, &mut dice, answers, seed).await
        {
            break;
        }
    }
    match dice.below(3) {
        0 => client.stream.set_zero_linger().expect("a socket has the option"),
        1 => drop(client.try_send(&close()).await),
        _ => {}
    }
}

/// Reads what there is; false once the connection is over.
async fn hear_answers(client: &mut Client, dice: &mut Dice, answers: &mut Answers, seed: u64) -> bool {
    let patience = Duration::from_micros(if dice.one_in(4) { 2000 } else { 0 });
    while let Ok(heard) = tokio::time::timeout(patience, client.hear()).await {
        let Some(heard) = heard else { return false };
        *answers.entry(heard.name()).or_default() += 1;
        match heard.method() {
            Some(Method::ConnectionClose(close)) => {
                assert_proper(close.reply_code, close.reply_text, seed);
                let mut out = Vec::new();
                Method::from(ConnectionCloseOk {}).write_frame(0, &mut out);
                let _ = client.try_send(&out).await;
                return false;
            }
            Some(Method::ConnectionCloseOk(_)) => return false,
            Some(Method::ChannelClose(close)) => {
                assert_proper(close.reply_code, close.reply_text, seed);
                let mut out = Vec::new();
                Method::from(ChannelCloseOk {}).write_frame(heard.channel, &mut out);
                Method::from(ChannelOpen {}).write_frame(heard.channel, &mut out);
                if !dice.one_in(50) && client.try_send(&out).await.is_err() {
                    return false;
                }
            }
            Some(Method::BasicDeliver(BasicDeliver { delivery_tag, .. }))
            | Some(Method::BasicGetOk(BasicGetOk { delivery_tag, .. })) => {
                dice.tags.insert(heard.channel, delivery_tag);
            }
            Some(Method::ChannelOpenOk(_)) => {
                dice.tags.remove(&heard.channel);
                let mode = match heard.channel {
                    2 => Method::from(ConfirmSelect { no_wait: false }),
                    3 => TxSelect {}.into(),
                    _ => continue,
                };
                let mut out = Vec::new();
                mode.write_frame(heard.channel, &mut out);
                let _ = client.try_send(&out).await;
            }
            Some(Method::ChannelCloseOk(_)) => {
                let mut out = Vec::new();
                Method::from(ChannelOpen {}).write_frame(heard.channel, &mut out);
                let _ = client.try_send(&out).await;
            }
            _ => {}
        }
    }
    true
}

/// A code of the protocol, told in its words.
fn assert_proper(code: u16, text: &str, seed: u64) {
    use ReplyCode::*;
    let known = [
        AccessRefused,
        NotFound,
        ResourceLocked,
        PreconditionFailed,
        FrameError,
        SyntaxError,
        CommandInvalid,
        ChannelError,
        UnexpectedFrame,
        NotAllowed,
        NotImplemented,
    ];
    let named = known.iter().any(|known| known.code() == code && text.starts_with(known.name()));
    assert!(named, "seed {seed}: closed with {code} {text}");
}

fn close() -> Vec<u8> {
    let mut out = Vec::new();
    let close = ConnectionClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 };
    Method::from(close).write_frame(0, &mut out);
    out
}

/// What a seed decides. Few names, so that what is said is often about something.
struct Dice {
    state: u64,
    /// The last delivery tag of each channel.
    tags: BTreeMap<u16, u64>,
}

impl Dice {
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn flag(&mut self) -> bool {
        self.one_in(4)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn queue(&mut self) -> &'static str {
        match self.below(60) {
            0 => self.pick(&["missing", "amq.mine"]),
            1..4 => "amq.rabbitmq.reply-to",
            4..8 => "",
            8..12 => "s",
            _ => self.pick(&["a", "b", "c", "d"]),
        }
    }

    fn exchange(&mut self) -> &'static str {
        match self.below(60) {
            0 => "missing",
            1..20 => "",
            _ => self.pick(&["x", "y", "held", "amq.direct", "amq.fanout", "amq.topic", "amq.headers"]),
        }
    }

    fn key(&mut self) -> &'static str {
        self.pick(&["a", "b", "c", "d", "s", "", "#", "*.a", "a.b.c"])
    }

    fn channel(&mut self) -> u16 {
        match self.below(40) {
            0 if self.one_in(10) => 0,
            1 if self.one_in(10) => 9,
            n => 1 + n as u16 % 3,
        }
    }

    /// A few frames that belong together, or should.
    fn frames(&mut self, out: &mut Vec<u8>) {
        let channel = self.channel();
        match self.below(200) {
            0 => frame::write(out, FrameKind::Body, channel, &[0; 9]),
            1 => self.header(channel, 3, out),
            2 => Method::from(ChannelOpen {}).write_frame(channel, out),
            3..10 => out.extend_from_slice(&HEARTBEAT_FRAME),
            10..80 => self.message(channel, out),
            80..110 => self.settlement(channel, out),
            _ => self.method(channel, out),
        }
    }

    fn message(&mut self, channel: u16, out: &mut Vec<u8>) {
        let publish = BasicPublish {
            exchange: self.exchange(),
            routing_key: self.key(),
            mandatory: self.flag(),
            immediate: self.one_in(100),
        };
        Method::from(publish).write_frame(channel, out);
        let size = match self.below(30) {
            0 => BODY_BYTES_MAX + self.below(3),
            1 => 60_000,
            n => n * 10 % 70,
        };
        self.header(channel, size, out);
        // Now and then less than was announced, or more, or something else in between.
        let mut sent = if self.one_in(50) { size + self.below(3) } else { size };
        while sent > 0 {
            let part = (1 + self.below(u64::from(FRAME_MAX) - 8)).min(sent);
            frame::write(out, FrameKind::Body, channel, &vec![7; part as usize]);
            sent -= part;
            if self.one_in(100) {
                return self.method(channel, out);
            }
        }
    }

    fn header(&mut self, channel: u16, body_size: u64, out: &mut Vec<u8>) {
        let properties = self.properties().to_bytes();
        let class_id = if self.one_in(200) { 10 } else { 60 };
        let mut payload = Vec::new();
        ContentHeader { class_id, body_size, properties: &properties }.encode(&mut payload);
        frame::write(out, FrameKind::Header, channel, &payload);
    }

    fn properties(&mut self) -> PropertiesBuf {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        PropertiesBuf {
            headers: self.one_in(3).then(|| self.table()),
            delivery_mode: self.flag().then_some(2),
            priority: self.flag().then(|| self.below(300) as u8),
            expiration: if self.flag() { text(self.pick(&["0", "1", "5", "5000"])) } else { None },
            reply_to: if self.one_in(60) { text("amq.rabbitmq.reply-to") } else { None },
            user_id: if self.one_in(80) { text(self.pick(&["guest", "other"])) } else { None },
            ..PropertiesBuf::default()
        }
    }

    fn settlement(&mut self, channel: u16, out: &mut Vec<u8>) {
        let last = self.tags.get(&channel).copied().unwrap_or(0);
        if last == 0 && !self.one_in(10) {
            return self.method(channel, out);
        }
        let delivery_tag = if self.one_in(30) { u64::MAX } else { last.saturating_sub(self.below(3)) };
        let (multiple, requeue) = (self.one_in(2), self.one_in(2));
        let method = match self.below(3) {
            0 => Method::from(BasicAck { delivery_tag, multiple }),
            1 => BasicNack { delivery_tag, multiple, requeue }.into(),
            _ => BasicReject { delivery_tag, requeue }.into(),
        };
        method.write_frame(channel, out);
    }

    fn table(&mut self) -> Table {
        let mut table = Table::new();
        for _ in 0..self.below(4) {
            let name = self.pick(&[
                "x-message-ttl",
                "x-expires",
                "x-max-length",
                "x-max-length-bytes",
                "x-overflow",
                "x-dead-letter-exchange",
                "x-dead-letter-routing-key",
                "x-max-priority",
                "x-queue-type",
                "x-single-active-consumer",
                "x-delivery-limit",
                "x-consumer-timeout",
                "x-priority",
                "x-match",
                "x-delayed-type",
                "x-delay",
                "x-stream-offset",
                "x-kafka-key",
                "x-kafka-tombstone",
                "alternate-exchange",
                "hash-header",
                "CC",
                "BCC",
                "x-death",
                "k",
            ]);
            let value = self.value(name);
            table.set(name, value);
        }
        table
    }

    /// Mostly what the name asks for.
    fn value(&mut self, name: &str) -> Value {
        match (self.below(8), name) {
            (0, _) => self.any_value(3),
            (_, "x-overflow") => {
                Value::text(self.pick(&["drop-head", "reject-publish", "reject-publish-dlx"]))
            }
            (_, "x-dead-letter-exchange" | "alternate-exchange") => Value::text(self.exchange()),
            (_, "x-dead-letter-routing-key") => Value::text(self.key()),
            (_, "x-queue-type") => Value::text(self.pick(&["classic", "quorum", "stream"])),
            (_, "x-match") => Value::text(self.pick(&["all", "any", "any-with-x"])),
            (_, "x-delayed-type") => Value::text(self.pick(&["direct", "topic", "fanout"])),
            (_, "x-stream-offset") if self.flag() => Value::text(self.pick(&["first", "last", "next", "1h"])),
            (_, "x-kafka-key") => Value::text(self.key()),
            (_, "x-kafka-tombstone") => Value::Bool(true),
            (_, "x-single-active-consumer") => Value::Bool(true),
            (_, "CC" | "BCC") => Value::List(vec![Value::text(self.key()), Value::text(self.key())]),
            _ => Value::I32(self.below(6) as i32),
        }
    }

    fn any_value(&mut self, depth: u64) -> Value {
        match self.below(if depth == 0 { 7 } else { 9 }) {
            0 => Value::Void,
            1 => Value::I64(i64::MIN + self.below(2) as i64),
            2 => Value::F64(f64::NAN),
            3 => Value::Text(Box::new([0xff, 0])),
            4 => Value::Decimal { scale: 255, value: u32::MAX },
            5 => Value::Timestamp(u64::MAX),
            6 => self.deep_value(),
            7 => Value::List(vec![self.any_value(depth - 1), self.any_value(depth - 1)]),
            _ => Value::Table(Table(vec![("n".into(), self.any_value(depth - 1))])),
        }
    }

    /// As deep as is taken, or one deeper.
    fn deep_value(&mut self) -> Value {
        let depth = 28 + self.below(8);
        (0..depth).fold(Value::U8(1), |inner, _| Value::List(vec![inner]))
    }

    fn method(&mut self, channel: u16, out: &mut Vec<u8>) {
        let mut table = Vec::new();
        let empty = self.one_in(2);
        encode_table(&if empty { Table::new() } else { self.table() }, &mut table);
        let arguments = RawTable(&table);
        let (queue, exchange, routing_key) = (self.queue(), self.exchange(), self.key());
        let (no_wait, number) = (self.one_in(8), self.next());
        let kind = self.pick(&[
            "direct",
            "fanout",
            "topic",
            "headers",
            "x-delayed-message",
            "x-consistent-hash",
            "odd",
        ]);
        let consumer_tag = self.pick(&["", "t", "u"]);
        let method: Method<'_> = match self.below(44) {
            0..8 => QueueDeclare {
                queue,
                passive: self.one_in(8),
                durable: self.flag(),
                exclusive: self.one_in(8),
                auto_delete: self.one_in(8),
                no_wait,
                arguments,
            }
            .into(),
            8..11 => ExchangeDeclare {
                exchange,
                kind,
                passive: self.one_in(8),
                durable: self.flag(),
                auto_delete: self.one_in(8),
                internal: self.one_in(8),
                no_wait,
                arguments,
            }
            .into(),
            11..14 => QueueBind { queue, exchange, routing_key, no_wait, arguments }.into(),
            14 => QueueUnbind { queue, exchange, routing_key, arguments }.into(),
            15 => ExchangeBind {
                destination: self.exchange(),
                source: exchange,
                routing_key,
                no_wait,
                arguments,
            }
            .into(),
            16 => ExchangeUnbind {
                destination: self.exchange(),
                source: exchange,
                routing_key,
                no_wait,
                arguments,
            }
            .into(),
            17..22 => BasicConsume {
                queue,
                consumer_tag,
                no_local: self.flag(),
                no_ack: self.one_in(2),
                exclusive: self.one_in(8),
                no_wait,
                arguments,
            }
            .into(),
            22..24 => BasicCancel { consumer_tag, no_wait }.into(),
            24..27 => BasicGet { queue, no_ack: self.one_in(2) }.into(),
            27 => BasicQos { prefetch_size: 0, prefetch_count: number as u16 % 4, global: self.one_in(2) }
                .into(),
            28 => BasicRecover { requeue: !self.one_in(40) }.into(),
            29 => QueuePurge { queue, no_wait }.into(),
            30 => QueueDelete { queue, if_unused: self.flag(), if_empty: self.flag(), no_wait }.into(),
            31 => ExchangeDelete { exchange, if_unused: self.flag(), no_wait }.into(),
            32 if channel != 3 => ConfirmSelect { no_wait }.into(),
            33 if channel != 2 => TxSelect {}.into(),
            34 | 35 if channel == 3 => TxCommit {}.into(),
            36 if channel == 3 => TxRollback {}.into(),
            37 => ChannelClose { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 }.into(),
            38 if self.one_in(5) => ChannelCloseOk {}.into(),
            39 => ChannelFlow { active: !self.one_in(40) }.into(),
            40 => BasicRecoverAsync { requeue: true }.into(),
            41 => AccessRequest {
                realm: queue,
                exclusive: true,
                passive: true,
                active: true,
                write: true,
                read: true,
            }
            .into(),
            42 if channel == 0 => ConnectionUpdateSecret { new_secret: b"s", reason: "r" }.into(),
            // What only a server says, or only at another time.
            _ => self.out_of_place(number),
        };
        method.write_frame(channel, out);
    }

    fn out_of_place(&mut self, number: u64) -> Method<'static> {
        match number % 300 {
            0 => ConnectionOpen { virtual_host: "/" }.into(),
            1 => ConnectionTuneOk { channel_max: 0, frame_max: 0, heartbeat: 0 }.into(),
            2 => BasicDeliver {
                consumer_tag: "",
                delivery_tag: 1,
                redelivered: false,
                exchange: "",
                routing_key: "",
            }
            .into(),
            3 => QueueDeclareOk { queue: "a", message_count: 0, consumer_count: 0 }.into(),
            4 => ConnectionCloseOk {}.into(),
            5 => BasicQos { prefetch_size: 1, prefetch_count: 1, global: false }.into(),
            _ => BasicCancelOk { consumer_tag: "t" }.into(),
        }
    }
}
