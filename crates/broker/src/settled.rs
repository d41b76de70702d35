//! What a queue remembers of the messages in its log, in a journal: which are done, and what happened to
//! those that are not.
//!
//! ```text
//! an entry of whole pairs: start u64, end u64, ...      these offsets are done
//! any other: kind u8, then pairs of u64
//!   1   offset, times                                   came back so often
//!   2   start, end                                      unwanted, and perhaps not with the dead letters yet
//!   3   start, end                                      may have been given out
//!   4   the mark of a stop in order: see [`crate::mark`]
//!   128 + kind (0: done)                                the first pair is (transaction, 0); the rest counts
//!                                                       once that is committed
//! ```
//!
//! All numbers are big endian.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use cauce_core::queue::Rules;
use cauce_core::range_set::RangeSet;
use cauce_log::{Dirty, Disk, Journal, LogError, Recovery};

use crate::mark::{self, Extent, Mark};
use crate::transactions::Committed;

const RETURNED: u8 = 1;
const UNWANTED: u8 = 2;
const GIVEN_OUT: u8 = 3;
/// Or zero for what is done.
const OF_TRANSACTION: u8 = 128;

/// What became of messages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes {
    pub(crate) done: Vec<Range<u64>>,
    /// Offsets that came back, and how often by now.
    pub(crate) returned: Vec<(u64, u32)>,
    /// On their way to dead letters.
    pub(crate) unwanted: Vec<Range<u64>>,
    pub(crate) given_out: Vec<Range<u64>>,
}

impl Notes {
    pub(crate) fn is_empty(&self) -> bool {
        self.done.is_empty()
            && self.returned.is_empty()
            && self.unwanted.is_empty()
            && self.given_out.is_empty()
    }

    fn encode(&self, transaction: Option<u64>) -> Vec<Vec<u8>> {
        let mut entries = Vec::new();
        let mut entry = |kind: u8, pairs: &mut dyn Iterator<Item = (u64, u64)>| {
            let mut pairs = pairs.peekable();
            if pairs.peek().is_none() {
                return;
            }
            let mut bytes = match (kind, transaction) {
                (0, None) => Vec::new(),
                (_, None) => vec![kind],
                (_, Some(_)) => vec![kind | OF_TRANSACTION],
            };
            for (first, second) in transaction.map(|number| (number, 0)).into_iter().chain(pairs) {
                bytes.extend_from_slice(&first.to_be_bytes());
                bytes.extend_from_slice(&second.to_be_bytes());
            }
            entries.push(bytes);
        };
        entry(0, &mut self.done.iter().map(bounds));
        entry(RETURNED, &mut self.returned.iter().map(|&(offset, times)| (offset, times.into())));
        entry(UNWANTED, &mut self.unwanted.iter().map(bounds));
        entry(GIVEN_OUT, &mut self.given_out.iter().map(bounds));
        entries
    }

    /// An entry, and the transaction it is of. Kinds of another version say nothing.
    fn decode(entry: &[u8]) -> (Option<u64>, Notes) {
        let (kind, pairs) = match entry.split_first() {
            Some((&kind, pairs)) if !entry.len().is_multiple_of(16) => (kind, pairs),
            _ => (0, entry),
        };
        let mut pairs = pairs_in(pairs);
        let transaction =
            if kind & OF_TRANSACTION != 0 { pairs.next().map(|(number, _)| number) } else { None };
        let mut notes = Notes::default();
        let ranges =
            |pairs: &mut dyn Iterator<Item = (u64, u64)>| pairs.map(|(start, end)| start..end).collect();
        match kind & !OF_TRANSACTION {
            0 => notes.done = ranges(&mut pairs),
            RETURNED => {
                notes.returned =
                    pairs.map(|(offset, times)| (offset, u32::try_from(times).unwrap_or(u32::MAX))).collect();
            }
            UNWANTED => notes.unwanted = ranges(&mut pairs),
            GIVEN_OUT => notes.given_out = ranges(&mut pairs),
            // Looked for where it counts: at the end.
            mark::KIND => {}
            other => tracing::warn!(kind = other, "an entry about settled messages that nobody knows"),
        }
        (transaction, notes)
    }
}

/// The whole pairs of numbers in an entry.
pub(crate) fn pairs_in(bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> + '_ {
    let (pairs, _) = bytes.as_chunks::<16>();
    pairs.iter().map(|pair| {
        let both = u128::from_be_bytes(*pair);
        ((both >> 64) as u64, both as u64)
    })
}

fn bounds(range: &Range<u64>) -> (u64, u64) {
    (range.start, range.end)
}

/// All that is known of a queue's messages, beside themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settled {
    pub(crate) done: RangeSet,
    /// Of what is not done.
    pub(crate) returns: BTreeMap<u64, u32>,
    pub(crate) unwanted: RangeSet,
    pub(crate) given_out: RangeSet,
}

impl Settled {
    /// Whether a message is to leave for dead letters, or has come back too often.
    pub(crate) fn any_leaves(&self, rules: &Rules) -> bool {
        !self.unwanted.is_empty() || self.returns.values().any(|&times| rules.is_past_delivery_limit(times))
    }

    fn add(&mut self, notes: Notes) {
        notes.done.into_iter().for_each(|range| self.finish(range));
        let open = |offset: &u64| !self.done.contains(*offset);
        self.returns.extend(notes.returned.into_iter().filter(|(offset, _)| open(offset)));
        let unwanted: Vec<u64> = notes.unwanted.into_iter().flatten().filter(open).collect();
        unwanted.into_iter().for_each(|offset| self.unwanted.insert(offset));
        notes.given_out.into_iter().for_each(|range| self.given_out.insert_range(range));
    }

