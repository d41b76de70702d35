//! Requests out of the bytes of a socket: each with its length in four bytes before it.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use cauce_core::message::{Charge, Gauge};
use tokio::net::TcpStream;

/// Room made for what comes: enough for a small request. A large one gets as much again as has come of it, so that
/// nobody gets memory for a length alone.
const READ_BYTES_MIN: usize = 4 << 10;
const READ_BYTES_MAX: usize = 1 << 20;

const LENGTH_BYTES: usize = 4;

/// A length that no request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request of {bytes} bytes, where {most} are allowed")]
pub(super) struct BadLength {
    bytes: i32,
    most: usize,
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
    gauge: Gauge,
    /// For what has come of a request so far.
    partial: Option<Charge>,
}

impl Frames {
    pub(super) fn new(bytes_max: usize, gauge: Gauge) -> Frames {
        Frames { input: BytesMut::new(), bytes_max, gauge, partial: None }
    }

    /// The next request that came whole.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, BadLength> {
        let Some(length) = self.length()? else { return Ok(None) };
        if self.input.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.partial = None;
        self.input.advance(LENGTH_BYTES);
        let bytes = self.input.split_to(length).freeze();
        if self.input.is_empty() {
            // Clients may be silent for long: they keep no memory meanwhile.
            self.input = BytesMut::new();
        }
        Ok(Some(Frame { charge: Arc::new(self.gauge.charge(bytes.len())), bytes }))
    }

    fn length(&self) -> Result<Option<usize>, BadLength> {
        let Some(length) = self.input.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let bytes = i32::from_be_bytes(*length);
        match usize::try_from(bytes) {
            Ok(length) if length <= self.bytes_max => Ok(Some(length)),
            _ => Err(BadLength { bytes, most: self.bytes_max }),
        }
    }

    /// Reads what the socket has; false at its end.
    pub(super) fn read_some(&mut self, stream: &TcpStream) -> std::io::Result<bool> {
        let room = self.input.len().clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        self.input.reserve(room);
        match stream.try_read_buf(&mut self.input) {
            Ok(count) => {
                self.charge();
                Ok(count > 0)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn charge(&mut self) {
        if self.input.len() > READ_BYTES_MIN {
            let charged = self.partial.as_ref().map_or(0, Charge::bytes);
            let more = self.input.len().saturating_sub(charged);
            match &mut self.partial {
                Some(partial) => partial.grow(more),
                None => self.partial = Some(self.gauge.charge(more)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_whole_and_in_order() {
        let mut frames = Frames::new(100, Gauge::default());
        frames.input.extend_from_slice(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 1]);
        assert_eq!(&frames.next().unwrap().unwrap().bytes[..], [7, 8]);
        assert!(frames.next().unwrap().is_none());
        frames.input.extend_from_slice(&[9]);
        let frame = frames.next().unwrap().unwrap();
        assert_eq!((&frame.bytes[..], frames.gauge.bytes()), (&[9][..], 1));
        drop(frame);
        assert_eq!(frames.gauge.bytes(), 0);
    }

    #[test]
    fn a_length_that_lies_is_refused_before_anything_is_read() {
        for length in [101i32, i32::MAX, -1] {
            let mut frames = Frames::new(100, Gauge::default());
            frames.input.extend_from_slice(&length.to_be_bytes());
            assert_eq!(frames.next().unwrap_err(), BadLength { bytes: length, most: 100 });
        }
    }
}
