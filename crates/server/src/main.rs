//! `cauce`: the broker and its tools in one binary.

mod amqp;
mod bench;
mod definitions;
mod hash_password;
#[cfg(test)]
mod held_flushes;
mod kafka;
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
    /// Put load on a broker and measure what it does.
    #[command(subcommand)]
    Bench(bench::Protocol),
}

fn main() -> std::process::ExitCode {
    match Arguments::parse().command {
        Command::Serve(flags) => serve::run(*flags),
        Command::Definitions(command) => definitions::run(command),
        Command::HashPassword => hash_password::run(),
        Command::Bench(protocol) => bench::run(protocol),
    }
}
