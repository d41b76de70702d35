//! Topics and the declarations of AMQP: what a stream's arguments mean for its topic, and what a topic looks like declared.

use cauce_core::topic::{Overrides, TopicName};
use cauce_core::topology::{Inequivalent, QueueLimits, QueueSpec, TopologyError, age_ms};
use cauce_core::{Table, Value};

use super::face::StreamHandle;
use super::topics::{Topic, TopicError};
use crate::limits::STREAM_MESSAGE_BYTES_MAX;
use crate::vhost::{Queues, Saved, TopologyChange, Vhost};
use crate::{Target, stream::TOPICS_VHOST};

/// The smallest and largest segments of a topic. Streams may ask for others and get the nearest.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=i32::MAX as u64;

const QUEUE_TYPE: &str = "x-queue-type";
const MAX_LENGTH_BYTES: &str = "x-max-length-bytes";
const MAX_AGE: &str = "x-max-age";
const SEGMENT_SIZE: &str = "x-stream-max-segment-size-bytes";

/// What a topic is declared as: with the arguments it was declared with or, made by a client of Kafka, with none.
pub(crate) fn spec_of(declared: Option<&Table>) -> QueueSpec {
    let usual = || Table::from_iter([(QUEUE_TYPE, Value::text("stream"))]);
    QueueSpec { durable: true, arguments: declared.cloned().unwrap_or_else(usual), ..QueueSpec::default() }
}

pub(crate) fn asks_for_stream(spec: &QueueSpec) -> bool {
    spec.arguments.get(QUEUE_TYPE).and_then(Value::as_str) == Some("stream")
}

/// The settings of a topic that AMQP makes: RabbitMQ's where the declaration says nothing, whatever the node's are.
fn overrides_of(limits: &QueueLimits) -> Overrides {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX).to_string();
    let for_ever = || "-1".to_owned();
    let mut settings = vec![
        ("cleanup.policy", "delete".to_owned()),
        ("retention.bytes", limits.max_length_bytes.map_or_else(for_ever, signed)),
        ("retention.ms", limits.max_age_ms.map_or_else(for_ever, signed)),
        ("max.message.bytes", STREAM_MESSAGE_BYTES_MAX.to_string()),
    ];
    if let Some(bytes) = limits.segment_bytes_max {
        let bytes = bytes.clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
        settings.push(("segment.bytes", bytes.to_string()));
    }
    let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
    Overrides::parse(settings).expect("each is in the range of its setting")
}

impl Vhost {
    /// Opens the topic for who declares it again, if it is what they ask for.
    pub(crate) fn open_stream(
        &self,
        topology: &Queues,
        stream: &StreamHandle,
        spec: &QueueSpec,
        connection: u64,
    ) -> Result<(), TopologyError> {
        let topic = &stream.topic;
        let mut spec = spec.clone();
        if topic.declared.is_none() && asks_for_stream(&spec) {
            check_against_config(&self.name, topic, &spec)?;
            // They agree with what the topic has, which Kafka's clients set.
            [MAX_LENGTH_BYTES, MAX_AGE, SEGMENT_SIZE].iter().for_each(|name| spec.arguments.remove(name));
        }
        topology.check_declared(&topic.name, &spec, connection).map(drop)
    }

    /// Makes a topic with one partition.
    pub(crate) fn make_stream(
        &self,
        topology: &mut TopologyChange<'_>,
        name: &str,
        spec: QueueSpec,
    ) -> Result<(Target, Saved), TopologyError> {
        let refused = |reason: String| TopologyError::NoStream {
            name: name.to_owned(),
            vhost: self.name.to_string(),
            reason,
        };
        let limits = topology.guard.check_new_queue(name, &spec)?;
        if &*self.name != TOPICS_VHOST {
            return Err(refused(format!("streams are in vhost '{TOPICS_VHOST}' only")));
        }
        let topic_name = TopicName::parse(name).map_err(|error| refused(error.to_string()))?;
        let overrides = overrides_of(&limits);
        let made = self.shared.add_topic(topic_name, 1, overrides, Some(spec.arguments));
        let (topic, saved) = made.map_err(|error: TopicError| refused(error.to_string()))?;
        Ok((topology.show_topic(topic), saved))
    }
}

/// What the declaration says must be what the topic has; what it leaves open may be anything.
fn check_against_config(vhost: &str, topic: &Topic, spec: &QueueSpec) -> Result<(), TopologyError> {
    let config = topic.config();
    let age = spec.arguments.get(MAX_AGE).and_then(Value::as_str).and_then(age_ms);
    let number = |name| spec.arguments.get(name).and_then(Value::as_integer);
    let checks = [
        (MAX_LENGTH_BYTES, number(MAX_LENGTH_BYTES), config.retention_bytes),
        (MAX_AGE, age.and_then(|age_ms| i64::try_from(age_ms).ok()), config.retention_ms),
        (SEGMENT_SIZE, number(SEGMENT_SIZE), config.segment_bytes.into()),
    ];
    for (argument, received, current) in checks {
        if spec.arguments.get(argument).is_some() && received != Some(current) {
            let unit = if argument == MAX_AGE { " ms" } else { "" };
            let received =
                received.map_or_else(|| "another type".to_owned(), |number| format!("'{number}{unit}'"));
            return Err(TopologyError::Inequivalent(Box::new(Inequivalent {
                what: "queue",
                name: topic.name.to_string(),
                vhost: vhost.to_owned(),
                argument: argument.to_owned(),
                received,
                current: format!("'{current}{unit}'"),
            })));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(arguments: &[(&str, Value)]) -> Vec<(String, String)> {
        let stream = [(QUEUE_TYPE, Value::text("stream"))];
        let arguments: Table = stream.iter().chain(arguments).cloned().collect();
        let overrides = overrides_of(&QueueLimits::parse(&arguments).unwrap());
        overrides.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn check(arguments: &[(&str, Value)], name: &str, expected: Option<&str>) {
        let found = overrides(arguments).into_iter().find(|(other, _)| other == name);
        assert_eq!(found.as_ref().map(|(_, value)| value.as_str()), expected, "{name}");
    }

    #[test]
    fn a_stream_keeps_all_unless_told_otherwise() {
        check(&[], "retention.ms", Some("-1"));
        check(&[], "retention.bytes", Some("-1"));
        check(&[], "segment.bytes", None);
        check(&[(MAX_AGE, Value::text("2h"))], "retention.ms", Some("7200000"));
        check(&[(MAX_LENGTH_BYTES, Value::I64(5_000_000_000))], "retention.bytes", Some("5000000000"));
    }

    #[test]
    fn a_segment_gets_the_nearest_size_that_topics_have() {
        for (asked, got) in [(100, "1048576"), (2_000_000, "2000000"), (3_000_000_000, "2147483647")] {
            check(&[(SEGMENT_SIZE, Value::I64(asked))], "segment.bytes", Some(got));
        }
    }
}
