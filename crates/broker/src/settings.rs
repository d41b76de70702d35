//! What an operator can set for topics, groups and their clients, under Kafka's names.

use std::collections::BTreeMap;

use cauce_core::group;
use cauce_core::settings::SettingError;
use cauce_core::stream;
use cauce_core::topic::TopicConfig;
use cauce_core::transaction;

cauce_core::settings! {
    /// What is set for the node alone. What it sets for its topics is a [`TopicConfig`].
    NodeSettings {
        node_id: i32 = 1, "node.id" or "broker.id" in 0..=i32::MAX;
        auto_create_topics: bool = true, "auto.create.topics.enable";
        num_partitions: i32 = 1, "num.partitions" in 1..=i32::MAX;
        /// A single node is all the replicas there are.
        default_replication_factor: i32 = 1, "default.replication.factor" in 1..=1;
        delete_topics: bool = true, "delete.topic.enable";
        request_bytes_max: i32 = 100 << 20, "socket.request.max.bytes" in 1024..=i32::MAX;
        connections_idle_max_ms: i64 = 600_000, "connections.max.idle.ms" in 1000..=i64::MAX;
        login_failure_delay_ms: i32 = 100, "connection.failed.authentication.delay.ms" in 0..=60_000;
        fetch_bytes_max: i32 = 55 << 20, "fetch.max.bytes" in 1024..=i32::MAX;
        fetch_sessions_max: i32 = 1000, "max.incremental.fetch.session.cache.slots" in 0..=i32::MAX;
        retention_check_interval_ms: i64 = 300_000, "log.retention.check.interval.ms" in 1..=i64::MAX;
        cleaner_enable: bool = true, "log.cleaner.enable";
        /// One log is compacted at a time.
        cleaner_threads: i32 = 1, "log.cleaner.threads" in 1..=1;
        cleaner_backoff_ms: i64 = 15_000, "log.cleaner.backoff.ms" in 1..=i64::MAX;
        cleaner_dedupe_bytes: i64 = 128 << 20, "log.cleaner.dedupe.buffer.size" in (1 << 20)..=i64::MAX;
        /// Kafka has no limit. At full speed whoever flushes beside it waits for its flushes.
        cleaner_bytes_per_second: f64 = 33_554_432.0, "log.cleaner.io.max.bytes.per.second" in 1.0..=f64::MAX;
        producer_expiration_ms: i64 = 86_400_000, "producer.id.expiration.ms" in 1..=i64::MAX;
        offsets_partitions: i32 = 50, "offsets.topic.num.partitions" in 1..=i32::MAX;
        offsets_replication_factor: i32 = 1, "offsets.topic.replication.factor" in 1..=1;
        offsets_segment_bytes: i32 = 100 << 20, "offsets.topic.segment.bytes" in (1 << 20)..=i32::MAX;
        offsets_retention_minutes: i32 = 10_080, "offsets.retention.minutes" in 1..=i32::MAX;
        offsets_check_interval_ms: i64 = 600_000, "offsets.retention.check.interval.ms" in 1..=i64::MAX;
        /// A record has room for no more.
        offset_metadata_bytes_max: i32 = 4096, "offset.metadata.max.bytes" in 0..=i32::from(i16::MAX);
        transactions_partitions: i32 = 50, "transaction.state.log.num.partitions" in 1..=i32::MAX;
        transactions_replication_factor: i32 = 1, "transaction.state.log.replication.factor" in 1..=1;
        transactions_min_isr: i32 = 1, "transaction.state.log.min.isr" in 1..=1;
        transactions_segment_bytes: i32 = 100 << 20,
            "transaction.state.log.segment.bytes" in (1 << 20)..=i32::MAX;
        transaction_timeout_max_ms: i32 = 900_000, "transaction.max.timeout.ms" in 1..=i32::MAX;
        /// They are aborted as soon as their time is over, not at the next of these.
        transaction_abort_interval_ms: i32 = 10_000,
            "transaction.abort.timed.out.transaction.cleanup.interval.ms" in 1..=i32::MAX;
        transactional_id_expiration_ms: i32 = 604_800_000, "transactional.id.expiration.ms" in 1..=i32::MAX;
        group_initial_delay_ms: i32 = 3000, "group.initial.rebalance.delay.ms" in 0..=i32::MAX;
        group_session_min_ms: i32 = 6000, "group.min.session.timeout.ms" in 1..=i32::MAX;
        group_session_max_ms: i32 = 1_800_000, "group.max.session.timeout.ms" in 1..=i32::MAX;
        group_members_max: i32 = 10_000, "group.max.size" in 1..=i32::MAX;
    }
}

