//! From the protocol header to `connection.open-ok`: who the client is and what both sides can do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cauce_amqp::frame::{self, PROTOCOL_HEADER};
use cauce_amqp::method::*;
use cauce_amqp::reply::ReplyCode;
use cauce_amqp::sasl::{parse_amqplain, parse_plain};
use cauce_amqp::server::server_properties;
use cauce_amqp::table::{RawTable, encode_table};
use cauce_amqp::{FRAME_MIN_SIZE, FrameKind};
use cauce_broker::{Node, Vhost};
use cauce_core::Table;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Limits;
use super::fault::Fault;

/// Bytes a client may send before it is known.
const HANDSHAKE_BYTES_MAX: usize = 256 << 10;

/// As clients of AMQP 0-9 wrote it; RabbitMQ takes it for 0-9-1 too.
const OLD_PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x01\x01\x00\x09";

/// A client that is known and welcome.
pub(super) struct Session {
    pub(super) peer: SocketAddr,
    pub(super) stream: TcpStream,
    /// What it sent after `connection.open`.
    pub(super) input: Vec<u8>,
    pub(super) user: String,
    pub(super) vhost: Arc<Vhost>,
    pub(super) frame_max: u32,
    pub(super) channel_max: u16,
    pub(super) heartbeat: Duration,
    pub(super) hears_cancel: bool,
    pub(super) hears_blocked: bool,
}

struct Handshake<'a> {
    node: &'a Node,
    limits: Limits,
    peer: SocketAddr,
    stream: TcpStream,
    input: Vec<u8>,
}

