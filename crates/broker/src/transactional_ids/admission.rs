//! Batches of a transaction on their way into a partition (KIP-890). The first of each transaction must not be appended
//! before its coordinator knows that the partition is part of it, nor after the transaction has ended: either way
//! nobody would ever end it there.

use std::sync::Arc;

use cauce_core::producer::{Producer, TransactionVersion};
use cauce_core::stream::{Guard, Sender};
use cauce_core::transaction::{TransactionError, TransactionalId};

use super::command::TransactionalError;
use crate::node::Node;
use crate::stream::{AppendRefusal, PartitionHandle};

/// A batch that is to be appended.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub partition: Arc<PartitionHandle>,
    pub sender: Sender,
}

/// Why a batch of a transaction is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionRefusal {
    #[error(transparent)]
    Partition(#[from] AppendRefusal),
    #[error(transparent)]
    Transactional(#[from] TransactionalError),
}

/// What the partition wants to see with the batch, if anything.
type Admission = Result<Option<Guard>, AdmissionRefusal>;

impl Node {
    /// Lets batches of one producer into their partitions: clients of the newer rules leave it to us to add those to
    /// their transaction, others must have done so.
    pub async fn admit(
        &self,
        id: &TransactionalId,
        version: TransactionVersion,
        candidates: &[Candidate],
    ) -> Vec<Admission> {
        let mut admissions: Vec<Admission> = vec![Ok(None); candidates.len()];
        let Some(producer) = candidates.first().map(|candidate| candidate.sender.producer) else {
            return admissions;
        };
        loop {
            let mut fresh = Vec::new();
            for (place, candidate) in candidates.iter().enumerate() {
                let Ok(before) = admissions[place] else { continue };
                admissions[place] = candidate.guard(producer, version).await;
                // A guard that is still the same was there when the coordinator was asked: no marker came between.
                if admissions[place].is_ok_and(|guard| guard.is_some() && guard != before) {
                    fresh.push(place);
                }
            }
            if fresh.is_empty() {
                return admissions;
            }
            let answers = self.ask_coordinator(id, producer, version, candidates, &fresh).await;
            for (place, answer) in fresh.into_iter().zip(answers) {
                if let Err(error) = answer {
                    admissions[place] = Err(error.into());
                }
            }
        }
    }

    async fn ask_coordinator(
        &self,
        id: &TransactionalId,
        producer: Producer,
        version: TransactionVersion,
        candidates: &[Candidate],
        places: &[usize],
    ) -> Vec<Result<(), TransactionalError>> {
        let partitions = places.iter().map(|place| candidates[*place].partition.at.clone()).collect();
        let ids = self.transactional_ids();
        match version {
            TransactionVersion::EpochPerTransaction => {
                vec![ids.add(id.clone(), producer, partitions, version).await; places.len()]
            }
            TransactionVersion::Classic => match ids.verify(id.clone(), producer, partitions).await {
                Ok(verified) => verified.into_iter().map(|verified| Ok(verified?)).collect(),
                Err(error) => vec![Err(error); places.len()],
            },
        }
    }
}

impl Candidate {
    async fn guard(&self, producer: Producer, version: TransactionVersion) -> Admission {
        if self.sender.producer != producer {
            return Err(TransactionalError::from(TransactionError::UnknownMapping).into());
        }
        Ok(self.partition.verification(self.sender, version).await?)
    }
}
