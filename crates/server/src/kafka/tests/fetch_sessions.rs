use std::time::Duration;

use cauce_kafka::messages::fetch::*;
use cauce_kafka::wire::Records;

use super::*;

const SLOTS: usize = 2;

/// A client with partitions of one topic, each with the offset it is at.
fn request(session: i32, epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
    let partition =
        |&(partition, fetch_offset)| FetchPartition { partition, fetch_offset, ..Default::default() };
    let topic = FetchTopic {
        topic: "t".into(),
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    };
    FetchRequest { session_id: session, session_epoch: epoch, topics: vec![topic], ..FetchRequest::default() }
}

fn places(asked: &Asked) -> Vec<(i32, i64)> {
    asked.wanted.iter().map(|wanted| (wanted.of.partition, wanted.offset)).collect()
}

fn seen(high_watermark: i64, bytes: usize) -> PartitionData {
    PartitionData { high_watermark, records: Some(Records::Elsewhere(bytes)), ..PartitionData::default() }
}

#[test]
fn who_has_a_session_says_only_what_changed_and_is_told_only_what_changed() {
    let (sessions, now) = (FetchSessions::new(SLOTS), Instant::now());
    let first = sessions.begin(request(0, 0, &[(0, 5), (1, 6)]), 12, now).unwrap();
    assert_ne!(first.session, 0);
    assert_eq!(sessions.news(&first, &[seen(5, 0), seen(6, 0)]), [true, true]);

    let again = sessions.begin(request(first.session, 1, &[]), 12, now).unwrap();
    assert_eq!((places(&again), again.session), (vec![(0, 5), (1, 6)], first.session));
    assert_eq!(sessions.news(&again, &[seen(8, 10), seen(6, 0)]), [true, false]);

    // Who got something comes last; what changed is told.
    let more = sessions.begin(request(first.session, 2, &[(0, 8), (2, 0)]), 12, now).unwrap();
    assert_eq!(places(&more), [(1, 6), (0, 8), (2, 0)]);
    assert_eq!(sessions.news(&more, &[seen(7, 0), seen(8, 0), seen(0, 0)]), [true, false, true]);

    let mut forgets = request(first.session, 3, &[]);
    forgets.forgotten_topics_data =
        vec![ForgottenTopic { topic: "t".into(), partitions: vec![1, 9], ..ForgottenTopic::default() }];
    assert_eq!(places(&sessions.begin(forgets, 12, now).unwrap()), [(0, 8), (2, 0)]);
}

#[test]
fn after_an_error_all_is_news() {
    let (sessions, now) = (FetchSessions::new(SLOTS), Instant::now());
    let first = sessions.begin(request(0, 0, &[(0, 5)]), 12, now).unwrap();
    sessions.news(&first, &[seen(5, 0)]);
    let failed = PartitionData { error_code: 1, ..seen(-1, 0) };
    for (epoch, answer, is_news) in [
        (1, seen(5, 0), false),
        (2, failed.clone(), true),
        (3, failed, true),
        (4, seen(5, 0), true),
        (5, seen(5, 0), false),
    ] {
        let asked = sessions.begin(request(first.session, epoch, &[]), 12, now).unwrap();
        assert_eq!(sessions.news(&asked, &[answer]), [is_news], "epoch {epoch}");
    }
}

#[test]
fn what_does_not_fit_its_session_is_refused() {
    let (sessions, now) = (FetchSessions::new(SLOTS), Instant::now());
    let id = sessions.begin(request(0, 0, &[(0, 5)]), 12, now).unwrap().session;
    let refused =
        |session, epoch, version| sessions.begin(request(session, epoch, &[]), version, now).unwrap_err();
    assert_eq!(refused(id + 1, 1, 12), ErrorCode::FetchSessionIdNotFound);
    assert_eq!(refused(id, 2, 12), ErrorCode::InvalidFetchSessionEpoch);
    assert_eq!(refused(id, 1, 13), ErrorCode::FetchSessionTopicIdError);
    let last = sessions.begin(request(id, -1, &[(3, 1)]), 12, now).unwrap();
    assert_eq!((last.session, places(&last)), (0, vec![(3, 1)]));
    assert_eq!(refused(id, 1, 12), ErrorCode::FetchSessionIdNotFound);
}

#[test]
fn there_are_so_many_sessions_and_the_one_idle_for_long_makes_room() {
    let (sessions, start) = (FetchSessions::new(SLOTS), Instant::now());
    let begin = |now| sessions.begin(request(0, 0, &[(0, 5)]), 12, now).unwrap().session;
    let (first, second) = (begin(start), begin(start));
    assert_eq!(begin(start + Duration::from_secs(119)), 0);
    let later = start + Duration::from_secs(120);
    sessions.begin(request(first, 1, &[]), 12, later).unwrap();
    assert_ne!(begin(later), 0);
    assert_eq!(
        sessions.begin(request(second, 1, &[]), 12, later).unwrap_err(),
        ErrorCode::FetchSessionIdNotFound
    );
    let nobody = FetchSessions::new(0);
    assert_eq!(nobody.begin(request(0, 0, &[(0, 5)]), 12, start).unwrap().session, 0);
}

#[test]
fn what_all_sessions_hold_is_bounded() {
    let (sessions, now) = (FetchSessions::new(10), Instant::now());
    let many: Vec<(i32, i64)> = (0..PARTITIONS_MAX as i32).map(|partition| (partition, 0)).collect();
    let id = sessions.begin(request(0, 0, &many), 12, now).unwrap().session;
    assert_ne!(id, 0);
    assert_eq!(sessions.begin(request(0, 0, &[(0, 0)]), 12, now).unwrap().session, 0);
    // One more is too many: it is answered this once, and has to begin anew.
    assert_eq!(sessions.begin(request(id, 1, &[(-1, 0)]), 12, now).unwrap().wanted.len(), PARTITIONS_MAX + 1);
    assert_eq!(sessions.open.lock().partitions, 0);
    assert!(sessions.begin(request(id, 2, &[]), 12, now).is_err());
}

#[test]
fn a_partition_that_is_named_again_is_one_as_said_last() {
    let (sessions, now) = (FetchSessions::new(SLOTS), Instant::now());
    for epoch in [0, -1] {
        let asked = sessions.begin(request(0, epoch, &[(0, 5), (1, 6), (0, 7), (0, 8)]), 12, now).unwrap();
        assert_eq!(places(&asked), [(0, 8), (1, 6)]);
    }
}

#[test]
fn a_session_keeps_no_request_and_no_name_that_no_topic_has() {
    let (sessions, now) = (FetchSessions::new(SLOTS), Instant::now());
    let named = |session, epoch, name: Text| {
        let mut request = request(session, epoch, &[(0, 5)]);
        request.topics[0].topic = name;
        request
    };
    let frame = bytes::Bytes::from(vec![b't'; 10_000]);
    let name = |bytes| Text::from_utf8(frame.slice(..bytes)).unwrap();
    let first = sessions.begin(named(0, 0, name(249)), 12, now).unwrap();
    assert_ne!(first.session, 0);
    assert!(frame.is_unique());
    assert_eq!(sessions.begin(named(0, 0, name(250)), 12, now).unwrap().session, 0);
    let more = sessions.begin(named(first.session, 1, name(250)), 12, now);
    assert_eq!(more.unwrap_err(), ErrorCode::InvalidTopic);
}
