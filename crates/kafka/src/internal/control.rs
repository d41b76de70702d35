//! The record of a control batch that ends a transaction. Clients do not give it to their users, but look at its key
//! when they read what is committed.

use bytes::Bytes;

use crate::define::messages;
use crate::versioned::{VersionedError, encode, open, plain};
use crate::wire::Field;

const VERSION: i16 = 0;

const ABORT: i16 = 0;
const COMMIT: i16 = 1;

messages! {
    ControlKey {
        kind: i16 [0..],
    }

    ControlValue {
        coordinator_epoch: i32 [0..],
    }
}

/// The end of the transaction of the producer that the batch names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndMarker {
    pub committed: bool,
    pub coordinator_epoch: i32,
}

impl EndMarker {
    /// Key and value.
    pub fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let key = ControlKey { kind: if self.committed { COMMIT } else { ABORT } };
        let value = ControlValue { coordinator_epoch: self.coordinator_epoch };
        (encode(plain(VERSION), &key), encode(plain(VERSION), &value))
    }

    /// `None` for a control record of another kind. Later versions only add to the end of key and value.
    pub fn decode(key: Bytes, value: Bytes) -> Result<Option<EndMarker>, VersionedError> {
        let (_, mut key) = open(key)?;
        let committed = match ControlKey::read(&mut key, plain(VERSION))?.kind {
            ABORT => false,
            COMMIT => true,
            _ => return Ok(None),
        };
        let (_, mut value) = open(value)?;
        let ControlValue { coordinator_epoch } = ControlValue::read(&mut value, plain(VERSION))?;
        Ok(Some(EndMarker { committed, coordinator_epoch }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::DecodeError;

    /// The bytes were written by Kafka 4.1.
    #[test]
    fn a_marker_lies_as_kafka_writes_it() {
        check(EndMarker { committed: false, coordinator_epoch: 4 }, [0, 0, 0, 0], [0, 0, 0, 0, 0, 4]);
        check(EndMarker { committed: true, coordinator_epoch: 4 }, [0, 0, 0, 1], [0, 0, 0, 0, 0, 4]);
    }

    #[test]
    fn what_later_versions_add_is_passed_over() {
        let read = decode(&[0, 1, 0, 1, 9], &[0, 1, 0, 0, 0, 4, 0]);
        assert_eq!(read, Ok(Some(EndMarker { committed: true, coordinator_epoch: 4 })));
    }

    #[test]
    fn other_kinds_are_told_from_damage() {
        assert_eq!(decode(&[0, 0, 0, 2], &[]), Ok(None));
        let truncated = Err(VersionedError::Fields(DecodeError::Truncated));
        assert_eq!(decode(&[0, 0, 0], &[]), truncated);
        assert_eq!(decode(&[0, 0, 0, 1], &[0, 0, 0, 0, 0]), truncated);
        assert_eq!(decode(&[255, 255, 0, 1], &[]), Err(VersionedError::Version(-1)));
    }

    #[track_caller]
    fn check(marker: EndMarker, key: [u8; 4], value: [u8; 6]) {
        assert_eq!(marker.encode(), (key.to_vec(), value.to_vec()));
        assert_eq!(decode(&key, &value), Ok(Some(marker)));
    }

    fn decode(key: &[u8], value: &[u8]) -> Result<Option<EndMarker>, VersionedError> {
        EndMarker::decode(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))
    }
}
