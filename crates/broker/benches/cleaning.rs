//! What producers notice of a large compaction: how long appends to another topic take, flushed, before and while a
//! gigabyte is compacted. `CAUCE_BENCH_DIR` says on which disk, `CAUCE_BENCH_MB` how much,
//! `CAUCE_BENCH_RATE` at how many bytes in a second (`log.cleaner.io.max.bytes.per.second`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cauce_broker::stream::{Acks, PartitionHandle, Topic, check};
use cauce_broker::{Node, NodeConfig};
use cauce_core::topic::Overrides;
use cauce_log::{BatchBuilder, FileDisk, FlushStrategy};

const VALUE_BYTES: usize = 1000;
const RECORDS_OF_A_BATCH: u64 = 100;
const APPENDS_PER_SECOND: u32 = 100;

fn main() {
    let root = tempfile::tempdir_in(
        std::env::var("CAUCE_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from),
    );
    let root = root.expect("a directory to write to");
    let megabytes: u64 = std::env::var("CAUCE_BENCH_MB").map_or(1000, |text| text.parse().expect("a number"));
    let disk = Arc::new(FileDisk::new(root.path().to_owned(), FlushStrategy::Adaptive));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut config = NodeConfig::default();
        config.settings.set("log.cleaner.enable", "false").expect("there is such a setting");
        if let Ok(rate) = std::env::var("CAUCE_BENCH_RATE") {
            config.settings.set("log.cleaner.io.max.bytes.per.second", &rate).expect("a number");
        }
        let node = Node::start(disk, config).expect("an empty directory opens");
        let settings = [
            ("cleanup.policy", "compact"),
            ("segment.bytes", "104857600"),
            ("min.cleanable.dirty.ratio", "0"),
        ];
        let large = topic(&node, "large", &settings);
        let busy = topic(&node, "busy", &[]);
        fill(&node, &large, megabytes * 1_000_000 / VALUE_BYTES as u64).await;

        // What was written on the way is still on its way to the disk.
        appends(&node, &busy, || false, Duration::from_secs(15)).await;
        report("alone", &appends(&node, &busy, || false, Duration::from_secs(5)).await);
        let cleaning = {
            let node = node.clone();
            tokio::spawn(async move { node.compact_topics().await })
        };
        let (before, began) = (partition(&large).disk_bytes(), Instant::now());
        report("while compacting", &appends(&node, &busy, || cleaning.is_finished(), Duration::MAX).await);
        cleaning.await.expect("it ends well");
        let (after, seconds) = (partition(&large).disk_bytes(), began.elapsed().as_secs_f64());
        println!("{:.0} MB became {:.0} MB in {seconds:.1} s", before as f64 / 1e6, after as f64 / 1e6);
    });
}

fn topic(node: &Node, name: &str, settings: &[(&str, &str)]) -> Arc<Topic> {
    let overrides = Overrides::parse(settings.iter().copied()).expect("settings that exist");
    node.create_topic(name, 1, overrides).expect("a name that is free").0
}

fn partition(topic: &Topic) -> Arc<PartitionHandle> {
    topic.partition(0).expect("there is one")
}

/// A tenth of the keys are new in each tenth, so that half is left in the end.
async fn fill(node: &Node, topic: &Topic, records: u64) {
    let mut last = None;
    for first in (0..records).step_by(RECORDS_OF_A_BATCH as usize) {
        let mut builder = BatchBuilder::new();
        builder.start(0, now_ms());
        for number in first..first + RECORDS_OF_A_BATCH {
            let key = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (records / 2)).to_be_bytes();
            builder.push((number - first) as i64, now_ms(), Some(&key), Some(&[&[7; VALUE_BYTES]]), &[]);
        }
        let mut appending = append(node, topic, builder.finish(), Acks::Written);
        if first % 10_000 == 0 {
            appending.answer().await.expect("it is appended");
        }
        last = Some(appending);
    }
    last.expect("there are some").answer().await.expect("it is appended");
    node.flush().await;
}

/// How long each took that was begun at a fixed pace.
async fn appends(node: &Node, topic: &Topic, is_over: impl Fn() -> bool, long: Duration) -> Vec<Duration> {
    let (began, mut took) = (Instant::now(), Vec::new());
    let mut pace = tokio::time::interval(Duration::from_secs(1) / APPENDS_PER_SECOND);
    while !is_over() && began.elapsed() < long {
        // When one was slow, those that should have begun meanwhile waited too.
        let due = pace.tick().await.into_std();
        let mut builder = BatchBuilder::new();
        builder.start(0, now_ms());
        builder.push(0, now_ms(), Some(b"key"), Some(&[&[7; VALUE_BYTES]]), &[]);
        append(node, topic, builder.finish(), Acks::All).answer().await.expect("it is appended");
        took.push(due.elapsed());
    }
    took
}

fn append(node: &Node, topic: &Topic, batch: Bytes, acks: Acks) -> cauce_broker::stream::Appending {
    let charge = Arc::new(node.memory().gauge().charge(0));
    let batch = check(batch, &topic.config(), now_ms(), &charge).expect("a batch that is fine");
    partition(topic).append(batch, None, acks)
}

fn report(what: &str, took: &[Duration]) {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "{what}: {} appends, median {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.2} ms",
        sorted.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64)
}
