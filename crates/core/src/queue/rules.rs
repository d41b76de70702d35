//! What a queue was declared with, as far as its rules care.

/// What happens to a message that finds the queue full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest go, to dead letters if there is an exchange for them.
    #[default]
    DropHead,
    /// The newcomer is refused.
    RejectPublish,
    /// The newcomer is refused and goes to dead letters.
    RejectPublishDeadLetter,
}

/// Limits and habits of one queue. The default is a queue without any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Kept over a restart, with its persistent messages.
    pub durable: bool,
    pub auto_delete: bool,
    pub message_ttl_ms: Option<u64>,
    /// Milliseconds without use after which the queue goes.
    pub expires_ms: Option<u64>,
    /// Most messages that may wait.
    pub length_max: Option<u64>,
    /// Most body bytes that may wait.
    pub length_bytes_max: Option<u64>,
    pub overflow: Overflow,
    /// Whether messages that leave unwanted go to dead letters or just go.
    pub dead_letters: bool,
    /// Most messages on their way to dead letters at a time, and most body bytes of them; at least one may go.
    pub leaving_max: Option<u64>,
    pub leaving_bytes_max: Option<u64>,
    /// Highest priority told apart; zero means none are.
    pub priority_max: u8,
    pub single_active_consumer: bool,
    /// Returns after which a message goes to dead letters.
    pub delivery_limit: Option<u64>,
    /// Whether consumers are told how often a message had come back.
    pub tells_returns: bool,
    /// Nobody consumes it: each message stays for as long as it lives, in whatever order they came, and then
    /// leaves as [`Due`](super::Reason::Due). What a delayed exchange keeps its messages in.
    pub holds_until_due: bool,
    /// Milliseconds a consumer may hold a message.
    pub consumer_timeout_ms: Option<u64>,
}

impl Rules {
    /// Whether newcomers that find the queue full go to dead letters.
    pub fn dead_letters_refused(&self) -> bool {
        self.dead_letters && self.overflow == Overflow::RejectPublishDeadLetter
    }

    /// Whether a message that came back so often must leave.
    pub fn is_past_delivery_limit(&self, returns: u32) -> bool {
        self.delivery_limit.is_some_and(|limit| u64::from(returns) > limit)
    }
}
