//! The bytes of a snapshot.

use crate::producer::{Ending, Producer, ProducerId, TransactionVersion};
use crate::stream::*;

/// A producer with an open transaction, and one that aborted.
fn sample() -> Stream {
    let mut stream = Stream::new(Rules::default(), 0, 0);
    for (id, ends) in [(7, false), (8, true)] {
        let producer = Producer { id: ProducerId(id), epoch: 0 };
        let sender = Sender { producer, first_sequence: Some(0), transactional: true };
        let batch = Batch { records: 2, timestamp_ms: 77, sender: Some(sender) };
        let guard = stream.verification(&sender, TransactionVersion::Classic, 50).unwrap();
        stream.append(&batch, guard, 50).unwrap();
        if ends {
            let version = TransactionVersion::Classic;
            let marker = Marker { producer, ending: Ending::Abort, coordinator_epoch: 3, version };
            stream.end_transaction(&marker, 60).unwrap();
        }
    }
    stream
}

#[test]
fn a_snapshot_reads_as_it_was_written() {
    let bytes = sample().snapshot();
    let again = Stream::from_snapshot(Rules::default(), &bytes, 0).unwrap();
    assert_eq!(again.snapshot(), bytes);
    assert_eq!(again.end(), 5);
}

#[test]
fn a_snapshot_keeps_its_layout() {
    let bytes = sample().snapshot();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let producer = |id: &str, coordinator: &str, open: &str, used: &str, first: &str, last: &str| {
        format!("{id}0000{coordinator}{open}{used}010000000000000001{first}{last}000000000000004d")
    };
    let long = |number: i64| format!("{number:016x}");
    let seven = producer(&long(7), "ffffffff", &long(0), &long(50), &long(0), &long(1));
    let eight = producer(&long(8), "00000003", &long(-1), &long(60), &long(2), &long(3));
    let aborted = [8, 2, 4, 0].map(long).concat();
    assert_eq!(hex[..4], *"0001");
    assert_eq!(hex[12..], format!("{}00000002{seven}{eight}00000001{aborted}", long(5)));
}

#[test]
fn damage_is_found_wherever_it_is() {
    let bytes = sample().snapshot();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(Stream::from_snapshot(Rules::default(), &damaged, 0).is_err(), "byte {at}");
        assert!(Stream::from_snapshot(Rules::default(), &bytes[..at], 0).is_err(), "cut at {at}");
    }
}

#[test]
fn counts_that_lie_are_refused() {
    let with_count = |count: u32, rest: &[u8]| {
        let body = [&5u64.to_be_bytes()[..], &count.to_be_bytes(), rest].concat();
        let crc = crc_fast::crc32_iscsi(&body);
        let bytes = [&1u16.to_be_bytes()[..], &crc.to_be_bytes(), &body].concat();
        Stream::from_snapshot(Rules::default(), &bytes, 0).map(|stream| stream.end())
    };
    assert_eq!(with_count(0, &[0; 4]), Ok(5));
    assert_eq!(with_count(u32::MAX, &[0; 4]), Err(SnapshotError::Truncated));
    assert_eq!(with_count(0, &[0; 5]), Err(SnapshotError::Trailing(1)));
    let many_batches = [&[0u8; 30][..], &[6]].concat();
    assert_eq!(with_count(1, &many_batches), Err(SnapshotError::TooManyBatches(6)));
}
