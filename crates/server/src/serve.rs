//! `cauce serve`: configuration, the data directory, the listeners, and the way out.

mod directory;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use cauce_broker::{Flush, Node, NodeConfig};
use cauce_log::{FileDisk, FlushStrategy};
use clap::{Args, ValueEnum};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::amqp;

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Directory that holds everything the broker keeps; created when missing.
    #[arg(long, value_name = "DIR", env = "CAUCE_DATA", default_value = "cauce-data")]
    data: PathBuf,
    /// Address for AMQP 0-9-1 clients, host:port; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", env = "CAUCE_AMQP", default_value = "0.0.0.0:5672")]
    amqp: String,
    /// Address for Kafka clients. Not served yet: accepted, and nothing listens there.
    #[arg(long, value_name = "ADDR", env = "CAUCE_KAFKA", default_value = "0.0.0.0:9092")]
    kafka: String,
    /// Address of the management API. Not served yet: accepted, and nothing listens there.
    #[arg(long, value_name = "ADDR", env = "CAUCE_HTTP", default_value = "0.0.0.0:15672")]
    http: String,
    /// Address of the metrics. Not served yet: accepted, and nothing listens there.
    #[arg(long, value_name = "ADDR", env = "CAUCE_METRICS", default_value = "0.0.0.0:15692")]
    metrics: String,
    /// When a publish is confirmed: after it is flushed to disk, or once the operating system has it.
    #[arg(long, value_enum, env = "CAUCE_FLUSH", default_value_t = FlushFlag::Always)]
    flush: FlushFlag,
    /// Memory for messages, such as 512M or 2G; above it publishers wait. Default: 40 % of the machine's.
    #[arg(long, value_name = "SIZE", env = "CAUCE_MEMORY", value_parser = parse_size)]
    memory: Option<usize>,
    /// Print one line of JSON with the address of every listener once all accept.
    #[arg(long)]
    print_ports: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FlushFlag {
    /// Confirmed messages survive a power cut.
    Always,
    /// Confirmed messages survive the end of the process, not of the machine.
    Os,
}

impl From<FlushFlag> for Flush {
    fn from(flag: FlushFlag) -> Flush {
        match flag {
            FlushFlag::Always => Flush::Always,
            FlushFlag::Os => Flush::Os,
        }
    }
}

pub(crate) fn run(flags: Flags) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(no_runtime).and_then(|runtime| runtime.block_on(serve(flags)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cauce: {error}");
            ExitCode::FAILURE
        }
    }
}

fn no_runtime(error: std::io::Error) -> ServeError {
    ServeError::Io { what: "the runtime".into(), error }
}

#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
    #[error(transparent)]
    Directory(#[from] directory::DirectoryError),
    #[error(transparent)]
    Start(#[from] cauce_broker::StartError),
}

async fn serve(flags: Flags) -> Result<(), ServeError> {
    let _lock = directory::claim(&flags.data)?;
    let disk = Arc::new(FileDisk::new(flags.data.clone(), FlushStrategy::Adaptive));
    let memory_bytes = flags.memory.unwrap_or_else(default_memory_bytes);
    let node = Node::start(disk, NodeConfig { flush: flags.flush.into(), memory_bytes })?;
    let io = |error| ServeError::Io { what: format!("listening on {}", flags.amqp), error };
    let listener = TcpListener::bind(&flags.amqp).await.map_err(io)?;
    let address = listener.local_addr().map_err(io)?;
    tracing::info!(%address, data = %flags.data.display(), memory_bytes, "accepting AMQP clients");
    for (what, address) in [("kafka", &flags.kafka), ("http", &flags.http), ("metrics", &flags.metrics)] {
        tracing::debug!(what, address, "not served yet");
    }
    let watch = tokio::spawn(review_memory(node.clone()));
    let listening = tokio::spawn(amqp::listen(listener, node.clone(), amqp::Limits::default()));
    if flags.print_ports {
        println!("{}", serde_json::json!({ "amqp": address.to_string() }));
    }
    wait_for_end().await.map_err(|error| ServeError::Io { what: "signals".into(), error })?;
    tracing::info!("stopping");
    listening.abort();
    watch.abort();
    node.flush().await;
    Ok(())
}

/// Looks at the memory gauge often enough that publishers cannot run far past the budget.
async fn review_memory(node: Arc<Node>) {
    let mut paging = false;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        node.memory().review();
        if std::mem::replace(&mut paging, node.memory().is_paging()) != paging && paging {
            node.evict();
        }
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

/// 40 % of what the machine or the container has.
fn default_memory_bytes() -> usize {
    const FALLBACK_BYTES: usize = 1 << 30;
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok().map(|kib| kib * 1024)
    });
    let container =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let bytes = [machine, container].into_iter().flatten().min().unwrap_or(FALLBACK_BYTES);
    bytes / 10 * 4
}

fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().trim_end_matches(['B']).trim_end_matches('I') {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err("write a number of bytes, or one followed by K, M or G".into()),
    };
    let number: usize = digits.parse().map_err(|_| "write a number of bytes, or one followed by K, M or G".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "that is more than this machine can count".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [("7", 7), ("2K", 2048), ("256MB", 256 << 20), ("1GiB", 1 << 30), ("3g", 3 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "2T", "-1", "1.5G", "99999999999G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
