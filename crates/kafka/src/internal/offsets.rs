//! The topic `__consumer_offsets`: how far groups have read, and their members.
//!
//! Keys and values begin with a version in two bytes; that of a key says what kind of record it is.

use bytes::Bytes;

use crate::define::messages;
use crate::text::Text;
use crate::versioned::{VersionedError, encode, open, plain, read_all};
use crate::wire::{Field, Version};

/// Of keys: 0 and 1 are offsets, in one layout; 2 is a group. Higher ones are of groups that are not served.
const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;

/// What Kafka writes too: the last one without tagged fields.
const VALUE: i16 = 3;

/// The only one that has an expiry.
const EXPIRING_OFFSET_VALUE: i16 = 1;

const VALUE_MAX: i16 = 4;
const FLEXIBLE_VALUE: i16 = 4;

messages! {
    OffsetKey {
        group: Text [0..],
        topic: Text [0..],
        partition: i32 [0..],
    }

    GroupKey {
        group: Text [0..],
    }

    OffsetValue {
        offset: i64 [0..],
        leader_epoch: i32 [3..] = -1,
        metadata: Text [0..],
        commit_timestamp: i64 [0..],
        /// -1 unless the commit said how long it is kept.
        expire_timestamp: i64 [1..=1] = -1,
    }

    GroupValue {
        /// Empty if there is none.
        protocol_type: Text [0..],
        generation: i32 [0..],
        protocol: Option<Text> [0..],
        leader: Option<Text> [0..],
        current_state_timestamp: i64 [2..] = -1,
        members: Vec<GroupValueMember> [0..],
    }

    GroupValueMember {
        member_id: Text [0..],
        group_instance_id: Option<Text> [3..],
        client_id: Text [0..],
        client_host: Text [0..],
        /// -1 in the first version: the session timeout counts.
        rebalance_timeout: i32 [1..] = -1,
        session_timeout: i32 [0..],
        subscription: Bytes [0..],
        assignment: Bytes [0..],
    }
}

/// A record without a value takes back what earlier ones with its key said.
#[derive(Debug, Clone, PartialEq)]
pub enum OffsetsRecord {
    Offset { key: OffsetKey, value: Option<OffsetValue> },
    Group { key: GroupKey, value: Option<GroupValue> },
}

impl OffsetsRecord {
    /// Key and value.
    pub fn encode(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        match self {
            OffsetsRecord::Offset { key, value } => {
                let version = |value: &OffsetValue| match value.expire_timestamp {
                    -1 => VALUE,
                    _ => EXPIRING_OFFSET_VALUE,
                };
                let value = value.as_ref().map(|value| encode(plain(version(value)), value));
                (encode(plain(OFFSET_KEY), key), value)
            }
            OffsetsRecord::Group { key, value } => {
                (encode(plain(GROUP_KEY), key), value.as_ref().map(|value| encode(plain(VALUE), value)))
            }
        }
    }

    /// `None` for a kind of record that is not known.
    pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<OffsetsRecord>, VersionedError> {
        let (kind, key) = open(key)?;
        match kind {
            0..=OFFSET_KEY => {
                let key = read_all(key, plain(kind))?;
                Ok(Some(OffsetsRecord::Offset { key, value: value.map(decode_value).transpose()? }))
            }
            GROUP_KEY => {
                let key = read_all(key, plain(kind))?;
                Ok(Some(OffsetsRecord::Group { key, value: value.map(decode_value).transpose()? }))
            }
            _ => Ok(None),
        }
    }
}

