//! Everything a change or a look-up of the topology can be refused for.

use crate::names::NameError;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    #[error("no exchange '{name}' in vhost '{vhost}'")]
    NoSuchExchange { name: String, vhost: String },
    #[error("no queue '{name}' in vhost '{vhost}'")]
    NoSuchQueue { name: String, vhost: String },
    /// `what` is "exchange" or "queue".
    #[error("{what} name '{name}' contains reserved prefix 'amq.*'")]
    ReservedName { what: &'static str, name: String },
    #[error("invalid {what} name: {reason}")]
    InvalidName { what: &'static str, reason: NameError },
    #[error("operation not permitted on the default exchange")]
    DefaultExchange,
    /// An exchange the broker itself needs.
    #[error("deletion of system exchange '{name}' in vhost '{vhost}' not allowed")]
    SystemExchange { name: String, vhost: String },
    #[error("{0}")]
    Inequivalent(Box<Inequivalent>),
    #[error("unknown exchange type '{kind}'")]
    UnknownExchangeType { kind: String },
    /// `subject` names what was being declared, such as "queue 'q' in vhost '/'".
    #[error("invalid arg '{argument}' for {subject}: {reason}")]
    InvalidArgument { subject: String, argument: String, reason: String },
    /// A property, not an argument, that does not go with the type of the queue.
    #[error("invalid property '{property}' for {subject}")]
    InvalidProperty { subject: String, property: &'static str },
    /// The reason alone, as it is all RabbitMQ's clients see; the reader knows what they were binding.
    #[error("{reason}")]
    InvalidBinding { reason: String },
    #[error("'{name}' in vhost '{vhost}' is a topic: topics and queues share their names")]
    IsTopic { name: String, vhost: String },
    #[error("queue '{name}' in vhost '{vhost}' cannot be a stream: {reason}")]
    NoStream { name: String, vhost: String, reason: String },
    #[error("exchange '{name}' in vhost '{vhost}' in use")]
    InUse { name: String, vhost: String },
    #[error(
        "cannot obtain exclusive access to locked queue '{name}' in vhost '{vhost}'. It could be originally \
         declared on another connection or the exclusive property value does not match that of the original \
         declaration."
    )]
    Locked { name: String, vhost: String },
}

/// What was declared again differs from what exists. Boxed in the error, being larger than the rest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "inequivalent arg '{argument}' for {what} '{name}' in vhost '{vhost}': \
     received {received} but current is {current}"
)]
pub struct Inequivalent {
    /// "exchange" or "queue".
    pub what: &'static str,
    pub name: String,
    pub vhost: String,
    pub argument: String,
    pub received: String,
    pub current: String,
}
