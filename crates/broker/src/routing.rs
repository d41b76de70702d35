//! What exchanges may ask of a message, answered from its AMQP properties.

use cauce_amqp::headers::carbon_copies;
use cauce_amqp::properties::Properties;
use cauce_core::Table;
use cauce_core::exchange::{Facts, Property};

/// The envelope of a message: encoded AMQP properties.
#[derive(Debug, Clone, Copy)]
pub struct EnvelopeFacts<'a>(pub &'a [u8]);

impl EnvelopeFacts<'_> {
    /// Routing keys beside the message's own: those of CC and BCC.
    pub fn copies(&self) -> Vec<String> {
        let headers = Properties::parse(self.0).ok().and_then(|properties| properties.headers());
        let Some((mut cc, bcc)) = headers.and_then(|headers| carbon_copies(headers).ok()) else {
            return Vec::new();
        };
        cc.extend(bcc);
        cc
    }
}

/// All that a message is routed by: its own key, then those of its copies.
pub fn with_copies<'a>(key: &'a str, copies: &'a [String]) -> Vec<&'a str> {
    std::iter::once(key).chain(copies.iter().map(String::as_str)).collect()
}

impl Facts for EnvelopeFacts<'_> {
    fn headers(&self) -> Table {
        let headers = Properties::parse(self.0).ok().and_then(|properties| properties.headers());
        headers.and_then(|headers| headers.decode().ok()).unwrap_or_default()
    }

    fn property(&self, property: Property) -> Option<String> {
        let properties = Properties::parse(self.0).ok()?;
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        match property {
            Property::MessageId => text(properties.message_id()),
            Property::CorrelationId => text(properties.correlation_id()),
            Property::Timestamp => properties.timestamp().map(|seconds| seconds.to_string()),
        }
    }
}
