//! Frames: the envelope of everything after the protocol header.

use crate::reply::ReplyCode;

/// What a client says first, and what a server answers to a header it does not speak.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// Header and end octet, which the negotiated frame size includes.
pub const FRAME_OVERHEAD: usize = HEADER_SIZE + 1;

/// No peer may negotiate less, and before negotiation nobody may send more.
pub const FRAME_MIN_SIZE: u32 = 4096;

pub const HEARTBEAT_FRAME: [u8; 8] = [HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END];

const HEADER_SIZE: usize = 7;
const FRAME_END: u8 = 0xCE;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    Method,
    Header,
    Body,
    Heartbeat,
}

impl FrameKind {
    fn from_octet(octet: u8) -> Option<FrameKind> {
        match octet {
            METHOD => Some(FrameKind::Method),
            HEADER => Some(FrameKind::Header),
            BODY => Some(FrameKind::Body),
            HEARTBEAT => Some(FrameKind::Heartbeat),
            _ => None,
        }
    }

    fn octet(self) -> u8 {
        match self {
            FrameKind::Method => METHOD,
            FrameKind::Header => HEADER,
            FrameKind::Body => BODY,
            FrameKind::Heartbeat => HEARTBEAT,
        }
    }
}

/// One frame; the payload is a slice of the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: FrameKind,
    pub channel: u16,
    pub payload: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("unknown frame type {octet}")]
    UnknownKind { octet: u8 },
    #[error("frame with a payload of {size} bytes where frames of {frame_max} are allowed")]
    TooLarge { size: u32, frame_max: u32 },
    #[error("frame ends with {octet:#04x} instead of 0xce")]
    BadEnd { octet: u8 },
}

impl FrameError {
    pub fn reply_code(&self) -> ReplyCode {
        ReplyCode::FrameError
    }
}

/// The frame at the front of `buf` and the bytes it takes, or `None` while it is incomplete.
///
/// 0 is no limit. What `frame_max` counts is the whole frame, but some clients count the payload alone, so
/// as much is let by. What the header already shows to be wrong is refused before the payload is waited for.
///
/// ```text
/// 0      1         3             7                  7+size
/// +------+---------+-------------+--------- - - - - -+------+
/// | type | channel | size        | payload           | 0xCE |
/// +------+---------+-------------+--------- - - - - -+------+
/// ```
#[inline]
pub fn parse(buf: &[u8], frame_max: u32) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some(&octet) = buf.first() else {
        return Ok(None);
    };
    let Some(kind) = FrameKind::from_octet(octet) else {
        return Err(FrameError::UnknownKind { octet });
    };
    let Some((header, rest)) = buf.split_first_chunk::<HEADER_SIZE>() else {
        return Ok(None);
    };
    let [_, channel_high, channel_low, size @ ..] = *header;
    let size = u32::from_be_bytes(size);
    if frame_max != 0 && size > frame_max {
        return Err(FrameError::TooLarge { size, frame_max });
    }
    let Some((payload, end)) = rest.split_at_checked(size as usize) else {
        return Ok(None);
    };
    match end.first() {
        None => Ok(None),
        Some(&FRAME_END) => {
            let channel = u16::from_be_bytes([channel_high, channel_low]);
            Ok(Some((Frame { kind, channel, payload }, size as usize + FRAME_OVERHEAD)))
        }
        Some(&octet) => Err(FrameError::BadEnd { octet }),
    }
}

/// Writes a frame around `payload`.
#[inline]
pub fn write(out: &mut Vec<u8>, kind: FrameKind, channel: u16, payload: &[u8]) {
    out.extend_from_slice(&header(kind, channel, payload.len()));
    out.extend_from_slice(payload);
    out.push(FRAME_END);
}

/// Writes a frame around what `fill` writes.
#[inline]
pub(crate) fn write_with(out: &mut Vec<u8>, kind: FrameKind, channel: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&header(kind, channel, 0));
    let payload = out.len();
    fill(out);
    let size = (out.len() - payload) as u32;
    out[start + 3..payload].copy_from_slice(&size.to_be_bytes());
    out.push(FRAME_END);
}

#[inline]
fn header(kind: FrameKind, channel: u16, size: usize) -> [u8; HEADER_SIZE] {
    let [channel_high, channel_low] = channel.to_be_bytes();
    let [a, b, c, d] = (size as u32).to_be_bytes();
    [kind.octet(), channel_high, channel_low, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK: &[u8] = b"\x01\x00\x07\x00\x00\x00\x03abc\xCE";

    #[test]
    fn a_frame_is_read_and_the_rest_is_left() {
        let buf = [ACK, &HEARTBEAT_FRAME].concat();
        let (frame, consumed) = parse(&buf, 4096).unwrap().unwrap();
        assert_eq!(frame, Frame { kind: FrameKind::Method, channel: 7, payload: b"abc" });
        let (frame, rest) = parse(&buf[consumed..], 4096).unwrap().unwrap();
        assert_eq!(frame, Frame { kind: FrameKind::Heartbeat, channel: 0, payload: b"" });
        assert_eq!(consumed + rest, buf.len());
    }

    #[test]
    fn a_frame_cut_anywhere_is_incomplete() {
        for cut in 0..ACK.len() {
            assert_eq!(parse(&ACK[..cut], 4096), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn the_header_alone_shows_most_errors() {
        check(b"A", Err(FrameError::UnknownKind { octet: b'A' }));
        check(b"\x01\x00\x00\xFF\xFF\xFF\xFF", Err(FrameError::TooLarge { size: u32::MAX, frame_max: 4096 }));
        check(b"\x01\x00\x00\x00\x00\x10\x01", Err(FrameError::TooLarge { size: 4097, frame_max: 4096 }));
        check(b"\x01\x00\x00\x00\x00\x10\x00", Ok(None));
        check(b"\x01\x00\x00\x00\x00\x00\x00\x00", Err(FrameError::BadEnd { octet: 0 }));
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Vec::new();
        write(&mut out, FrameKind::Body, 0x0102, b"hello");
        write_with(&mut out, FrameKind::Body, 0x0102, |out| out.extend_from_slice(b"hello"));
        let (first, second) = out.split_at(out.len() / 2);
        assert_eq!(first, second);
        assert_eq!(parse(first, 0).unwrap().unwrap().0.payload, b"hello");
    }

    fn check(buf: &[u8], expected: Result<Option<(Frame<'_>, usize)>, FrameError>) {
        assert_eq!(parse(buf, 4096), expected);
    }
}
