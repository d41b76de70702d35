//! The promise for topics, at every flush: power goes as the n-th flush begins, with the last write torn. What had been
//! answered by then is there after a restart, at its offset and once.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use cauce_broker::clock::now_ms;
use cauce_broker::stream::{Acks, PartitionHandle, Place, Topic, check};
use cauce_broker::{Flush, NodeConfig};
use cauce_core::producer::ProducerId;
use cauce_core::topic::Overrides;
use cauce_log::{BatchBuilder, MemoryDisk, RecordBatch};
use common::{config, run, start, start_with};

const BATCHES: u64 = 30;
const RECORDS: u64 = 3;
/// About as many as fill a segment, of which none may be smaller than a MiB.
const LARGE_BATCHES: usize = 6;
const LARGE_BYTES: usize = 300 << 10;

/// What a client knew when the power went.
#[derive(Debug, Default)]
struct Known {
    created: bool,
    producer: Option<ProducerId>,
    /// Batches, by number, with the offset of the first record.
    stored: Vec<u64>,
    configured: bool,
    grown: bool,
    trimmed: bool,
    deleted: bool,
}

#[test]
fn what_was_answered_survives_a_power_cut_at_any_flush() {
    let whole = MemoryDisk::new();
    run(async { live(&whole, u64::MAX).await });
    let flushes = whole.syncs();
    assert!(flushes > 20, "{flushes} flushes are too few to say anything");
    for cut in 0..=flushes {
        let disk = MemoryDisk::new();
        disk.freeze_at_sync(cut);
        let known = run(async { live(&disk, cut).await });
        let image = disk.crash((cut % 3 != 0).then_some(cut));
        run(async { verify(&image, &known, cut).await });
    }
}

#[test]
fn an_answer_covers_the_segment_that_was_filled_on_the_way() {
    for flush in [Flush::Always, Flush::Os] {
        let disk = MemoryDisk::new();
        run(async {
            let node = start_with(&disk, NodeConfig { flush, ..config() });
            let small = Overrides::parse([("segment.bytes", "1048576")]).unwrap();
            let (topic, saved) = node.create_topic("large", 1, small).unwrap();
            saved.wait().await;
            for _ in 0..LARGE_BATCHES {
                produce(&topic, &[0; LARGE_BYTES], 1, None).await;
            }
            if flush == Flush::Os {
                assert_eq!(disk.syncs(), 0);
                node.stop().await;
            }
        });
        run(async {
            let node = start(&disk.crash(None));
            let partition = node.topics().get("large").unwrap().partition(0).unwrap();
            assert_eq!(read(&partition).len(), LARGE_BATCHES, "{flush:?} {:?}", partition.extent());
        });
    }
}

#[test]
fn what_was_deleted_does_not_come_back_in_a_topic_of_the_same_name() {
    let disk = MemoryDisk::new();
    run(async {
        let node = start(&disk);
        for value in [&b"old"[..], b"new"] {
            let (topic, saved) = node.create_topic("orders", 1, Overrides::default()).unwrap();
            saved.wait().await;
            assert_eq!(produce(&topic, value, 1, None).await.first_offset, 0);
            if value == b"old" {
                node.delete_topic("orders").await.unwrap();
            }
        }
    });
    run(async {
        let node = start(&disk.crash(None));
        let partition = node.topics().get("orders").unwrap().partition(0).unwrap();
        assert_eq!(read(&partition), [(0, b"new".to_vec())]);
    });
}

/// A client's day: topics made and changed, numbered batches produced, records deleted, a topic deleted.
async fn live(disk: &MemoryDisk, cut: u64) -> Known {
    let mut known = Known::default();
    let powered = || disk.syncs() <= cut;
    let node = start(disk);
    let (topic, saved) = node.create_topic("orders", 1, Overrides::default()).unwrap();
    saved.wait().await;
    known.created = powered();
    let (doomed, saved) = node.create_topic("doomed", 1, Overrides::default()).unwrap();
    saved.wait().await;
    let producer = node.next_producer_id().await;
    known.producer = powered().then_some(producer);
    for number in 0..BATCHES {
        let place = produce(&topic, &number.to_be_bytes(), RECORDS, Some((producer, number * RECORDS))).await;
        if powered() {
            known.stored.push(place.first_offset);
        }
        match number {
            5 => drop(produce(&doomed, b"doomed", 1, None).await),
            8 => {
                let change = |overrides: Overrides, _: &_| Ok(overrides.with("segment.ms", Some("90000")));
                node.alter_topic("orders", change, false).unwrap().wait().await;
                known.configured = powered();
            }
            10 => {
                node.add_partitions("orders", 3, false).unwrap().wait().await;
                known.grown = powered();
            }
            15 => {
                topic.partition(0).unwrap().trim(7).await;
                node.flush().await;
                known.trimmed = powered();
            }
            20 => {
                node.delete_topic("doomed").await.unwrap();
                known.deleted = powered();
            }
            _ => {}
        }
    }
    known
}

