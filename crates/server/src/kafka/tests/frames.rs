use cauce_broker::NodeConfig;
use cauce_log::MemoryDisk;

use super::*;

const MEMORY_BYTES: usize = 1 << 20;

fn frames() -> Frames {
    let config = NodeConfig { memory_bytes: MEMORY_BYTES, ..NodeConfig::default() };
    Frames::new(Node::start(Arc::new(MemoryDisk::new()), config).unwrap())
}

#[tokio::test]
async fn requests_come_whole_and_in_order() {
    let mut frames = frames();
    frames.input.extend_from_slice(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 1]);
    assert_eq!(&frames.next().unwrap().unwrap().bytes[..], [7, 8]);
    assert!(frames.next().unwrap().is_none());
    frames.input.extend_from_slice(&[9]);
    let frame = frames.next().unwrap().unwrap();
    assert_eq!((&frame.bytes[..], frames.node.memory().gauge().bytes()), (&[9][..], 1));
    drop(frame);
    assert_eq!(frames.node.memory().gauge().bytes(), 0);
}

#[tokio::test]
async fn a_length_that_lies_is_refused_before_anything_is_read() {
    for length in [(100i32 << 20) + 1, i32::MAX, -1] {
        let mut frames = frames();
        frames.input.extend_from_slice(&length.to_be_bytes());
        assert_eq!(frames.next().unwrap_err(), FrameError::Length { bytes: length, most: 100 << 20 });
    }
}

#[tokio::test]
async fn what_is_not_whole_is_counted_and_bounded() {
    let mut frames = frames();
    frames.input.extend_from_slice(&(1i32 << 20).to_be_bytes());
    frames.input.extend_from_slice(&[0; 10_000]);
    assert!(frames.next().unwrap().is_none() && frames.has_partial());
    assert_eq!(frames.node.memory().bodies().bytes(), 10_004);
    frames.input.extend_from_slice(&[0; MEMORY_BYTES / 2]);
    assert!(matches!(frames.next(), Err(FrameError::Crowded { .. })));
    frames.input.extend_from_slice(&[0; MEMORY_BYTES / 2]);
    drop(frames.next().unwrap().unwrap());
    assert_eq!((frames.node.memory().bodies().bytes(), frames.node.memory().gauge().bytes()), (0, 0));
}
