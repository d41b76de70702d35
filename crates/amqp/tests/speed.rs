//! Nanoseconds per message: `cargo test -p cauce-amqp --release --test speed -- --ignored --nocapture`

use std::hint::black_box;
use std::time::Instant;

use cauce_amqp::{
    ContentAssembler, FrameKind, Method, PropertiesSummary, decode_publish, frame, write_deliver,
    write_publish,
};

const FRAME_MAX: u32 = 131_072;
const ROUNDS: u32 = 2_000_000;

#[test]
#[ignore = "prints numbers and checks nothing"]
fn nanoseconds_per_message() {
    let mut published = Vec::new();
    write_publish(&mut published, FRAME_MAX, 1, b"", b"orders", false, &[0x10, 0, 2], &[7; 16]);
    let (first, _) = frame::parse(&published, FRAME_MAX).unwrap().unwrap();
    let payload = first.payload;
    measure("decode_publish", || {
        black_box(decode_publish(black_box(payload))).unwrap().unwrap();
    });
    measure("Method::decode of a publish", || {
        black_box(Method::decode(black_box(payload))).unwrap();
    });
    measure("PropertiesSummary::parse", || {
        black_box(PropertiesSummary::parse(black_box(b"\x90\x00\x0atext/plain\x02"))).unwrap();
    });
    let mut assembler = ContentAssembler::new(1 << 27);
    measure("three frames to a message", || read_message(&mut assembler, black_box(&published)));
    for size in [16, 1024] {
        let body = vec![7; size];
        let mut out = Vec::new();
        measure(&format!("write_deliver of {size} bytes"), || {
            if out.len() > 1 << 16 {
                out.clear();
            }
            write_deliver(&mut out, FRAME_MAX, 1, "ctag1", 9, false, b"", b"orders", &[0x10, 0, 2], &body);
        });
    }
}

fn read_message(assembler: &mut ContentAssembler, mut rest: &[u8]) {
    while let Some((frame, consumed)) = frame::parse(rest, FRAME_MAX).unwrap() {
        rest = &rest[consumed..];
        match frame.kind {
            FrameKind::Method => assembler.publish(&decode_publish(frame.payload).unwrap().unwrap()).unwrap(),
            FrameKind::Header => assert!(assembler.header(frame.payload).unwrap().is_none()),
            FrameKind::Body => assert!(black_box(assembler.body(frame.payload).unwrap()).is_some()),
            FrameKind::Heartbeat => unreachable!("none was written"),
        }
    }
}

fn measure(what: &str, mut work: impl FnMut()) {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    println!("{what}: {:.1} ns", start.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
}
