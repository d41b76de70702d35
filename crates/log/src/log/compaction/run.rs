//! Compacting beside the log: the keys first, then one segment after the other.

use std::fmt;
use std::io;
use std::ops::ControlFlow;

use super::cleaned::Cleaned;
use super::key_map::KeyMap;
use super::selection::{Fate, Selection, records_of};
use super::transactions::Transactions;
use super::{Codec, Compacted, Compaction, CompactionReport, swap};
use crate::batch::RecordBatch;
use crate::log::RELATIVE_OFFSET_MAX;
use crate::log::recovery::Damage;
use crate::log::view::Placed;
use crate::scan::Found;

const SCAN_CHUNK_BYTES: usize = 1 << 20;

/// A run under way. It makes one segment after the other; each is installed before the next is made, so a run needs room
/// for one.
pub struct CompactionRun<'a> {
    of: Compaction,
    selection: Selection<'a>,
    pace: &'a Pace<'a>,
    /// How many of the segments were dealt with.
    passed: usize,
}

/// Asked for as many bytes as were read or written since; a break ends the run with [`io::ErrorKind::Interrupted`].
pub type Pace<'a> = dyn Fn(u64) -> ControlFlow<()> + 'a;

impl Compaction {
    /// Reads what was not compacted for its keys.
    pub fn begin<'a>(self, codec: &'a dyn Codec, pace: &'a Pace<'a>) -> io::Result<CompactionRun<'a>> {
        let transactions = Transactions::new(&self.state);
        let (keys, below) = self.read_keys(&transactions, codec, pace)?;
        let selection = Selection {
            keys,
            transactions,
            below,
            now_ms: self.now_ms,
            delete_retention_ms: self.rules.delete_retention_ms,
            codec,
            unreadable: 0,
            is_uncertain: false,
        };
        Ok(CompactionRun { of: self, selection, pace, passed: 0 })
    }

    /// The keys of what was not compacted yet, as far as they fit, and how far that is.
    fn read_keys(
        &self,
        transactions: &Transactions,
        codec: &dyn Codec,
        pace: &Pace<'_>,
    ) -> io::Result<(KeyMap, i64)> {
        let mut keys = KeyMap::new(self.rules.keys_bytes_max);
        for placed in self.segments.iter().filter(|placed| placed.offset_limit > self.compacted_below) {
            let from = self.compacted_below.max(placed.segment.base_offset);
            let (position, offset) = placed.segment.position_before(from)?;
            let mut scanner = placed.segment.scan(position, offset..placed.offset_limit, SCAN_CHUNK_BYTES);
            while let Some(found) = scanner.next()? {
                let Found::Batch { batch, .. } = found else { continue };
                if batch.next_offset() <= self.compacted_below {
                    continue;
                }
                let is_full = !keys.is_empty() && !keys.has_room_for(batch.record_count() as usize);
                if is_full || batch.next_offset() > self.limit {
                    return Ok((keys, batch.base_offset()));
                }
                if !batch.is_control() && !transactions.is_aborted(&batch) {
                    add_keys(&mut keys, &batch, codec);
                }
                keep_pace(pace, batch.len_bytes())?;
            }
        }
        Ok((keys, self.limit))
    }
}

impl fmt::Debug for CompactionRun<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CompactionRun").field("of", &self.of).field("passed", &self.passed).finish()
    }
}

