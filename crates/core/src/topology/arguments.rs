//! What the arguments of a queue declaration ask for, read and checked.

use super::TopologyError;
use super::wording::type_name;
use crate::value::Table;

/// The limits and habits of one queue. An absent argument sets no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueLimits {
    pub message_ttl_ms: Option<u64>,
    /// How long the queue may lie unused before it is deleted; never 0.
    pub expires_ms: Option<u64>,
    pub max_length: Option<u64>,
    pub max_length_bytes: Option<u64>,
    pub overflow: Overflow,
    pub dead_letter_exchange: Option<String>,
    pub dead_letter_routing_key: Option<String>,
    /// The highest priority the queue tells apart, 1 to 255.
    pub max_priority: Option<u8>,
    pub single_active_consumer: bool,
    pub delivery_limit: Option<u64>,
    pub consumer_timeout_ms: Option<u64>,
    pub queue_type: QueueType,
    /// Streams only.
    pub max_age_ms: Option<u64>,
    /// Streams only.
    pub segment_bytes_max: Option<u64>,
}

/// What happens to a message that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    #[default]
    DropHead,
    RejectPublish,
    RejectPublishDlx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueType {
    #[default]
    Classic,
    Quorum,
    Stream,
}

impl QueueType {
    pub fn name(self) -> &'static str {
        match self {
            QueueType::Classic => "classic",
            QueueType::Quorum => "quorum",
            QueueType::Stream => "stream",
        }
    }
}

/// An argument that cannot be accepted, before it is known whose it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid arg '{argument}': {reason}")]
pub struct ArgumentError {
    pub argument: &'static str,
    pub reason: String,
}

impl ArgumentError {
    /// The same error about `subject`, such as "queue 'q' in vhost '/'".
    pub fn about(self, subject: String) -> TopologyError {
        TopologyError::InvalidArgument { subject, argument: self.argument.to_owned(), reason: self.reason }
    }
}

type Read<T> = Result<T, ArgumentError>;

impl QueueLimits {
    /// Unknown arguments are nobody's mistake and are let through.
    pub fn parse(arguments: &Table) -> Read<QueueLimits> {
        let read = Reader { arguments };
        let mut limits = QueueLimits {
            message_ttl_ms: read.non_negative("x-message-ttl")?,
            expires_ms: read.positive("x-expires")?,
            max_length: read.non_negative("x-max-length")?,
            max_length_bytes: read.non_negative("x-max-length-bytes")?,
            overflow: read.one_of("x-overflow", &OVERFLOWS)?.unwrap_or_default(),
            dead_letter_exchange: read.text("x-dead-letter-exchange")?,
            dead_letter_routing_key: read.text("x-dead-letter-routing-key")?,
            max_priority: read.priority("x-max-priority")?,
            single_active_consumer: read.flag("x-single-active-consumer")?,
            delivery_limit: read.delivery_limit("x-delivery-limit")?,
            consumer_timeout_ms: read.positive("x-consumer-timeout")?,
            queue_type: read.one_of("x-queue-type", &QUEUE_TYPES)?.unwrap_or_default(),
            max_age_ms: read.age("x-max-age")?,
            segment_bytes_max: read.segment_bytes("x-stream-max-segment-size-bytes")?,
        };
        if limits.queue_type == QueueType::Quorum && arguments.get("x-delivery-limit").is_none() {
            limits.delivery_limit = Some(QUORUM_DELIVERY_LIMIT);
        }
        read.one_of("x-queue-mode", &[("default", ()), ("lazy", ())])?;
        read.version("x-queue-version")?;
        read.text("x-queue-master-locator")?;
        read.text("x-queue-leader-locator")?;
        if limits.dead_letter_routing_key.is_some() && limits.dead_letter_exchange.is_none() {
            let reason = "routing key but no dead letter exchange defined".to_owned();
            return Err(ArgumentError { argument: "x-dead-letter-routing-key", reason });
        }
        limits.refuse_what_the_type_cannot(&read)?;
        Ok(limits)
    }

    /// The arguments RabbitMQ refuses for the type. It also refuses a delivery limit and a maximum age
    /// where they mean nothing to it; here the first works in classic queues too, so that is let through.
    fn refuse_what_the_type_cannot(&self, read: &Reader<'_>) -> Read<()> {
        let refused: &[&'static str] = match self.queue_type {
            QueueType::Classic => &["x-max-age", "x-stream-max-segment-size-bytes"],
            QueueType::Quorum => &["x-max-priority", "x-max-age", "x-stream-max-segment-size-bytes"],
            QueueType::Stream => &NOT_FOR_STREAMS,
        };
        let Some(&argument) = refused.iter().find(|name| read.arguments.get(name).is_some()) else {
            return Ok(());
        };
        let reason = format!("not supported by queue type {}", self.queue_type.name());
        Err(ArgumentError { argument, reason })
    }
}

/// Returns that a quorum queue allows unless told otherwise, as in RabbitMQ from 4.0 on.
const QUORUM_DELIVERY_LIMIT: u64 = 20;

