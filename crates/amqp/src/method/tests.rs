use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::frame;
use crate::reply::ReplyCode;
use crate::wire::Reader;

/// Payloads as RabbitMQ 3.10 writes them.
#[test]
fn methods_read_and_write_as_rabbitmq_does() {
    check("0014000a00", ChannelOpen {});
    check("0014000b00000000", ChannelOpenOk {});
    check("00280033", ExchangeUnbindOk {});
    check("003c004800", BasicGetEmpty {});
    check("000a0028012f0000", ConnectionOpen { virtual_host: "/" });
    check("000a001e07ff00020000003c", ConnectionTune { channel_max: 2047, frame_max: 131072, heartbeat: 60 });
    check("003c0078000000000000000703", BasicNack { delivery_tag: 7, multiple: true, requeue: true });
    check(
        "000a000b000000110770726f64756374530000000470696b6105504c41494e0000000c00677565737400677565737405656e5f5553",
        ConnectionStartOk {
            client_properties: RawTable(b"\x07productS\x00\x00\x00\x04pika"),
            mechanism: "PLAIN",
            response: b"\0guest\0guest",
            locale: "en_US",
        },
    );
    check(
        "001400280194094e4f545f464f554e440032000a",
        ChannelClose { reply_code: 404, reply_text: "NOT_FOUND", class_id: 50, method_id: 10 },
    );
    check(
        "001e000a052f6461746115",
        AccessRequest {
            realm: "/data",
            exclusive: true,
            passive: false,
            active: true,
            write: false,
            read: true,
        },
    );
    check(
        "003c00470000000000000001000165016b00000009",
        BasicGetOk { delivery_tag: 1, redelivered: false, exchange: "e", routing_key: "k", message_count: 9 },
    );
}

#[test]
fn tickets_are_skipped_and_bits_share_an_octet() {
    check(
        "0032000a0000066f72646572731a0000000b05782d6d61784900000005",
        QueueDeclare {
            queue: "orders",
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: true,
            no_wait: true,
            arguments: RawTable(b"\x05x-maxI\x00\x00\x00\x05"),
        },
    );
    check(
        "003c00280000026578036b657901",
        BasicPublish { exchange: "ex", routing_key: "key", mandatory: true, immediate: false },
    );
    check(
        "003c001400000171037461670a00000000",
        BasicConsume {
            queue: "q",
            consumer_tag: "tag",
            no_local: false,
            no_ack: true,
            exclusive: false,
            no_wait: true,
            arguments: RawTable(b""),
        },
    );
    check(
        "003c003c03746167000000000000010201026578036b6579",
        BasicDeliver {
            consumer_tag: "tag",
            delivery_tag: 258,
            redelivered: true,
            exchange: "ex",
            routing_key: "key",
        },
    );
    check(
        "0028000a0000016505746f7069630a00000000",
        ExchangeDeclare {
            exchange: "e",
            kind: "topic",
            passive: false,
            durable: true,
            auto_delete: false,
            internal: true,
            no_wait: false,
            arguments: RawTable(b""),
        },
    );
    check(
        "00280028000001640173016b0000000000",
        ExchangeUnbind {
            destination: "d",
            source: "s",
            routing_key: "k",
            no_wait: false,
            arguments: RawTable(b""),
        },
    );
    check(
        "00320032000001710165016b00000000",
        QueueUnbind { queue: "q", exchange: "e", routing_key: "k", arguments: RawTable(b"") },
    );
}

#[test]
fn a_publish_is_recognised_by_its_number() {
    let payload = hex("003c00280000026578036b657901");
    let expected = BasicPublish { exchange: "ex", routing_key: "key", mandatory: true, immediate: false };
    assert_eq!(decode_publish(&payload), Some(Ok(expected)));
    assert_eq!(decode_publish(&hex("003c004800")), None);
    assert!(decode_publish(&payload[..9]).unwrap().is_err());
    assert!(decode_publish(&[payload, vec![0]].concat()).unwrap().is_err());
}

#[test]
fn what_is_not_a_method_is_refused_with_a_reason() {
    refused("", DecodeError::Truncated { needed: 2, left: 0 }, ReplyCode::FrameError);
    refused("003c0063", DecodeError::UnknownMethod { class: 60, method: 99 }, ReplyCode::CommandInvalid);
    refused("0063000a", DecodeError::UnknownMethod { class: 99, method: 10 }, ReplyCode::NotImplemented);
    refused("0014000b0000000000", DecodeError::TrailingBytes { left: 1 }, ReplyCode::FrameError);
    refused(
        "0014000bffffffff00",
        DecodeError::Truncated { needed: 0xFFFF_FFFF, left: 1 },
        ReplyCode::FrameError,
    );
    refused("000a002801ff0000", DecodeError::NotUtf8, ReplyCode::SyntaxError);
}

