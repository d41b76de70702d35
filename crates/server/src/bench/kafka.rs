//! `cauce bench kafka`: producers and consumers against any broker that speaks Kafka's protocol.

mod batch;
mod consumer;
mod error;
mod producer;
mod topic;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::batch::Batching;
use self::error::Error;
use self::producer::Producer;
use self::topic::BenchTopic;
use super::load::{self, Load, RunFlags, Trouble, Workers};
use super::report::Report;
use super::run::Run;
use crate::cli::pair;
use crate::kafka_client::{Client, Compression, ConnectOptions, FetchLimits, Position, Reader};

const FETCH_BYTES_MAX: i32 = 50 << 20;
const FETCH_WAIT_MS_MAX: i32 = 500;

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// A topic that is there; one of its own, deleted at the end, if not given.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["partitions", "replication_factor", "config"])]
    topic: Option<String>,
    /// Partitions of the bench's own topic.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// On how many brokers each partition of its own topic lies; as the broker has it if not given.
    #[arg(long, value_name = "COUNT")]
    replication_factor: Option<i16>,
    /// Configuration of its own topic; may be given again and again.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    config: Vec<(String, String)>,
    /// Producers, each with connections of its own and for all partitions.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    producers: u16,
    /// Consumers, each with connections of its own; partitions are shared out among them.
    #[arg(long, default_value_t = 1)]
    consumers: u16,
    /// Bytes of each value; from 8 on they carry the time and the latency is measured.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Records per second of each producer; 0 is as fast as it goes.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Who must have a record before the broker says so: nobody, which is no answer, the leader, or all in sync.
    #[arg(long, value_enum, default_value = "all")]
    acks: Acks,
    #[arg(long, value_enum, default_value = "none")]
    compression: Compression,
    /// Bytes of a batch before it is compressed, or one record if that is more.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 10, value_parser = clap::value_parser!(u32).range(1..=64 << 20))]
    batch_bytes: u32,
    /// Milliseconds that a batch waits for more records.
    #[arg(long, value_name = "MS", default_value_t = 5)]
    linger: u64,
    /// Batches each producer may have unanswered at each broker.
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
    /// Bytes of each partition that a fetch may bring.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(i32).range(1..))]
    fetch_bytes: i32,
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    connect: ConnectOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Acks {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    All,
}

impl Acks {
    fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

pub(super) fn run(flags: Flags) -> ExitCode {
    load::run(&flags.run, bench(&flags))
}

async fn bench(flags: &Flags) -> Result<Report, Error> {
    let mut client = Client::open(&flags.connect).await?;
    let topic = BenchTopic::open(&mut client, flags).await?;
    let report = tokio::select! {
        report = load(flags, &mut client, &topic) => report,
        _ = tokio::signal::ctrl_c() => Err(Trouble::Interrupted.into()),
    };
    // A topic that is left behind would fill a broker, so it goes even when the run failed.
    let deleted = topic.close(&mut client).await;
    let report = report?;
    deleted?;
    Ok(report)
}

async fn load(flags: &Flags, client: &mut Client, topic: &BenchTopic) -> Result<Report, Error> {
    let run = Arc::new(Run::new());
    let (stop, stopped) = watch::channel(false);
    let load = Load {
        consumers: start_consumers(flags, client, topic, &run, stopped).await?,
        publishers: start_producers(flags, client, topic, &run).await?,
        copies: u64::from(flags.consumers > 0),
        message_bytes: flags.size,
        run,
        stop,
    };
    load.carry_out(&flags.run).await
}

async fn start_consumers(
    flags: &Flags,
    client: &mut Client,
    topic: &BenchTopic,
    run: &Arc<Run>,
    stop: watch::Receiver<bool>,
) -> Result<Workers<Error>, Error> {
    let limits = FetchLimits {
        wait_ms_max: FETCH_WAIT_MS_MAX,
        bytes_max: FETCH_BYTES_MAX,
        partition_bytes_max: flags.fetch_bytes,
        committed_only: false,
    };
    let ends = topic.ends(client).await?;
    let mut workers = JoinSet::new();
    for index in 0..usize::from(flags.consumers) {
        for (node, partitions) in topic.share(index, flags.consumers.into()) {
            let positions = partitions.into_iter().map(|place| Position { offset: ends[&place], place });
            let reader = Reader::new(client.connect(node).await?, positions.collect(), limits);
            workers.spawn(consumer::consume(reader, run.clone(), stop.clone()));
        }
    }
    Ok(workers)
}

async fn start_producers(
    flags: &Flags,
    client: &Client,
    topic: &BenchTopic,
    run: &Arc<Run>,
) -> Result<Workers<Error>, Error> {
    let batching = Batching {
        value_bytes: flags.size,
        bytes_max: flags.batch_bytes as usize,
        linger: Duration::from_millis(flags.linger),
        compression: flags.compression,
    };
    let mut ready = Vec::new();
    for _ in 0..flags.producers {
        for (node, partitions) in topic.share(0, 1) {
            let rate = topic.share_of_rate(flags.rate, partitions.len());
            let connection = client.connect(node).await?;
            ready.push(Producer::new(connection, partitions, batching, rate, flags.acks, flags.in_flight));
        }
    }
    let mut workers = JoinSet::new();
    for producer in ready {
        workers.spawn(producer.produce(run.clone()));
    }
    Ok(workers)
}
