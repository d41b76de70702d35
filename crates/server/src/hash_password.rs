//! `cauce hash-password`: the `password_hash` of a definitions file, without the password on a command line.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use cauce_broker::random_salt;
use cauce_core::access::PasswordHash;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Nobody types more.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

pub(crate) fn run() -> ExitCode {
    let password = match read_password() {
        Ok(password) if password.is_empty() => {
            eprintln!("cauce: nobody can log in with a blank password");
            return ExitCode::FAILURE;
        }
        Ok(password) => password,
        Err(error) => {
            eprintln!("cauce: reading the password: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", PasswordHash::with_salt(random_salt(), &password).to_base64());
    ExitCode::SUCCESS
}

/// The first line, without its end. On a terminal it is asked for and does not show.
fn read_password() -> io::Result<Vec<u8>> {
    let input = io::stdin();
    if !input.is_terminal() {
        return read_line();
    }
    eprint!("Password: ");
    io::stderr().flush()?;
    let before = tcgetattr(&input)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Flush, &silent)?;
    let password = read_line();
    tcsetattr(&input, OptionalActions::Flush, &before)?;
    eprintln!();
    password
}

fn read_line() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::stdin().lock().take(PASSWORD_BYTES_MAX).read_until(b'\n', &mut line)?;
    while line.last().is_some_and(|end| b"\r\n".contains(end)) {
        line.pop();
    }
    Ok(line)
}
