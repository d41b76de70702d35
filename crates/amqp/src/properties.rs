//! The properties of a message, and the content header they travel in.
//!
//! ```text
//! header     := class:u16 weight:u16 body-size:u64 properties
//! properties := flags:u16 value*      one value per set flag, highest bit first
//! ```
//!
//! Properties stay the bytes they came as for as long as possible: a queue looks at the
//! [`PropertiesSummary`], a delivery copies the bytes. Short strings are bytes here, since clients put
//! binary identifiers in them and RabbitMQ hands those on.

use cauce_core::Table;

use crate::error::DecodeError;
use crate::table::{self, RawTable};
use crate::wire::{self, Reader};

/// The basic class, the only one with content.
pub const BASIC_CLASS: u16 = 60;

mod flag {
    pub(super) const CONTENT_TYPE: u16 = 1 << 15;
    pub(super) const CONTENT_ENCODING: u16 = 1 << 14;
    pub(super) const HEADERS: u16 = 1 << 13;
    pub(super) const DELIVERY_MODE: u16 = 1 << 12;
    pub(super) const PRIORITY: u16 = 1 << 11;
    pub(super) const CORRELATION_ID: u16 = 1 << 10;
    pub(super) const REPLY_TO: u16 = 1 << 9;
    pub(super) const EXPIRATION: u16 = 1 << 8;
    pub(super) const MESSAGE_ID: u16 = 1 << 7;
    pub(super) const TIMESTAMP: u16 = 1 << 6;
    pub(super) const KIND: u16 = 1 << 5;
    pub(super) const USER_ID: u16 = 1 << 4;
    pub(super) const APP_ID: u16 = 1 << 3;
    pub(super) const CLUSTER_ID: u16 = 1 << 2;
    /// The lowest bit would say that more flags follow; no class has that many properties.
    pub(super) const UNKNOWN: u16 = 0b11;
}

/// What a broker needs to know of every message, read in one pass without allocating.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PropertiesSummary<'a> {
    pub headers: Option<RawTable<'a>>,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub reply_to: Option<&'a str>,
    /// Milliseconds in decimal, if the client kept to it.
    pub expiration: Option<&'a str>,
    pub user_id: Option<&'a str>,
}

impl<'a> PropertiesSummary<'a> {
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<PropertiesSummary<'a>, DecodeError> {
        // Most messages carry a delivery mode and at most a content type, or nothing at all.
        if let [0x10, 0x00, delivery_mode] = *bytes {
            return Ok(PropertiesSummary { delivery_mode: Some(delivery_mode), ..Default::default() });
        }
        let properties = Properties::parse(bytes)?;
        Ok(PropertiesSummary {
            headers: properties.headers,
            delivery_mode: properties.delivery_mode,
            priority: properties.priority,
            reply_to: properties.reply_to.map(utf8).transpose()?,
            expiration: properties.expiration.map(utf8).transpose()?,
            user_id: properties.user_id.map(utf8).transpose()?,
        })
    }

    pub fn has_headers(&self) -> bool {
        self.headers.is_some_and(|headers| !headers.is_empty())
    }

    pub fn is_persistent(&self) -> bool {
        self.delivery_mode == Some(2)
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)
}

/// Every property, as slices of the bytes they came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    content_type: Option<&'a [u8]>,
    content_encoding: Option<&'a [u8]>,
    headers: Option<RawTable<'a>>,
    delivery_mode: Option<u8>,
    priority: Option<u8>,
    correlation_id: Option<&'a [u8]>,
    reply_to: Option<&'a [u8]>,
    expiration: Option<&'a [u8]>,
    message_id: Option<&'a [u8]>,
    timestamp: Option<u64>,
    kind: Option<&'a [u8]>,
    user_id: Option<&'a [u8]>,
    app_id: Option<&'a [u8]>,
    cluster_id: Option<&'a [u8]>,
}

