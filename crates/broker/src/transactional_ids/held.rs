//! What transactional ids take of the memory budget.

use std::collections::HashMap;

use cauce_core::message::{Charge, Gauge};
use cauce_core::partition::TopicPartition;
use cauce_core::transaction::{Record, TransactionalId};

/// Of one in all maps, beside its name and its partitions.
const ID_BYTES: usize = 2 * size_of::<Record>();

#[derive(Debug, Default)]
pub(super) struct Held(HashMap<TransactionalId, Charge, foldhash::fast::RandomState>);

impl Held {
    /// The record counts from now on, or is gone.
    pub(super) fn replace(&mut self, gauge: &Gauge, id: &TransactionalId, record: Option<&Record>) {
        match record {
            Some(record) => {
                let bytes = ID_BYTES + id.len() + record.partitions.len() * size_of::<TopicPartition>();
                self.0.entry(id.clone()).or_insert_with(|| gauge.charge(0)).set(bytes);
            }
            None => drop(self.0.remove(id)),
        }
    }
}
