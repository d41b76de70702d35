//! Records of the topics that the broker keeps for itself, as Kafka lays them out, so that its tools read them.

mod coordinating;

pub mod control;
pub mod offsets;
pub mod transactions;

pub use coordinating::coordinating_partition;
