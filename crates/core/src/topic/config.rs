//! What can be set for a topic, under Kafka's names and with its defaults; a node can have others.

use std::collections::BTreeMap;

use crate::settings::{Kind, Setting, SettingError};

/// Whose clock the times of records come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    Create,
    /// The broker's, when it appends.
    LogAppend,
}

/// What becomes of old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// They go by age and size.
    pub delete: bool,
    /// They go when there is a newer one with their key.
    pub compact: bool,
}

/// How batches lie in the log: as they were sent. Others are refused rather than promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsProduced;

impl Setting for TimestampType {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<TimestampType, String> {
        match text.trim() {
            "CreateTime" => Ok(TimestampType::Create),
            "LogAppendTime" => Ok(TimestampType::LogAppend),
            _ => Err("write CreateTime or LogAppendTime".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            TimestampType::Create => "CreateTime".to_owned(),
            TimestampType::LogAppend => "LogAppendTime".to_owned(),
        }
    }
}

impl Setting for CleanupPolicy {
    const KIND: Kind = Kind::List;

    fn parse(text: &str) -> Result<CleanupPolicy, String> {
        let mut policy = CleanupPolicy { delete: false, compact: false };
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "delete" => policy.delete = true,
                "compact" => policy.compact = true,
                _ => return Err("write delete, compact, or both with a comma between".to_owned()),
            }
        }
        Ok(policy)
    }

    fn show(&self) -> String {
        let words = [(self.compact, "compact"), (self.delete, "delete")];
        words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect::<Vec<_>>().join(",")
    }
}

impl Setting for AsProduced {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<AsProduced, String> {
        match text.trim() {
            "producer" => Ok(AsProduced),
            _ => Err("only 'producer' is served: batches are kept as they were sent".to_owned()),
        }
    }

    fn show(&self) -> String {
        "producer".to_owned()
    }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

crate::settings! {
    /// All that is set for a topic, by itself or by its node.
    TopicConfig {
        cleanup_policy: CleanupPolicy = CleanupPolicy { delete: true, compact: false },
            "cleanup.policy" or "log.cleanup.policy";
        compression: AsProduced = AsProduced, "compression.type" or "compression.type";
        delete_retention_ms: i64 = DAY_MS,
            "delete.retention.ms" or "log.cleaner.delete.retention.ms" in 0..=i64::MAX;
        file_delete_delay_ms: i64 = 60_000,
            "file.delete.delay.ms" or "log.segment.delete.delay.ms" in 0..=i64::MAX;
        flush_messages: i64 = i64::MAX, "flush.messages" or "log.flush.interval.messages" in 1..=i64::MAX;
        flush_ms: i64 = i64::MAX, "flush.ms" or "log.flush.interval.ms" in 0..=i64::MAX;
        index_interval_bytes: i32 = 4096,
            "index.interval.bytes" or "log.index.interval.bytes" in 0..=i32::MAX;
        max_compaction_lag_ms: i64 = i64::MAX,
            "max.compaction.lag.ms" or "log.cleaner.max.compaction.lag.ms" in 1..=i64::MAX;
        max_message_bytes: i32 = 1_048_588, "max.message.bytes" or "message.max.bytes" in 0..=i32::MAX;
        timestamp_after_max_ms: i64 = 3_600_000,
            "message.timestamp.after.max.ms" or "log.message.timestamp.after.max.ms" in 0..=i64::MAX;
        timestamp_before_max_ms: i64 = i64::MAX,
            "message.timestamp.before.max.ms" or "log.message.timestamp.before.max.ms" in 0..=i64::MAX;
        timestamp_type: TimestampType = TimestampType::Create,
            "message.timestamp.type" or "log.message.timestamp.type";
        min_cleanable_dirty_ratio: f64 = 0.5,
            "min.cleanable.dirty.ratio" or "log.cleaner.min.cleanable.ratio" in 0.0..=1.0;
        min_compaction_lag_ms: i64 = 0,
            "min.compaction.lag.ms" or "log.cleaner.min.compaction.lag.ms" in 0..=i64::MAX;
        /// A single node is all the replicas there are.
        min_insync_replicas: i32 = 1, "min.insync.replicas" or "min.insync.replicas" in 1..=1;
        preallocate: bool = false, "preallocate" or "log.preallocate";
        remote_storage: bool = false, "remote.storage.enable" in [false];
        /// -1: any number.
        retention_bytes: i64 = -1, "retention.bytes" or "log.retention.bytes" in -1..=i64::MAX;
        /// -1: for ever.
        retention_ms: i64 = 7 * DAY_MS, "retention.ms" or "log.retention.ms" in -1..=i64::MAX;
        segment_bytes: i32 = 1 << 30, "segment.bytes" or "log.segment.bytes" in (1 << 20)..=i32::MAX;
        segment_index_bytes: i32 = 10 << 20,
            "segment.index.bytes" or "log.index.size.max.bytes" in 4..=i32::MAX;
        segment_jitter_ms: i64 = 0, "segment.jitter.ms" or "log.roll.jitter.ms" in 0..=i64::MAX;
        segment_ms: i64 = 7 * DAY_MS, "segment.ms" or "log.roll.ms" in 1..=i64::MAX;
        unclean_leader_election: bool = false,
            "unclean.leader.election.enable" or "unclean.leader.election.enable";
    }
}

/// What a topic says itself, by name. All of it was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<String, String>);

impl Overrides {
    /// Each of them must be known and right by itself, and all together.
    pub fn parse<'t>(
        settings: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> Result<Overrides, SettingError> {
        let mut overrides = Overrides::default();
        for (name, text) in settings {
            overrides.0.insert(name.to_owned(), text.trim().to_owned());
        }
        overrides.over(&TopicConfig::default())?;
        Ok(overrides)
    }

