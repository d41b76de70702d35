//! AMQP 0-9-1: the listener and its connections.

mod backlog;
mod channel;
mod confirms;
mod connection;
mod consume;
mod fault;
mod frames;
mod get;
mod handshake;
mod methods;
mod outbox;
mod publish;
mod reply_to;
mod settle;
mod socket;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use cauce_broker::Node;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use connection::Connection;

/// How long a client may take until its connection is open.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// What a client may ask for at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) frame_max: u32,
    pub(crate) channel_max: u16,
    pub(crate) body_bytes_max: u64,
    /// Seconds we propose between heartbeats; the client decides.
    pub(crate) heartbeat_s: u16,
    /// Bytes read from a socket at a time.
    pub(crate) read_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            frame_max: 131_072,
            channel_max: 2047,
            body_bytes_max: 128 << 20,
            heartbeat_s: 60,
            read_bytes: 128 << 10,
        }
    }
}

/// Accepts clients for as long as it is polled. Beyond `connections_max` they wait until others leave.
pub(crate) async fn listen(listener: TcpListener, node: Arc<Node>, limits: Limits, connections_max: usize) {
    let places = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    loop {
        let place = match places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                tracing::warn!(connections_max, "no more clients are accepted until some leave");
                places.clone().acquire_owned().await.expect("nobody closes it")
            }
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let node = node.clone();
                tokio::spawn(async move {
                    let _place = place;
                    let _ = stream.set_nodelay(true);
                    let greeting = handshake::shake_hands(&node, limits, stream, peer);
                    match tokio::time::timeout(HANDSHAKE_WAIT, greeting).await {
                        Ok(Some(session)) => Connection::new(node.clone(), limits, session).run().await,
                        Ok(None) => {}
                        Err(_) => tracing::warn!(%peer, "a client did not open its connection in time"),
                    }
                });
            }
            Err(error) => {
                // Mostly too many open files: others may leave meanwhile.
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
