//! `cauce serve`: configuration, the data directory, the listeners, and the way out.

mod config;
mod descriptors;
pub(crate) mod directory;
mod machine;
mod values;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cauce_broker::{Node, NodeConfig, Pressure};
use cauce_log::{Disk, FileDisk, FlushStrategy};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{amqp, definitions, kafka};

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
    Definitions(#[from] definitions::FileError),
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
pub(crate) fn start_log() {
    let filter = EnvFilter::try_from_env("CAUCE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        lines.init();
    } else {
        lines.json().init();
    }
}

async fn serve(flags: &Flags) -> Result<(), ServeError> {
    // From the start: who is told to stop a moment after it began stops in order.
    let mut end = End::new().map_err(|error| ServeError::Io { what: "waiting for signals".into(), error })?;
    let config = flags.config()?;
    let file = config.definitions.as_deref();
    let to_import = file.map(|path| definitions::read(path).map(|read| (path, read))).transpose()?;
    let connections_max = descriptors::connections_max(descriptors::raise_limit());
    let _lock = directory::claim(&config.data)?;
    let disk = Arc::new(FileDisk::new(config.data.clone(), FlushStrategy::Adaptive));
    let memory_bytes = config.memory_bytes;
    let consumer_timeout_ms = config.consumer_timeout_ms;
    let node = Node::open(
        disk.clone(),
        NodeConfig {
            flush: config.flush,
            memory_bytes,
            consumer_timeout_ms,
            settings: config.settings.clone(),
        },
    )?;
    node.users.set_loopback_only(config.loopback_users);
    // Whoever brings definitions brings users: one that everybody knows would be a hole beside them.
    if to_import.is_some() && node.is_blank() {
        tracing::info!("defining no default user and virtual host, as there are definitions to import");
    }
    match to_import {
        Some((path, read)) => definitions::import(&node, &read, path).await?,
        None if node.is_blank() => node.define(&config.defaults),
        None => {}
    }
    if node.is_blank() {
        tracing::warn!("there is neither a user nor a virtual host, so nobody can log in");
    }
    let io = |error| ServeError::Io { what: format!("listening on {}", config.amqp), error };
    let listener = TcpListener::bind(&config.amqp).await.map_err(io)?;
    let address = listener.local_addr().map_err(io)?;
    tracing::info!(%address, data = %config.data.display(), memory_bytes, "accepting AMQP clients");
    let kafka = bind_kafka(&config.kafka, config.kafka_anonymous).await?;
    for (what, address) in &config.not_served {
        tracing::warn!(what, address, "asked for, and not served yet: nothing listens there");
    }
    tokio::spawn(watch_memory(node.clone()));
    tokio::spawn(watch_disk(disk, node.clone(), config.disk_free_bytes_min));
    let amqp = amqp::listen(listener, node.clone(), config.limits, connections_max);
    let mut listening = vec![tokio::spawn(amqp)];
    let mut ports = serde_json::json!({ "amqp": address.to_string() });
    let service = kafka::Service::new(node.clone(), config.data.clone(), config.kafka_anonymous);
    for (index, Bound { name, address, listener, advertised }) in kafka.into_iter().enumerate() {
        let plane = if index == 0 { "kafka".to_owned() } else { format!("kafka.{name}") };
        ports[plane] = address.to_string().into();
        listening.push(tokio::spawn(kafka::listen(listener, service.clone(), advertised)));
    }
    if flags.print_ports {
        println!("{ports}");
    }
    end.wait().await;
    tracing::info!("stopping");
    listening.iter().for_each(|listening| listening.abort());
    node.close_connections("broker forced connection closure with reason 'shutdown'");
    if tokio::time::timeout(FAREWELL, node.all_disconnected()).await.is_err() {
        tracing::warn!("clients did not leave in time");
    }
    node.stop().await;
    Ok(())
}

/// A listener of Kafka's that accepts.
struct Bound {
    name: String,
    address: SocketAddr,
    listener: TcpListener,
    advertised: Arc<kafka::Advertised>,
}

async fn bind_kafka(
    listeners: &[kafka::Listener],
    anonymous: kafka::Anonymous,
) -> Result<Vec<Bound>, ServeError> {
    let mut bound = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let io = |error| ServeError::Io { what: format!("listening on {}", listener.bind), error };
        let socket = TcpListener::bind(&listener.bind).await.map_err(io)?;
        let address = socket.local_addr().map_err(io)?;
        let advertised = Arc::new(listener.advertised(address));
        tracing::info!(%address, name = listener.name, without_login = %anonymous, "accepting Kafka clients");
        if anonymous == kafka::Anonymous::Anywhere && !address.ip().to_canonical().is_loopback() {
            tracing::warn!(%address, "Kafka clients may do everything without a login, from wherever they come");
        }
        bound.push(Bound { name: listener.name.clone(), address, listener: socket, advertised });
    }
    Ok(bound)
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

async fn watch_disk(disk: Arc<FileDisk>, node: Arc<Node>, free_bytes_min: u64) {
    loop {
        match disk.free_bytes() {
            Ok(free_bytes) => node.memory().set_disk_alarm(free_bytes < free_bytes_min),
            Err(error) => tracing::warn!(%error, "cannot tell how much disk is free"),
        }
        tokio::time::sleep(DISK_REVIEW).await;
    }
}

/// The signals that ask the process to end.
struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl End {
    fn new() -> std::io::Result<End> {
        Ok(End { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
