//! What must hold for any bytes a peer of the AMQP listener can send.
#![allow(dead_code, reason = "each fuzz target uses one of these")]

use cauce_amqp::properties::{ContentHeader, Properties, PropertiesBuf, PropertiesSummary};
use cauce_amqp::{
    ContentAssembler, Death, FrameKind, Method, RawTable, Reason, carbon_copies, cycle, dead_letter,
    decode_publish, encode_table, frame, sasl, strip_bcc,
};

/// A connection: frames one after another, those of content through an assembler.
pub(crate) fn frame(bytes: &[u8]) {
    let mut assembler = ContentAssembler::new(1 << 20);
    let mut rest = bytes;
    while let Ok(Some((frame, consumed))) = frame::parse(rest, 4096) {
        assert_eq!(consumed, frame.payload.len() + 8);
        rest = &rest[consumed..];
        match frame.kind {
            FrameKind::Method => {
                if let Some(Ok(publish)) = decode_publish(frame.payload) {
                    let _ = assembler.publish(&publish);
                }
            }
            FrameKind::Header => {
                let _ = assembler.header(frame.payload);
            }
            FrameKind::Body => {
                let _ = assembler.body(frame.payload);
            }
            FrameKind::Heartbeat => {}
        }
    }
}

/// What is read is written, and reads the same again.
pub(crate) fn method(bytes: &[u8]) {
    let Ok(method) = Method::decode(bytes) else { return };
    let mut written = Vec::new();
    method.encode(&mut written);
    assert_eq!(Method::decode(&written), Ok(method));
    assert_eq!(decode_publish(bytes).is_some(), method.name() == "basic.publish");
}

/// Validation and decoding agree, and writing settles after one round.
pub(crate) fn table(bytes: &[u8]) {
    let raw = RawTable(bytes);
    let decoded = raw.decode();
    assert_eq!(decoded.as_ref().err(), raw.validate().as_ref().err());
    let _ = raw.get("x-death");
    let _ = carbon_copies(raw);
    let _ = sasl::parse_amqplain(bytes);
    let _ = sasl::parse_plain(bytes);
    let Ok(table) = decoded else { return };
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    encode_table(&table, &mut once);
    encode_table(&RawTable(&once).decode().expect("our own table reads"), &mut twice);
    assert_eq!(once, twice);
}

/// The view writes the bytes it read, and a message that died is still a message.
pub(crate) fn properties(bytes: &[u8]) {
    let _ = ContentHeader::decode(bytes);
    let _ = PropertiesSummary::parse(bytes);
    let _ = cycle(bytes, "queue");
    let _ = strip_bcc(bytes);
    let Ok(view) = Properties::parse(bytes) else {
        return;
    };
    let mut written = Vec::new();
    view.encode(&mut written);
    assert_eq!(written, bytes);
    let owned = PropertiesBuf::try_from(&view);
    let death = Death {
        queue: "queue",
        reason: Reason::Expired,
        exchange: "exchange",
        routing_keys: &["key"],
        time_s: 1,
    };
    let dead = dead_letter(bytes, &death);
    assert_eq!(owned.is_ok(), dead.is_ok());
    let Ok(dead) = dead else { return };
    assert!(PropertiesBuf::try_from(&Properties::parse(&dead).expect("a dead letter reads")).is_ok());
    assert!(cycle(&dead, "queue"));
}
