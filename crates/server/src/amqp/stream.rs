//! Consumers of streams, and what streams refuse.

use std::sync::Arc;

use cauce_amqp::method::QueueDelete;
use cauce_amqp::reply::ReplyCode;
use cauce_broker::clock::now_ms;
use cauce_broker::stream::{Start, StreamHandle, TopicError, Wish};
use cauce_broker::{DeleteError, DeleteQueueError};
use cauce_core::topology::age_ms;
use cauce_core::{Table, Value};

use super::connection::Connection;
use super::consume::NewConsumer;
use super::fault::Fault;
use super::source::Source;

pub(super) const STREAM_OFFSET: &str = "x-stream-offset";
const STREAM_PARTITION: &str = "x-stream-partition";

impl Connection {
    /// Starts to read the stream for a consumer.
    pub(super) async fn read_stream(
        &mut self,
        stream: &Arc<StreamHandle>,
        new: &NewConsumer<'_>,
    ) -> Result<Source, Fault> {
        let subject = format!("queue '{}' in vhost '{}'", stream.name(), self.vhost.name);
        let channel = self.channel(new.channel);
        if channel.prefetch == 0 {
            let text = format!("consumer prefetch count is not set for '{subject}'");
            return Err(Fault::new(ReplyCode::PreconditionFailed, text));
        }
        if new.no_ack {
            return Err(not_supported("automatic acknowledgement", &subject));
        }
        if channel.shared_limit.is_set() {
            let text = format!("{subject} does not support global qos");
            return Err(Fault::connection(ReplyCode::NotImplemented, text));
        }
        if new.arguments.get("x-priority").is_some() {
            return Err(invalid("x-priority", &subject, "not supported by queue type stream"));
        }
        let wish = Wish {
            start: start_of(new.arguments, now_ms())
                .map_err(|reason| invalid(STREAM_OFFSET, &subject, &reason))?,
            partition: partition_of(new.arguments)
                .map_err(|reason| invalid(STREAM_PARTITION, &subject, &reason))?,
            prefetch: channel.prefetch,
        };
        let started = stream.subscribe(new.id, wish, self.link.clone()).await;
        let consumer =
            started.map_err(|error| Fault::new(ReplyCode::PreconditionFailed, error.to_string()))?;
        Ok(Source::Stream(Arc::new(consumer)))
    }

    /// The number of messages that went with it.
    pub(super) async fn delete_stream(
        &mut self,
        stream: &StreamHandle,
        delete: &QueueDelete<'_>,
    ) -> Result<u64, Fault> {
        let status = stream.status();
        let refused = match () {
            () if delete.if_unused && status.consumers > 0 => Some(DeleteError::InUse),
            () if delete.if_empty && status.ready > 0 => Some(DeleteError::NotEmpty),
            () => None,
        };
        if let Some(error) = refused {
            let (name, vhost) = (stream.name().to_owned(), self.vhost.name.to_string());
            return Err(DeleteQueueError::Refused { name, vhost, error }.into());
        }
        match self.node.delete_topic(stream.name()).await {
            // Somebody else was faster.
            Ok(()) | Err(TopicError::Unknown(_)) => Ok(status.ready),
            Err(error) => Err(error.into()),
        }
    }
}

/// What RabbitMQ answers, and how: it ends the connection.
pub(super) fn not_supported(what: &str, subject: &str) -> Fault {
    Fault::connection(ReplyCode::NotImplemented, format!("{what} not supported by stream queues {subject}"))
}

pub(super) fn invalid(argument: &str, subject: &str, reason: &str) -> Fault {
    let text = format!("invalid arg '{argument}' for {subject}: {reason}");
    Fault::new(ReplyCode::PreconditionFailed, text)
}

/// Where to begin: a word, an offset, a time, or how long ago.
fn start_of(arguments: &Table, now_ms: i64) -> Result<Start, String> {
    let Some(value) = arguments.get(STREAM_OFFSET) else { return Ok(Start::Next) };
    if let Some(offset) = value.as_integer() {
        return Ok(Start::Offset(offset.max(0) as u64));
    }
    match value {
        Value::Timestamp(seconds) => {
            Ok(Start::Time(i64::try_from(*seconds).unwrap_or(i64::MAX).saturating_mul(1000)))
        }
        Value::Text(_) => {
            let text = value.as_str().unwrap_or_default();
            match (text, age_ms(text)) {
                ("first", _) => Ok(Start::First),
                ("last", _) => Ok(Start::Last),
                ("next", _) => Ok(Start::Next),
                (_, Some(age_ms @ 1..)) => Ok(Start::Time(now_ms.saturating_sub_unsigned(age_ms))),
                _ => Err(format!(
                    "'{text}' is none of first, last and next, and no interval such as 90s, 15m, 1h, 7D, 1M or 1Y"
                )),
            }
        }
        _ => Err("expected an offset, a timestamp, or text".to_owned()),
    }
}

fn partition_of(arguments: &Table) -> Result<Option<i32>, String> {
    let Some(value) = arguments.get(STREAM_PARTITION) else { return Ok(None) };
    let number = value.as_integer().and_then(|number| i32::try_from(number).ok());
    number.map(Some).ok_or_else(|| "expected the number of a partition".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_says_where_to_begin() {
        let now_ms = 10_000_000;
        let start = |value: Value| start_of(&Table::from_iter([(STREAM_OFFSET, value)]), now_ms);
        for (value, expected) in [
            (Value::text("first"), Start::First),
            (Value::text("last"), Start::Last),
            (Value::text("next"), Start::Next),
            (Value::I64(7), Start::Offset(7)),
            (Value::I8(-1), Start::Offset(0)),
            (Value::Timestamp(12), Start::Time(12_000)),
            (Value::Timestamp(u64::MAX), Start::Time(i64::MAX)),
            (Value::text("1h"), Start::Time(now_ms - 3_600_000)),
        ] {
            assert_eq!(start(value.clone()), Ok(expected), "{value:?}");
        }
        for value in [Value::text("0s"), Value::text("1 hour"), Value::Bool(true), Value::List(Vec::new())] {
            assert!(start(value.clone()).is_err(), "{value:?}");
        }
        assert_eq!(start_of(&Table::new(), now_ms), Ok(Start::Next));
    }
}
