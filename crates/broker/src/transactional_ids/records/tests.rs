use super::*;

#[test]
fn a_record_reads_back_as_it_was_written() {
    let states = [
        State::Empty,
        State::Ongoing,
        State::PrepareCommit,
        State::PrepareAbort,
        State::CompleteCommit,
        State::CompleteAbort,
    ];
    for state in states {
        for version in [TransactionVersion::Classic, TransactionVersion::EpochPerTransaction] {
            let record = Record { state, version, ..ongoing() };
            let partitions = if state == State::Empty { Default::default() } else { record.partitions };
            check(Some(Record { partitions, ..record }));
        }
    }
    check(Some(Record { previous_id: None, next_id: Some(ProducerId(9)), started_ms: None, ..ongoing() }));
    check(None);
}

#[test]
fn a_state_that_is_not_known_is_refused_by_its_number() {
    let value = TransactionValue { status: 8, ..value_of(&ongoing()) };
    assert_eq!(record_of(value), Err(RecordError::Status(8)));
    let dead = TransactionValue { status: TransactionStatus::Dead.code(), ..value_of(&ongoing()) };
    assert_eq!(record_of(dead), Ok(None));
}

#[track_caller]
fn check(record: Option<Record>) {
    let id: TransactionalId = "orders".into();
    let (key, value) = encode(&id, record.as_ref());
    assert_eq!(decode(key.into(), value.map(Bytes::from)), Ok(Some((id, record))));
}

fn ongoing() -> Record {
    let at = |topic: &str, partition| TopicPartition { topic: topic.into(), partition };
    Record {
        producer: Producer { id: ProducerId(7), epoch: 3 },
        previous_id: Some(ProducerId(7)),
        next_id: None,
        state: State::Ongoing,
        version: TransactionVersion::Classic,
        timeout_ms: 60_000,
        partitions: [at("t", 0), at("t", 2), at("u", 1)].into(),
        started_ms: Some(1_700_000_000_000),
        updated_ms: 1_700_000_000_001,
    }
}
