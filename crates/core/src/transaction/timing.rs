//! What happens when nobody calls: transactions are aborted, transactional ids are forgotten.

use super::{Coordinator, Effects, State, Then, TransactionalId};

impl Coordinator {
    /// When [`on_timeout`](Coordinator::on_timeout) has something to do.
    pub fn next_timeout(&self) -> Option<i64> {
        self.deadlines.first().map(|(due_ms, _)| *due_ms)
    }

    /// Aborts transactions that took too long, and forgets transactional ids that nobody uses.
    pub fn on_timeout(&mut self, now_ms: i64, out: &mut Effects) {
        while let Some((_, id)) = self.deadlines.first().filter(|(due_ms, _)| *due_ms <= now_ms) {
            let id = id.clone();
            match self.transactions[&id].record.state {
                State::Ongoing => self.fence(&id, None, now_ms, out),
                _ => self.persist(&id, None, None, Then::Completed, out),
            }
        }
    }

    /// While a record is on its way to the disk, and while markers are written, there is no deadline.
    pub(super) fn set_deadline(&mut self, id: &TransactionalId) {
        let transaction = self.transactions.get_mut(id).expect("whoever changes it knows it");
        let record = &transaction.record;
        let deadline_ms = match record.state {
            _ if transaction.in_transition() => None,
            State::Ongoing => {
                let started_ms = record.started_ms.unwrap_or(record.updated_ms);
                Some(started_ms.saturating_add(i64::from(record.timeout_ms) + 1))
            }
            _ => Some(record.updated_ms.saturating_add(self.rules.expiration_ms)),
        };
        let before = std::mem::replace(&mut transaction.deadline_ms, deadline_ms);
        if let Some(due_ms) = before {
            self.deadlines.remove(&(due_ms, id.clone()));
        }
        self.deadlines.extend(deadline_ms.map(|due_ms| (due_ms, id.clone())));
    }
}
