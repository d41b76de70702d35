//! Whether declaring again what exists asks for the same thing.

use super::wording::{shown, type_name};
use super::{ExchangeSpec, Inequivalent, QueueSpec, TopologyError};
use crate::exchange::{ExchangeKind, equal_by_value};
use crate::value::{Table, Value};

/// The arguments of a queue that must be the same; others may differ and the first stay.
const QUEUE_ARGUMENTS: [&str; 15] = [
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
    "x-stream-max-segment-size-bytes",
];

pub(super) fn check_exchange(
    name: &str,
    vhost: &str,
    current: &ExchangeSpec,
    received: &ExchangeSpec,
) -> Result<(), TopologyError> {
    let comparison = Comparison { what: "exchange", name, vhost };
    comparison.kinds(&current.kind, &received.kind)?;
    comparison.flags("durable", current.durable, received.durable)?;
    comparison.flags("auto_delete", current.auto_delete, received.auto_delete)?;
    comparison.flags("internal", current.internal, received.internal)?;
    comparison.arguments("alternate-exchange", None, &current.arguments, &received.arguments)
}

/// Exclusiveness is not compared here: a difference in it is a lock, not a mismatch.
pub(super) fn check_queue(
    name: &str,
    vhost: &str,
    current: &QueueSpec,
    received: &QueueSpec,
) -> Result<(), TopologyError> {
    let comparison = Comparison { what: "queue", name, vhost };
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
        let (current, received) = (current.get(argument), received.get(argument));
        let default = default.as_ref();
        let same = match (current.or(default), received.or(default)) {
            (None, None) => true,
            (Some(current), Some(received)) => equal_by_value(current, received),
            _ => false,
        };
        match (current, received) {
            _ if same => Ok(()),
            // RabbitMQ's clients are told the types only where one side names no value.
            (Some(current), Some(received)) => {
                self.differ(argument, quoted(shown(current)), quoted(shown(received)))
            }
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
    format!("the value {} of type '{}'", quoted(shown(value)), type_name(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_told_with_both_sides() {
        let durable = QueueSpec { durable: true, ..QueueSpec::default() };
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
    fn two_values_are_told_without_their_types() {
        let error = check_queue(
            "q",
            "/",
            &with("x-max-length", Value::I32(10)),
            &with("x-max-length", Value::I64(5)),
        );
        let expected = "inequivalent arg 'x-max-length' for queue 'q' in vhost '/': \
                        received '5' but current is '10'";
        assert_eq!(error.unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_type_nobody_named_is_told_as_none() {
        let stream = with("x-queue-type", Value::text("stream"));
        let error = check_queue("q", "/", &QueueSpec::default(), &stream).unwrap_err();
        let expected = "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': \
                        received the value 'stream' of type 'longstr' but current is none";
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
        assert!(check(ExchangeSpec { durable: true, ..direct() }).is_err());
        assert!(check(ExchangeSpec { auto_delete: true, ..direct() }).is_err());
        assert!(check(ExchangeSpec { internal: true, ..direct() }).is_err());
        let arguments = Table::from_iter([("alternate-exchange", Value::text("else"))]);
        assert!(check(ExchangeSpec { arguments, ..direct() }).is_err());
    }

    fn with(argument: &str, value: Value) -> QueueSpec {
        QueueSpec { arguments: Table::from_iter([(argument, value)]), ..QueueSpec::default() }
    }
}