impl<'a> Properties<'a> {
    /// Flags and values; the headers are found but not looked into.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Properties<'a>, DecodeError> {
        let mut bytes = Reader::new(bytes);
        let flags = bytes.u16()?;
        if flags & flag::UNKNOWN != 0 {
            return Err(DecodeError::UnknownPropertyFlags { flags });
        }
        let mut values = Values { flags, bytes };
        // In wire order: a field is read where its initialiser stands.
        let properties = Properties {
            content_type: values.next(flag::CONTENT_TYPE, Reader::short_bytes)?,
            content_encoding: values.next(flag::CONTENT_ENCODING, Reader::short_bytes)?,
            headers: values.next(flag::HEADERS, Reader::long_bytes)?.map(RawTable),
            delivery_mode: values.next(flag::DELIVERY_MODE, Reader::u8)?,
            priority: values.next(flag::PRIORITY, Reader::u8)?,
            correlation_id: values.next(flag::CORRELATION_ID, Reader::short_bytes)?,
            reply_to: values.next(flag::REPLY_TO, Reader::short_bytes)?,
            expiration: values.next(flag::EXPIRATION, Reader::short_bytes)?,
            message_id: values.next(flag::MESSAGE_ID, Reader::short_bytes)?,
            timestamp: values.next(flag::TIMESTAMP, Reader::u64)?,
            kind: values.next(flag::KIND, Reader::short_bytes)?,
            user_id: values.next(flag::USER_ID, Reader::short_bytes)?,
            app_id: values.next(flag::APP_ID, Reader::short_bytes)?,
            cluster_id: values.next(flag::CLUSTER_ID, Reader::short_bytes)?,
        };
        values.bytes.finish()?;
        Ok(properties)
    }

    /// Sets a property of short text, if it is one and the text is short enough.
    #[must_use]
    pub fn with_text(mut self, property: TextProperty, text: &'a [u8]) -> Option<Properties<'a>> {
        let place = match property {
            TextProperty::ContentType => &mut self.content_type,
            TextProperty::ContentEncoding => &mut self.content_encoding,
            TextProperty::CorrelationId => &mut self.correlation_id,
            TextProperty::ReplyTo => &mut self.reply_to,
            TextProperty::Expiration => &mut self.expiration,
            TextProperty::MessageId => &mut self.message_id,
            TextProperty::Kind => &mut self.kind,
            TextProperty::UserId => &mut self.user_id,
            TextProperty::AppId => &mut self.app_id,
            TextProperty::ClusterId => &mut self.cluster_id,
        };
        *place = (text.len() <= usize::from(u8::MAX)).then_some(text);
        place.is_some().then_some(self)
    }

    #[must_use]
    pub fn with_delivery_mode(self, mode: u8) -> Properties<'a> {
        Properties { delivery_mode: Some(mode), ..self }
    }

    #[must_use]
    pub fn with_priority(self, priority: u8) -> Properties<'a> {
        Properties { priority: Some(priority), ..self }
    }

    #[must_use]
    pub fn with_timestamp(self, seconds: u64) -> Properties<'a> {
        Properties { timestamp: Some(seconds), ..self }
    }

    pub fn text(&self, property: TextProperty) -> Option<&'a [u8]> {
        match property {
            TextProperty::ContentType => self.content_type,
            TextProperty::ContentEncoding => self.content_encoding,
            TextProperty::CorrelationId => self.correlation_id,
            TextProperty::ReplyTo => self.reply_to,
            TextProperty::Expiration => self.expiration,
            TextProperty::MessageId => self.message_id,
            TextProperty::Kind => self.kind,
            TextProperty::UserId => self.user_id,
            TextProperty::AppId => self.app_id,
            TextProperty::ClusterId => self.cluster_id,
        }
    }

    /// Appends flags and values.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut values = ValueWriter::new(out);
        values.short_bytes(flag::CONTENT_TYPE, self.content_type);
        values.short_bytes(flag::CONTENT_ENCODING, self.content_encoding);
        values.put(flag::HEADERS, self.headers, |out, headers| wire::put_long_bytes(out, headers.0));
        values.put(flag::DELIVERY_MODE, self.delivery_mode, |out, mode| out.push(mode));
        values.put(flag::PRIORITY, self.priority, |out, priority| out.push(priority));
        values.short_bytes(flag::CORRELATION_ID, self.correlation_id);
        values.short_bytes(flag::REPLY_TO, self.reply_to);
        values.short_bytes(flag::EXPIRATION, self.expiration);
        values.short_bytes(flag::MESSAGE_ID, self.message_id);
        values.put(flag::TIMESTAMP, self.timestamp, |out, seconds| {
            out.extend_from_slice(&seconds.to_be_bytes());
        });
        values.short_bytes(flag::KIND, self.kind);
        values.short_bytes(flag::USER_ID, self.user_id);
        values.short_bytes(flag::APP_ID, self.app_id);
        values.short_bytes(flag::CLUSTER_ID, self.cluster_id);
    }

    #[must_use]
    pub fn with_headers(self, headers: RawTable<'a>) -> Properties<'a> {
        Properties { headers: Some(headers), ..self }
    }

    #[must_use]
    pub fn without_expiration(self) -> Properties<'a> {
        Properties { expiration: None, ..self }
    }
}

/// The properties that are short text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextProperty {
    ContentType,
    ContentEncoding,
    CorrelationId,
    ReplyTo,
    Expiration,
    MessageId,
    Kind,
    UserId,
    AppId,
    ClusterId,
}

macro_rules! accessors {
    ($($property:ident: $kind:ty),* $(,)?) => {
        impl<'a> Properties<'a> {
            $(pub fn $property(&self) -> Option<$kind> {
                self.$property
            })*
        }
    };
}

