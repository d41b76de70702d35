//! A run: warm-up, measuring, and the drain of what was published; whatever the protocol.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::latency::Latencies;
use super::report::Report;
use super::run::{Counts, Run};

/// A drain that moves nothing for this long is over.
const DRAIN_IDLE_MAX: Duration = Duration::from_secs(5);
/// A broker that is out of memory may have stopped reading from publishers for good.
const STOP_SECONDS_MAX: u64 = 120;
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
const POLL_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(super) struct RunFlags {
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub(super) duration: f64,
    /// Seconds to publish before measuring.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub(super) warmup: f64,
    /// Threads of this client.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) threads: u16,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds".to_owned()),
    }
}

/// What ends a run too early, whatever the protocol.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the broker hung up without a word")]
    HungUp,
    #[error("the broker did not answer {what} in {seconds} s")]
    Silent { what: &'static str, seconds: u64 },
    #[error("interrupted")]
    Interrupted,
}

pub(super) type Workers<E> = JoinSet<Result<Latencies, E>>;

pub(super) struct Load<E> {
    pub(super) run: Arc<Run>,
    pub(super) publishers: Workers<E>,
    pub(super) consumers: Workers<E>,
    /// Tells the consumers that all has come.
    pub(super) stop: watch::Sender<bool>,
    /// How often each message is consumed; 0 if nobody does.
    pub(super) copies: u64,
    pub(super) message_bytes: usize,
}

/// Runs the bench, prints what came of it, and says whether all that was published was consumed.
pub(super) fn run<E: std::error::Error>(
    flags: &RunFlags,
    bench: impl Future<Output = Result<Report, E>>,
) -> ExitCode {
    let runtime = match runtime(flags.threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cauce: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = match runtime.block_on(bench) {
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

impl<E: From<Trouble> + 'static> Load<E> {
    pub(super) async fn carry_out(mut self, flags: &RunFlags) -> Result<Report, E> {
        let progress = (std::io::stderr().is_terminal() && !flags.json)
            .then(|| tokio::spawn(progress(self.run.clone())));

        self.work(Duration::from_secs_f64(flags.warmup)).await?;
        let (before, begin) = (self.run.counts(), Instant::now());
        self.run.set_measuring(true);
        self.work(Duration::from_secs_f64(flags.duration)).await?;
        self.run.set_measuring(false);
        let measured = self.run.counts().since(before);
        let seconds = begin.elapsed().as_secs_f64();

        self.run.stop_publishing();
        let limit = Duration::from_secs(STOP_SECONDS_MAX);
        let confirm_latencies = timeout(limit, join(&mut self.publishers)).await.unwrap_or_else(|_| {
            Err(Trouble::Silent { what: "the last publishes", seconds: STOP_SECONDS_MAX }.into())
        })?;
        if self.copies > 0 {
            self.drain().await?;
        }
        // Nobody listens when there are no consumers.
        let _ = self.stop.send(true);
        let latencies = join(&mut self.consumers).await?;
        if let Some(progress) = progress {
            progress.abort();
            eprintln!();
        }

        let total = self.run.counts();
        let mut report = Report::new(seconds, measured, total, self.message_bytes);
        if self.copies > 0 {
            let due = (total.published - total.refused) * self.copies;
            report.difference = total.consumed as i64 - due as i64;
        }
        report.latency_ms = latencies.percentiles();
        report.confirm_latency_ms = confirm_latencies.percentiles();
        Ok(report)
    }

    /// Lets the workers work for that long; none of them may end.
    async fn work(&mut self, duration: Duration) -> Result<(), E> {
        tokio::select! {
            () = sleep(duration) => Ok(()),
            Some(ended) = self.publishers.join_next() => Err(early(ended)),
            Some(ended) = self.consumers.join_next() => Err(early(ended)),
        }
    }

    /// Waits until as much is consumed as was published, or nothing moves any more.
    async fn drain(&mut self) -> Result<(), E> {
        let (mut seen, mut moved) = (0, Instant::now());
        loop {
            let Counts { published, refused, consumed, .. } = self.run.counts();
            if consumed >= (published - refused) * self.copies || moved.elapsed() > DRAIN_IDLE_MAX {
                return Ok(());
            }
            if consumed != seen {
                (seen, moved) = (consumed, Instant::now());
            }
            tokio::select! {
                () = sleep(POLL_EVERY) => {}
                Some(ended) = self.consumers.join_next() => return Err(early(ended)),
            }
        }
    }
}

fn early<E: From<Trouble>>(ended: Result<Result<Latencies, E>, JoinError>) -> E {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(_)) => Trouble::HungUp.into(),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn join<E: From<Trouble> + 'static>(workers: &mut Workers<E>) -> Result<Latencies, E> {
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
