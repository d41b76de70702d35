//! The topic `__transaction_state`: the last state of each transactional id.
//!
//! Keys and values begin with a version in two bytes; that of a key says what kind of record it is.

use bytes::Bytes;

use crate::define::messages;
use crate::text::Text;
use crate::versioned::{VersionedError, encode, open, plain, read_all};
use crate::wire::Version;

/// Of keys: the only kind there is.
const TRANSACTION_KEY: i16 = 0;

/// What is written: with tagged fields, so that an id that follows another is not lost.
const VALUE: i16 = 1;
const FLEXIBLE_VALUE: i16 = 1;

messages! {
    TransactionKey {
        transactional_id: Text [0..],
    }

    TransactionValue {
        producer_id: i64 [0..],
        /// -1 if there was none.
        previous_producer_id: i64 [1..] tag 0 = -1,
        /// -1 unless the epochs of the producer id are used up.
        next_producer_id: i64 [1..] tag 1 = -1,
        producer_epoch: i16 [0..],
        timeout_ms: i32 [0..],
        /// A [`TransactionStatus`].
        status: i8 [0..],
        /// Null while there is no transaction.
        partitions: Option<Vec<TransactionPartitions>> [0..],
        last_update_timestamp: i64 [0..],
        /// -1 while there is no transaction.
        start_timestamp: i64 [0..] = -1,
        /// The version of the protocol of transactions: 2 with an epoch for each.
        client_transaction_version: i16 [1..] tag 2,
    }

    TransactionPartitions {
        topic: Text [0..],
        partition_ids: Vec<i32> [0..],
    }
}

macro_rules! statuses {
    ($($status:ident = $code:literal),* $(,)?) => {
        /// Where a transaction stands. The names are those that responses carry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum TransactionStatus {
            $($status = $code,)*
        }

        impl TransactionStatus {
            pub fn from_code(code: i8) -> Option<TransactionStatus> {
                match code {
                    $($code => Some(TransactionStatus::$status),)*
                    _ => None,
                }
            }

            pub fn from_name(name: &str) -> Option<TransactionStatus> {
                match name {
                    $(stringify!($status) => Some(TransactionStatus::$status),)*
                    _ => None,
                }
            }

            pub fn name(self) -> &'static str {
                match self {
                    $(TransactionStatus::$status => stringify!($status),)*
                }
            }
        }
    };
}

statuses! {
    Empty = 0,
    Ongoing = 1,
    PrepareCommit = 2,
    PrepareAbort = 3,
    CompleteCommit = 4,
    CompleteAbort = 5,
    Dead = 6,
    PrepareEpochFence = 7,
}

impl TransactionStatus {
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// A record without a value takes back what earlier ones with its key said.
#[derive(Debug, Clone, PartialEq)]
pub struct TransactionRecord {
    pub key: TransactionKey,
    pub value: Option<TransactionValue>,
}

impl TransactionRecord {
    /// Key and value.
    pub fn encode(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let value = self.value.as_ref().map(|value| encode(value_version(VALUE), value));
        (encode(plain(TRANSACTION_KEY), &self.key), value)
    }

