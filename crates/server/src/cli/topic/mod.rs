//! `cauce topic`.

mod alter;
mod consume;
mod create;
mod delete;
mod describe;
mod list;
mod printing;
mod produce;

use std::process::ExitCode;

use clap::Subcommand;

use super::failure::EXIT_STATUS;

#[derive(Debug, Subcommand)]
#[command(after_help = EXIT_STATUS)]
pub(crate) enum Command {
    /// Make topics.
    #[command(after_help = EXIT_STATUS)]
    Create(create::Create),
    /// Tell which topics there are.
    #[command(after_help = EXIT_STATUS)]
    List(list::List),
    /// Tell how topics are configured, who leads their partitions, and which offsets these hold.
    #[command(after_help = EXIT_STATUS)]
    Describe(describe::Describe),
    /// Change the configuration of a topic, or give it more partitions.
    #[command(after_help = EXIT_STATUS)]
    Alter(alter::Alter),
    /// Delete topics with all that is in them.
    #[command(after_help = EXIT_STATUS)]
    Delete(delete::Delete),
    /// Write each line of standard input as a record.
    #[command(after_help = EXIT_STATUS)]
    Produce(produce::Produce),
    /// Print the records of a topic.
    #[command(after_help = EXIT_STATUS)]
    Consume(consume::Consume),
}

pub(crate) fn run(command: Command) -> ExitCode {
    match command {
        Command::Create(create) => super::run(create.run()),
        Command::List(list) => super::run(list.run()),
        Command::Describe(describe) => super::run(describe.run()),
        Command::Alter(alter) => super::run(alter.run()),
        Command::Delete(delete) => super::run(delete.run()),
        Command::Produce(produce) => super::run(produce.run()),
        Command::Consume(consume) => super::run(consume.run()),
    }
}
