//! Requests that wait until their transactional id is at rest.

use std::collections::HashMap;

use cauce_core::transaction::TransactionalId;

use super::command::{Request, TransactionalError};

#[derive(Debug, Default)]
pub(super) struct Parked(HashMap<TransactionalId, Vec<Request>, foldhash::fast::RandomState>);

impl Parked {
    pub(super) fn add(&mut self, request: Request) {
        self.0.entry(request.id().clone()).or_default().push(request);
    }

    /// Those that wait for this one, in the order in which they came.
    pub(super) fn take(&mut self, id: &str) -> Vec<Request> {
        self.0.remove(id).unwrap_or_default()
    }

    pub(super) fn refuse_all(&mut self, error: TransactionalError) {
        for request in self.0.drain().flat_map(|(_, requests)| requests) {
            request.refuse(error);
        }
    }
}