async fn verify(image: &MemoryDisk, known: &Known, cut: u64) {
    let node = start(image);
    let next = node.next_producer_id().await;
    assert!(known.producer.is_none_or(|before| next > before), "cut {cut}: {next:?} was given out before");
    if known.deleted {
        assert!(node.topics().get("doomed").is_none(), "cut {cut}");
    }
    let Some(topic) = node.topics().get("orders") else {
        return assert!(!known.created, "cut {cut}: the topic is gone");
    };
    assert!(!known.configured || topic.config().segment_ms == 90_000, "cut {cut}");
    assert!(!known.grown || topic.partitions().len() == 3, "cut {cut}");
    let partition = topic.partition(0).unwrap();
    let log_start = partition.extent().log_start;
    assert!(if known.trimmed { log_start == 7 } else { log_start == 0 || log_start == 7 }, "cut {cut}");
    holds_in_order(&partition, known, cut);

    // The producer did not see the answer to its next batch, and says it again.
    let (Some(producer), number) = (known.producer, known.stored.len() as u64) else { return };
    if number < BATCHES {
        let again = Some((producer, number * RECORDS));
        let place = produce(&topic, &number.to_be_bytes(), RECORDS, again).await;
        assert_eq!(place.first_offset, number * RECORDS, "cut {cut}");
        holds_in_order(&partition, known, cut);
    }
}

/// Batch after batch, each with its number, and at least those that the client knows of.
fn holds_in_order(partition: &PartitionHandle, known: &Known, cut: u64) {
    let found = read(partition);
    let first = partition.extent().log_start / RECORDS;
    for (index, (offset, value)) in found.iter().enumerate() {
        let number = first + index as u64;
        assert_eq!((*offset, &value[..]), (number * RECORDS, &number.to_be_bytes()[..]), "cut {cut}");
    }
    let end = first + found.len() as u64;
    assert!(end >= known.stored.len() as u64, "cut {cut}: {end} batches of {}", known.stored.len());
    assert!(known.stored.iter().enumerate().all(|(number, offset)| *offset == number as u64 * RECORDS));
}

/// The first offset of each batch, and the value of its first record.
fn read(partition: &PartitionHandle) -> Vec<(u64, Vec<u8>)> {
    let (mut batches, extent) = (Vec::new(), partition.extent());
    let mut from = extent.log_start;
    while let Some(region) = partition.locate(from..extent.high_watermark, 1 << 20).unwrap() {
        let mut left: Bytes = region.read().unwrap();
        while !left.is_empty() {
            let (batch, rest) = RecordBatch::parse(left).unwrap();
            batch.verify().unwrap();
            let value = batch.records().next().unwrap().unwrap().value.unwrap().to_vec();
            batches.push((batch.base_offset() as u64, value));
            left = rest;
        }
        from = region.next_offset as u64;
    }
    batches
}

/// Records with this value, from a producer with the number of its first, if any.
async fn produce(topic: &Arc<Topic>, value: &[u8], records: u64, sender: Option<(ProducerId, u64)>) -> Place {
    let mut builder = BatchBuilder::new();
    builder.start(0, now_ms());
    if let Some((producer, sequence)) = sender {
        builder.set_producer(producer.0, 0, sequence as i32);
    }
    for offset in 0..records {
        builder.push(offset as i64, now_ms(), None, Some(&[value]), &[]);
    }
    let charge = Arc::new(cauce_core::message::Gauge::default().charge(0));
    let batch = check(builder.finish(), &topic.config(), now_ms(), &charge).unwrap();
    topic.partition(0).unwrap().append(batch, None, Acks::All).answer().await.unwrap()
}
