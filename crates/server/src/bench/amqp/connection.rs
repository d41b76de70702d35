//! A client's side of a connection: login, one channel, and calls that wait for their answer.

use std::io;

use cauce_amqp::frame::{self, FrameKind};
use cauce_amqp::method::{ChannelOpen, ConnectionClose, ConnectionOpen, ConnectionStartOk, ConnectionTuneOk};
use cauce_amqp::{DecodeError, FrameError, Method, PROTOCOL_HEADER, RawTable, encode_table};
use cauce_core::{Table, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::uri::Uri;
use crate::bench::load::Trouble;

/// The only channel we open.
pub(super) const CHANNEL: u16 = 1;
const FRAME_BYTES_MAX: u32 = 131_072;
const READ_BYTES: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot connect to {host}:{port}: {error}")]
    Connect { host: String, port: u16, error: io::Error },
    #[error("the broker refused the login of user {user:?}: {text}")]
    Refused { user: String, text: String },
    #[error("the broker closed the connection: {code} {text}")]
    ConnectionClosed { code: u16, text: String },
    #[error("the broker closed the channel: {code} {text}")]
    ChannelClosed { code: u16, text: String },
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the broker sent a frame we cannot read: {0}")]
    Frame(#[from] FrameError),
    #[error("the broker sent a method we cannot read: {0}")]
    Decode(#[from] DecodeError),
    #[error("the broker answered {found} where {expected} was due")]
    Unexpected { expected: &'static str, found: &'static str },
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) reader: FrameReader,
    pub(super) writer: OwnedWriteHalf,
    pub(super) frame_max: u32,
}

impl Connection {
    /// Logs in and opens the channel.
    pub(super) async fn open(uri: &Uri) -> Result<Connection, Error> {
        let stream = TcpStream::connect((uri.host.as_str(), uri.port))
            .await
            .map_err(|error| Error::Connect { host: uri.host.clone(), port: uri.port, error })?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let mut connection =
            Connection { reader: FrameReader::new(reader), writer, frame_max: FRAME_BYTES_MAX };
        connection.writer.write_all(&PROTOCOL_HEADER).await?;
        connection.expect("connection.start").await?;
        connection.login(uri).await?;
        let open = ConnectionOpen { virtual_host: &uri.vhost };
        connection.send(0, open.into()).await?;
        connection.expect("connection.open-ok").await?;
        connection.call(ChannelOpen {}.into(), "channel.open-ok").await?;
        Ok(connection)
    }

    async fn login(&mut self, uri: &Uri) -> Result<(), Error> {
        let response = format!("\0{}\0{}", uri.user, uri.password);
        let properties = client_properties();
        let start_ok = ConnectionStartOk {
            client_properties: RawTable(&properties),
            mechanism: "PLAIN",
            response: response.as_bytes(),
            locale: "en_US",
        };
        self.send(0, start_ok.into()).await?;
        let frame_max = match self.reader.method().await {
            Ok(Method::ConnectionTune(tune)) => tune.frame_max,
            Ok(other) => return Err(unexpected("connection.tune", &other)),
            Err(error) => return Err(refused(error, &uri.user)),
        };
        if frame_max != 0 {
            self.frame_max = frame_max.min(FRAME_BYTES_MAX);
        }
        // No heartbeats: a run is short, and a silent broker shows in the numbers.
        let tune_ok = ConnectionTuneOk { channel_max: 1, frame_max: self.frame_max, heartbeat: 0 };
        self.send(0, tune_ok.into()).await
    }

    pub(super) async fn call(&mut self, method: Method<'_>, answer: &'static str) -> Result<(), Error> {
        self.send(CHANNEL, method).await?;
        self.expect(answer).await
    }

    async fn send(&mut self, channel: u16, method: Method<'_>) -> Result<(), Error> {
        let mut out = Vec::new();
        method.write_frame(channel, &mut out);
        Ok(self.writer.write_all(&out).await?)
    }

    async fn expect(&mut self, answer: &'static str) -> Result<(), Error> {
        let method = self.reader.method().await?;
        if method.name() != answer {
            return Err(unexpected(answer, &method));
        }
        Ok(())
    }
}

/// Reads much at a time and hands out frames where they lie.
#[derive(Debug)]
pub(super) struct FrameReader {
    half: OwnedReadHalf,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameReader {
    fn new(half: OwnedReadHalf) -> FrameReader {
        FrameReader { half, buffer: vec![0; READ_BYTES], start: 0, end: 0 }
    }

    /// Waits for more bytes. All complete frames must have been taken.
    pub(super) async fn fill(&mut self) -> Result<(), Error> {
        // What is left is less than a frame, so it is cheap to move and there is always room behind it.
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let count = self.half.read(&mut self.buffer[self.end..]).await?;
        if count == 0 {
            return Err(Trouble::HungUp.into());
        }
        self.end += count;
        Ok(())
    }

    /// The next frame that is already here.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<frame::Frame<'_>>, Error> {
        let parsed = frame::parse(&self.buffer[self.start..self.end], FRAME_BYTES_MAX)?;
        let Some((frame, taken)) = parsed else {
            return Ok(None);
        };
        self.start += taken;
        Ok(Some(frame))
    }

    /// Waits for a method; a close is an error with the broker's words.
    async fn method(&mut self) -> Result<Method<'_>, Error> {
        let (from, to) = loop {
            let Some(taken) = self.method_here()? else {
                self.fill().await?;
                continue;
            };
            break taken;
        };
        decode(&self.buffer[from..to])
    }

    /// Where the payload of the next method lies.
    fn method_here(&mut self) -> Result<Option<(usize, usize)>, Error> {
        loop {
            let before = self.start;
            let Some(frame) = self.next()? else {
                return Ok(None);
            };
            if frame.kind == FrameKind::Method {
                let from = before + frame::FRAME_OVERHEAD - 1;
                return Ok(Some((from, from + frame.payload.len())));
            }
        }
    }
}

