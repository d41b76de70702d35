//! Every message in every version, against another reading of the protocol; and hostile bytes.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};

use crate::api::{self, Api, Request, RequestError, Response};
use crate::sample::Dice;
use crate::wire::{DecodeError, Encoded, Splice};

/// Random messages of each kind and version.
const ROUNDS: u64 = 20;

#[test]
fn every_request_reads_as_it_was_written_and_the_oracle_agrees() {
    each_version(|api, version, dice| {
        let request = Request::sample(api, dice, version);
        let frame = whole(&api::write_request(version, 7, Some("tester".into()), &request));
        let (header, read) = api::read_request(frame.slice(4..)).expect("our own writing");
        assert_eq!((header.api, header.version, header.correlation_id), (api, version, 7));
        assert_eq!(header.client_id.as_deref(), Some("tester"));
        assert_eq!(read, request, "{api:?} {version}");

        let body = body_of_request(api, version, &frame);
        let mut left = body.clone();
        let theirs = RequestKind::decode(oracle_key(api), &mut left, version).expect("the oracle reads it");
        assert!(left.is_empty(), "{api:?} {version}: the oracle left {} bytes", left.len());
        let mut again = BytesMut::new();
        theirs.encode(&mut again, version).expect("the oracle writes what it read");
        assert_eq!(again, body, "{api:?} {version}: {request:?}");
    });
}

#[test]
fn every_response_reads_as_it_was_written_and_the_oracle_agrees() {
    each_version(|api, version, dice| {
        let response = Response::sample(api, dice, version);
        let frame = whole(&api::write_response(version, 7, &response));
        let (correlation_id, read) =
            api::read_response(api, version, frame.slice(4..)).expect("our own writing");
        assert_eq!((correlation_id, &read), (7, &response), "{api:?} {version}");

        let flexible = api.version(version).flexible && api != Api::ApiVersions;
        let body = frame.slice(8 + usize::from(flexible)..);
        let mut left = body.clone();
        let theirs = ResponseKind::decode(oracle_key(api), &mut left, version).expect("the oracle reads it");
        assert!(left.is_empty(), "{api:?} {version}: the oracle left {} bytes", left.len());
        let mut again = BytesMut::new();
        theirs.encode(&mut again, version).expect("the oracle writes what it read");
        assert_eq!(again, body, "{api:?} {version}: {response:?}");
    });
}

#[test]
fn cut_and_flipped_requests_are_refused_or_read_and_nothing_else() {
    each_version(|api, version, dice| {
        let request = Request::sample(api, dice, version);
        let frame = whole(&api::write_request(version, 7, None, &request)).slice(4..);
        for cut in 0..frame.len() {
            assert!(api::read_request(frame.slice(..cut)).is_err(), "{api:?} {version} cut at {cut}");
        }
        let mut flipped = frame.to_vec();
        for _ in 0..20 {
            let at = dice.next() as usize % flipped.len();
            flipped[at] ^= 1 << (dice.next() % 8);
            let _ = api::read_request(Bytes::copy_from_slice(&flipped));
        }
    });
}

#[test]
fn a_count_that_lies_allocates_nothing() {
    // Metadata, version 12: an array of 2^31 - 2 topics, of which not one is there.
    let mut frame = request_start(3, 12);
    frame.extend([0, 0xff, 0xff, 0xff, 0xff, 0x07]);
    let error = api::read_request(frame.into()).unwrap_err();
    let expected = DecodeError::Length(0x7fff_fffe, 0);
    assert_eq!(error, RequestError::Body { api: Api::Metadata, version: 12, error: expected });
}

#[test]
fn bytes_behind_a_request_are_left_alone() {
    // Metadata, version 13, as librdkafka asks for all topics.
    let mut frame = request_start(3, 13);
    frame.extend([0, 0, 0, 0, 0, 0, 0, 0]);
    let (_, request) = api::read_request(frame.into()).unwrap();
    assert!(matches!(request, api::Request::Metadata(request) if request.topics.is_none()));
}

#[test]
fn more_elements_than_a_message_may_have_are_refused() {
    // DeleteTopics, version 1: names of no bytes, as many as fit.
    let count: i32 = 300_000;
    let mut frame = request_start(20, 1);
    frame.extend(count.to_be_bytes());
    frame.extend(std::iter::repeat_n(0, 2 * count as usize));
    frame.extend([0; 4]);
    let error = api::read_request(frame.into()).unwrap_err();
    let expected = DecodeError::TooManyElements;
    assert_eq!(error, RequestError::Body { api: Api::DeleteTopics, version: 1, error: expected });
}

#[test]
fn unknown_apis_and_versions_are_named() {
    let error = api::read_request(request_start(999, 3).into()).unwrap_err();
    assert_eq!(error, RequestError::UnknownApi { key: 999, version: 3 });
    let error = api::read_request(request_start(18, 90).into()).unwrap_err();
    let expected = RequestError::UnsupportedVersion { api: Api::ApiVersions, version: 90, correlation_id: 7 };
    assert_eq!(error, expected);
    assert_eq!(error.to_string(), "ApiVersions is not served in version 90, only in 0-4");
}

/// Key, version, correlation id, and no client id.
fn request_start(key: i16, version: i16) -> Vec<u8> {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &7i32.to_be_bytes(), &(-1i16).to_be_bytes()].concat()
}

fn each_version(check: impl Fn(Api, i16, &mut Dice)) {
    for &api in Api::ALL {
        for version in api.versions() {
            for round in 0..ROUNDS {
                check(api, version, &mut Dice(round << 32 | (api as u64) << 16 | version as u64));
            }
        }
    }
}

fn oracle_key(api: Api) -> ApiKey {
    ApiKey::try_from(api.key()).expect("the oracle knows it")
}

fn whole(encoded: &Encoded) -> Bytes {
    let mut all = Vec::new();
    let mut from = 0;
    for (at, splice) in &encoded.splices {
        all.extend_from_slice(&encoded.bytes[from..*at]);
        from = *at;
        match splice {
            Splice::Bytes(bytes) => all.extend_from_slice(bytes),
            Splice::Elsewhere(_) => panic!("samples hold their bytes"),
        }
    }
    all.extend_from_slice(&encoded.bytes[from..]);
    assert_eq!(all.len(), encoded.len());
    assert_eq!(all[..4], (all.len() as i32 - 4).to_be_bytes());
    all.into()
}

fn body_of_request(api: Api, version: i16, frame: &Bytes) -> Bytes {
    let header = 4 + 2 + 2 + 4 + 2 + "tester".len() + usize::from(api.version(version).flexible);
    frame.slice(header..)
}
