//! `cauce bench amqp`: publishers and consumers against any broker that speaks AMQP 0-9-1.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Connection, Error};
use super::consumer::{Consumer, Receipt};
use super::latency::Latencies;
use super::publisher::{Messages, Publisher};
use super::report::Report;
use super::run::{Counts, Run};
use super::topology::{ExchangeType, Topology};
use super::uri::Uri;

/// A drain that moves nothing for this long is over.
const DRAIN_IDLE_MAX: Duration = Duration::from_secs(5);
/// A broker that is out of memory may have stopped reading from publishers for good.
const STOP_SECONDS_MAX: u64 = 120;
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
const POLL_EVERY: Duration = Duration::from_millis(20);
const STAMP_BYTES: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// The broker, the login and the virtual host.
    #[arg(long, default_value = "amqp://guest:guest@127.0.0.1:5672/%2f")]
    uri: Uri,
    /// Publishers, each with a connection of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    publishers: u16,
    /// Consumers, each with a connection of its own.
    #[arg(long, default_value_t = 1)]
    consumers: u16,
    /// Queues, shared out among publishers and among consumers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    queues: u16,
    /// Bytes of each body; from 8 on they carry the time and the latency is measured.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Messages per second of each publisher; 0 is as fast as it goes.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Publishes each publisher may have unconfirmed; 0 is no confirms.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1 << 20))]
    confirm_window: u32,
    /// Publish with delivery mode 2.
    #[arg(long)]
    persistent: bool,
    /// Declare durable queues, and a durable exchange.
    #[arg(long)]
    durable: bool,
    /// Declare streams. Their consumers need --prefetch and --ack-every.
    #[arg(long, requires_all = ["prefetch", "ack_every"])]
    streams: bool,
    /// Deliveries each consumer may have unacknowledged; 0 is no limit.
    #[arg(long, default_value_t = 0)]
    prefetch: u16,
    /// Acknowledge every so many deliveries, all at once; 0 is consuming without acknowledgements.
    #[arg(long, default_value_t = 0)]
    ack_every: u16,
    /// Publish through an exchange of this type; the default exchange if absent.
    #[arg(long, value_enum)]
    exchange_type: Option<ExchangeType>,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    duration: f64,
    /// Seconds to publish before measuring.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    warmup: f64,
    /// Threads of this client.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds".to_owned()),
    }
}

pub(super) fn run(flags: Flags) -> ExitCode {
    if flags.prefetch > 0 && flags.ack_every > flags.prefetch {
        eprintln!(
            "cauce: --ack-every {} would wait for more than --prefetch {} lets through",
            flags.ack_every, flags.prefetch
        );
        return ExitCode::from(2);
    }
    let runtime = match runtime(flags.threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cauce: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = match runtime.block_on(bench(&flags)) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("cauce: {error}");
            return ExitCode::FAILURE;
        }
    };
    if flags.json {
        println!("{}", serde_json::to_string(&report).expect("numbers are JSON"));
    } else {
        report.print();
    }
    if report.difference != 0 {
        eprintln!("cauce: consumed {:+} messages compared with what was published", report.difference);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// One thread is the cheapest: nothing is handed from one to another.
fn runtime(threads: u16) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads.into()).enable_all().build()
}

async fn bench(flags: &Flags) -> Result<Report, Error> {
    let topology = Topology::new(std::process::id(), flags.queues.into(), flags.exchange_type, flags.durable);
    let topology = if flags.streams { topology.of_streams() } else { topology };
    let mut control = Connection::open(&flags.uri).await?;
    topology.declare(&mut control).await?;
    let report = tokio::select! {
        report = load(flags, &topology) => report,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
    };
    // Queues that are left behind would fill a broker, so they go even when the run failed.
    let deleted = topology.delete(&mut control).await;
    let report = report?;
    deleted?;
    Ok(report)
}

type Workers = JoinSet<Result<Latencies, Error>>;