    /// The configuration of a topic on a node with these defaults.
    pub fn over(&self, defaults: &TopicConfig) -> Result<TopicConfig, SettingError> {
        let mut config = defaults.clone();
        for (name, text) in &self.0 {
            config.set(name, text)?;
        }
        config.check()?;
        Ok(config)
    }

    /// The same, with one setting more or less. It is not checked.
    pub fn with(mut self, name: &str, text: Option<&str>) -> Overrides {
        match text {
            Some(text) => drop(self.0.insert(name.to_owned(), text.trim().to_owned())),
            None => drop(self.0.remove(name)),
        }
        self
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

impl TopicConfig {
    /// What must agree between settings.
    pub fn check(&self) -> Result<(), SettingError> {
        if self.min_compaction_lag_ms > self.max_compaction_lag_ms {
            let (name, value) = ("min.compaction.lag.ms", self.min_compaction_lag_ms.to_string());
            let reason = format!("max.compaction.lag.ms is {}", self.max_compaction_lag_ms);
            return Err(SettingError::invalid(name, &value, reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_topic_says_goes_before_what_its_node_says() {
        let mut node = TopicConfig::default();
        node.set("retention.ms", "1000").unwrap();
        node.set("max.message.bytes", "99").unwrap();
        let own = Overrides::parse([("retention.ms", "-1"), ("cleanup.policy", "compact, delete")]).unwrap();
        let config = own.over(&node).unwrap();
        assert_eq!((config.retention_ms, config.max_message_bytes), (-1, 99));
        assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: true });
        assert_eq!(config.get("cleanup.policy").as_deref(), Some("compact,delete"));
    }

    #[test]
    fn what_is_unknown_wrong_or_not_served_is_refused_by_name() {
        for (name, text) in [
            ("retention.mss", "1"),
            ("retention.ms", "-2"),
            ("retention.ms", "a week"),
            ("cleanup.policy", "remove"),
            ("min.insync.replicas", "2"),
            ("compression.type", "gzip"),
            ("remote.storage.enable", "true"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("message.timestamp.type", "createtime"),
        ] {
            let error = Overrides::parse([(name, text)]).unwrap_err();
            assert!(error.to_string().contains(&format!("'{name}'")), "{error}");
        }
        let lags = [("min.compaction.lag.ms", "9"), ("max.compaction.lag.ms", "8")];
        assert!(Overrides::parse(lags).is_err());
    }

    #[test]
    fn every_default_is_allowed() {
        let defaults = TopicConfig::default();
        for (name, _) in TopicConfig::NAMES {
            let mut again = defaults.clone();
            assert_eq!(again.set(name, &defaults.get(name).unwrap()), Ok(()), "{name}");
            assert_eq!(again, defaults, "{name}");
        }
    }
}
