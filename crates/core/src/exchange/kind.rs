//! The kinds of exchange and the names clients call them by.

use std::fmt;

use super::consistent_hash;
use crate::topology::TopologyError;
use crate::value::{Table, Value};

/// Names the kind a delayed exchange routes by when the delay is over.
const DELAYED_TYPE: &str = "x-delayed-type";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeKind {
    Direct,
    Fanout,
    Topic,
    Headers,
    ConsistentHash,
    /// Holds a message as long as its `x-delay` header says, then routes it as the kind inside.
    Delayed(Box<ExchangeKind>),
}

impl ExchangeKind {
    pub fn parse(kind: &str, arguments: &Table) -> Result<ExchangeKind, TopologyError> {
        match kind {
            "direct" => Ok(ExchangeKind::Direct),
            "fanout" => Ok(ExchangeKind::Fanout),
            "topic" => Ok(ExchangeKind::Topic),
            "headers" => Ok(ExchangeKind::Headers),
            "x-consistent-hash" => Ok(ExchangeKind::ConsistentHash),
            "x-delayed-message" => parse_delayed(arguments),
            _ => Err(TopologyError::UnknownExchangeType { kind: kind.to_owned() }),
        }
    }

    /// The name this kind is declared by.
    pub fn name(&self) -> &'static str {
        match self {
            ExchangeKind::Direct => "direct",
            ExchangeKind::Fanout => "fanout",
            ExchangeKind::Topic => "topic",
            ExchangeKind::Headers => "headers",
            ExchangeKind::ConsistentHash => "x-consistent-hash",
            ExchangeKind::Delayed(_) => "x-delayed-message",
        }
    }

    /// Whether the arguments of an exchange suit this kind; if not, which one and why.
    pub(crate) fn check(&self, arguments: &Table) -> Result<(), (&'static str, String)> {
        match self {
            ExchangeKind::ConsistentHash => consistent_hash::check(arguments),
            ExchangeKind::Delayed(inner) => inner.check(arguments),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ExchangeKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

fn parse_delayed(arguments: &Table) -> Result<ExchangeKind, TopologyError> {
    let invalid = |reason: &str| TopologyError::InvalidArgument {
        subject: "exchange of type 'x-delayed-message'".to_owned(),
        argument: DELAYED_TYPE.to_owned(),
        reason: reason.to_owned(),
    };
    match arguments.get(DELAYED_TYPE).and_then(Value::as_str) {
        None => Err(invalid("must name an exchange type")),
        Some("x-delayed-message") => Err(invalid("must name a type other than 'x-delayed-message'")),
        Some(inner) => Ok(ExchangeKind::Delayed(Box::new(ExchangeKind::parse(inner, arguments)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_back_from_its_name() {
        for name in ["direct", "fanout", "topic", "headers", "x-consistent-hash"] {
            assert_eq!(ExchangeKind::parse(name, &Table::new()).unwrap().name(), name);
        }
    }

    #[test]
    fn an_unknown_kind_is_refused_by_name() {
        let error = ExchangeKind::parse("x-sorting-hat", &Table::new()).unwrap_err();
        assert_eq!(error.to_string(), "unknown exchange type 'x-sorting-hat'");
    }

    #[test]
    fn a_delayed_exchange_says_what_it_routes_as() {
        let kind = |inner: &str| {
            let arguments = Table::from_iter([(DELAYED_TYPE, Value::text(inner))]);
            ExchangeKind::parse("x-delayed-message", &arguments)
        };
        assert_eq!(kind("topic").unwrap(), ExchangeKind::Delayed(Box::new(ExchangeKind::Topic)));
        assert!(kind("x-delayed-message").is_err());
        assert!(kind("nothing").is_err());
        assert!(ExchangeKind::parse("x-delayed-message", &Table::new()).is_err());
    }
}
