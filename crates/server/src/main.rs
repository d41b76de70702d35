//! `cauce`: the broker and its tools in one binary.

mod amqp;
mod bench;
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
    Serve(serve::Flags),
    /// Put load on a broker and measure what it does.
    #[command(subcommand)]
    Bench(bench::Protocol),
}

fn main() -> std::process::ExitCode {
    match Arguments::parse().command {
        Command::Serve(flags) => serve::run(flags),
        Command::Bench(protocol) => bench::run(protocol),
    }
}
