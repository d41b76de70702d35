//! What can go wrong while a broker is under load.

use crate::bench::load::Trouble;
use crate::kafka_client::ClientError;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Trouble(#[from] Trouble),
    #[error("{consumers} consumers for {partitions} partitions: some would have nothing to do")]
    TooManyConsumers { consumers: u16, partitions: usize },
}
