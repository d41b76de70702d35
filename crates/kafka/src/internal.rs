//! Records of the topics that the broker keeps for itself, as Kafka lays them out, so that its tools read them.

pub mod control;
pub mod offsets;
pub mod transactions;