/// Greets the client. `None` if it was turned away or left; what there was to say was said.
pub(super) async fn shake_hands(
    node: &Node,
    limits: Limits,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Session> {
    let mut handshake = Handshake { node, limits, peer, stream, input: Vec::new() };
    match handshake.run().await {
        Ok(Some(greeted)) => {
            let Handshake { stream, input, .. } = handshake;
            let Greeted { user, vhost, tuned, hears_cancel, hears_blocked } = greeted;
            Some(Session {
                peer,
                stream,
                input,
                user,
                vhost,
                frame_max: tuned.frame_max,
                channel_max: tuned.channel_max,
                heartbeat: Duration::from_secs(tuned.heartbeat.into()),
                hears_cancel,
                hears_blocked,
            })
        }
        Ok(None) => None,
        Err(Fault::Gone(error)) => {
            tracing::debug!(%peer, %error, "a client left during the handshake");
            None
        }
        Err(Fault::Connection { code, text } | Fault::Channel { code, text }) => {
            tracing::warn!(%peer, code = code.code(), "turning a client away: {text}");
            handshake.turn_away(code, &text).await;
            None
        }
    }
}

struct Greeted {
    user: String,
    vhost: Arc<Vhost>,
    tuned: ConnectionTuneOk,
    hears_cancel: bool,
    hears_blocked: bool,
}

impl Handshake<'_> {
    async fn run(&mut self) -> Result<Option<Greeted>, Fault> {
        if !self.read_protocol_header().await? {
            return Ok(None);
        }
        self.say_start().await?;
        let payload = self.read_method().await?;
        let Method::ConnectionStartOk(start) = Method::decode(&payload)? else {
            return Err(out_of_order("connection.start-ok"));
        };
        let capabilities = Capabilities::read(start.client_properties);
        let Some(user) = self.log_in(&start, &capabilities).await? else {
            return Ok(None);
        };
        let tuned = self.tune().await?;
        let payload = self.read_method().await?;
        let Method::ConnectionOpen(open) = Method::decode(&payload)? else {
            return Err(out_of_order("connection.open"));
        };
        let vhost = self.enter(open.virtual_host, &user)?;
        self.say(ConnectionOpenOk {}).await?;
        let Capabilities { cancel: hears_cancel, blocked: hears_blocked, .. } = capabilities;
        Ok(Some(Greeted { user, vhost, tuned, hears_cancel, hears_blocked }))
    }

    /// Anything but our version is answered with our header, and the end.
    async fn read_protocol_header(&mut self) -> Result<bool, Fault> {
        let accepted = [PROTOCOL_HEADER, OLD_PROTOCOL_HEADER];
        let so_far = |input: &[u8]| accepted.iter().any(|header| header.starts_with(input));
        while self.input.len() < PROTOCOL_HEADER.len() && so_far(&self.input) {
            self.read().await?;
        }
        if accepted.iter().any(|header| self.input.starts_with(header)) {
            self.input.drain(..PROTOCOL_HEADER.len());
            return Ok(true);
        }
        tracing::warn!(peer = %self.peer, "a client did not begin with the AMQP 0-9-1 protocol header");
        self.stream.write_all(&PROTOCOL_HEADER).await?;
        self.stream.shutdown().await?;
        Ok(false)
    }

    async fn say_start(&mut self) -> Result<(), Fault> {
        let mut properties = Vec::new();
        encode_table(&server_properties(env!("CARGO_PKG_VERSION")), &mut properties);
        self.say(ConnectionStart {
            version_major: 0,
            version_minor: 9,
            server_properties: RawTable(&properties),
            mechanisms: b"PLAIN AMQPLAIN",
            locales: b"en_US",
        })
        .await
    }

    async fn log_in(
        &mut self,
        start: &ConnectionStartOk<'_>,
        capabilities: &Capabilities,
    ) -> Result<Option<String>, Fault> {
        let credentials = match start.mechanism {
            "PLAIN" => parse_plain(start.response),
            "AMQPLAIN" => parse_amqplain(start.response),
            other => {
                let text = format!("unknown auth mechanism '{other}'");
                return Err(Fault::connection(ReplyCode::CommandInvalid, text));
            }
        };
        let Ok(credentials) = credentials else {
            let text = format!("malformed {} response", start.mechanism);
            return Err(Fault::connection(ReplyCode::SyntaxError, text));
        };
        let users = &self.node.users;
        match users.log_in(credentials.user, credentials.password, self.peer.ip()) {
            Ok(()) => return Ok(Some(credentials.user.to_owned())),
            Err(why) => tracing::warn!(peer = %self.peer, "{} login refused: {why}", start.mechanism),
        }
        // Who can hear it is told; for others the protocol knows only the closed door.
        if capabilities.authentication_failure_close {
            let text = format!(
                "Login was refused using authentication mechanism {}. For details see the broker logfile.",
                start.mechanism
            );
            self.turn_away(ReplyCode::AccessRefused, &ReplyCode::AccessRefused.text(&text)).await;
        }
        Ok(None)
    }

    async fn tune(&mut self) -> Result<ConnectionTuneOk, Fault> {
        let Limits { channel_max, frame_max, heartbeat_s, .. } = self.limits;
        self.say(ConnectionTune { channel_max, frame_max, heartbeat: heartbeat_s }).await?;
        let payload = self.read_method().await?;
        let Method::ConnectionTuneOk(tuned) = Method::decode(&payload)? else {
            return Err(out_of_order("connection.tune-ok"));
        };
        let frame_max = if tuned.frame_max == 0 { self.limits.frame_max } else { tuned.frame_max };
        let channel_max = if tuned.channel_max == 0 { channel_max } else { tuned.channel_max };
        if frame_max < FRAME_MIN_SIZE || frame_max > self.limits.frame_max {
            let text = format!(
                "negotiated frame_max = {frame_max} is outside {FRAME_MIN_SIZE} to {}",
                self.limits.frame_max
            );
            return Err(Fault::connection(ReplyCode::NotAllowed, text));
        }
        if channel_max > self.limits.channel_max {
            let text = format!(
                "negotiated channel_max = {channel_max} is higher than the maximum allowed value ({})",
                self.limits.channel_max
            );
            return Err(Fault::connection(ReplyCode::NotAllowed, text));
        }
        Ok(ConnectionTuneOk { channel_max, frame_max, heartbeat: tuned.heartbeat })
    }

    fn enter(&self, name: &str, user: &str) -> Result<Arc<Vhost>, Fault> {
        let Some(vhost) = self.node.vhost(name) else {
            return Err(Fault::connection(ReplyCode::NotAllowed, format!("vhost {name} not found")));
        };
        self.node
            .users
            .check_vhost(user, name)
            .map_err(|error| Fault::connection(ReplyCode::NotAllowed, error.to_string()))?;
        Ok(vhost)
    }

    async fn read(&mut self) -> Result<(), Fault> {
        if self.stream.read_buf(&mut self.input).await? == 0 {
            return Err(Fault::Gone(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// The payload of the next method, on channel 0.
    async fn read_method(&mut self) -> Result<Vec<u8>, Fault> {
        loop {
            if let Some((frame, size)) = frame::parse(&self.input, self.limits.frame_max)? {
                let (kind, channel, payload) = (frame.kind, frame.channel, frame.payload.to_vec());
                self.input.drain(..size);
                match kind {
                    FrameKind::Heartbeat => continue,
                    FrameKind::Method if channel == 0 => return Ok(payload),
                    _ => {
                        return Err(Fault::connection(
                            ReplyCode::UnexpectedFrame,
                            "expected a method on channel 0",
                        ));
                    }
                }
            }
            if self.input.len() > HANDSHAKE_BYTES_MAX {
                return Err(Fault::connection(
                    ReplyCode::FrameError,
                    "too much sent before the connection is open",
                ));
            }
            self.read().await?;
        }
    }

    async fn say<'m>(&mut self, method: impl Into<Method<'m>>) -> Result<(), Fault> {
        let mut out = Vec::new();
        method.into().write_frame(0, &mut out);
        Ok(self.stream.write_all(&out).await?)
    }

    async fn turn_away(&mut self, code: ReplyCode, text: &str) {
        let close = ConnectionClose { reply_code: code.code(), reply_text: text, class_id: 0, method_id: 0 };
        if self.say(close).await.is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(2), self.read_method()).await;
        }
    }
}

fn out_of_order(expected: &str) -> Fault {
    Fault::connection(ReplyCode::CommandInvalid, format!("expected '{expected}'"))
}

#[derive(Debug, Default)]
struct Capabilities {
    cancel: bool,
    blocked: bool,
    authentication_failure_close: bool,
}

impl Capabilities {
    /// Whatever cannot be read is not claimed.
    fn read(properties: RawTable<'_>) -> Capabilities {
        let table = match properties.get("capabilities") {
            Ok(Some(cauce_core::Value::Table(table))) => table,
            _ => Table::new(),
        };
        let claims = |name: &str| table.get(name).and_then(|value| value.as_bool()).unwrap_or(false);
        Capabilities {
            cancel: claims("consumer_cancel_notify"),
            blocked: claims("connection.blocked"),
            authentication_failure_close: claims("authentication_failure_close"),
        }
    }
}
