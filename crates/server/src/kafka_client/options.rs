//! Where the broker is and who we are there.

use std::fmt;
use std::str::FromStr;

use clap::Args;

const PORT_DEFAULT: u16 = 9092;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectOptions {
    /// A broker of the cluster, or several with commas between: the first that answers tells of all.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "CAUCE_BOOTSTRAP",
        default_value = "localhost:9092",
        value_delimiter = ','
    )]
    pub(super) bootstrap: Vec<Address>,
    /// User to log in as, by SASL PLAIN; no login if not given.
    #[arg(long, value_name = "NAME", env = "CAUCE_USER")]
    pub(super) user: Option<String>,
    /// The user's password.
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "CAUCE_PASSWORD",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub(super) password: String,
    /// Seconds to wait for each answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) timeout: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host and port")]
pub(crate) struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let wrong = || AddressError(text.to_owned());
        let (host, port) = match text.strip_prefix('[') {
            // An IPv6 address stands in brackets, so that its colons are not taken for the port's.
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
                (host, (!rest.is_empty()).then(|| rest.strip_prefix(':').unwrap_or("?")))
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err(wrong());
        }
        let port = port.map_or(Ok(PORT_DEFAULT), |port| port.parse().map_err(|_| wrong()))?;
        Ok(Address { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port() {
        check("localhost", "localhost:9092");
        check("kafka.example:19092", "kafka.example:19092");
        check("[::1]:7", "[::1]:7");
        check("[::1]", "[::1]:9092");
        for wrong in ["", ":9092", "h:", "h:many", "h:70000", "[::1", "[::1]x", "::1"] {
            check(wrong, &format!("{wrong:?} is no host and port"));
        }
    }

    fn check(text: &str, expected: &str) {
        let found = match text.parse::<Address>() {
            Ok(address) => address.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }
}