/// The largest segment a stream may ask for, as in RabbitMQ.
const SEGMENT_BYTES_LIMIT: u64 = 3_000_000_000;

const OVERFLOWS: [(&str, Overflow); 3] = [
    ("drop-head", Overflow::DropHead),
    ("reject-publish", Overflow::RejectPublish),
    ("reject-publish-dlx", Overflow::RejectPublishDlx),
];

const QUEUE_TYPES: [(&str, QueueType); 3] =
    [("classic", QueueType::Classic), ("quorum", QueueType::Quorum), ("stream", QueueType::Stream)];

const NOT_FOR_STREAMS: [&str; 10] = [
    "x-message-ttl",
    "x-expires",
    "x-max-length",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-priority",
    "x-single-active-consumer",
    "x-delivery-limit",
    "x-queue-mode",
];

/// Reads one argument at a time; what is absent is `None`.
struct Reader<'a> {
    arguments: &'a Table,
}

impl Reader<'_> {
    fn integer(&self, argument: &'static str) -> Read<Option<i64>> {
        let Some(value) = self.arguments.get(argument) else {
            return Ok(None);
        };
        match value.as_integer() {
            Some(number) => Ok(Some(number)),
            None => refuse(argument, format!("expected a whole number, not {}", type_name(value))),
        }
    }

    fn non_negative(&self, argument: &'static str) -> Read<Option<u64>> {
        let Some(number) = self.integer(argument)? else {
            return Ok(None);
        };
        match u64::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => refuse(argument, format!("value {number} is negative")),
        }
    }

    fn positive(&self, argument: &'static str) -> Read<Option<u64>> {
        match self.non_negative(argument)? {
            Some(0) => refuse(argument, "value 0 is not greater than zero".to_owned()),
            number => Ok(number),
        }
    }

    /// 0 means what no argument means.
    fn priority(&self, argument: &'static str) -> Read<Option<u8>> {
        let Some(number) = self.non_negative(argument)? else {
            return Ok(None);
        };
        match u8::try_from(number) {
            Ok(priority) => Ok(Some(priority).filter(|&priority| priority > 0)),
            Err(_) => refuse(argument, format!("value {number} exceeds the maximum of 255")),
        }
    }

    fn segment_bytes(&self, argument: &'static str) -> Read<Option<u64>> {
        match self.non_negative(argument)? {
            Some(bytes) if bytes > SEGMENT_BYTES_LIMIT => {
                refuse(argument, format!("value {bytes} exceeds the maximum of {SEGMENT_BYTES_LIMIT}"))
            }
            bytes => Ok(bytes),
        }
    }

    /// -1 lifts the limit.
    fn delivery_limit(&self, argument: &'static str) -> Read<Option<u64>> {
        match self.integer(argument)? {
            Some(-1) => Ok(None),
            _ => self.non_negative(argument),
        }
    }

    fn version(&self, argument: &'static str) -> Read<()> {
        match self.integer(argument)? {
            None | Some(1 | 2) => Ok(()),
            Some(other) => refuse(argument, format!("unknown queue version {other}")),
        }
    }

    fn text(&self, argument: &'static str) -> Read<Option<String>> {
        let Some(value) = self.arguments.get(argument) else {
            return Ok(None);
        };
        match value.as_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => refuse(argument, format!("expected text, not {}", type_name(value))),
        }
    }

    fn flag(&self, argument: &'static str) -> Read<bool> {
        let Some(value) = self.arguments.get(argument) else {
            return Ok(false);
        };
        match value.as_bool() {
            Some(flag) => Ok(flag),
            None => refuse(argument, format!("expected a boolean, not {}", type_name(value))),
        }
    }

    fn one_of<T: Copy>(&self, argument: &'static str, choices: &[(&str, T)]) -> Read<Option<T>> {
        let Some(text) = self.text(argument)? else {
            return Ok(None);
        };
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => refuse(argument, format!("unknown value '{text}'")),
        }
    }

    /// A number and one of Y M D h m s, such as "7D".
    fn age(&self, argument: &'static str) -> Read<Option<u64>> {
        let Some(text) = self.text(argument)? else {
            return Ok(None);
        };
        match age_ms(&text) {
            Some(age) => Ok(Some(age)),
            None => refuse(argument, format!("'{text}' is not a number followed by Y, M, D, h, m or s")),
        }
    }
}

fn refuse<T>(argument: &'static str, reason: String) -> Read<T> {
    Err(ArgumentError { argument, reason })
}

