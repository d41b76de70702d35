//! What waits in a queue when the node starts: its log is read through, unless a stop in order left a mark.

use std::collections::BTreeMap;

use cauce_core::message::Message;
use cauce_core::queue::{Kept, Past, Reason, Rules};
use cauce_core::range_set::RangeSet;
use cauce_log::LogError;

use crate::mark::Mark;
use crate::settled::Settled;
use crate::storage::Recovered;
use crate::stored;
use crate::transactions::Committed;

/// Bytes read at a time while a log is looked through.
const SCAN_BYTES: usize = 4 << 20;

/// What the disk says of transactions while queues come back.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) committed: Committed,
    /// Whether the last run ended in order.
    pub(crate) stopped: bool,
    /// The first number that no queue has seen.
    pub(crate) next: u64,
}

/// What a log and its journal say of a queue.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What waits, and the bytes of its bodies. By priority: what has another never makes one run, and ten
    /// million messages of ten priorities would be as many runs.
    waiting: BTreeMap<u8, (RangeSet, u64)>,
    /// What is held until it is due, which seldom makes runs.
    held_until_due: Vec<Kept>,
    pub(crate) past: Past,
    /// Messages of transactions that were not committed.
    pub(crate) abandoned: RangeSet,
}

/// Every message of the queue that is not done.
pub(crate) fn find(recovered: &Recovered, rules: &Rules, known: &mut Known) -> Result<Found, LogError> {
    let settled = &recovered.settled;
    let mut found = Found::default();
    found.past.given_out = match known.stopped {
        true => settled.given_out.clone(),
        false => RangeSet::from(0..recovered.next),
    };
    match &recovered.mark {
        Some(mark) if known.stopped && !settled.any_leaves(rules) => found.believe(mark, settled),
        _ => found.read(recovered, rules, known)?,
    }
    Ok(found)
}

impl Found {
    /// What waits, offsets rising for each priority. The sizes of a priority are said with its first run: only
    /// their sum matters.
    pub(crate) fn kept(&self) -> impl Iterator<Item = Kept> {
        let waiting = self.waiting.iter().flat_map(|(&priority, (offsets, body_bytes))| {
            let sizes = std::iter::once(*body_bytes).chain(std::iter::repeat(0));
            let kept = move |(offsets, body_bytes)| Kept { offsets, priority, body_bytes, due_ms: 0 };
            offsets.runs().zip(sizes).map(kept)
        });
        waiting.chain(self.held_until_due.iter().cloned())
    }

    fn believe(&mut self, mark: &Mark, settled: &Settled) {
        let offsets = mark.offsets();
        let returns = settled.returns.iter().filter(|(offset, _)| offsets.contains(**offset));
        self.past.returns = returns.map(|(&offset, &times)| (offset, times)).collect();
        self.waiting.insert(0, (offsets, mark.body_bytes()));
    }

    fn read(&mut self, recovered: &Recovered, rules: &Rules, known: &mut Known) -> Result<(), LogError> {
        let settled = &recovered.settled;
        let mut last_transaction = recovered.last_transaction;
        let mut from = recovered.reader.start_offset();
        loop {
            let batches = recovered.reader.read(from, SCAN_BYTES)?;
            let Some(last) = batches.last() else {
                break;
            };
            from = last.last_offset() + 1;
            for record in batches.iter().flat_map(|batch| batch.records()) {
                let Ok(record) = record else { continue };
                let Some((message, transaction)) = stored::read_with_transaction(&record) else {
                    continue;
                };
                last_transaction = last_transaction.max(transaction);
                let offset = record.offset as u64;
                if !message.traits.persistent || settled.done.contains(offset) {
                    continue;
                }
                if transaction.is_some_and(|number| !known.committed.contains(number)) {
                    self.abandoned.insert(offset);
                    continue;
                }
                self.keep(offset, &message, settled, rules);
            }
        }
        known.next = known.next.max(last_transaction.map_or(0, |number| number + 1));
        Ok(())
    }

    fn keep(&mut self, offset: u64, message: &Message<'_>, settled: &Settled, rules: &Rules) {
        let returns = settled.returns.get(&offset).copied().unwrap_or(0);
        if returns > 0 {
            self.past.returns.insert(offset, returns);
        }
        let (priority, body_bytes) = (message.traits.priority, message.body_bytes());
        if settled.unwanted.contains(offset) {
            self.past.leaving.insert(offset, Reason::Rejected);
        } else if rules.is_past_delivery_limit(returns) {
            self.past.leaving.insert(offset, Reason::DeliveryLimit);
        } else if rules.holds_until_due {
            let due_ms = message.traits.due_ms();
            let kept = Kept { offsets: offset..offset + 1, priority, body_bytes, due_ms };
            Kept::push(&mut self.held_until_due, kept);
        } else {
            let (offsets, sum) = self.waiting.entry(priority).or_default();
            offsets.insert(offset);
            *sum += body_bytes;
        }
    }
}