    fn finish(&mut self, range: Range<u64>) {
        while let Some((&offset, _)) = self.returns.range(range.clone()).next() {
            self.returns.remove(&offset);
        }
        self.unwanted.remove_range(range.clone(), |_| {});
        self.done.insert_range(range);
    }

    fn finish_below(&mut self, floor: u64) {
        self.done.insert_range(0..floor);
        self.given_out.remove_below(floor);
    }

    fn snapshot(&self) -> Notes {
        Notes {
            done: self.done.runs().collect(),
            returned: self.returns.iter().map(|(&offset, &times)| (offset, times)).collect(),
            unwanted: self.unwanted.runs().collect(),
            given_out: self.given_out.runs().collect(),
        }
    }
}

/// What a journal said beside [`Settled`] when it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) recovery: Recovery,
    /// The highest number of a transaction it knows.
    pub(crate) last_transaction: Option<u64>,
    pub(crate) mark: Option<(Extent, Mark)>,
}

/// The journal, and what a rewrite of it would say.
#[derive(Debug)]
pub(crate) struct SettledFile {
    journal: Journal,
    settled: Settled,
    /// By transactions that do not count yet.
    prepared: BTreeMap<u64, Notes>,
}

impl SettledFile {
    /// Opens the journal. Afterwards it says nothing of transactions, and what those left that were not
    /// committed is gone; nor does it have a mark.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: PathBuf,
        committed: &Committed,
    ) -> Result<(SettledFile, Opened), LogError> {
        let (journal, entries, recovery) = Journal::open(disk.clone(), dir)?;
        let mut settled = Settled::default();
        let mut last_transaction = None;
        let mark = entries.last().and_then(|entry| Mark::decode(entry));
        for entry in entries {
            let (transaction, notes) = Notes::decode(&entry);
            last_transaction = last_transaction.max(transaction);
            if transaction.is_none_or(|number| committed.contains(number)) {
                settled.add(notes);
            }
        }
        let mut file = SettledFile { journal, settled, prepared: BTreeMap::new() };
        if last_transaction.is_some() || mark.is_some() {
            file.rewrite()?;
        }
        Ok((file, Opened { recovery, last_transaction, mark }))
    }

    pub(crate) fn settled(&self) -> &Settled {
        &self.settled
    }

    /// Remembers notes; below `floor` all is done.
    pub(crate) fn add(&mut self, notes: Notes, floor: u64) -> Result<(), LogError> {
        self.append(&notes, None)?;
        self.settled.add(notes);
        self.settled.finish_below(floor);
        self.rewrite_if_long()
    }

    /// Leaves a mark, which counts if it is the last that is said.
    pub(crate) fn leave(&mut self, mark: &Mark, extent: &Extent) -> Result<(), LogError> {
        self.journal.append(&[&mark.encode(extent)])
    }

    /// These messages must not come back.
    pub(crate) fn abandon(&mut self, offsets: RangeSet) -> Result<(), LogError> {
        offsets.runs().for_each(|range| self.settled.finish(range));
        self.rewrite()
    }

    /// Writes notes that count once the transaction is committed.
    pub(crate) fn prepare(&mut self, transaction: u64, notes: Notes) -> Result<(), LogError> {
        self.append(&notes, Some(transaction))?;
        self.prepared.insert(transaction, notes);
        self.rewrite_if_long()
    }

    /// The notes of the transaction count. Nothing is written: the entries that are there will do.
    pub(crate) fn commit(&mut self, transaction: u64) {
        if let Some(notes) = self.prepared.remove(&transaction) {
            self.settled.add(notes);
        }
    }

    pub(crate) fn take_dirty(&mut self) -> Dirty {
        self.journal.take_dirty()
    }

    fn append(&mut self, notes: &Notes, transaction: Option<u64>) -> Result<(), LogError> {
        let entries = notes.encode(transaction);
        let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        self.journal.append(&entries)
    }

    fn rewrite_if_long(&mut self) -> Result<(), LogError> {
        if self.journal.should_rewrite() { self.rewrite() } else { Ok(()) }
    }

    fn rewrite(&mut self) -> Result<(), LogError> {
        let mut entries = self.settled.snapshot().encode(None);
        for (&transaction, notes) in &self.prepared {
            entries.extend(notes.encode(Some(transaction)));
        }
        self.journal.rewrite(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_as_they_were_written() {
        let notes = Notes {
            done: vec![0..3, 5..6],
            returned: vec![(4, 2), (7, u32::MAX)],
            unwanted: vec![8..9, 11..12],
            given_out: vec![3..20, 30..31],
        };
        for transaction in [None, Some(7)] {
            let mut settled = Settled::default();
            let entries = notes.encode(transaction);
            assert_eq!(entries.len(), 4);
            for entry in &entries {
                let (read, notes) = Notes::decode(entry);
                assert_eq!(read, transaction);
                settled.add(notes);
            }
            assert_eq!(settled.snapshot().encode(transaction), entries);
        }
        assert_eq!(Notes::default().encode(Some(1)), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_is_done_needs_no_other_note() {
        let mut settled = Settled::default();
        settled.add(Notes { returned: vec![(1, 1), (2, 1)], unwanted: vec![3..5, 7..8], ..Notes::default() });
        settled.add(Notes { done: vec![1..2, 3..4], returned: vec![(1, 2)], ..Notes::default() });
        assert_eq!(settled.returns, BTreeMap::from([(2, 1)]));
        assert_eq!(settled.unwanted.runs().collect::<Vec<_>>(), [4..5, 7..8]);
    }
}
