//! Names as they arrive at the edge: how long they may be and which are kept for the broker.

/// The longest name of an exchange, queue or virtual host, and the longest routing or binding key.
pub const NAME_BYTES_MAX: usize = 255;

/// Clients may use what exists under this prefix, but not create under it.
pub const RESERVED_PREFIX: &str = "amq.";

/// The exchange that exists without being declared: it routes to the queue named by the key.
pub const DEFAULT_EXCHANGE: &str = "";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name of {bytes} bytes is longer than {NAME_BYTES_MAX}")]
    TooLong { bytes: usize },
    #[error("a name must not be empty")]
    Empty,
}

/// A name something can be declared under.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    check_key(name)
}

/// A routing or binding key; an empty one is fine.
pub fn check_key(key: &str) -> Result<(), NameError> {
    if key.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: key.len() });
    }
    Ok(())
}

pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_to_255_bytes() {
        assert_eq!(check_name(""), Err(NameError::Empty));
        assert_eq!(check_name("a"), Ok(()));
        assert_eq!(check_name(&"a".repeat(255)), Ok(()));
        assert_eq!(check_name(&"ñ".repeat(128)), Err(NameError::TooLong { bytes: 256 }));
    }

    #[test]
    fn only_the_prefix_with_its_dot_is_reserved() {
        assert!(is_reserved("amq.direct"));
        assert!(!is_reserved("amqp"));
        assert!(!is_reserved("my.amq.direct"));
    }
}
