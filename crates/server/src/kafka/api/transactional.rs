//! What requests of transactional producers have in common.

use cauce_broker::transactional_ids::{AdmissionRefusal, TransactionalError, TransactionalIds};
use cauce_core::producer::{Producer, ProducerId, TransactionVersion};
use cauce_kafka::ErrorCode;

use super::Call;
use crate::kafka::error::Coded;

/// The first versions in which each transaction has an epoch, and what is written adds itself to it (KIP-890).
pub(super) mod epoch_per_transaction_since {
    pub(in crate::kafka::api) const PRODUCE: i16 = 12;
    pub(in crate::kafka::api) const ADD_PARTITIONS: i16 = 4;
    pub(in crate::kafka::api) const END: i16 = 5;
    pub(in crate::kafka::api) const OFFSET_COMMIT: i16 = 5;
}

impl Call {
    pub(super) fn transactional_ids(&self) -> &TransactionalIds {
        self.service.node.transactional_ids()
    }

    /// The rules of a client that asks in this version.
    pub(super) fn transaction_version(&self, epoch_per_transaction_since: i16) -> TransactionVersion {
        match self.version >= epoch_per_transaction_since {
            true => TransactionVersion::EpochPerTransaction,
            false => TransactionVersion::Classic,
        }
    }

    /// What a client is told that knows [`ErrorCode::ProducerFenced`] from that version on (KIP-588).
    pub(super) fn transaction_code<T>(
        &self,
        result: &Result<T, TransactionalError>,
        fenced_since: i16,
    ) -> ErrorCode {
        match result.as_ref().map_or_else(Coded::code, |_| ErrorCode::None) {
            ErrorCode::ProducerFenced if self.version < fenced_since => ErrorCode::InvalidProducerEpoch,
            code => code,
        }
    }

    /// What a client is told whose batch is not let in, and who knows [`ErrorCode::TransactionAbortable`] from that
    /// version on.
    pub(super) fn admission_code(&self, refusal: AdmissionRefusal, abortable_since: i16) -> ErrorCode {
        match refusal {
            AdmissionRefusal::Partition(refusal) => refusal.code(),
            AdmissionRefusal::Transactional(error) => match error.code() {
                ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
                ErrorCode::TransactionAbortable if self.version < abortable_since => {
                    ErrorCode::InvalidTxnState
                }
                code => code,
            },
        }
    }
}

pub(super) fn producer(id: i64, epoch: i16) -> Producer {
    Producer { id: ProducerId(id), epoch }
}
