//! Topics: streams under one name, by number.

pub mod config;
mod name;
mod partitioner;

use std::fmt;

pub use config::{Overrides, TopicConfig};
pub use name::{NAME_BYTES_MAX, NameError, TopicName};
pub use partitioner::partition_of;

/// Names a topic for ever: one that comes later under the same name has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// From 32 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<TopicId> {
        let digits = (text.len() == 32).then_some(text)?;
        u128::from_str_radix(digits, 16).ok().map(|number| TopicId(number.to_be_bytes()))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Where the broker keeps how far groups have read.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Where the broker keeps the state of transactions.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// Topics the broker keeps for itself: clients may read them and nothing else.
pub fn is_internal(name: &str) -> bool {
    name == OFFSETS_TOPIC || name == TRANSACTIONS_TOPIC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_digits() {
        let id = TopicId([0xab; 16]);
        assert_eq!(TopicId::from_hex(&id.to_string()), Some(id));
        assert_eq!(TopicId::from_hex("ab"), None);
        assert_eq!(TopicId::from_hex(&"g".repeat(32)), None);
    }
}
