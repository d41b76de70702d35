//! `cauce bench amqp`: publishers and consumers against any broker that speaks AMQP 0-9-1.

mod connection;
mod consumer;
mod publisher;
mod topology;
mod uri;
mod window;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::connection::{Connection, Error};
use self::consumer::{Consumer, Receipt};
use self::publisher::{Messages, Publisher};
use self::topology::{ExchangeType, Topology};
use self::uri::Uri;
use super::load::{self, Load, RunFlags, Trouble, Workers};
use super::report::Report;
use super::run::Run;

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
    #[command(flatten)]
    run: RunFlags,
}

pub(super) fn run(flags: Flags) -> ExitCode {
    if flags.prefetch > 0 && flags.ack_every > flags.prefetch {
        eprintln!(
            "cauce: --ack-every {} would wait for more than --prefetch {} lets through",
            flags.ack_every, flags.prefetch
        );
        return ExitCode::from(2);
    }
    load::run(&flags.run, bench(&flags))
}

async fn bench(flags: &Flags) -> Result<Report, Error> {
    let topology = Topology::new(std::process::id(), flags.queues.into(), flags.exchange_type, flags.durable);
    let topology = if flags.streams { topology.of_streams() } else { topology };
    let mut control = Connection::open(&flags.uri).await?;
    topology.declare(&mut control).await?;
    let report = tokio::select! {
        report = load(flags, &topology) => report,
        _ = tokio::signal::ctrl_c() => Err(Trouble::Interrupted.into()),
    };
    // Queues that are left behind would fill a broker, so they go even when the run failed.
    let deleted = topology.delete(&mut control).await;
    let report = report?;
    deleted?;
    Ok(report)
}

async fn load(flags: &Flags, topology: &Topology) -> Result<Report, Error> {
    let run = Arc::new(Run::new());
    let (stop, stopped) = watch::channel(false);
    let load = Load {
        consumers: start_consumers(flags, topology, &run, stopped).await?,
        publishers: start_publishers(flags, topology, &run).await?,
        copies: if flags.consumers > 0 { topology.copies() } else { 0 },
        message_bytes: flags.size,
        run,
        stop,
    };
    load.carry_out(&flags.run).await
}

async fn start_consumers(
    flags: &Flags,
    topology: &Topology,
    run: &Arc<Run>,
    stop: watch::Receiver<bool>,
) -> Result<Workers<Error>, Error> {
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

async fn start_publishers(
    flags: &Flags,
    topology: &Topology,
    run: &Arc<Run>,
) -> Result<Workers<Error>, Error> {
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
