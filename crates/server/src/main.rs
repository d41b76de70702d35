//! `cauce`: the broker and its tools in one binary.

mod amqp;
mod bench;
mod cli;
mod definitions;
mod hash_password;
#[cfg(test)]
mod held_flushes;
mod kafka;
mod kafka_client;
mod serve;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A message broker that speaks RabbitMQ's AMQP 0-9-1 and keeps what it confirmed.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker until it is told to stop.
    Serve(Box<serve::Flags>),
    /// Read or add to the definitions of a broker that is not running.
    #[command(subcommand)]
    Definitions(definitions::Command),
    /// Hash a password as definitions files hold it; reads the password from standard input.
    HashPassword,
    /// Make, look at, change, fill and read the topics of a running broker, ours or any other.
    #[command(subcommand)]
    Topic(cli::topic::Command),
    /// Look at the consumer groups of a running broker, and change how far they have read.
    #[command(subcommand)]
    Group(cli::group::Command),
    /// Print what a shell needs to complete commands and flags.
    Completions(cli::completions::Completions),
    /// Put load on a broker and measure what it does.
    #[command(subcommand)]
    Bench(bench::Protocol),
}

fn main() -> std::process::ExitCode {
    match Arguments::parse().command {
        Command::Serve(flags) => serve::run(*flags),
        Command::Definitions(command) => definitions::run(command),
        Command::HashPassword => hash_password::run(),
        Command::Topic(command) => cli::topic::run(command),
        Command::Group(command) => cli::group::run(command),
        Command::Completions(completions) => cli::completions::run::<Arguments>(completions),
        Command::Bench(protocol) => bench::run(protocol),
    }
}