#[test]
fn a_text_longer_than_a_short_string_is_cut_between_characters() {
    let reason = "ñ".repeat(200);
    let mut out = Vec::new();
    Method::from(ConnectionBlocked { reason: &reason }).encode(&mut out);
    assert_eq!(Method::decode(&out).unwrap(), ConnectionBlocked { reason: &reason[..254] }.into());
}

#[test]
fn numbers_and_names_are_distinct() {
    let methods = one_of_each(&mut Source::new(&[], &[], &[]));
    let numbers: std::collections::HashSet<_> = methods.iter().map(Method::id).collect();
    let names: std::collections::HashSet<_> = methods.iter().map(Method::name).collect();
    assert_eq!((methods.len(), numbers.len(), names.len()), (66, 66, 66));
    let with_content: Vec<_> =
        methods.iter().filter(|method| method.has_content()).map(Method::name).collect();
    assert_eq!(with_content, ["basic.publish", "basic.return", "basic.deliver", "basic.get-ok"]);
}

proptest! {
    #[test]
    fn every_method_comes_back_as_it_went(
        entropy in vec(any::<u8>(), 1..200),
        texts in vec("\\PC{0,60}", 1..5),
        long_texts in vec(vec(any::<u8>(), 0..100), 1..5),
        channel: u16,
    ) {
        for method in one_of_each(&mut Source::new(&entropy, &texts, &long_texts)) {
            let mut payload = Vec::new();
            method.encode(&mut payload);
            prop_assert_eq!(Method::decode(&payload), Ok(method));
            for cut in 0..payload.len() {
                prop_assert!(Method::decode(&payload[..cut]).is_err(), "{} cut at {}", method.name(), cut);
            }
            let mut out = Vec::new();
            method.write_frame(channel, &mut out);
            let (read, consumed) = frame::parse(&out, 0).unwrap().unwrap();
            prop_assert_eq!((read.channel, read.payload, consumed), (channel, &payload[..], out.len()));
        }
    }

    #[test]
    fn random_bytes_are_read_or_refused(payload in vec(any::<u8>(), 0..300), method in 0usize..66) {
        let _ = Method::decode(&payload);
        let (class, number) = one_of_each(&mut Source::new(&[], &[], &[]))[method].id();
        let _ = Method::decode(&[&class.to_be_bytes(), &number.to_be_bytes(), &payload[..]].concat());
    }
}

/// What random methods are made of: numbers from `entropy`, strings from the other two, all endless.
pub(super) struct Source<'a> {
    entropy: Reader<'a>,
    all_entropy: &'a [u8],
    texts: std::iter::Cycle<std::slice::Iter<'a, String>>,
    long_texts: std::iter::Cycle<std::slice::Iter<'a, Vec<u8>>>,
}

impl<'a> Source<'a> {
    fn new(entropy: &'a [u8], texts: &'a [String], long_texts: &'a [Vec<u8>]) -> Source<'a> {
        Source {
            entropy: Reader::new(entropy),
            all_entropy: entropy,
            texts: texts.iter().cycle(),
            long_texts: long_texts.iter().cycle(),
        }
    }

    fn byte(&mut self) -> u8 {
        if self.entropy.is_empty() {
            self.entropy = Reader::new(self.all_entropy);
        }
        self.entropy.u8().unwrap_or(0)
    }
}

pub(super) trait Arbitrary<'a> {
    fn arbitrary(source: &mut Source<'a>) -> Self;
}

macro_rules! arbitrary_numbers {
    ($($number:ident),*) => {$(
        impl<'a> Arbitrary<'a> for $number {
            fn arbitrary(source: &mut Source<'a>) -> Self {
                $number::from_be_bytes(std::array::from_fn(|_| source.byte()))
            }
        }
    )*};
}

arbitrary_numbers!(u8, u16, u32, u64);

impl<'a> Arbitrary<'a> for bool {
    fn arbitrary(source: &mut Source<'a>) -> Self {
        source.byte() & 1 != 0
    }
}

impl<'a> Arbitrary<'a> for &'a str {
    fn arbitrary(source: &mut Source<'a>) -> Self {
        source.texts.next().map_or("", |text| text)
    }
}

impl<'a> Arbitrary<'a> for &'a [u8] {
    fn arbitrary(source: &mut Source<'a>) -> Self {
        source.long_texts.next().map_or(&[], |text| text)
    }
}

impl<'a> Arbitrary<'a> for RawTable<'a> {
    fn arbitrary(source: &mut Source<'a>) -> Self {
        RawTable(Arbitrary::arbitrary(source))
    }
}

fn check<'a>(payload: &str, method: impl Into<Method<'a>>) {
    let (payload, method) = (hex(payload), method.into());
    assert_eq!(Method::decode(&payload), Ok(method));
    let mut out = Vec::new();
    method.encode(&mut out);
    assert_eq!(out, payload, "{}", method.name());
}

fn refused(payload: &str, expected: DecodeError, reply: ReplyCode) {
    let payload = hex(payload);
    let error = Method::decode(&payload).unwrap_err();
    assert_eq!((error, error.reply_code()), (expected, reply));
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}