/// Milliseconds of an age such as "7D": a number and one of Y, M, D, h, m and s.
pub fn age_ms(text: &str) -> Option<u64> {
    const DAY: u64 = 24 * 3_600_000;
    let unit = match text.chars().next_back()? {
        'Y' => 365 * DAY,
        'M' => 30 * DAY,
        'D' => DAY,
        'h' => 3_600_000,
        'm' => 60_000,
        's' => 1_000,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn nothing_asked_is_a_classic_queue_without_limits() {
        assert_eq!(QueueLimits::parse(&Table::new()), Ok(QueueLimits::default()));
    }

    #[test]
    fn every_argument_lands_in_its_field() {
        let limits = parse(&[
            ("x-message-ttl", Value::I32(60_000)),
            ("x-expires", Value::I64(1)),
            ("x-max-length", Value::U16(0)),
            ("x-max-length-bytes", Value::I64(1 << 40)),
            ("x-overflow", Value::text("reject-publish-dlx")),
            ("x-dead-letter-exchange", Value::text("")),
            ("x-dead-letter-routing-key", Value::text("dead")),
            ("x-max-priority", Value::U8(255)),
            ("x-single-active-consumer", Value::Bool(true)),
            ("x-delivery-limit", Value::I32(5)),
            ("x-consumer-timeout", Value::I32(1_000)),
            ("x-queue-type", Value::text("classic")),
            ("x-queue-mode", Value::text("lazy")),
            ("x-queue-version", Value::I32(2)),
            ("x-something-of-mine", Value::List(Vec::new())),
        ])
        .unwrap();
        let expected = QueueLimits {
            message_ttl_ms: Some(60_000),
            expires_ms: Some(1),
            max_length: Some(0),
            max_length_bytes: Some(1 << 40),
            overflow: Overflow::RejectPublishDlx,
            dead_letter_exchange: Some(String::new()),
            dead_letter_routing_key: Some("dead".to_owned()),
            max_priority: Some(255),
            single_active_consumer: true,
            delivery_limit: Some(5),
            consumer_timeout_ms: Some(1_000),
            ..QueueLimits::default()
        };
        assert_eq!(limits, expected);
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_argument() {
        for (argument, value) in [
            ("x-message-ttl", Value::I32(-1)),
            ("x-message-ttl", Value::text("60000")),
            ("x-expires", Value::I32(0)),
            ("x-max-length", Value::I8(-5)),
            ("x-max-length-bytes", Value::Bool(true)),
            ("x-overflow", Value::text("spill")),
            ("x-dead-letter-exchange", Value::I32(1)),
            ("x-dead-letter-routing-key", Value::text("no exchange")),
            ("x-max-priority", Value::I32(256)),
            ("x-max-priority", Value::I32(-1)),
            ("x-single-active-consumer", Value::text("true")),
            ("x-delivery-limit", Value::I32(-2)),
            ("x-consumer-timeout", Value::I32(0)),
            ("x-queue-type", Value::text("heap")),
            ("x-queue-mode", Value::text("eager")),
            ("x-queue-version", Value::I32(3)),
            ("x-max-age", Value::text("7D")),
        ] {
            assert_eq!(parse(&[(argument, value)]).unwrap_err().argument, argument);
        }
    }

    #[test]
    fn an_error_says_whose_argument_it_was() {
        let error = parse(&[("x-message-ttl", Value::I32(-1))]).unwrap_err();
        let error = error.about("queue 'q' in vhost '/'".to_owned());
        let expected = "invalid arg 'x-message-ttl' for queue 'q' in vhost '/': value -1 is negative";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_type_refuses_what_it_cannot_do() {
        let of =
            |kind: &str, argument, value| parse(&[("x-queue-type", Value::text(kind)), (argument, value)]);
        assert!(of("quorum", "x-max-priority", Value::I32(5)).is_err());
        assert!(of("quorum", "x-delivery-limit", Value::I32(5)).is_ok());
        assert!(of("stream", "x-message-ttl", Value::I32(5)).is_err());
        assert_eq!(of("stream", "x-max-age", Value::text("2h")).unwrap().max_age_ms, Some(7_200_000));
        assert!(of("stream", "x-max-age", Value::text("2 hours")).is_err());
        assert!(of("stream", "x-max-age", Value::text("99999999999999999999Y")).is_err());
        let segment = |bytes| of("stream", "x-stream-max-segment-size-bytes", Value::I64(bytes));
        assert_eq!(segment(0).unwrap().segment_bytes_max, Some(0));
        assert!(segment(3_000_000_001).is_err());
    }

    #[test]
    fn no_priority_and_no_delivery_limit_can_be_said_aloud() {
        assert_eq!(parse(&[("x-max-priority", Value::I32(0))]).unwrap().max_priority, None);
        assert_eq!(parse(&[("x-delivery-limit", Value::I32(-1))]).unwrap().delivery_limit, None);
    }

    #[test]
    fn quorum_queues_have_a_delivery_limit_unless_it_is_lifted() {
        let quorum = ("x-queue-type", Value::text("quorum"));
        let limit = |arguments: &[_]| parse(arguments).unwrap().delivery_limit;
        assert_eq!(limit(std::slice::from_ref(&quorum)), Some(20));
        assert_eq!(limit(&[quorum.clone(), ("x-delivery-limit", Value::I32(3))]), Some(3));
        assert_eq!(limit(&[quorum, ("x-delivery-limit", Value::I32(-1))]), None);
        assert_eq!(limit(&[]), None);
    }

    fn parse(arguments: &[(&'static str, Value)]) -> Result<QueueLimits, ArgumentError> {
        QueueLimits::parse(&arguments.iter().cloned().collect())
    }
}
