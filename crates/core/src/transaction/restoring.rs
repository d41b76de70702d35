//! After a restart.

use super::{Coordinator, Effects, Record, Rules, Transaction, TransactionalId};

impl Coordinator {
    /// Goes on from the last record of each transactional id. What was decided is carried out to its end; what was
    /// not is as it was, and its client may go on.
    pub fn restore(
        rules: Rules,
        records: impl IntoIterator<Item = (TransactionalId, Record)>,
        now_ms: i64,
        out: &mut Effects,
    ) -> Coordinator {
        let mut coordinator = Coordinator::new(rules);
        for (id, record) in records {
            let decided = record.state.ending_under_way().is_some();
            coordinator.transactions.insert(id.clone(), Transaction::new(record));
            match decided {
                true => coordinator.write_markers(&id, now_ms, out),
                false => coordinator.set_deadline(&id),
            }
        }
        coordinator
    }
}