fn decode_value<T: Field>(value: Bytes) -> Result<T, VersionedError> {
    match open(value)? {
        (number @ ..=VALUE_MAX, reader) => {
            read_all(reader, Version { number, flexible: number >= FLEXIBLE_VALUE })
        }
        (number, _) => Err(VersionedError::Version(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Dice;
    use crate::wire::DecodeError;

    #[test]
    fn a_committed_offset_lies_as_kafka_writes_it() {
        check(
            &OffsetsRecord::Offset { key: offset_key(), value: Some(offset_value()) },
            "0001 0006 6f7264657273 0001 74 00000002",
            Some("0003 000000000000002a 00000007 0004 6e6f7465 0000018bcfe56800"),
        );
        let expires = OffsetValue { leader_epoch: -1, expire_timestamp: 1_700_000_060_000, ..offset_value() };
        check(
            &OffsetsRecord::Offset { key: offset_key(), value: Some(expires) },
            "0001 0006 6f7264657273 0001 74 00000002",
            Some("0001 000000000000002a 0004 6e6f7465 0000018bcfe56800 0000018bcfe65260"),
        );
        check(
            &OffsetsRecord::Offset { key: offset_key(), value: None },
            "0001 0006 6f7264657273 0001 74 00000002",
            None,
        );
    }

    #[test]
    fn a_group_lies_as_kafka_writes_it() {
        check(
            &OffsetsRecord::Group { key: GroupKey { group: "orders".into() }, value: Some(group_value()) },
            "0002 0006 6f7264657273",
            Some(
                "0003 0008 636f6e73756d6572 00000005 0005 72616e6765 0002 6d31 0000018bcfe56800 00000001
                 0002 6d31 0001 78 0001 63 0009 2f31302e302e302e31 0000ea60 0000afc8 00000002 0102 00000001 03",
            ),
        );
        check(
            &OffsetsRecord::Group {
                key: GroupKey { group: "g".into() },
                value: Some(GroupValue { current_state_timestamp: -1, ..GroupValue::default() }),
            },
            "0002 0001 67",
            Some("0003 0000 00000000 ffff ffff ffffffffffffffff 00000000"),
        );
    }

    #[test]
    fn what_older_and_newer_brokers_wrote_is_read() {
        let offset = |value: &str| match read("0000 0006 6f7264657273 0001 74 00000002", value) {
            OffsetsRecord::Offset { key, value } => {
                assert_eq!(key, offset_key());
                value.expect("a value")
            }
            other => panic!("{other:?}"),
        };
        let without_epoch = OffsetValue { leader_epoch: -1, ..offset_value() };
        assert_eq!(offset("0000 000000000000002a 0004 6e6f7465 0000018bcfe56800"), without_epoch);
        assert_eq!(offset("0002 000000000000002a 0004 6e6f7465 0000018bcfe56800"), without_epoch);
        assert_eq!(offset("0004 000000000000002a 00000007 05 6e6f7465 0000018bcfe56800 00"), offset_value());

        let group = |value: &str| match read("0002 0006 6f7264657273", value) {
            OffsetsRecord::Group { value, .. } => value.expect("a value"),
            other => panic!("{other:?}"),
        };
        let newest = group(
            "0004 09 636f6e73756d6572 00000005 06 72616e6765 03 6d31 0000018bcfe56800 02
             03 6d31 02 78 02 63 0a 2f31302e302e302e31 0000ea60 0000afc8 03 0102 02 03 00 00",
        );
        assert_eq!(newest, group_value());
        let oldest = group(
            "0000 0008 636f6e73756d6572 00000005 0005 72616e6765 0002 6d31 00000001
             0002 6d31 0001 63 0009 2f31302e302e302e31 0000afc8 00000002 0102 00000001 03",
        );
        assert_eq!((oldest.current_state_timestamp, oldest.members[0].rebalance_timeout), (-1, -1));
        assert_eq!(oldest.members[0].session_timeout, 45_000);
    }

    #[test]
    fn unknown_kinds_are_passed_over_and_unknown_versions_refused() {
        // A consumer group of KIP-848.
        assert_eq!(OffsetsRecord::decode(bytes("0003 0001 67"), None), Ok(None));
        let decoded = OffsetsRecord::decode(bytes("0002 0001 67"), Some(bytes("0005 00")));
        assert_eq!(decoded, Err(VersionedError::Version(5)));
        assert_eq!(OffsetsRecord::decode(bytes("ffff"), None), Err(VersionedError::Version(-1)));
        let truncated = VersionedError::Fields(DecodeError::Truncated);
        assert_eq!(OffsetsRecord::decode(bytes("00"), None), Err(truncated));
        let trailing = VersionedError::Fields(DecodeError::Trailing(1));
        assert_eq!(OffsetsRecord::decode(bytes("0002 0001 67 00"), None), Err(trailing));
    }

    #[test]
    fn what_is_written_reads_the_same_and_cut_bytes_are_refused() {
        for seed in 0..500 {
            let dice = &mut Dice(seed);
            let mut offset: OffsetValue = dice.message(VALUE);
            offset.expire_timestamp = -1;
            let records = [
                OffsetsRecord::Offset { key: dice.message(OFFSET_KEY), value: Some(offset) },
                OffsetsRecord::Group { key: dice.message(GROUP_KEY), value: Some(dice.message(VALUE)) },
            ];
            for record in records {
                let (key, value) = record.encode();
                let (key, value) = (Bytes::from(key), Bytes::from(value.expect("a value")));
                let read = OffsetsRecord::decode(key.clone(), Some(value.clone()));
                assert_eq!(read, Ok(Some(record)), "seed {seed}");
                let cut = value.slice(..dice.next() as usize % value.len());
                assert!(OffsetsRecord::decode(key, Some(cut)).is_err(), "seed {seed}");
            }
        }
    }

    /// The bytes were written by Kafka 4.1.
    #[track_caller]
    fn check(record: &OffsetsRecord, key: &str, value: Option<&str>) {
        let (written_key, written_value) = record.encode();
        assert_eq!((&written_key[..], written_value.map(Bytes::from)), (&bytes(key)[..], value.map(bytes)));
        assert_eq!(OffsetsRecord::decode(bytes(key), value.map(bytes)).as_ref(), Ok(&Some(record.clone())));
    }

    fn read(key: &str, value: &str) -> OffsetsRecord {
        OffsetsRecord::decode(bytes(key), Some(bytes(value))).expect("it reads").expect("a known kind")
    }

    fn bytes(hex: &str) -> Bytes {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect::<Vec<u8>>().into()
    }

    fn offset_key() -> OffsetKey {
        OffsetKey { group: "orders".into(), topic: "t".into(), partition: 2 }
    }

    fn offset_value() -> OffsetValue {
        OffsetValue {
            offset: 42,
            leader_epoch: 7,
            metadata: "note".into(),
            commit_timestamp: 1_700_000_000_000,
            expire_timestamp: -1,
        }
    }

    fn group_value() -> GroupValue {
        GroupValue {
            protocol_type: "consumer".into(),
            generation: 5,
            protocol: Some("range".into()),
            leader: Some("m1".into()),
            current_state_timestamp: 1_700_000_000_000,
            members: vec![GroupValueMember {
                member_id: "m1".into(),
                group_instance_id: Some("x".into()),
                client_id: "c".into(),
                client_host: "/10.0.0.1".into(),
                rebalance_timeout: 60_000,
                session_timeout: 45_000,
                subscription: Bytes::from_static(&[1, 2]),
                assignment: Bytes::from_static(&[3]),
            }],
        }
    }
}
