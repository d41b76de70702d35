//! What must hold for any bytes a peer of a Kafka listener can send, and for those in the topics of the broker's own.
#![allow(dead_code, reason = "each fuzz target uses one of these")]

use bytes::Bytes;
use cauce_kafka::api::{read_request, read_response, write_request, write_response};
use cauce_kafka::consumer_protocol::{Assignment, Subscription, subscribed_topics};
use cauce_kafka::internal::control::EndMarker;
use cauce_kafka::internal::offsets::OffsetsRecord;
use cauce_kafka::internal::transactions::TransactionRecord;
use cauce_kafka::{Api, Encoded, Splice};

/// Longer text has no room in what the broker writes.
const PLAIN_TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// A request as it comes, without its length. What is read is written, and then reads and writes the same again.
pub(crate) fn request(bytes: &[u8]) {
    let Ok((header, request)) = read_request(Bytes::copy_from_slice(bytes)) else { return };
    let write = |request| {
        whole(&write_request(header.version, header.correlation_id, header.client_id.clone(), request))
    };
    let once = write(&request);
    let (again, request) = read_request(once.slice(4..)).expect("our own writing reads");
    assert_eq!(again, header);
    assert_eq!(write(&request), once);
}

/// A response from whoever our own tools are clients of: before it, in a byte each, which API of all and which of its
/// versions it is.
pub(crate) fn response(bytes: &[u8]) {
    let [api, version, response @ ..] = bytes else { return };
    let api = Api::ALL[usize::from(*api) % Api::ALL.len()];
    let versions = api.versions();
    let count = versions.end() - versions.start() + 1;
    let version = versions.start() + i16::from(*version) % count;
    let Ok((correlation_id, response)) = read_response(api, version, Bytes::copy_from_slice(response)) else {
        return;
    };
    let once = whole(&write_response(version, correlation_id, &response));
    let (_, response) = read_response(api, version, once.slice(4..)).expect("our own writing reads");
    assert_eq!(whole(&write_response(version, correlation_id, &response)), once);
}

/// What members of a group say to each other.
pub(crate) fn consumer_protocol(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let topics = subscribed_topics(bytes.clone());
    if let Ok(subscription) = Subscription::decode(bytes.clone()) {
        assert_eq!(topics.as_ref(), Ok(&subscription.topics));
        let written = Bytes::from(subscription.encode(3));
        assert_eq!(Subscription::decode(written), Ok(subscription));
    }
    if let Ok(assignment) = Assignment::decode(bytes) {
        let written = Bytes::from(assignment.encode(3));
        assert_eq!(Assignment::decode(written), Ok(assignment));
    }
}

/// A record of a topic of the broker's own: a byte that says how long the key is, the key, the value.
pub(crate) fn internal_record(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    if rest.len() > PLAIN_TEXT_BYTES_MAX {
        return;
    }
    let (key, value) = rest.split_at(usize::from(*length).min(rest.len()));
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    for value in [Some(value.clone()), None] {
        if let Ok(Some(record)) = OffsetsRecord::decode(key.clone(), value.clone()) {
            let (key, value) = record.encode();
            assert_eq!(OffsetsRecord::decode(key.into(), value.map(Bytes::from)), Ok(Some(record)));
        }
        if let Ok(Some(record)) = TransactionRecord::decode(key.clone(), value) {
            let (key, value) = record.encode();
            assert_eq!(TransactionRecord::decode(key.into(), value.map(Bytes::from)), Ok(Some(record)));
        }
    }
    if let Ok(Some(marker)) = EndMarker::decode(key, value) {
        let (key, value) = marker.encode();
        assert_eq!(EndMarker::decode(key.into(), value.into()), Ok(Some(marker)));
    }
}

/// As one piece.
fn whole(message: &Encoded) -> Bytes {
    let (mut bytes, mut at) = (Vec::new(), 0);
    for (position, splice) in &message.splices {
        bytes.extend_from_slice(&message.bytes[at..*position]);
        at = *position;
        match splice {
            Splice::Bytes(piece) => bytes.extend_from_slice(piece),
            Splice::Elsewhere(_) => unreachable!("what was read is here"),
        }
    }
    bytes.extend_from_slice(&message.bytes[at..]);
    bytes.into()
}
