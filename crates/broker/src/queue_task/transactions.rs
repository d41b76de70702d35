//! Parts of transactions: they are prepared, and become effective with the commit.

use std::ops::Range;

use cauce_core::queue::Outcome;
use tokio::sync::oneshot;

use super::QueueTask;
use super::keeping::add_range;
use crate::dead_letter::Awaited;
use crate::settled::Notes;
use crate::storage::Job;
use crate::transactions::Part;

/// A part of a transaction that came.
#[derive(Debug)]
pub(super) struct Preparing {
    pub(super) transaction: u64,
    /// Its messages.
    pub(super) offsets: Range<u64>,
    notes: Notes,
    done: oneshot::Sender<()>,
}

/// How a transaction will end deliveries, once it is committed.
#[derive(Debug)]
pub(super) struct Ending {
    settles: Vec<(Outcome, Vec<u64>)>,
    /// Notes about them were written.
    noted: bool,
    /// Messages that found the queue full.
    refused: usize,
}

impl QueueTask {
    pub(super) fn prepare(
        &mut self,
        transaction: Option<u64>,
        part: Part,
        done: oneshot::Sender<()>,
        now_ms: i64,
    ) {
        let Part { block, picks, settles, .. } = part;
        self.placed.clear();
        let Some(transaction) = transaction else {
            self.queue.publish(&block, &picks, now_ms, &mut self.effects, &mut self.placed);
            self.note_refused_of_transaction(self.refused_count());
            self.settle_all(settles, now_ms);
            return self.flushing.push((self.queue.next_offset(), done));
        };
        let from = self.queue.next_offset();
        self.queue.prepare(transaction, &block, &picks, &mut self.placed);
        let offsets = from..self.queue.next_offset();
        let notes = self.notes_of(&settles);
        let refused = self.refused_count();
        self.endings.insert(transaction, Ending { settles, noted: !notes.is_empty(), refused });
        self.preparing.push(Preparing { transaction, offsets, notes, done });
    }

    pub(super) fn commit(&mut self, transaction: u64, now_ms: i64) {
        let Some(Ending { settles, noted, refused }) = self.endings.remove(&transaction) else {
            return;
        };
        self.note_refused_of_transaction(refused);
        self.queue.commit(transaction, now_ms, &mut self.effects);
        self.settle_all(settles, now_ms);
        if noted {
            self.committed.push(transaction);
        }
    }

    /// Nobody waits for them: the commit did not depend on it.
    fn note_refused_of_transaction(&mut self, count: usize) {
        if self.queue.rules().dead_letters_refused() {
            self.refused.extend(std::iter::repeat_n(Awaited::Nobody, count));
        }
    }

    fn settle_all(&mut self, settles: Vec<(Outcome, Vec<u64>)>, now_ms: i64) {
        for (outcome, offsets) in settles {
            self.queue.settle(offsets, outcome, now_ms, &mut self.effects);
        }
    }

    /// What a restart must know of such an end of deliveries, as far as their messages are in the log.
    fn notes_of(&self, settles: &[(Outcome, Vec<u64>)]) -> Notes {
        let mut notes = Notes::default();
        let dead_letters = self.queue.rules().dead_letters;
        for (outcome, offsets) in settles {
            let kept = |offset: &&u64| self.queue.holds(**offset) && self.written.contains(**offset);
            for &offset in offsets.iter().filter(kept) {
                match outcome {
                    Outcome::Release => notes.returned.push((offset, self.queue.returns_of(offset) + 1)),
                    Outcome::Reject if dead_letters => add_range(&mut notes.unwanted, offset..offset + 1),
                    Outcome::Reject | Outcome::Accept => add_range(&mut notes.done, offset..offset + 1),
                }
            }
        }
        notes
    }

    /// Transactions hear when what they brought is safe.
    pub(super) fn answer_transactions(&mut self) {
        let (queue, decided) = (self.handle.id, self.queue.offered_upto());
        for part in self.preparing.extract_if(.., |part| part.offsets.end <= decided) {
            let Preparing { transaction, mut offsets, notes, done } = part;
            let mut writes = offsets.any(|offset| self.written.contains(offset));
            if !notes.is_empty() {
                writes = true;
                self.vhost.storage().send(Job::Prepare { queue, transaction, notes });
            }
            if writes {
                self.vhost.storage().send(Job::Flush { done });
            }
        }
        for (_, done) in self.flushing.extract_if(.., |(upto, _)| *upto <= decided) {
            self.vhost.storage().send(Job::Flush { done });
        }
    }
}
