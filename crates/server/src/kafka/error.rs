//! Errors of the domain as the protocol's codes: here only.

use cauce_broker::groups::GroupError;
use cauce_broker::stream::{AppendRefusal, BatchRefusal, TopicError};
use cauce_broker::transactional_ids::TransactionalError;
use cauce_core::group::Refusal;
use cauce_core::stream::{AppendError, EpochError, MarkerError};
use cauce_core::transaction::TransactionError;
use cauce_kafka::ErrorCode;

/// What a client is told.
pub(super) trait Coded {
    fn code(&self) -> ErrorCode;
}

impl Coded for TopicError {
    fn code(&self) -> ErrorCode {
        match self {
            TopicError::Name(_) | TopicError::Collides { .. } | TopicError::IsQueue(_) => {
                ErrorCode::InvalidTopic
            }
            TopicError::Exists(_) | TopicError::Leaving(_) => ErrorCode::TopicAlreadyExists,
            TopicError::Partitions { .. } | TopicError::NotMore { .. } => ErrorCode::InvalidPartitions,
            TopicError::Config(_) => ErrorCode::InvalidConfig,
            TopicError::Unknown(_) => ErrorCode::UnknownTopicOrPartition,
            TopicError::Internal(_) => ErrorCode::InvalidRequest,
            TopicError::Crowded { .. } => ErrorCode::PolicyViolation,
        }
    }
}

impl Coded for BatchRefusal {
    fn code(&self) -> ErrorCode {
        match self {
            BatchRefusal::Corrupt(_) => ErrorCode::CorruptMessage,
            BatchRefusal::TooLarge { .. } => ErrorCode::MessageTooLarge,
            BatchRefusal::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            BatchRefusal::UnknownCodec(_) => ErrorCode::UnsupportedCompressionType,
            BatchRefusal::Timestamp { .. } => ErrorCode::InvalidTimestamp,
            BatchRefusal::Nothing
            | BatchRefusal::Several
            | BatchRefusal::OldFormat(_)
            | BatchRefusal::Control
            | BatchRefusal::Invalid(_)
            | BatchRefusal::InvalidRecord { .. } => ErrorCode::InvalidRecord,
        }
    }
}

impl Coded for AppendRefusal {
    fn code(&self) -> ErrorCode {
        match self {
            AppendRefusal::Batch(error) => error.code(),
            AppendRefusal::Marker(error) => error.code(),
            AppendRefusal::Gone => ErrorCode::UnknownTopicOrPartition,
        }
    }
}

impl Coded for AppendError {
    fn code(&self) -> ErrorCode {
        match self {
            AppendError::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
            AppendError::StaleEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            AppendError::NotInTransaction { .. }
            | AppendError::VerifiedTooEarly { .. }
            | AppendError::OutsideTransaction { .. } => ErrorCode::InvalidTxnState,
            AppendError::TooManyProducers { .. } => ErrorCode::PolicyViolation,
        }
    }
}

impl Coded for MarkerError {
    fn code(&self) -> ErrorCode {
        match self {
            MarkerError::StaleEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            MarkerError::StaleCoordinator { .. } => ErrorCode::TransactionCoordinatorFenced,
        }
    }
}

impl Coded for EpochError {
    fn code(&self) -> ErrorCode {
        match self {
            EpochError::Fenced(_) => ErrorCode::FencedLeaderEpoch,
            EpochError::Unknown(_) => ErrorCode::UnknownLeaderEpoch,
        }
    }
}

impl Coded for Refusal {
    fn code(&self) -> ErrorCode {
        match self {
            // A moment later it is there no more, or a new one is.
            Refusal::Gone | Refusal::NotStored => ErrorCode::CoordinatorNotAvailable,
            Refusal::UnknownMember => ErrorCode::UnknownMemberId,
            Refusal::Fenced => ErrorCode::FencedInstanceId,
            Refusal::IllegalGeneration => ErrorCode::IllegalGeneration,
            Refusal::Rebalancing => ErrorCode::RebalanceInProgress,
            Refusal::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
            Refusal::SessionTimeout => ErrorCode::InvalidSessionTimeout,
            Refusal::Full => ErrorCode::GroupMaxSizeReached,
            Refusal::NotEmpty => ErrorCode::NonEmptyGroup,
        }
    }
}

impl Coded for GroupError {
    fn code(&self) -> ErrorCode {
        match self {
            GroupError::Loading => ErrorCode::CoordinatorLoadInProgress,
            GroupError::Unavailable | GroupError::NoMemory => ErrorCode::CoordinatorNotAvailable,
            GroupError::Unknown => ErrorCode::GroupIdNotFound,
            GroupError::TooMany => ErrorCode::GroupMaxSizeReached,
            GroupError::NameTooLong { .. } | GroupError::MemberTooLarge { .. } => ErrorCode::InvalidRequest,
            GroupError::Refused(refusal) => refusal.code(),
        }
    }
}

impl Coded for TransactionError {
    fn code(&self) -> ErrorCode {
        match self {
            TransactionError::Concurrent => ErrorCode::ConcurrentTransactions,
            TransactionError::Fenced => ErrorCode::ProducerFenced,
            TransactionError::UnknownMapping => ErrorCode::InvalidProducerIdMapping,
            TransactionError::InvalidState(_) => ErrorCode::InvalidTxnState,
            TransactionError::InvalidTimeout { .. } => ErrorCode::InvalidTransactionTimeout,
            TransactionError::NotInTransaction => ErrorCode::TransactionAbortable,
            TransactionError::EmptyId => ErrorCode::InvalidRequest,
        }
    }
}

impl Coded for TransactionalError {
    fn code(&self) -> ErrorCode {
        match self {
            TransactionalError::Loading => ErrorCode::CoordinatorLoadInProgress,
            TransactionalError::Unavailable | TransactionalError::NoMemory => {
                ErrorCode::CoordinatorNotAvailable
            }
            TransactionalError::Unknown => ErrorCode::TransactionalIdNotFound,
            TransactionalError::TooMany => ErrorCode::PolicyViolation,
            TransactionalError::NameTooLong { .. } => ErrorCode::InvalidRequest,
            TransactionalError::Refused(error) => error.code(),
        }
    }
}
