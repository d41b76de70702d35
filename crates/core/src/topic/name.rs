//! Names of topics: they are names of directories too, and of metrics, so they may hold less than names of queues.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// With the number of the partition and what Kafka adds while it deletes one, a directory's name has 255 bytes.
pub const NAME_BYTES_MAX: usize = 249;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the name of a topic must not be empty")]
    Empty,
    #[error("a topic cannot be called '.' or '..'")]
    Dots,
    #[error("a topic's name of {bytes} bytes is longer than {NAME_BYTES_MAX}")]
    TooLong { bytes: usize },
    #[error("the name of a topic may hold ASCII letters and digits, '.', '_' and '-', and nothing else")]
    BadCharacter,
}

/// A name that a topic can have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    pub fn parse(name: &str) -> Result<TopicName, NameError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        match name {
            "" => Err(NameError::Empty),
            "." | ".." => Err(NameError::Dots),
            _ if name.len() > NAME_BYTES_MAX => Err(NameError::TooLong { bytes: name.len() }),
            _ if !name.bytes().all(fits) => Err(NameError::BadCharacter),
            _ => Ok(TopicName(name.into())),
        }
    }

    /// Names of metrics tell '.' and '_' not apart, so neither may two topics differ in nothing else.
    pub fn collision_key(&self) -> String {
        self.0.replace('.', "_")
    }

    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl Deref for TopicName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_what_a_directory_can() {
        for name in ["a", "orders.v1", "A_b-9", "...", &"x".repeat(249)] {
            assert!(TopicName::parse(name).is_ok(), "{name}");
        }
        let refused = |name: &str| TopicName::parse(name).unwrap_err();
        assert_eq!(refused(""), NameError::Empty);
        assert_eq!(refused(".."), NameError::Dots);
        assert_eq!(refused(&"x".repeat(250)), NameError::TooLong { bytes: 250 });
        for name in ["a/b", "a b", "año", "a\0"] {
            assert_eq!(refused(name), NameError::BadCharacter);
        }
    }

    #[test]
    fn a_dot_collides_with_an_underscore() {
        let key = |name| TopicName::parse(name).unwrap().collision_key();
        assert_eq!(key("a.b_c"), key("a_b.c"));
        assert_ne!(key("a-b"), key("a_b"));
    }
}
