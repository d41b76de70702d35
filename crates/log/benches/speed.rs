//! How fast a log takes and gives back batches, without flushing: prints MB/s of the median run.
//!
//!     cargo bench -p cauce-log --bench speed -- [runs]

use std::sync::Arc;
use std::time::Instant;
use std::{env, hint};

use bytes::Bytes;
use cauce_log::{BatchBuilder, FileDisk, FlushStrategy, Log, LogConfig};

const TOTAL_BYTES: usize = 256 << 20;
const READ_BYTES: usize = 1 << 20;

fn main() {
    // Cargo itself passes --bench.
    let mut arguments = env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let runs = arguments.next().map_or(7, |runs| runs.parse().expect("the runs are a number"));
    println!("| batch | append | read | open |");
    println!("|---|---|---|---|");
    for value_bytes in [100, 4 << 10, 64 << 10] {
        let mut measured: Vec<_> = (0..runs).map(|_| run(value_bytes)).collect();
        let mut median = |column: usize| {
            measured.sort_by(|a, b| a[column].total_cmp(&b[column]));
            measured[measured.len() / 2][column]
        };
        let [append, read, open] = [median(0), median(1), median(2)];
        println!("| {value_bytes} B | {append:.0} MB/s | {read:.0} MB/s | {open:.0} MB/s |");
    }
}

/// Appends, reads all, then opens and verifies all: MB/s of each.
fn run(value_bytes: usize) -> [f64; 3] {
    let root = tempfile::tempdir().expect("a temporary directory");
    let disk = Arc::new(FileDisk::new(root.path().to_owned(), FlushStrategy::Adaptive));
    let config = LogConfig { segment_bytes: 64 << 20, ..LogConfig::default() };
    let open = |config| Log::open(disk.clone(), "log".into(), config).expect("the log opens").0;
    let batches = batches(value_bytes);
    let bytes: usize = batches.iter().map(Bytes::len).sum();

    let mut log = open(config.clone());
    let start = Instant::now();
    batches.iter().for_each(|batch| log.append(batch).expect("the disk works"));
    let append = megabytes_per_second(bytes, start);

    let start = Instant::now();
    let (reader, mut next) = (log.reader(), 0);
    while let Some(last) = reader.read(next, READ_BYTES).expect("the disk works").last() {
        next = last.next_offset();
    }
    assert_eq!(next, log.end_offset());
    let read = megabytes_per_second(bytes, start);

    drop(log);
    let start = Instant::now();
    hint::black_box(open(LogConfig { verify_sealed: true, ..config }));
    [append, read, megabytes_per_second(bytes, start)]
}

fn batches(value_bytes: usize) -> Vec<Bytes> {
    let mut builder = BatchBuilder::new();
    let count = TOTAL_BYTES / (value_bytes + 100);
    let value = vec![7; value_bytes];
    let build = |offset: usize| {
        builder.start(offset as i64, 0);
        builder.push(offset as i64, 0, None, Some(&[&value]), &[]);
        builder.finish()
    };
    (0..count.min(400_000)).map(build).collect()
}

fn megabytes_per_second(bytes: usize, start: Instant) -> f64 {
    bytes as f64 / 1e6 / start.elapsed().as_secs_f64()
}
