//! `cauce serve`: configuration, the data directory, the listeners, and the way out.

mod config;
mod directory;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cauce_broker::{Node, NodeConfig, Pressure};
use cauce_log::{Disk, FileDisk, FlushStrategy};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::amqp;

pub(crate) use config::Flags;

/// How often the memory gauge is looked at; publishers run past the budget for no longer.
const MEMORY_REVIEW: Duration = Duration::from_millis(20);

/// How often queues that nothing happens in are told that memory is still short.
const MEMORY_REMINDER: Duration = Duration::from_secs(1);

/// How often the free disk space is looked at.
const DISK_REVIEW: Duration = Duration::from_secs(1);

/// How long clients have to leave when the broker stops.
const FAREWELL: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    #[error(transparent)]
    Directory(#[from] directory::DirectoryError),
    #[error(transparent)]
    Start(#[from] cauce_broker::StartError),
}

pub(crate) fn run(flags: Flags) -> ExitCode {
    start_log();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ServeError::Io { what: "starting the runtime".into(), error });
    match runtime.and_then(|runtime| runtime.block_on(serve(&flags))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cauce: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Lines for people on a terminal, JSON for whatever collects them otherwise. `CAUCE_LOG` says how much.
fn start_log() {
    let filter = EnvFilter::try_from_env("CAUCE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        lines.init();
    } else {
        lines.json().init();
    }
}

async fn serve(flags: &Flags) -> Result<(), ServeError> {
    let config = flags.config()?;
    let _lock = directory::claim(&config.data)?;
    let disk = Arc::new(FileDisk::new(config.data.clone(), FlushStrategy::Adaptive));
    let memory_bytes = config.memory_bytes;
    let node = Node::start(disk.clone(), NodeConfig { flush: config.flush, memory_bytes })?;
    let io = |error| ServeError::Io { what: format!("listening on {}", config.amqp), error };
    let listener = TcpListener::bind(&config.amqp).await.map_err(io)?;
    let address = listener.local_addr().map_err(io)?;
    tracing::info!(%address, data = %config.data.display(), memory_bytes, "accepting AMQP clients");
    for (what, address) in &config.not_served {
        tracing::debug!(what, address, "asked for, and not served yet");
    }
    tokio::spawn(watch_memory(node.clone()));
    tokio::spawn(watch_disk(disk, node.clone(), config.disk_free_limit_bytes));
    let listening = tokio::spawn(amqp::listen(listener, node.clone(), amqp::Limits::default()));
    if flags.print_ports {
        println!("{}", serde_json::json!({ "amqp": address.to_string() }));
    }
    wait_for_end().await.map_err(|error| ServeError::Io { what: "waiting for signals".into(), error })?;
    tracing::info!("stopping");
    listening.abort();
    node.close_connections("broker forced connection closure with reason 'shutdown'");
    if tokio::time::timeout(FAREWELL, node.all_disconnected()).await.is_err() {
        tracing::warn!("clients did not leave in time");
    }
    node.mark().await;
    Ok(())
}

async fn watch_memory(node: Arc<Node>) {
    let (mut before, mut reminded) = (Pressure::None, Instant::now());
    loop {
        tokio::time::sleep(MEMORY_REVIEW).await;
        node.memory().review();
        let pressure = node.memory().pressure();
        let again = pressure > Pressure::None && reminded.elapsed() > MEMORY_REMINDER;
        if pressure > before || again {
            node.evict();
            reminded = Instant::now();
        }
        before = pressure;
    }
}

async fn watch_disk(disk: Arc<FileDisk>, node: Arc<Node>, limit_bytes: u64) {
    loop {
        match disk.free_bytes() {
            Ok(free_bytes) => node.memory().set_disk_alarm(free_bytes < limit_bytes),
            Err(error) => tracing::warn!(%error, "cannot tell how much disk is free"),
        }
        tokio::time::sleep(DISK_REVIEW).await;
    }
}

async fn wait_for_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
