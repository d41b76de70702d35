//! Offsets that have a name, and leader epochs.

use crate::producer::{Producer, ProducerId, TransactionVersion};
use crate::stream::*;

/// Records 2 to 8, the last of them in an open transaction, and 1 more that is not stored.
fn sample() -> Stream {
    let mut stream = Stream::new(Rules::default(), 2, 0);
    let producer = Producer { id: ProducerId(7), epoch: 0 };
    let sender = Sender { producer, first_sequence: Some(0), transactional: true };
    let guard = stream.verification(&sender, TransactionVersion::Classic, 0).unwrap();
    for (records, sender) in [(6, None), (1, Some(sender))] {
        stream.append(&Batch { records, timestamp_ms: 0, sender }, guard, 0).unwrap();
    }
    stream.stored(9);
    stream.append(&Batch { records: 1, timestamp_ms: 0, sender: None }, None, 0).unwrap();
    stream
}

#[test]
fn the_latest_offset_depends_on_what_the_reader_may_see() {
    let stream = sample();
    assert_eq!(stream.offset_of(Position::Earliest, Isolation::Uncommitted), Some(2));
    assert_eq!(stream.offset_of(Position::EarliestLocal, Isolation::Committed), Some(2));
    assert_eq!(stream.offset_of(Position::Latest, Isolation::Uncommitted), Some(9));
    assert_eq!(stream.offset_of(Position::Latest, Isolation::Committed), Some(8));
    assert_eq!(stream.offset_of(Position::LatestTiered, Isolation::Uncommitted), None);
}

#[test]
fn there_is_one_leader_epoch_and_it_ends_with_the_log() {
    assert_eq!(sample().end_of_epoch(LEADER_EPOCH), Some(10));
    assert_eq!(sample().end_of_epoch(LEADER_EPOCH + 1), None);
    assert_eq!(check_leader_epoch(None), Ok(()));
    assert_eq!(check_leader_epoch(Some(LEADER_EPOCH)), Ok(()));
    assert_eq!(check_leader_epoch(Some(3)), Err(EpochError::Unknown(3)));
    assert_eq!(check_leader_epoch(Some(-1)), Err(EpochError::Fenced(-1)));
}
