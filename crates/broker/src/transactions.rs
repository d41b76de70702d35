//! Transactions that touch several files: which of them are committed, on disk and in memory.
//!
//! Each has a number. Its messages and settlements are written first, marked with the number; then the
//! number goes into the journal of the node, which is the commit; then the queues let its messages be seen.
//! What carries a number that the journal does not know never counted.
//!
//! ```text
//! an entry: kind u8, number u64, big endian
//!   0   all transactions below this number are committed
//!   1   this transaction is committed
//!   2   the node stopped in order, and this would be the next number; the next start rewrites the journal
//!       without it
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use cauce_core::message::Block;
use cauce_core::queue::{Outcome, Picks};
use cauce_log::{Dirty, Disk, Journal, LogError, Recovery};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::queue_handle::QueueHandle;
use crate::storage::{Job, Storage};

const FLOOR: u8 = 0;
const COMMITTED: u8 = 1;
const STOPPED: u8 = 2;

/// What a transaction asks of one queue: to take messages, and then to end deliveries.
#[derive(Debug)]
pub struct Part {
    pub queue: Arc<QueueHandle>,
    pub block: Arc<Block>,
    pub picks: Picks,
    pub settles: Vec<(Outcome, Vec<u64>)>,
}

impl Part {
    /// Whether it is one batch of one file, so that a crash leaves all or nothing of it.
    fn is_one_write(&self) -> bool {
        let rejects = self.settles.iter().any(|(outcome, _)| *outcome == Outcome::Reject);
        match self.picks.len() {
            0 => !rejects,
            // More might not fit one batch.
            count => count == 1 && self.settles.is_empty(),
        }
    }
}

/// The numbers of those that count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Committed {
    /// All below are committed.
    floor: u64,
    above: BTreeSet<u64>,
    /// None from here on was given.
    next: u64,
}

impl Committed {
    pub(crate) fn contains(&self, transaction: u64) -> bool {
        transaction < self.floor || self.above.contains(&transaction)
    }

    fn raise_floor(&mut self, floor: u64) {
        if floor > self.floor {
            self.floor = floor;
            self.above = self.above.split_off(&floor);
        }
    }

    /// The first number that was never given.
    pub(crate) fn next(&self) -> u64 {
        let above = self.above.last().map_or(0, |last| last + 1);
        self.floor.max(above).max(self.next).max(1)
    }
}

/// The journal of the node.
#[derive(Debug)]
pub(crate) struct TransactionsFile {
    journal: Journal,
    committed: Committed,
    /// The last run ended in order.
    stopped: bool,
}

impl TransactionsFile {
    pub(crate) fn open(disk: &Arc<dyn Disk>) -> Result<TransactionsFile, LogError> {
        let (journal, entries, recovery) = Journal::open(disk.clone(), "transactions".into())?;
        if recovery != Recovery::default() {
            tracing::warn!(?recovery, "the journal of transactions was not as it was left");
        }
        let mut committed = Committed::default();
        let mut stopped = false;
        for entry in &entries {
            let Some((&kind, number)) = entry.split_first() else { continue };
            let Ok(number) = number.try_into().map(u64::from_be_bytes) else { continue };
            stopped = kind == STOPPED;
            match kind {
                FLOOR => committed.raise_floor(number),
                COMMITTED => drop(committed.above.insert(number)),
                STOPPED => committed.next = committed.next.max(number),
                _ => {}
            }
        }
        Ok(TransactionsFile { journal, committed, stopped })
    }

    /// Whether the last run ended in order.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Begins a run: what queues know of numbers from before counts, and those from `next` on are new.
    pub(crate) fn begin(&mut self, next: u64) -> Result<(), LogError> {
        if !self.stopped && next == self.committed.next() && self.committed.above.is_empty() {
            return Ok(());
        }
        self.stopped = false;
        self.committed.raise_floor(next);
        self.rewrite()
    }

    /// All below `floor` is committed as well.
    pub(crate) fn commit(&mut self, transaction: u64, floor: u64) -> Result<(), LogError> {
        self.journal.append(&[&encode(COMMITTED, transaction)])?;
        self.committed.above.insert(transaction);
        self.committed.raise_floor(floor);
        if self.journal.should_rewrite() {
            self.rewrite()?;
        }
        Ok(())
    }

    pub(crate) fn stop(&mut self, next: u64) -> Result<(), LogError> {
        self.journal.append(&[&encode(STOPPED, next)])
    }

    pub(crate) fn take_dirty(&mut self) -> Dirty {
        self.journal.take_dirty()
    }

    fn rewrite(&mut self) -> Result<(), LogError> {
        let floor = encode(FLOOR, self.committed.floor);
        let above = self.committed.above.iter().map(|&number| encode(COMMITTED, number));
        self.journal.rewrite(std::iter::once(floor).chain(above))
    }
}

fn encode(kind: u8, number: u64) -> [u8; 9] {
    let mut entry = [kind; 9];
    entry[1..].copy_from_slice(&number.to_be_bytes());
    entry
}

/// The transactions under way. One that began is committed unless the process ends first.
#[derive(Debug, Default)]
pub(crate) struct Transactions(Mutex<UnderWay>);

#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    numbers: BTreeSet<u64>,
}

impl Transactions {
    /// Numbers from `next` on are new.
    pub(crate) fn start_at(&self, next: u64) {
        self.0.lock().next = next;
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.lock().next
    }

    fn begin(&self) -> u64 {
        let mut under_way = self.0.lock();
        let number = under_way.next;
        under_way.next += 1;
        under_way.numbers.insert(number);
        number
    }

    fn end(&self, transaction: u64) {
        self.0.lock().numbers.remove(&transaction);
    }

    /// All below are over.
    fn floor(&self) -> u64 {
        let under_way = self.0.lock();
        under_way.numbers.first().copied().unwrap_or(under_way.next)
    }

    /// Carries all parts out, or after a crash none; answers when that is safe. The queues hear of it in the
    /// order of the calls.
    pub(crate) async fn commit(&self, storage: &Storage, mut parts: Vec<Part>) {
        parts.retain(|part| !part.picks.is_empty() || !part.settles.is_empty());
        if let [part] = &parts[..]
            && part.is_one_write()
        {
            let part = parts.pop().expect("seen above");
            let queue = part.queue.clone();
            let _ = queue.prepare(None, part).await.await;
            return;
        }
        let transaction = self.begin();
        let mut queues = Vec::with_capacity(parts.len());
        let mut answers = Vec::with_capacity(parts.len());
        for part in parts {
            let queue = part.queue.clone();
            answers.push(queue.prepare(Some(transaction), part).await);
            queues.push(queue);
        }
        let mut is_on_disk = false;
        for answer in answers {
            is_on_disk |= answer.await.is_ok();
        }
        if is_on_disk {
            let (done, answer) = oneshot::channel();
            storage.send(Job::Commit { transaction, floor: self.floor(), done });
            // The storage thread answers or ends the process.
            let _ = answer.await;
        }
        for queue in queues {
            queue.commit(transaction);
        }
        self.end(transaction);
    }
}
