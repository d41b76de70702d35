//! Definitions in RabbitMQ's format: read from a file for `cauce serve`, and `cauce definitions` for a data
//! directory that no broker is using.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use cauce_broker::{Blueprint, DEFINITIONS_BYTES_MAX, Definitions, Flush, Node, NodeConfig};
use cauce_log::{FileDisk, FlushStrategy};
use clap::{Args, Subcommand};

use crate::serve::{self, directory};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write all definitions as RabbitMQ's JSON: users, virtual hosts, permissions, exchanges, queues, bindings.
    Export(Export),
    /// Add what a file of RabbitMQ's or Cauce's defines. What is there stays; users become as the file says.
    Import(Import),
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Data directory of a broker that is not running.
    #[arg(long, value_name = "DIR", env = "CAUCE_DATA", default_value = "cauce-data")]
    data: PathBuf,
    /// Where to write; standard output if not given.
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Data directory of a broker that is not running; created when missing.
    #[arg(long, value_name = "DIR", env = "CAUCE_DATA", default_value = "cauce-data")]
    data: PathBuf,
    /// JSON file to read.
    file: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("definitions file {}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("definitions file {}: {error}", path.display())]
    Wrong { path: PathBuf, error: cauce_broker::DefinitionsError },
}

type Failure = Box<dyn std::error::Error>;

pub(crate) fn run(command: Command) -> ExitCode {
    serve::start_log();
    let outcome = match command {
        Command::Export(export) => export.run(),
        Command::Import(import) => import.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cauce: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Export {
    fn run(&self) -> Result<(), Failure> {
        if !self.data.is_dir() {
            return Err(format!("there is no data directory {}", self.data.display()).into());
        }
        let _lock = directory::claim(&self.data)?;
        let mut text = serde_json::to_string_pretty(&Blueprint::read(disk(&self.data))?.export())?;
        text.push('\n');
        match &self.file {
            Some(path) => {
                std::fs::write(path, text).map_err(|error| FileError::Io { path: path.clone(), error }.into())
            }
            None => Ok(std::io::stdout().write_all(text.as_bytes())?),
        }
    }
}

impl Import {
    fn run(&self) -> Result<(), Failure> {
        let mut definitions = read(&self.file)?;
        definitions.leave_out_transient();
        let _lock = directory::claim(&self.data)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            // Nothing is published meanwhile, so any memory is enough.
            let config = NodeConfig { flush: Flush::Always, memory_bytes: 1 << 30, ..NodeConfig::default() };
            let node = Node::open(disk(&self.data), config)?;
            import(&node, &definitions, &self.file).await?;
            node.stop().await;
            Ok(())
        })
    }
}

fn disk(data: &Path) -> Arc<FileDisk> {
    Arc::new(FileDisk::new(data.to_owned(), FlushStrategy::Adaptive))
}

/// Reads and checks a file, but takes nothing over yet.
pub(crate) fn read(path: &Path) -> Result<Definitions, FileError> {
    let io = |error| FileError::Io { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    // One byte more than is allowed is enough to know.
    file.take(DEFINITIONS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    Definitions::parse(&bytes).map_err(|error| FileError::Wrong { path: path.to_owned(), error })
}

/// Takes all of it over, and says what was not.
pub(crate) async fn import(node: &Node, definitions: &Definitions, path: &Path) -> Result<(), FileError> {
    let imported = node.import(definitions).await;
    let imported = imported.map_err(|error| FileError::Wrong { path: path.to_owned(), error })?;
    tracing::info!(file = %path.display(), changes = imported.changes, "imported definitions");
    for note in imported.notes {
        tracing::warn!(file = %path.display(), "definitions: {note}");
    }
    Ok(())
}
