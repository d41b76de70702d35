use cauce_core::Value;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;

/// Everything but the content encoding, as RabbitMQ 3.10 writes it.
const NEARLY_ALL: &[u8] = b"\xBF\xFC\x03a/b\x00\x00\x00\x0B\x01kl\x00\x00\x00\x00\x00\x00\x00\x05\
    \x02\x00\x01c\x01r\x0260\x01m\x00\x00\x00\x00\x00\x00\x00c\x01t\x01u\x03app\x02cl";

fn nearly_all() -> PropertiesBuf {
    PropertiesBuf {
        content_type: Some("a/b".into()),
        content_encoding: None,
        headers: Some(Table::from_iter([("k", Value::I64(5))])),
        delivery_mode: Some(2),
        priority: Some(0),
        correlation_id: Some("c".into()),
        reply_to: Some("r".into()),
        expiration: Some("60".into()),
        message_id: Some("m".into()),
        timestamp: Some(99),
        kind: Some("t".into()),
        user_id: Some("u".into()),
        app_id: Some("app".into()),
        cluster_id: Some("cl".into()),
    }
}

#[test]
fn properties_read_and_write_as_rabbitmq_does() {
    let view = Properties::parse(NEARLY_ALL).unwrap();
    assert_eq!(PropertiesBuf::try_from(&view).unwrap(), nearly_all());
    assert_eq!(nearly_all().to_bytes(), NEARLY_ALL);
    assert_eq!(view.timestamp(), Some(99));
    assert_eq!(view.content_encoding(), None);
}

#[test]
fn the_summary_says_what_a_broker_asks() {
    let summary = PropertiesSummary::parse(NEARLY_ALL).unwrap();
    assert!(summary.is_persistent() && summary.has_headers());
    assert_eq!((summary.expiration, summary.priority), (Some("60"), Some(0)));
    assert_eq!((summary.user_id, summary.reply_to), (Some("u"), Some("r")));
    assert_eq!(PropertiesSummary::parse(&[0, 0]), Ok(PropertiesSummary::default()));
    assert_eq!(PropertiesSummary::parse(&[0x10, 0, 2]).unwrap().delivery_mode, Some(2));
}

#[test]
fn a_binary_identifier_is_no_error() {
    let bytes = b"\x04\x00\x02\xFF\xFE";
    assert_eq!(Properties::parse(bytes).unwrap().correlation_id(), Some(&b"\xFF\xFE"[..]));
    assert_eq!(PropertiesSummary::parse(bytes), Ok(PropertiesSummary::default()));
    assert_eq!(PropertiesSummary::parse(b"\x01\x00\x01\xFF"), Err(DecodeError::NotUtf8));
}

#[test]
fn properties_cut_anywhere_are_refused() {
    for cut in 0..NEARLY_ALL.len() {
        assert!(Properties::parse(&NEARLY_ALL[..cut]).is_err(), "cut at {cut}");
        assert!(PropertiesSummary::parse(&NEARLY_ALL[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn more_than_the_flags_announce_is_refused() {
    assert_eq!(Properties::parse(&[0, 0, 9]), Err(DecodeError::TrailingBytes { left: 1 }));
    assert_eq!(Properties::parse(&[0, 1, 0, 0]), Err(DecodeError::UnknownPropertyFlags { flags: 1 }));
    let lie = b"\x20\x00\xFF\xFF\xFF\xFF";
    assert_eq!(Properties::parse(lie), Err(DecodeError::Truncated { needed: 0xFFFF_FFFF, left: 0 }));
}

#[test]
fn a_header_is_a_class_a_size_and_properties() {
    let header = ContentHeader { class_id: 60, body_size: 258, properties: &[0, 0] };
    let bytes = b"\x00\x3C\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00";
    let mut out = Vec::new();
    header.encode(&mut out);
    assert_eq!(out, bytes);
    assert_eq!(ContentHeader::decode(bytes), Ok(header));
    assert!(ContentHeader::decode(&bytes[..11]).is_err());
    assert_eq!(ContentHeader::decode(b"\x00\x3C\x00\x07"), Err(DecodeError::Weight { weight: 7 }));
}

proptest! {
    #[test]
    fn properties_come_back_as_they_went(properties in properties()) {
        let bytes = properties.to_bytes();
        let view = Properties::parse(&bytes).unwrap();
        prop_assert_eq!(&PropertiesBuf::try_from(&view).unwrap(), &properties);
        let mut again = Vec::new();
        view.encode(&mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn random_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Properties::parse(&bytes).map(|view| PropertiesBuf::try_from(&view));
        let _ = PropertiesSummary::parse(&bytes);
        let _ = ContentHeader::decode(&bytes);
    }
}

fn properties() -> impl Strategy<Value = PropertiesBuf> {
    let short = || of(vec(any::<u8>(), 0..256));
    let first = (short(), short(), of(crate::table::tests::tables()), of(any::<u8>()), of(any::<u8>()));
    let second = (short(), short(), short(), short(), of(any::<u64>()));
    let third = (short(), short(), short(), short());
    (first, second, third).prop_map(|(first, second, third)| {
        let (content_type, content_encoding, headers, delivery_mode, priority) = first;
        let (correlation_id, reply_to, expiration, message_id, timestamp) = second;
        let (kind, user_id, app_id, cluster_id) = third;
        PropertiesBuf {
            content_type,
            content_encoding,
            headers,
            delivery_mode,
            priority,
            correlation_id,
            reply_to,
            expiration,
            message_id,
            timestamp,
            kind,
            user_id,
            app_id,
            cluster_id,
        }
    })
}
