use std::borrow::Cow;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::error::DecodeError;
use crate::frame::Frame;
use crate::method::{Method, decode_publish};
use crate::reply::ReplyCode;

#[test]
fn a_delivery_is_a_method_a_header_and_a_body() {
    let mut out = Vec::new();
    write_deliver(&mut out, 4096, 3, "tag", 258, true, b"ex", b"key", &[0x10, 0, 2], b"hello");
    assert_eq!(
        out,
        b"\x01\x00\x03\x00\x00\x00\x18\x00\x3C\x00\x3C\x03tag\x00\x00\x00\x00\x00\x00\x01\x02\x01\x02ex\x03key\xCE\
          \x02\x00\x03\x00\x00\x00\x0F\x00\x3C\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x10\x00\x02\xCE\
          \x03\x00\x03\x00\x00\x00\x05hello\xCE"
    );
}

#[test]
fn an_empty_body_takes_no_frame() {
    let mut out = Vec::new();
    write_deliver(&mut out, 0, 1, "t", 1, false, b"", b"k", &[0, 0], b"");
    assert_eq!(frames(&out, 0).len(), 2);
}

#[test]
fn a_body_is_split_at_the_frame_size() {
    check_split(4096 - 8, 1);
    check_split(4096 - 7, 2);
    check_split(3 * (4096 - 8), 3);
    check_split(3 * (4096 - 8) + 1, 4);
}

fn check_split(body_size: usize, pieces: usize) {
    let mut out = Vec::new();
    write_publish(&mut out, 4096, 1, b"", b"q", false, &[0, 0], &vec![7; body_size]);
    let frames = frames(&out, 4096);
    assert_eq!(frames.len(), 2 + pieces);
    assert_eq!(frames[2..].iter().map(|frame| frame.payload.len()).sum::<usize>(), body_size);
}

#[test]
fn every_writer_writes_the_method_it_names() {
    let (exchange, routing_key) = ("ex", "key");
    check_method(
        |out| write_deliver(out, 0, 1, "tag", 9, true, b"ex", b"key", &[0, 0], b"b"),
        BasicDeliver { consumer_tag: "tag", delivery_tag: 9, redelivered: true, exchange, routing_key },
    );
    check_method(
        |out| write_publish(out, 0, 1, b"ex", b"key", true, &[0, 0], b"b"),
        BasicPublish { exchange, routing_key, mandatory: true, immediate: false },
    );
    check_method(
        |out| write_return(out, 0, 1, 312, "NO_ROUTE", b"ex", b"key", &[0, 0], b"b"),
        BasicReturn { reply_code: 312, reply_text: "NO_ROUTE", exchange, routing_key },
    );
    check_method(
        |out| write_get_ok(out, 0, 1, 9, false, b"ex", b"key", 4, &[0, 0], b"b"),
        BasicGetOk { delivery_tag: 9, redelivered: false, exchange, routing_key, message_count: 4 },
    );
}

fn check_method<'a>(write: impl FnOnce(&mut Vec<u8>), expected: impl Into<Method<'a>>) {
    let mut out = Vec::new();
    write(&mut out);
    let frames = frames(&out, 0);
    assert_eq!(Method::decode(frames[0].payload), Ok(expected.into()));
    assert_eq!(frames[2].payload, b"b");
}

#[test]
fn a_message_is_whole_with_its_last_body_frame() {
    check("publish; header 5; body hello", &["hello borrowed"]);
    check("publish; header 0; publish; header 1; body x", &[" borrowed", "x borrowed"]);
    check("publish; header 5; body he; body llo", &["hello owned"]);
    check("publish; header 2; body ; body hi", &["hi borrowed"]);
}

#[test]
fn a_frame_out_of_turn_is_unexpected() {
    check("header 5", &["505 expected method frame, got non method frame instead"]);
    check("body x", &["505 expected method frame, got non method frame instead"]);
    let no_header = "505 expected content header for class 60, got non content header frame instead";
    check("publish; body x", &[no_header]);
    check("publish; publish", &[no_header]);
    let no_body = "505 expected content body, got non content body frame instead";
    check("publish; header 5; header 5", &[no_body]);
    check("publish; header 5; publish", &[no_body]);
    check(
        "publish; header-of-class-50",
        &["505 expected content header for class 60, got one for class 50 instead"],
    );
    check("publish; header 2; body abc", &["501 content body frame exceeds remaining content size"]);
    check("publish; header-cut", &["501 content header: 8 bytes wanted where 0 are left"]);
}

