//! `cauce group`.

mod delete;
mod describe;
mod list;
mod reset;

use std::process::ExitCode;

use clap::Subcommand;

use super::failure::EXIT_STATUS;

#[derive(Debug, Subcommand)]
#[command(after_help = EXIT_STATUS)]
pub(crate) enum Command {
    /// Tell which groups there are.
    #[command(after_help = EXIT_STATUS)]
    List(list::List),
    /// Tell how far groups have read, how much is left, and who reads what.
    #[command(after_help = EXIT_STATUS)]
    Describe(describe::Describe),
    /// Make a group go on from elsewhere. Nobody may be a member of it meanwhile.
    #[command(after_help = EXIT_STATUS)]
    ResetOffsets(reset::Reset),
    /// Delete groups that nobody is a member of.
    #[command(after_help = EXIT_STATUS)]
    Delete(delete::Delete),
}

pub(crate) fn run(command: Command) -> ExitCode {
    match command {
        Command::List(list) => super::run(list.run()),
        Command::Describe(describe) => super::run(describe.run()),
        Command::ResetOffsets(reset) => super::run(reset.run()),
        Command::Delete(delete) => super::run(delete.run()),
    }
}