async fn load(flags: &Flags, topology: &Topology) -> Result<Report, Error> {
    let run = Arc::new(Run::new());
    let (stop, stopped) = watch::channel(false);
    let mut consumers = start_consumers(flags, topology, &run, stopped).await?;
    let mut publishers = start_publishers(flags, topology, &run).await?;
    let progress =
        (std::io::stderr().is_terminal() && !flags.json).then(|| tokio::spawn(progress(run.clone())));

    let mut workers = [&mut publishers, &mut consumers];
    wait(&mut workers, Duration::from_secs_f64(flags.warmup)).await?;
    let (before, begin) = (run.counts(), Instant::now());
    run.set_measuring(true);
    wait(&mut workers, Duration::from_secs_f64(flags.duration)).await?;
    run.set_measuring(false);
    let measured = run.counts().since(before);
    let seconds = begin.elapsed().as_secs_f64();

    run.stop_publishing();
    let limit = Duration::from_secs(STOP_SECONDS_MAX);
    let confirm_latencies = timeout(limit, join(&mut publishers))
        .await
        .unwrap_or(Err(Error::Silent { what: "the last publishes", seconds: STOP_SECONDS_MAX }))?;
    let copies = topology.copies();
    if flags.consumers > 0 {
        drain(&run, copies, &mut consumers).await?;
    }
    // Nobody listens when there are no consumers.
    let _ = stop.send(true);
    let latencies = join(&mut consumers).await?;
    if let Some(progress) = progress {
        progress.abort();
        eprintln!();
    }

    let total = run.counts();
    let mut report = Report::new(seconds, measured, total);
    if flags.consumers > 0 {
        let due = (total.published - total.refused) * copies;
        report.difference = total.consumed as i64 - due as i64;
    }
    report.latency_ms = latencies.percentiles();
    report.confirm_latency_ms = confirm_latencies.percentiles();
    Ok(report)
}

async fn start_consumers(
    flags: &Flags,
    topology: &Topology,
    run: &Arc<Run>,
    stop: watch::Receiver<bool>,
) -> Result<Workers, Error> {
    let receipt = Receipt {
        prefetch: flags.prefetch,
        ack_every: flags.ack_every.into(),
        is_stamped: flags.size >= STAMP_BYTES,
    };
    let count = usize::from(flags.consumers);
    let mut workers = JoinSet::new();
    for index in 0..count {
        let connection = Connection::open(&flags.uri).await?;
        let consumer = Consumer::new(connection, &topology.share(index, count), receipt).await?;
        workers.spawn(consumer.consume(run.clone(), stop.clone()));
    }
    Ok(workers)
}

async fn start_publishers(flags: &Flags, topology: &Topology, run: &Arc<Run>) -> Result<Workers, Error> {
    let messages = Messages {
        size: flags.size,
        persistent: flags.persistent,
        rate: flags.rate,
        window: flags.confirm_window as usize,
    };
    let count = usize::from(flags.publishers);
    let mut ready = Vec::new();
    for index in 0..count {
        let connection = Connection::open(&flags.uri).await?;
        ready.push(Publisher::new(connection, topology, &topology.share(index, count), messages).await?);
    }
    let mut workers = JoinSet::new();
    for publisher in ready {
        workers.spawn(publisher.publish(run.clone()));
    }
    Ok(workers)
}

/// Lets the workers work for that long; none of them may end.
async fn wait(workers: &mut [&mut Workers; 2], duration: Duration) -> Result<(), Error> {
    let [publishers, consumers] = workers;
    tokio::select! {
        () = sleep(duration) => Ok(()),
        Some(ended) = publishers.join_next() => Err(early(ended)),
        Some(ended) = consumers.join_next() => Err(early(ended)),
    }
}

/// Waits until as much is consumed as was published, or nothing moves any more.
async fn drain(run: &Run, copies: u64, consumers: &mut Workers) -> Result<(), Error> {
    let (mut seen, mut moved) = (0, Instant::now());
    loop {
        let Counts { published, refused, consumed, .. } = run.counts();
        if consumed >= (published - refused) * copies || moved.elapsed() > DRAIN_IDLE_MAX {
            return Ok(());
        }
        if consumed != seen {
            (seen, moved) = (consumed, Instant::now());
        }
        tokio::select! {
            () = sleep(POLL_EVERY) => {}
            Some(ended) = consumers.join_next() => return Err(early(ended)),
        }
    }
}

fn early(ended: Result<Result<Latencies, Error>, JoinError>) -> Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(_)) => Error::HungUp,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn join(workers: &mut Workers) -> Result<Latencies, Error> {
    let mut all = Latencies::new();
    while let Some(ended) = workers.join_next().await {
        match ended {
            Ok(Ok(latencies)) => all.add(&latencies),
            other => return Err(early(other)),
        }
    }
    Ok(all)
}

/// One line on the terminal, written over and over.
async fn progress(run: Arc<Run>) {
    let mut before = run.counts();
    loop {
        sleep(PROGRESS_EVERY).await;
        let counts = run.counts();
        let per_second = |count: u64| (count as f64 / PROGRESS_EVERY.as_secs_f64()) as u64;
        let new = counts.since(before);
        eprint!(
            "\r\x1b[Kpublished {}/s  confirmed {}/s  consumed {}/s",
            per_second(new.published),
            per_second(new.confirmed),
            per_second(new.consumed),
        );
        // A terminal that is gone takes nothing away from the run.
        let _ = std::io::stderr().flush();
        before = counts;
    }
}
