//! `cauce bench`: load on a broker, ours or another, and what came of it.

mod amqp;
mod kafka;
mod latency;
mod load;
mod pace;
mod report;
mod run;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Protocol {
    /// Publish to and consume from any AMQP 0-9-1 broker; declares queues of its own and deletes them.
    Amqp(amqp::Flags),
    /// Produce to and consume from any Kafka broker; makes a topic of its own and deletes it.
    Kafka(kafka::Flags),
}

pub(crate) fn run(protocol: Protocol) -> ExitCode {
    match protocol {
        Protocol::Amqp(flags) => amqp::run(flags),
        Protocol::Kafka(flags) => kafka::run(flags),
    }
}
