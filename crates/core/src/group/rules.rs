//! What the operator decides for all groups.

/// The names in brackets are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// (`group.min.session.timeout.ms`)
    pub session_timeout_min_ms: i64,
    /// (`group.max.session.timeout.ms`)
    pub session_timeout_max_ms: i64,
    /// (`group.max.size`) As many may be on their way in besides: those that were told their id and did not
    /// come back with it yet.
    pub members_max: usize,
    /// (`group.initial.rebalance.delay.ms`) How long the first members of a group wait for others (KIP-134).
    pub initial_delay_ms: i64,
    /// (`offset.metadata.max.bytes`)
    pub offset_metadata_bytes_max: usize,
    /// (`offsets.retention.minutes`)
    pub offsets_retention_ms: i64,
    /// (`offsets.retention.check.interval.ms`) An empty group without offsets goes after that long.
    pub empty_kept_ms: i64,
}

impl Default for Rules {
    /// Kafka's, but for the size of a group, which Kafka does not limit.
    fn default() -> Rules {
        Rules {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            members_max: 10_000,
            initial_delay_ms: 3_000,
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            empty_kept_ms: 600_000,
        }
    }
}
