//! The real binary and the `rdkafka` crate, which is librdkafka for Rust.

mod administration;
mod broker;
mod consuming;
mod producing;
mod transactions;
