//! Puts published messages together again, one channel at a time.

use std::borrow::Cow;

use crate::error::DecodeError;
use crate::method::BasicPublish;
use crate::properties::{BASIC_CLASS, ContentHeader};
use crate::reply::ReplyCode;

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content<'a> {
    pub exchange: &'a str,
    pub routing_key: &'a str,
    pub mandatory: bool,
    pub immediate: bool,
    /// Flags and values, not looked into.
    pub properties: &'a [u8],
    /// A slice of the read buffer if it came in one frame.
    pub body: Cow<'a, [u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    #[error("expected method frame, got non method frame instead")]
    NoMethod,
    #[error("expected content header for class 60, got non content header frame instead")]
    NoHeader,
    #[error("expected content body, got non content body frame instead")]
    NoBody,
    #[error("expected content header for class 60, got one for class {class} instead")]
    WrongClass { class: u16 },
    #[error("content body frame exceeds remaining content size")]
    BodyTooLong,
    #[error("message size {size} is larger than configured max size {max}")]
    TooLarge { size: u64, max: u64 },
    #[error("content header: {0}")]
    Header(#[from] DecodeError),
}

impl ContentError {
    pub fn reply_code(&self) -> ReplyCode {
        match self {
            ContentError::NoMethod
            | ContentError::NoHeader
            | ContentError::NoBody
            | ContentError::WrongClass { .. } => ReplyCode::UnexpectedFrame,
            ContentError::BodyTooLong => ReplyCode::FrameError,
            ContentError::TooLarge { .. } => ReplyCode::PreconditionFailed,
            ContentError::Header(error) => error.reply_code(),
        }
    }
}

/// The publishing half of a channel: method, header, body frames until the body is whole.
///
/// Names and properties are copied into buffers that are used again, since the read buffer may have
/// moved on before the body arrives. Memory grows with what arrives, never with what is announced.
#[derive(Debug)]
pub struct ContentAssembler {
    body_bytes_max: u64,
    state: State,
    /// Exchange, then routing key.
    names: String,
    exchange_length: usize,
    mandatory: bool,
    immediate: bool,
    properties: Vec<u8>,
    body: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Method,
    Header,
    Body {
        remaining: u64,
    },
    /// The message is too large; its body still has to be let by.
    Skip {
        remaining: u64,
    },
}

impl ContentAssembler {
    pub fn new(body_bytes_max: u64) -> ContentAssembler {
        ContentAssembler {
            body_bytes_max,
            state: State::Method,
            names: String::new(),
            exchange_length: 0,
            mandatory: false,
            immediate: false,
            properties: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Whether a method may come next.
    pub fn is_idle(&self) -> bool {
        self.state == State::Method
    }

    /// What has come of a body that is not whole.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Any method frame on this channel, to be asked before it is acted upon.
    #[inline]
    pub fn method(&self) -> Result<(), ContentError> {
        match self.state {
            State::Method => Ok(()),
            State::Header => Err(ContentError::NoHeader),
            State::Body { .. } | State::Skip { .. } => Err(ContentError::NoBody),
        }
    }

    #[inline]
    pub fn publish(&mut self, method: &BasicPublish<'_>) -> Result<(), ContentError> {
        self.method()?;
        self.names.clear();
        self.names.push_str(method.exchange);
        self.names.push_str(method.routing_key);
        self.exchange_length = method.exchange.len();
        self.mandatory = method.mandatory;
        self.immediate = method.immediate;
        self.state = State::Header;
        Ok(())
    }

    /// The payload of a header frame; a message without a body is whole with it.
    ///
    /// After [`ContentError::TooLarge`] the body is skipped as it arrives, so that the connection can
    /// go on.
    #[inline]
    pub fn header<'x>(&'x mut self, payload: &[u8]) -> Result<Option<Content<'x>>, ContentError> {
        match self.state {
            State::Method => return Err(ContentError::NoMethod),
            State::Body { .. } | State::Skip { .. } => return Err(ContentError::NoBody),
            State::Header => {}
        }
        let header = ContentHeader::decode(payload)?;
        if header.class_id != BASIC_CLASS {
            return Err(ContentError::WrongClass { class: header.class_id });
        }
        let remaining = header.body_size;
        if remaining > self.body_bytes_max {
            self.state = State::Skip { remaining };
            return Err(ContentError::TooLarge { size: remaining, max: self.body_bytes_max });
        }
        self.properties.clear();
        self.properties.extend_from_slice(header.properties);
        if remaining == 0 {
            return Ok(Some(self.whole(Cow::Borrowed(&[]))));
        }
        self.state = State::Body { remaining };
        Ok(None)
    }

    /// The payload of a body frame.
    #[inline]
    pub fn body<'x>(&'x mut self, payload: &'x [u8]) -> Result<Option<Content<'x>>, ContentError> {
        let length = payload.len() as u64;
        match self.state {
            State::Method => Err(ContentError::NoMethod),
            State::Header => Err(ContentError::NoHeader),
            State::Skip { remaining } => self.skip(remaining, length).map(|()| None),
            State::Body { remaining } if length > remaining => Err(ContentError::BodyTooLong),
            State::Body { remaining } if length < remaining => {
                self.body.extend_from_slice(payload);
                self.state = State::Body { remaining: remaining - length };
                Ok(None)
            }
            State::Body { .. } if self.body.is_empty() => Ok(Some(self.whole(Cow::Borrowed(payload)))),
            State::Body { .. } => {
                self.body.extend_from_slice(payload);
                let body = std::mem::take(&mut self.body);
                Ok(Some(self.whole(Cow::Owned(body))))
            }
        }
    }

    /// Forgets a message that is under way, as when the channel closes.
    pub fn reset(&mut self) {
        self.state = State::Method;
        self.body = Vec::new();
    }

    fn skip(&mut self, remaining: u64, length: u64) -> Result<(), ContentError> {
        self.state = match remaining.checked_sub(length) {
            None => return Err(ContentError::BodyTooLong),
            Some(0) => State::Method,
            Some(remaining) => State::Skip { remaining },
        };
        Ok(())
    }

    #[inline]
    fn whole<'x>(&'x mut self, body: Cow<'x, [u8]>) -> Content<'x> {
        self.state = State::Method;
        let (exchange, routing_key) = self.names.split_at(self.exchange_length);
        Content {
            exchange,
            routing_key,
            mandatory: self.mandatory,
            immediate: self.immediate,
            properties: &self.properties,
            body,
        }
    }
}