accessors! {
    content_type: &'a [u8],
    content_encoding: &'a [u8],
    headers: RawTable<'a>,
    delivery_mode: u8,
    priority: u8,
    correlation_id: &'a [u8],
    reply_to: &'a [u8],
    expiration: &'a [u8],
    message_id: &'a [u8],
    timestamp: u64,
    kind: &'a [u8],
    user_id: &'a [u8],
    app_id: &'a [u8],
    cluster_id: &'a [u8],
}

struct Values<'a> {
    flags: u16,
    bytes: Reader<'a>,
}

impl<'a> Values<'a> {
    #[inline]
    fn next<T>(
        &mut self,
        flag: u16,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.flags & flag == 0 {
            return Ok(None);
        }
        read(&mut self.bytes).map(Some)
    }
}

struct ValueWriter<'o> {
    out: &'o mut Vec<u8>,
    flags_at: usize,
}

impl<'o> ValueWriter<'o> {
    fn new(out: &'o mut Vec<u8>) -> ValueWriter<'o> {
        let flags_at = out.len();
        out.extend_from_slice(&[0, 0]);
        ValueWriter { out, flags_at }
    }

    fn put<T>(&mut self, flag: u16, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
        let Some(value) = value else { return };
        let [high, low] = flag.to_be_bytes();
        self.out[self.flags_at] |= high;
        self.out[self.flags_at + 1] |= low;
        write(self.out, value);
    }

    fn short_bytes(&mut self, flag: u16, value: Option<&[u8]>) {
        self.put(flag, value, wire::put_short_bytes);
    }
}

/// Properties that own what they say: to build them, or to keep them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PropertiesBuf {
    pub content_type: Option<Vec<u8>>,
    pub content_encoding: Option<Vec<u8>>,
    pub headers: Option<Table>,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub correlation_id: Option<Vec<u8>>,
    pub reply_to: Option<Vec<u8>>,
    pub expiration: Option<Vec<u8>>,
    pub message_id: Option<Vec<u8>>,
    pub timestamp: Option<u64>,
    pub kind: Option<Vec<u8>>,
    pub user_id: Option<Vec<u8>>,
    pub app_id: Option<Vec<u8>>,
    pub cluster_id: Option<Vec<u8>>,
}

impl PropertiesBuf {
    /// Appends flags and values.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let headers = self.headers.as_ref().map(|headers| {
            let mut bytes = Vec::new();
            table::encode_table(headers, &mut bytes);
            bytes
        });
        let view = Properties {
            content_type: self.content_type.as_deref(),
            content_encoding: self.content_encoding.as_deref(),
            headers: headers.as_deref().map(RawTable),
            delivery_mode: self.delivery_mode,
            priority: self.priority,
            correlation_id: self.correlation_id.as_deref(),
            reply_to: self.reply_to.as_deref(),
            expiration: self.expiration.as_deref(),
            message_id: self.message_id.as_deref(),
            timestamp: self.timestamp,
            kind: self.kind.as_deref(),
            user_id: self.user_id.as_deref(),
            app_id: self.app_id.as_deref(),
            cluster_id: self.cluster_id.as_deref(),
        };
        view.encode(out);
    }

    /// Flags and values.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

impl TryFrom<&Properties<'_>> for PropertiesBuf {
    type Error = DecodeError;

    fn try_from(view: &Properties<'_>) -> Result<PropertiesBuf, DecodeError> {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        Ok(PropertiesBuf {
            content_type: owned(view.content_type),
            content_encoding: owned(view.content_encoding),
            headers: view.headers.map(|headers| headers.decode()).transpose()?,
            delivery_mode: view.delivery_mode,
            priority: view.priority,
            correlation_id: owned(view.correlation_id),
            reply_to: owned(view.reply_to),
            expiration: owned(view.expiration),
            message_id: owned(view.message_id),
            timestamp: view.timestamp,
            kind: owned(view.kind),
            user_id: owned(view.user_id),
            app_id: owned(view.app_id),
            cluster_id: owned(view.cluster_id),
        })
    }
}

/// The payload of a header frame; the properties are not looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    pub class_id: u16,
    pub body_size: u64,
    pub properties: &'a [u8],
}

impl<'a> ContentHeader<'a> {
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<ContentHeader<'a>, DecodeError> {
        let mut bytes = Reader::new(payload);
        let class_id = bytes.u16()?;
        let weight = bytes.u16()?;
        if weight != 0 {
            return Err(DecodeError::Weight { weight });
        }
        Ok(ContentHeader { class_id, body_size: bytes.u64()?, properties: bytes.rest() })
    }

    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.class_id.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.body_size.to_be_bytes());
        out.extend_from_slice(self.properties);
    }
}

#[cfg(test)]
mod tests;