/// Any method but a close, which is an error with the broker's words.
pub(super) fn decode(payload: &[u8]) -> Result<Method<'_>, Error> {
    match Method::decode(payload)? {
        Method::ConnectionClose(close) => {
            Err(Error::ConnectionClosed { code: close.reply_code, text: close.reply_text.to_owned() })
        }
        Method::ChannelClose(close) => {
            Err(Error::ChannelClosed { code: close.reply_code, text: close.reply_text.to_owned() })
        }
        other => Ok(other),
    }
}

pub(super) fn unexpected(expected: &'static str, found: &Method<'_>) -> Error {
    Error::Unexpected { expected, found: found.name() }
}

/// What ends a login is a refusal, whether the broker says so or only hangs up.
fn refused(error: Error, user: &str) -> Error {
    let text = match error {
        Error::ConnectionClosed { code, text } => format!("{code} {text}"),
        Error::Trouble(Trouble::HungUp) | Error::Io(_) => "it hung up".to_owned(),
        other => return other,
    };
    Error::Refused { user: user.to_owned(), text }
}

fn client_properties() -> Vec<u8> {
    let yes = |name: &'static str| (name, Value::Bool(true));
    let capabilities: Table = [
        yes("authentication_failure_close"),
        yes("publisher_confirms"),
        yes("basic.nack"),
        yes("consumer_cancel_notify"),
    ]
    .into_iter()
    .collect();
    let properties: Table = [
        ("product", Value::text("cauce bench")),
        ("version", Value::text(env!("CARGO_PKG_VERSION"))),
        ("capabilities", Value::Table(capabilities)),
    ]
    .into_iter()
    .collect();
    let mut bytes = Vec::new();
    encode_table(&properties, &mut bytes);
    bytes
}

/// The frame that ends a connection.
pub(super) fn close_frame() -> Vec<u8> {
    let mut out = Vec::new();
    let close = ConnectionClose { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 };
    Method::from(close).write_frame(0, &mut out);
    out
}