/// Everything that is set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    pub node: NodeSettings,
    /// What topics have where they do not say.
    pub topic: TopicConfig,
    /// In which unit those were set that have several names.
    units: BTreeMap<&'static str, i64>,
}

/// Other names and units of the same, each with the milliseconds of one. What is set in the finest counts, whatever the
/// order.
const OTHER_UNITS: [(&str, &str, i64); 4] = [
    ("log.retention.minutes", "retention.ms", 60_000),
    ("log.retention.hours", "retention.ms", 3_600_000),
    ("log.roll.hours", "segment.ms", 3_600_000),
    ("log.roll.jitter.hours", "segment.jitter.ms", 3_600_000),
];

impl Settings {
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        if let Some((_, own, unit_ms)) = OTHER_UNITS.iter().find(|(other, ..)| *other == name) {
            let number: i64 = text
                .trim()
                .parse()
                .map_err(|_| SettingError::invalid(name, text, "write a whole number of 64 bits"))?;
            let ms = if number < 0 { -1 } else { number.saturating_mul(*unit_ms) };
            return self.set_in_unit(own, &ms.to_string(), *unit_ms);
        }
        if let Some(own) = TopicConfig::name_of_usual(name) {
            return self.set_in_unit(own, text, 1);
        }
        self.node.set(NodeSettings::name_of_usual(name).unwrap_or(name), text)
    }

    fn set_in_unit(&mut self, own: &'static str, text: &str, unit_ms: i64) -> Result<(), SettingError> {
        let finest_ms = *self.units.get(own).unwrap_or(&i64::MAX);
        if unit_ms > finest_ms {
            return self.topic.clone().set(own, text);
        }
        self.units.insert(own, unit_ms);
        self.topic.set(own, text)
    }

    pub fn check(&self) -> Result<(), SettingError> {
        self.topic.check()
    }

    pub(crate) fn stream_rules(&self) -> stream::Rules {
        stream::Rules { producer_expiration_ms: self.node.producer_expiration_ms, ..stream::Rules::default() }
    }

    pub(crate) fn transaction_rules(&self) -> transaction::Rules {
        transaction::Rules {
            timeout_max_ms: self.node.transaction_timeout_max_ms,
            expiration_ms: self.node.transactional_id_expiration_ms.into(),
        }
    }

    pub(crate) fn group_rules(&self) -> group::Rules {
        let node = &self.node;
        group::Rules {
            session_timeout_min_ms: node.group_session_min_ms.into(),
            session_timeout_max_ms: node.group_session_max_ms.into(),
            members_max: node.group_members_max as usize,
            initial_delay_ms: node.group_initial_delay_ms.into(),
            offset_metadata_bytes_max: node.offset_metadata_bytes_max as usize,
            offsets_retention_ms: i64::from(node.offsets_retention_minutes) * 60_000,
            empty_kept_ms: node.offsets_check_interval_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_node_and_of_its_topics_have_kafkas_names() {
        let mut settings = Settings::default();
        for (name, text) in [
            ("num.partitions", "3"),
            ("broker.id", "7"),
            ("log.retention.hours", "2"),
            ("message.max.bytes", "9"),
        ] {
            assert_eq!(settings.set(name, text), Ok(()), "{name}");
        }
        assert_eq!((settings.node.num_partitions, settings.node.node_id), (3, 7));
        assert_eq!((settings.topic.retention_ms, settings.topic.max_message_bytes), (7_200_000, 9));
        assert_eq!(settings.set("log.retention.minutes", "-1"), Ok(()));
        assert_eq!(settings.topic.retention_ms, -1);
        assert_eq!(settings.set("log.retention.hours", "2"), Ok(()));
        assert_eq!(settings.topic.retention_ms, -1, "minutes go before hours");
        assert_eq!(settings.set("log.retention.ms", "5"), Ok(()));
        assert_eq!(settings.topic.retention_ms, 5);
    }

    #[test]
    fn unknown_names_are_refused_by_name() {
        for name in ["num.partition", "retention.ms", "zookeeper.connect"] {
            let error = Settings::default().set(name, "1").unwrap_err();
            assert_eq!(error.to_string(), format!("unknown setting '{name}'"));
        }
    }
}