    /// `None` for a kind of record that is not known.
    pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<TransactionRecord>, VersionedError> {
        let (kind, key) = open(key)?;
        if kind != TRANSACTION_KEY {
            return Ok(None);
        }
        let key = read_all(key, plain(kind))?;
        Ok(Some(TransactionRecord { key, value: value.map(decode_value).transpose()? }))
    }
}

fn decode_value(value: Bytes) -> Result<TransactionValue, VersionedError> {
    match open(value)? {
        (number @ ..=VALUE, reader) => read_all(reader, value_version(number)),
        (number, _) => Err(VersionedError::Version(number)),
    }
}

fn value_version(number: i16) -> Version {
    Version { number, flexible: number >= FLEXIBLE_VALUE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Dice;
    use crate::wire::DecodeError;

    const KEY: &str = "0000 0006 6f7264657273";

    /// The bytes were written by Kafka 4.1.
    #[test]
    fn a_transaction_lies_as_kafka_writes_it() {
        check(
            prepared(),
            "0001 0000000000000007 0003 0000ea60 02
             03 02 74 03 00000000 00000002 00 13 5f5f636f6e73756d65725f6f666673657473 02 00000031 00
             0000018bcfe56800 0000018bcfe56418 03 00 08 0000000000000006 01 08 0000000000000008 02 02 0002",
        );
        check(empty(), "0001 0000000000000007 0000 0000ea60 00 00 0000018bcfe56800 ffffffffffffffff 00");
        let gone = TransactionRecord { key: key(), value: None };
        assert_eq!(gone.encode(), (bytes(KEY).to_vec(), None));
        assert_eq!(TransactionRecord::decode(bytes(KEY), None), Ok(Some(gone)));
    }

    /// The bytes were written by Kafka 4.1, as older ones do.
    #[test]
    fn the_first_version_is_read() {
        let without_tags = TransactionValue {
            previous_producer_id: -1,
            next_producer_id: -1,
            client_transaction_version: 0,
            ..prepared()
        };
        let value = "0000 0000000000000007 0003 0000ea60 02
             00000002 0001 74 00000002 00000000 00000002
             0012 5f5f636f6e73756d65725f6f666673657473 00000001 00000031
             0000018bcfe56800 0000018bcfe56418";
        assert_eq!(read(value), Ok(Some(without_tags)));
        let value = "0000 0000000000000007 0000 0000ea60 00 ffffffff 0000018bcfe56800 ffffffffffffffff";
        assert_eq!(read(value), Ok(Some(empty())));
    }

    #[test]
    fn unknown_kinds_are_passed_over_and_unknown_versions_refused() {
        assert_eq!(TransactionRecord::decode(bytes("0001 0001 61"), None), Ok(None));
        assert_eq!(read("0002 00"), Err(VersionedError::Version(2)));
        assert_eq!(read("ffff"), Err(VersionedError::Version(-1)));
        assert_eq!(read("0001 00"), Err(VersionedError::Fields(DecodeError::Truncated)));
    }

    #[test]
    fn what_is_written_reads_the_same_and_cut_bytes_are_refused() {
        for seed in 0..500 {
            let dice = &mut Dice(seed);
            let record = TransactionRecord { key: dice.message(0), value: Some(dice.message(VALUE)) };
            let (key, value) = record.encode();
            let (key, value) = (Bytes::from(key), Bytes::from(value.expect("a value")));
            let read = TransactionRecord::decode(key.clone(), Some(value.clone()));
            assert_eq!(read, Ok(Some(record)), "seed {seed}");
            let cut = value.slice(..dice.next() as usize % value.len());
            assert!(TransactionRecord::decode(key, Some(cut)).is_err(), "seed {seed}");
        }
    }

    #[test]
    fn statuses_have_codes_and_names() {
        for code in 0..8 {
            let status = TransactionStatus::from_code(code).expect("a status");
            assert_eq!(status.code(), code);
            assert_eq!(TransactionStatus::from_name(status.name()), Some(status));
        }
        assert_eq!(TransactionStatus::from_code(8), None);
        assert_eq!(TransactionStatus::from_name("Preparing"), None);
        assert_eq!(TransactionStatus::PrepareCommit.name(), "PrepareCommit");
    }

    #[track_caller]
    fn check(value: TransactionValue, expected: &str) {
        let record = TransactionRecord { key: key(), value: Some(value.clone()) };
        assert_eq!(record.encode(), (bytes(KEY).to_vec(), Some(bytes(expected).to_vec())));
        assert_eq!(read(expected), Ok(Some(value)));
    }

    fn read(value: &str) -> Result<Option<TransactionValue>, VersionedError> {
        let read = TransactionRecord::decode(bytes(KEY), Some(bytes(value)))?.expect("a known kind");
        assert_eq!(read.key, key());
        Ok(read.value)
    }

    fn bytes(hex: &str) -> Bytes {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect::<Vec<u8>>().into()
    }

    fn key() -> TransactionKey {
        TransactionKey { transactional_id: "orders".into() }
    }

    fn empty() -> TransactionValue {
        TransactionValue {
            producer_id: 7,
            timeout_ms: 60_000,
            last_update_timestamp: 1_700_000_000_000,
            ..TransactionValue::default()
        }
    }

    fn prepared() -> TransactionValue {
        TransactionValue {
            previous_producer_id: 6,
            next_producer_id: 8,
            producer_epoch: 3,
            status: TransactionStatus::PrepareCommit.code(),
            partitions: Some(vec![
                TransactionPartitions { topic: "t".into(), partition_ids: vec![0, 2] },
                TransactionPartitions { topic: "__consumer_offsets".into(), partition_ids: vec![49] },
            ]),
            start_timestamp: 1_699_999_999_000,
            client_transaction_version: 2,
            ..empty()
        }
    }
}
