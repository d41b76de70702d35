//! How to make many dirty logs durable at once: measures the ways and prints a table. See docs/flush.md.
//!
//!     cargo bench -p cauce-log --bench flush -- [directory] [seconds per cell]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use bytes::Bytes;
use cauce_log::{BatchBuilder, Dirty, Disk, DiskFile, FileDisk, FlushStrategy, Log, LogConfig};

const LOGS: [usize; 7] = [1, 2, 4, 8, 16, 100, 1000];
const BATCH_BYTES: usize = 4096;
const ROUNDS_MIN: usize = 3;
const TURNS: u32 = 8;
/// The first rounds create files and warm up.
const ROUNDS_WARMING: usize = 2;

#[derive(Clone, Copy)]
enum Way {
    Each(FlushStrategy),
    /// Everything is also written to one file, and only that is flushed.
    WriteAhead,
}

const WAYS: [(&str, Way); 4] = [
    ("fdatasync one by one", Way::Each(FlushStrategy::Sequential)),
    ("fdatasync in parallel", Way::Each(FlushStrategy::Parallel)),
    ("syncfs", Way::Each(FlushStrategy::Syncfs)),
    ("one write-ahead file", Way::WriteAhead),
];

fn main() {
    // Cargo itself passes --bench.
    let mut arguments = env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let directory = arguments.next().map_or_else(env::temp_dir, PathBuf::from);
    let seconds = arguments.next().map_or(3.0, |seconds| seconds.parse().expect("seconds are a number"));
    let names: Vec<_> = WAYS.iter().map(|(name, _)| *name).collect();
    println!("| dirty logs | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(WAYS.len()));
    for logs in LOGS {
        let cells = row(&directory, logs, Duration::from_secs_f64(seconds));
        println!("| {logs} | {} |", cells.join(" | "));
    }
}

/// Measures the ways in turns, so that what else the machine does falls on all of them alike.
fn row(directory: &Path, logs: usize, duration: Duration) -> Vec<String> {
    let root = directory.join(format!("cauce-flush-{}", std::process::id()));
    let mut benches = Vec::new();
    for (name, way) in WAYS {
        fs::create_dir_all(root.join(name)).expect("the directory is writable");
        benches.push((Bench::new(&root.join(name), way, logs), Vec::new()));
    }
    let rest_of_the_disk = FileDisk::new(root.clone(), FlushStrategy::Syncfs);
    for _ in 0..TURNS {
        for (bench, rounds) in &mut benches {
            rounds.extend(bench.run(duration / TURNS));
            rest_of_the_disk.sync(&[], &[]).expect("the disk works");
        }
    }
    fs::remove_dir_all(&root).expect("the directory is ours");
    benches.into_iter().map(|(_, rounds)| cell(rounds)).collect()
}

fn cell(mut rounds: Vec<Duration>) -> String {
    rounds.sort_unstable();
    let milliseconds = |share: f64| rounds[((rounds.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("{:.2} / {:.2} ms", milliseconds(0.5), milliseconds(0.99))
}

struct Bench {
    disk: Arc<FileDisk>,
    logs: Vec<Log>,
    write_ahead: Option<Arc<dyn DiskFile>>,
    write_ahead_bytes: u64,
    builder: BatchBuilder,
}

impl Bench {
    fn new(root: &Path, way: Way, logs: usize) -> Bench {
        let (strategy, has_write_ahead) = match way {
            Way::Each(strategy) => (strategy, false),
            Way::WriteAhead => (FlushStrategy::Sequential, true),
        };
        let disk = Arc::new(FileDisk::new(root.to_owned(), strategy));
        let open =
            |index| Log::open(disk.clone(), format!("{index}").into(), LogConfig::default()).unwrap().0;
        Bench {
            logs: (0..logs).map(open).collect(),
            write_ahead: has_write_ahead.then(|| disk.open(Path::new("write-ahead")).unwrap()),
            disk,
            write_ahead_bytes: 0,
            builder: BatchBuilder::new(),
        }
    }

    fn run(&mut self, duration: Duration) -> Vec<Duration> {
        for _ in 0..ROUNDS_WARMING {
            self.round();
        }
        let (start, mut rounds) = (Instant::now(), Vec::new());
        while rounds.len() < ROUNDS_MIN || start.elapsed() < duration {
            rounds.push(self.round());
        }
        rounds
    }

    /// Appends to each log, then makes all of it durable.
    fn round(&mut self) -> Duration {
        let batch = self.batch();
        let start = Instant::now();
        self.logs.iter_mut().for_each(|log| log.append(&batch).unwrap());
        match &self.write_ahead {
            None => {
                let mut dirty = Dirty::default();
                self.logs.iter_mut().for_each(|log| dirty.add(log.take_dirty().unwrap()));
                dirty.flush(&*self.disk).unwrap();
            }
            Some(file) => {
                let all = batch.repeat(self.logs.len());
                file.write_all_at(&all, self.write_ahead_bytes).unwrap();
                file.sync_data().unwrap();
                self.write_ahead_bytes += all.len() as u64;
            }
        }
        start.elapsed()
    }

    fn batch(&mut self) -> Bytes {
        let offset = self.logs[0].end_offset();
        self.builder.start(offset, 0);
        self.builder.push(offset, 0, None, Some(&[&[7; BATCH_BYTES]]), &[]);
        self.builder.finish()
    }
}
