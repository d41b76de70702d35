//! What ends a channel or a connection, and how errors of the domain become reply codes: here only.

use cauce_amqp::reply::ReplyCode;
use cauce_amqp::{ContentError, DecodeError, FrameError};
use cauce_broker::stream::TopicError;
use cauce_broker::{DeleteError, DeleteQueueError};
use cauce_core::access::AccessError;
use cauce_core::queue::SubscribeError;
use cauce_core::topology::TopologyError;

/// Why a connection or one of its channels cannot go on.
#[derive(Debug)]
pub(super) enum Fault {
    Channel {
        code: ReplyCode,
        text: String,
    },
    Connection {
        code: ReplyCode,
        text: String,
    },
    /// The socket is gone, or what comes is not for us to answer.
    Gone(std::io::Error),
}

impl Fault {
    /// A fault of the channel, or of the connection where the code asks for it.
    pub(super) fn new(code: ReplyCode, explanation: impl AsRef<str>) -> Fault {
        let text = code.text(explanation.as_ref());
        match code.is_connection_error() {
            true => Fault::Connection { code, text },
            false => Fault::Channel { code, text },
        }
    }

    pub(super) fn connection(code: ReplyCode, explanation: impl AsRef<str>) -> Fault {
        Fault::Connection { code, text: code.text(explanation.as_ref()) }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault::Gone(error)
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Fault {
        Fault::connection(error.reply_code(), error.to_string())
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Fault {
        Fault::connection(error.reply_code(), error.to_string())
    }
}

impl From<ContentError> for Fault {
    fn from(error: ContentError) -> Fault {
        Fault::new(error.reply_code(), error.to_string())
    }
}

impl From<AccessError> for Fault {
    fn from(error: AccessError) -> Fault {
        Fault::new(ReplyCode::AccessRefused, error.to_string())
    }
}

impl From<TopologyError> for Fault {
    fn from(error: TopologyError) -> Fault {
        let code = match error {
            TopologyError::NoSuchExchange { .. } | TopologyError::NoSuchQueue { .. } => ReplyCode::NotFound,
            TopologyError::ReservedName { .. }
            | TopologyError::DefaultExchange
            | TopologyError::SystemExchange { .. } => ReplyCode::AccessRefused,
            TopologyError::UnknownExchangeType { .. } => ReplyCode::CommandInvalid,
            TopologyError::Locked { .. } => ReplyCode::ResourceLocked,
            TopologyError::InvalidName { .. }
            | TopologyError::Inequivalent { .. }
            | TopologyError::InvalidArgument { .. }
            | TopologyError::InvalidProperty { .. }
            | TopologyError::InvalidBinding { .. }
            | TopologyError::IsTopic { .. }
            | TopologyError::NoStream { .. }
            | TopologyError::InUse { .. } => ReplyCode::PreconditionFailed,
        };
        Fault::new(code, error.to_string())
    }
}

impl From<DeleteQueueError> for Fault {
    fn from(error: DeleteQueueError) -> Fault {
        match error {
            DeleteQueueError::Topology(error) => error.into(),
            DeleteQueueError::Refused { error: DeleteError::InUse | DeleteError::NotEmpty, .. } => {
                Fault::new(ReplyCode::PreconditionFailed, error.to_string())
            }
        }
    }
}

impl From<TopicError> for Fault {
    fn from(error: TopicError) -> Fault {
        let code = match error {
            TopicError::Unknown(_) => ReplyCode::NotFound,
            _ => ReplyCode::PreconditionFailed,
        };
        Fault::new(code, error.to_string())
    }
}

/// `queue` as in `queue 'q' in vhost '/'`.
pub(super) fn subscribe_fault(error: SubscribeError, queue: &str, vhost: &str) -> Fault {
    match error {
        SubscribeError::ExclusiveTaken | SubscribeError::NotAlone | SubscribeError::TakesTurns => Fault::new(
            ReplyCode::AccessRefused,
            format!("queue '{queue}' in vhost '{vhost}' in exclusive use"),
        ),
    }
}

pub(super) fn no_queue(name: &str, vhost: &str) -> Fault {
    Fault::new(ReplyCode::NotFound, format!("no queue '{name}' in vhost '{vhost}'"))
}