impl CompactionRun<'_> {
    /// Makes the next segment that loses something, to be installed before the one after it is made. Small neighbours
    /// become one, one that is damaged stays as it is. `None` when all are made.
    pub fn make_next(&mut self) -> io::Result<Option<Compacted>> {
        loop {
            let first = self.passed;
            let made = self.clean_next().and_then(|cleaned| match cleaned {
                Some(cleaned) => Ok(Some(cleaned.finish(&*self.of.disk, &self.of.dir)?)),
                None => Ok(None),
            });
            match made {
                Ok(Some(None)) => {}
                Ok(Some(Some(finished))) => return Ok(Some(Compacted(finished))),
                Ok(None) => return Ok(None),
                Err(error) => {
                    // It may be for want of room.
                    swap::discard(&*self.of.disk, &self.of.dir, self.of.segments[first].segment.base_offset)?;
                    return Err(error);
                }
            }
        }
    }

    /// What its keys take in memory.
    pub fn keys_bytes(&self) -> usize {
        self.selection.keys.bytes()
    }

    pub fn report(&self) -> CompactionReport {
        CompactionReport {
            compacted_below: self.selection.below,
            is_partial: self.selection.below < self.of.limit,
            unreadable_batches: self.selection.unreadable,
            is_damaged: self.selection.is_uncertain,
        }
    }

    /// Takes as many segments as become one.
    fn clean_next(&mut self) -> io::Result<Option<Cleaned>> {
        let mut open: Option<Cleaned> = None;
        while let Some(placed) = self.next_segment() {
            if open.as_ref().is_some_and(|cleaned| !self.of.has_room_for(cleaned, &placed)) {
                return Ok(open);
            }
            self.passed += 1;
            let mut cleaned = match open.take() {
                Some(cleaned) => cleaned,
                None => Cleaned::create(
                    &*self.of.disk,
                    &self.of.dir,
                    placed.segment.base_offset,
                    self.of.config.index_interval_bytes,
                )?,
            };
            let mark = cleaned.mark();
            if self.clean(&placed, &mut cleaned)? {
                cleaned.sources.push(placed.segment);
                open = Some(cleaned);
                continue;
            }
            cleaned.go_back(mark)?;
            return Ok(Some(cleaned));
        }
        Ok(open)
    }

    fn next_segment(&self) -> Option<Placed> {
        self.of
            .segments
            .get(self.passed)
            .filter(|placed| placed.segment.base_offset < self.selection.below)
            .cloned()
    }

    /// Writes what stays of a segment; false when it is damaged.
    fn clean(&mut self, placed: &Placed, out: &mut Cleaned) -> io::Result<bool> {
        let mut scanner = placed.segment.scan(0, placed.offsets(), SCAN_CHUNK_BYTES);
        let mut is_whole = true;
        while let Some(found) = scanner.next()? {
            let batch = match found {
                Found::Batch { batch, .. } => batch,
                Found::Damage { bytes, offsets, .. } => {
                    self.of.view.notice(Damage::new(&placed.segment.path, bytes, offsets));
                    self.selection.pass_unreadable();
                    is_whole = false;
                    continue;
                }
            };
            keep_pace(self.pace, batch.len_bytes())?;
            match self.selection.decide(&batch) {
                Fate::Stays => {
                    keep_pace(self.pace, batch.len_bytes())?;
                    out.keep(batch.bytes())?;
                }
                Fate::Becomes(smaller) => {
                    keep_pace(self.pace, smaller.len())?;
                    out.replace(&smaller)?;
                }
                Fate::Gap => out.leave_out(&batch)?,
            }
        }
        Ok(is_whole)
    }
}

impl Compaction {
    fn has_room_for(&self, cleaned: &Cleaned, placed: &Placed) -> bool {
        let bytes = cleaned.source_bytes() + placed.segment.len_bytes();
        let offsets = placed.offset_limit - 1 - cleaned.base_offset;
        bytes <= self.config.segment_bytes && offsets <= RELATIVE_OFFSET_MAX
    }
}

fn keep_pace(pace: &Pace<'_>, bytes: usize) -> io::Result<()> {
    match pace(bytes as u64) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(io::ErrorKind::Interrupted.into()),
    }
}

/// A batch whose records cannot be read speaks for none of its keys.
fn add_keys(keys: &mut KeyMap, batch: &RecordBatch, codec: &dyn Codec) {
    let Ok(records) = records_of(batch, codec) else { return };
    for record in batch.records_in(&records).map_while(Result::ok) {
        if let Some(key) = record.key {
            keys.put(key, record.offset);
        }
    }
}
