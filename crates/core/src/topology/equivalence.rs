//! Whether declaring again what exists asks for the same thing.

use super::arguments::type_name;
use super::{ExchangeSpec, Inequivalent, QueueSpec, TopologyError};
use crate::exchange::{ExchangeKind, equal_by_value};
use crate::value::{Table, Value};

/// The arguments of a queue that must be the same; others may differ and the first stay.
const QUEUE_ARGUMENTS: [&str; 14] = [
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-priority",
    "x-queue-type",
    "x-single-active-consumer",
    "x-queue-mode",
    "x-delivery-limit",
    "x-consumer-timeout",
    "x-max-age",
];

pub(super) fn check_exchange(
    name: &str,
    vhost: &str,
    current: &ExchangeSpec,
    received: &ExchangeSpec,
) -> Result<(), TopologyError> {
    let comparison = Comparison {
        what: "exchange",
        name,
        vhost,
    };
    comparison.kinds(&current.kind, &received.kind)?;
    comparison.flags("durable", current.durable, received.durable)?;
    comparison.flags("auto_delete", current.auto_delete, received.auto_delete)?;
    comparison.flags("internal", current.internal, received.internal)?;
    comparison.arguments(
        "alternate-exchange",
        None,
        &current.arguments,
        &received.arguments,
    )
}

/// Exclusiveness is not compared here: a difference in it is a lock, not a mismatch.
pub(super) fn check_queue(
    name: &str,
    vhost: &str,
    current: &QueueSpec,
    received: &QueueSpec,
) -> Result<(), TopologyError> {
    let comparison = Comparison {
        what: "queue",
        name,
        vhost,
    };
    comparison.flags("durable", current.durable, received.durable)?;
    comparison.flags("auto_delete", current.auto_delete, received.auto_delete)?;
    for argument in QUEUE_ARGUMENTS {
        // A declaration that names no type asks for a classic queue.
        let default = (argument == "x-queue-type").then(|| Value::text("classic"));
        comparison.arguments(argument, default, &current.arguments, &received.arguments)?;
    }
    Ok(())
}

struct Comparison<'a> {
    what: &'static str,
    name: &'a str,
    vhost: &'a str,
}

impl Comparison<'_> {
    fn kinds(&self, current: &ExchangeKind, received: &ExchangeKind) -> Result<(), TopologyError> {
        match (current, received) {
            _ if current == received => Ok(()),
            (ExchangeKind::Delayed(current), ExchangeKind::Delayed(received)) => {
                self.differ("x-delayed-type", quoted(current), quoted(received))
            }
            _ => self.differ("type", quoted(current), quoted(received)),
        }
    }

    fn flags(&self, argument: &str, current: bool, received: bool) -> Result<(), TopologyError> {
        if current == received {
            return Ok(());
        }
        self.differ(argument, quoted(current), quoted(received))
    }

    fn arguments(
        &self,
        argument: &str,
        default: Option<Value>,
        current: &Table,
        received: &Table,
    ) -> Result<(), TopologyError> {
        let current = current.get(argument).or(default.as_ref());
        let received = received.get(argument).or(default.as_ref());
        match (current, received) {
            (None, None) => Ok(()),
            (Some(current), Some(received)) if equal_by_value(current, received) => Ok(()),
            _ => self.differ(argument, described(current), described(received)),
        }
    }

    fn differ(&self, argument: &str, current: String, received: String) -> Result<(), TopologyError> {
        let difference = Inequivalent {
            what: self.what,
            name: self.name.to_owned(),
            vhost: self.vhost.to_owned(),
            argument: argument.to_owned(),
            received,
            current,
        };
        Err(TopologyError::Inequivalent(Box::new(difference)))
    }
}

fn quoted(value: impl std::fmt::Display) -> String {
    format!("'{value}'")
}

fn described(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "none".to_owned();
    };
    let shown = match (value, value.as_integer()) {
        (_, Some(number)) => number.to_string(),
        (Value::Text(bytes), _) => String::from_utf8_lossy(bytes).into_owned(),
        (Value::Bool(flag), _) => flag.to_string(),
        (Value::F32(number), _) => number.to_string(),
        (Value::F64(number), _) => number.to_string(),
        (other, _) => format!("{other:?}"),
    };
    format!("the value '{shown}' of type '{}'", type_name(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_told_with_both_sides() {
        let durable = QueueSpec {
            durable: true,
            ..QueueSpec::default()
        };
        let error = check_queue("q", "/", &durable, &QueueSpec::default()).unwrap_err();
        let expected =
            "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn an_argument_on_one_side_only_is_a_difference() {
        let limited = with("x-message-ttl", Value::I32(1_000));
        let error = check_queue("q", "/", &QueueSpec::default(), &limited).unwrap_err();
        let expected = "inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': \
                        received the value '1000' of type 'signedint' but current is none";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn numbers_are_compared_by_value_and_no_type_means_classic() {
        let narrow = with("x-max-length", Value::I32(7));
        assert!(check_queue("q", "/", &narrow, &with("x-max-length", Value::I64(7))).is_ok());
        assert!(check_queue("q", "/", &narrow, &with("x-max-length", Value::I64(8))).is_err());
        let classic = with("x-queue-type", Value::text("classic"));
        assert!(check_queue("q", "/", &classic, &QueueSpec::default()).is_ok());
        let quorum = with("x-queue-type", Value::text("quorum"));
        assert!(check_queue("q", "/", &quorum, &QueueSpec::default()).is_err());
    }

    #[test]
    fn arguments_nobody_acts_on_may_differ() {
        let noted = with("x-note", Value::text("mine"));
        assert!(check_queue("q", "/", &noted, &QueueSpec::default()).is_ok());
    }

    #[test]
    fn exchanges_compare_type_flags_and_alternate() {
        let direct = || ExchangeSpec::new(ExchangeKind::Direct);
        let check = |changed: ExchangeSpec| check_exchange("e", "/", &direct(), &changed);
        assert!(check(direct()).is_ok());
        let error = check(ExchangeSpec::new(ExchangeKind::Fanout)).unwrap_err();
        let expected = "inequivalent arg 'type' for exchange 'e' in vhost '/': received 'fanout' but current is 'direct'";
        assert_eq!(error.to_string(), expected);
        assert!(
            check(ExchangeSpec {
                durable: true,
                ..direct()
            })
            .is_err()
        );
        assert!(
            check(ExchangeSpec {
                auto_delete: true,
                ..direct()
            })
            .is_err()
        );
        assert!(
            check(ExchangeSpec {
                internal: true,
                ..direct()
            })
            .is_err()
        );
        let arguments = Table::from_iter([("alternate-exchange", Value::text("else"))]);
        assert!(
            check(ExchangeSpec {
                arguments,
                ..direct()
            })
            .is_err()
        );
    }

    fn with(argument: &str, value: Value) -> QueueSpec {
        QueueSpec {
            arguments: Table::from_iter([(argument, value)]),
            ..QueueSpec::default()
        }
    }
}
