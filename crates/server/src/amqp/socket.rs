//! The socket of a connection: reading, writing, heartbeats, and the goodbye.

use std::time::Duration;

use cauce_amqp::frame::{self, HEARTBEAT_FRAME};
use cauce_amqp::method::*;
use cauce_amqp::reply::ReplyCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::connection::{Connection, Pause};
use super::fault::Fault;
use super::frames::shorten;

/// Bytes read from a client that is not listened to.
const UNHEARD_BYTES_MAX: usize = 16 << 10;

/// How long a client has to answer `connection.close`.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

impl Connection {
    /// Whether the socket is read. One that is not listened to is read a little, to hear its heartbeats.
    pub(super) fn reads(&self) -> bool {
        !self.at_end && (self.pause().is_none() || self.input.len() < UNHEARD_BYTES_MAX)
    }

    pub(super) fn read_some(&mut self) -> Result<(), Fault> {
        if self.input.capacity() - self.input.len() < self.limits.read_bytes / 2 {
            self.input.reserve(self.limits.read_bytes);
        }
        match self.stream.try_read_buf(&mut self.input) {
            Ok(count) => {
                self.last_heard = Instant::now();
                self.at_end = count == 0;
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The socket broke while it was not read.
    pub(super) fn broken(&self) -> Fault {
        let error = self.stream.take_error().ok().flatten();
        error.unwrap_or_else(|| std::io::ErrorKind::ConnectionReset.into()).into()
    }

    pub(super) fn write_some(&mut self) -> Result<(), Fault> {
        while !self.out.is_empty() {
            match self.stream.try_write(self.out.bytes()) {
                Ok(count) => {
                    self.out.written(count);
                    self.last_said = Instant::now();
                    if self.held_up() == Some(Pause::Client) {
                        // It takes what it asked for, so it lives.
                        self.last_heard = self.last_said;
                    }
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

    pub(super) fn next_heartbeat(&self) -> Instant {
        if self.heartbeat.is_zero() {
            return Instant::now() + Duration::from_secs(86_400);
        }
        (self.last_said + self.heartbeat / 2).min(self.last_heard + self.heartbeat * 2)
    }

    pub(super) fn keep_alive(&mut self) -> Result<(), Fault> {
        if self.heartbeat.is_zero() {
            return Ok(());
        }
        let now = Instant::now();
        if !self.reads() && self.pause() != Some(Pause::Client) {
            // It is we who do not listen, so silence says nothing.
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

    pub(super) async fn say_close(&mut self, code: ReplyCode, text: &str) {
        let reply_text = shorten(text);
        let (class_id, method_id) = self.blamed;
        self.say(0, ConnectionClose { reply_code: code.code(), reply_text, class_id, method_id });
        let _ = tokio::time::timeout(CLOSE_WAIT, self.wait_for_close_ok()).await;
    }

    async fn wait_for_close_ok(&mut self) -> std::io::Result<()> {
        let bytes = self.out.take_bytes();
        self.stream.write_all(&bytes).await?;
        // Frames that were under way are let by, unread; only the goodbye matters.
        let mut input = std::mem::take(&mut self.input);
        loop {
            let mut at = 0;
            loop {
                let (frame, size) = match frame::parse(&input[at..], self.frame_max) {
                    Ok(Some(whole)) => whole,
                    Ok(None) => break,
                    // What broke the connection may stand here: the goodbye comes after it.
                    Err(_) => {
                        at = input.len();
                        break;
                    }
                };
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
}
