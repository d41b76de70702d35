//! Kafka: the listeners and their connections.
//!
//! | file | what it holds |
//! |---|---|
//! | `listener` | how a listener is written, and what clients are told about it |
//! | `connection` | one client: requests in, answers out, in order |
//! | `login` | who a client is |
//! | `authorization` | what it may do |
//! | `frames` | requests out of the bytes of a socket |
//! | `held` | what answers take of the memory budget |
//! | `reply` | answers, and how they leave: bytes, and parts of files that are not copied |
//! | `fetch_sessions` | what clients fetch again and again |
//! | `error` | errors of the domain as the protocol's codes |
//! | `api` | one file for each API |

mod api;
mod authorization;
mod connection;
mod error;
mod fetch_sessions;
mod frames;
mod held;
mod listener;
mod login;
mod reply;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cauce_broker::Node;
use tokio::net::TcpListener;

use connection::Connection;
use fetch_sessions::FetchSessions;

pub(crate) use listener::{Advertised, Listener};
pub(crate) use login::Anonymous;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Service {
    node: Arc<Node>,
    fetch_sessions: FetchSessions,
    /// Where the node keeps what it keeps, to be shown.
    directory: PathBuf,
    anonymous: Anonymous,
}

impl Service {
    pub(crate) fn new(node: Arc<Node>, directory: PathBuf, anonymous: Anonymous) -> Arc<Service> {
        let fetch_sessions = FetchSessions::new(node.settings().node.fetch_sessions_max as usize);
        Arc::new(Service { node, fetch_sessions, directory, anonymous })
    }
}

/// Accepts clients for as long as it is polled. They are told to come back to `advertised`.
pub(crate) async fn listen(listener: TcpListener, service: Arc<Service>, advertised: Arc<Advertised>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let connection = Connection::new(service.clone(), advertised.clone(), stream, peer);
                tokio::spawn(connection.run());
            }
            Err(error) => {
                // Mostly too many open files: others may leave meanwhile.
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
