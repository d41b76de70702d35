//! Everyday administration of a running broker, over Kafka's protocol: Cauce or any other.
//!
//! | module        | what it holds                                             |
//! |---------------|-----------------------------------------------------------|
//! | `topic`       | `cauce topic`: make, look at, change, fill and read topics |
//! | `group`       | `cauce group`: how far groups have read, and to change it |
//! | `completions` | `cauce completions`: what a shell completes               |
//! | `output`      | tables for people, JSON for programs                      |
//! | `when`        | times as people write them                                |
//! | `failure`     | what went wrong, and the exit status that says so         |

pub(crate) mod completions;
mod failure;
pub(crate) mod group;
mod output;
pub(crate) mod topic;
mod when;

use std::future::Future;
use std::process::ExitCode;

use failure::Failure;

/// One thread is enough for one request after the other.
fn run(command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).exit(),
    };
    match runtime.block_on(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

/// `NAME=VALUE`, of a configuration or a header.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