#[test]
fn a_message_too_large_is_let_by_and_the_next_one_is_read() {
    let too_large = "406 message size 11 is larger than configured max size 10";
    check(
        "publish; header 11; body abcdef; body ghijk; publish; header 2; body ok",
        &[too_large, "ok borrowed"],
    );
    check("publish; header 10; body 0123456789", &["0123456789 borrowed"]);
    check(
        "publish; header 11; body 0123456789ab",
        &[too_large, "501 content body frame exceeds remaining content size"],
    );
}

#[test]
fn a_claimed_size_reserves_nothing() {
    let mut assembler = ContentAssembler::new(u64::MAX);
    assembler.publish(&BasicPublish::default()).unwrap();
    assert_eq!(assembler.header(&header(60, u64::MAX)), Ok(None));
    assert_eq!(assembler.body(b"abc"), Ok(None));
    assert!(!assembler.is_idle());
    assembler.reset();
    assert!(assembler.is_idle());
}

proptest! {
    #[test]
    fn what_is_written_is_assembled_again(
        exchange in "[a-z.]{0,255}",
        routing_key in "[a-z.]{0,255}",
        properties in vec(any::<u8>(), 0..100),
        body in vec(any::<u8>(), 0..20_000),
        mandatory: bool,
    ) {
        let mut out = Vec::new();
        let (exchange_bytes, key_bytes) = (exchange.as_bytes(), routing_key.as_bytes());
        write_publish(&mut out, 4096, 1, exchange_bytes, key_bytes, mandatory, &properties, &body);
        let mut assembler = ContentAssembler::new(u64::MAX);
        let mut seen = false;
        for frame in frames(&out, 4096) {
            if let Some(content) = feed(&mut assembler, frame).unwrap() {
                prop_assert_eq!((content.exchange, content.routing_key), (&exchange[..], &routing_key[..]));
                prop_assert_eq!((content.properties, &content.body[..]), (&properties[..], &body[..]));
                prop_assert_eq!(content.mandatory, mandatory);
                seen = true;
            }
        }
        prop_assert!(seen && assembler.is_idle());
    }
}

fn feed<'x>(
    assembler: &'x mut ContentAssembler,
    frame: Frame<'x>,
) -> Result<Option<Content<'x>>, ContentError> {
    match frame.kind {
        FrameKind::Method => {
            let publish = decode_publish(frame.payload).expect("a publish")?;
            assembler.publish(&publish).map(|()| None)
        }
        FrameKind::Header => assembler.header(frame.payload),
        FrameKind::Body => assembler.body(frame.payload),
        FrameKind::Heartbeat => Ok(None),
    }
}

fn frames(mut buf: &[u8], frame_max: u32) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while let Some((frame, consumed)) = frame::parse(buf, frame_max).unwrap() {
        frames.push(frame);
        buf = &buf[consumed..];
    }
    assert_eq!(buf, b"");
    frames
}

/// Steps in, messages and errors out; no message may be larger than 10 bytes.
fn check(script: &str, expected: &[&str]) {
    let mut assembler = ContentAssembler::new(10);
    let mut seen = Vec::new();
    for step in script.split("; ") {
        match run(&mut assembler, step) {
            Ok(None) => {}
            Ok(Some(content)) => seen.push(describe(&content)),
            Err(error) => seen.push(format!("{} {error}", error.reply_code().code())),
        }
    }
    assert_eq!(seen, expected, "{script}");
}

fn run<'x>(assembler: &'x mut ContentAssembler, step: &'x str) -> Result<Option<Content<'x>>, ContentError> {
    let publish = BasicPublish { exchange: "ex", routing_key: "key", mandatory: false, immediate: false };
    match step.split_once(' ') {
        None if step == "publish" => assembler.publish(&publish).map(|()| None),
        None if step == "header-of-class-50" => assembler.header(&header(50, 5)),
        None if step == "header-cut" => assembler.header(&header(60, 5)[..4]),
        Some(("header", size)) => assembler.header(&header(60, size.parse().unwrap())),
        Some(("body", text)) => assembler.body(text.as_bytes()),
        _ => panic!("unknown step '{step}'"),
    }
}

fn header(class_id: u16, body_size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    ContentHeader { class_id, body_size, properties: &[0, 0] }.encode(&mut out);
    out
}

fn describe(content: &Content<'_>) -> String {
    assert_eq!((content.exchange, content.routing_key, content.properties), ("ex", "key", &[0, 0][..]));
    let owner = if matches!(content.body, Cow::Borrowed(_)) { "borrowed" } else { "owned" };
    format!("{} {owner}", std::str::from_utf8(&content.body).unwrap())
}

#[test]
fn an_unreadable_header_says_which_reply_it_deserves() {
    let error = ContentError::from(DecodeError::Weight { weight: 1 });
    assert_eq!(error.reply_code(), ReplyCode::FrameError);
}
