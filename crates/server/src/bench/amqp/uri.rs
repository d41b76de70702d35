//! Where the broker is and who we are there: `amqp://user:password@host:port/vhost`.

use std::str::FromStr;

const PORT_DEFAULT: u16 = 5672;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uri {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) vhost: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UriError {
    #[error("expected amqp://user:password@host:port/vhost, and TLS is not spoken here")]
    Scheme,
    #[error("{0:?} is not a port")]
    Port(String),
    #[error("{0:?} has a % without two hexadecimal digits, or is not UTF-8 behind them")]
    Escape(String),
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Uri, UriError> {
        let rest = text.strip_prefix("amqp://").ok_or(UriError::Scheme)?;
        let (authority, vhost) = match rest.split_once('/') {
            Some((authority, vhost)) => (authority, unescape(vhost)?),
            None => (rest, "/".to_owned()),
        };
        let (login, address) = authority.rsplit_once('@').unwrap_or(("guest:guest", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = split_port(address)?;
        Ok(Uri {
            user: unescape(user)?,
            password: unescape(password)?,
            host: if host.is_empty() { "localhost" } else { host }.to_owned(),
            port,
            vhost,
        })
    }
}

/// An IPv6 address stands in brackets, so that its colons are not taken for the port's.
fn split_port(address: &str) -> Result<(&str, u16), UriError> {
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port =
        port.map_or(Ok(PORT_DEFAULT), |port| port.parse().map_err(|_| UriError::Port(port.to_owned())))?;
    Ok((host, port))
}

fn unescape(text: &str) -> Result<String, UriError> {
    let wrong = || UriError::Escape(text.to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_first_chunk::<2>().ok_or_else(wrong)?;
        let digit = |octet: u8| char::from(octet).to_digit(16).ok_or_else(wrong);
        bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read_or_has_a_default() {
        check("amqp://guest:guest@127.0.0.1:5672/%2f", "guest guest 127.0.0.1 5672 /");
        check("amqp://localhost", "guest guest localhost 5672 /");
        check("amqp://", "guest guest localhost 5672 /");
        check("amqp://u@h/", "u  h 5672 ");
        check("amqp://a%40b:p%3Aq@h:1/orders", "a@b p:q h 1 orders");
        check("amqp://u:p@[::1]:99/v", "u p ::1 99 v");
        check("amqp://u:p@[::1]", "u p ::1 5672 /");
    }

    #[test]
    fn nonsense_is_named() {
        check("http://localhost", &UriError::Scheme.to_string());
        check("amqp://h:many/", &UriError::Port("many".into()).to_string());
        check("amqp://h/%2", &UriError::Escape("%2".into()).to_string());
        check("amqp://h/%zz", &UriError::Escape("%zz".into()).to_string());
    }

    fn check(text: &str, expected: &str) {
        let found = match text.parse::<Uri>() {
            Ok(uri) => format!("{} {} {} {} {}", uri.user, uri.password, uri.host, uri.port, uri.vhost),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }
}
