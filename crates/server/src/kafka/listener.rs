//! How a listener is written: `name=host:port`, and behind a `/` where clients are to come back to, if that is elsewhere.
//!
//! ```text
//! 0.0.0.0:9092                                   one listener, whose clients come back to the address they found
//! docker=0.0.0.0:29092/kafka:29092               clients in the same network know the broker as `kafka`
//! host=0.0.0.0:9092/localhost:9092               all others reach it by a port of the machine
//! ```

use std::net::{IpAddr, SocketAddr};

/// One place where clients are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) bind: String,
    advertised: Option<(String, u16)>,
}

/// Where the clients of a listener are told to come back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advertised {
    /// `None`: the address that a client came to.
    host: Option<String>,
    port: u16,
}

impl std::str::FromStr for Listener {
    type Err = String;

    fn from_str(text: &str) -> Result<Listener, String> {
        let (name, address) = text.split_once('=').unwrap_or(("plaintext", text));
        let (bind, advertised) = match address.split_once('/') {
            Some((bind, advertised)) => (bind, Some(advertised)),
            None => (address, None),
        };
        if name.trim().is_empty() {
            return Err(format!("'{text}': a listener needs a name before the '='"));
        }
        host_and_port(bind)?;
        let advertised = advertised.map(host_and_port).transpose()?;
        Ok(Listener { name: name.trim().to_owned(), bind: bind.trim().to_owned(), advertised })
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("'{text}': write host:port");
    let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(wrong());
    }
    Ok((host.to_owned(), port.parse().map_err(|_| wrong())?))
}

impl Listener {
    /// Once it is bound.
    pub(crate) fn advertised(&self, bound: SocketAddr) -> Advertised {
        match &self.advertised {
            Some((host, port)) => Advertised { host: Some(host.clone()), port: *port },
            None if bound.ip().is_unspecified() => Advertised { host: None, port: bound.port() },
            None => Advertised { host: Some(bound.ip().to_string()), port: bound.port() },
        }
    }
}

impl Advertised {
    /// What a client that came to this address of ours is told.
    pub(super) fn endpoint(&self, local: IpAddr) -> (String, u16) {
        (self.host.clone().unwrap_or_else(|| local.to_canonical().to_string()), self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_says_where_it_is_and_where_its_clients_come_back_to() {
        let bound: SocketAddr = "0.0.0.0:29092".parse().unwrap();
        let told = |text: &str| {
            let listener: Listener = text.parse().unwrap();
            listener.advertised(bound).endpoint([10, 0, 0, 9].into())
        };
        assert_eq!(told("0.0.0.0:29092"), ("10.0.0.9".to_owned(), 29092));
        assert_eq!(told("docker=0.0.0.0:29092/kafka:29092"), ("kafka".to_owned(), 29092));
        assert_eq!(told("host=[::]:9092/localhost:1"), ("localhost".to_owned(), 1));
        let named: Listener = "docker=kafka:1".parse().unwrap();
        assert_eq!((named.name.as_str(), named.bind.as_str()), ("docker", "kafka:1"));
    }

    #[test]
    fn what_is_no_listener_is_refused() {
        for text in ["", "9092", "=host:1", "a=host", "a=host:99999", "a=:1", "a=host:1/b"] {
            assert!(text.parse::<Listener>().is_err(), "{text}");
        }
    }
}
