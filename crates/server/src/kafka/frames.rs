//! Requests out of the bytes of a socket: each with its length in four bytes before it.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use cauce_broker::Node;
use cauce_core::message::Charge;
use tokio::net::TcpStream;

/// Room made for what comes: enough for a small request. A large one gets as much again as has come of it, so that
/// nobody gets memory for a length alone.
const READ_BYTES_MIN: usize = 4 << 10;
const READ_BYTES_MAX: usize = 1 << 20;

const LENGTH_BYTES: usize = 4;

/// Why nothing more is read of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a request of {bytes} bytes, where {most} are allowed")]
    Length { bytes: i32, most: usize },
    #[error("requests that are not whole hold more than {most} bytes, half of the memory budget")]
    Crowded { most: usize },
}

/// A whole request. The charge is for its bytes.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    pub(super) charge: Arc<Charge>,
}

#[derive(Debug)]
pub(super) struct Frames {
    input: BytesMut,
    bytes_max: usize,
    node: Arc<Node>,
    /// For what has come of a request so far: on the gauge of all, and on that of what is not whole.
    partial: Option<[Charge; 2]>,
}

impl Frames {
    pub(super) fn new(node: Arc<Node>) -> Frames {
        let bytes_max = node.settings().node.request_bytes_max as usize;
        Frames { input: BytesMut::new(), bytes_max, node, partial: None }
    }

    /// Lets requests have so many bytes, where more are not allowed anyway.
    pub(super) fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max.min(self.node.settings().node.request_bytes_max as usize);
    }

    /// Bytes that came and are in no request yet.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.input.len()
    }

    /// Whether a request has come in part, and holds memory until the rest comes.
    pub(super) fn has_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// The next request that came whole.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(length) = self.length()? else { return Ok(None) };
        if self.input.len() < LENGTH_BYTES + length {
            return self.charge().map(|()| None);
        }
        self.partial = None;
        self.input.advance(LENGTH_BYTES);
        let bytes = self.input.split_to(length).freeze();
        if self.input.is_empty() {
            // Clients may be silent for long: they keep no memory meanwhile.
            self.input = BytesMut::new();
        }
        Ok(Some(Frame { charge: Arc::new(self.node.memory().gauge().charge(bytes.len())), bytes }))
    }

    fn length(&self) -> Result<Option<usize>, FrameError> {
        let Some(length) = self.input.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let bytes = i32::from_be_bytes(*length);
        match usize::try_from(bytes) {
            Ok(length) if length <= self.bytes_max => Ok(Some(length)),
            _ => Err(FrameError::Length { bytes, most: self.bytes_max }),
        }
    }

    /// Reads what the socket has; false at its end.
    pub(super) fn read_some(&mut self, stream: &TcpStream) -> std::io::Result<bool> {
        let room = self.input.len().clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        self.input.reserve(room);
        match stream.try_read_buf(&mut self.input) {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// For what is here of a request that is not whole.
    fn charge(&mut self) -> Result<(), FrameError> {
        if self.input.len() <= READ_BYTES_MIN {
            return Ok(());
        }
        let memory = self.node.memory();
        let partial =
            self.partial.get_or_insert_with(|| [memory.gauge().charge(0), memory.bodies().charge(0)]);
        for charge in partial {
            charge.grow(self.input.len().saturating_sub(charge.bytes()));
        }
        let most = memory.bodies_bytes_max();
        match memory.bodies().bytes() > most {
            true => Err(FrameError::Crowded { most }),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "tests/frames.rs"]
mod tests;
