//! Compaction: of the records of one key the last is kept, as Kafka's log cleaner does it.
//!
//! [`Log::plan_compaction`] looks whether there is enough to do, [`CompactionRun`] does it beside the log, on any thread,
//! and [`Log::install_compacted`] puts what came of it in place, one segment after the other. Offsets stay, and so does
//! the order. The active segment never changes.
//!
//! | module           | what it holds                                                 |
//! |------------------|---------------------------------------------------------------|
//! | [`selection`]    | what becomes of each batch: no IO                             |
//! | [`key_map`]      | the latest offset of each key                                 |
//! | [`transactions`] | which batches were aborted, which markers still needed        |
//! | [`rewrite`]      | a batch with fewer records                                    |
//! | [`cleaned`]      | the new segment while it is written                           |
//! | [`swap`]         | how it takes the place of the old ones                        |

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::checkpoint::Known;
use super::recovery::Damage;
use super::view::{Placed, View};
use super::{Log, LogConfig, LogReader, RELATIVE_OFFSET_MAX};
use crate::batch::RecordBatch;
use crate::disk::Disk;
use crate::error::LogError;
use crate::scan::Found;
use crate::segment::Segment;

mod cleaned;
mod key_map;
mod rewrite;
mod selection;
pub(super) mod swap;
mod transactions;

use cleaned::{Cleaned, Finished};
use key_map::KeyMap;
pub(super) use selection::records_of;
use selection::{Fate, Selection};
use transactions::Transactions;

const SCAN_CHUNK_BYTES: usize = 1 << 20;

/// Compresses and decompresses the records of batches. `codec` is as in [`RecordBatch::compression_codec`].
pub trait Codec {
    fn decompress(&self, codec: u8, records: &[u8]) -> io::Result<Vec<u8>>;
    fn compress(&self, codec: u8, records: &[u8]) -> io::Result<Vec<u8>>;
}

/// What an operator can set, for each log.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactionRules {
    /// Records younger than this stay.
    pub min_lag_ms: i64,
    /// When records older than this were not compacted, it is time, however few they are.
    pub max_lag_ms: i64,
    /// It is time when more than this share of the bytes was not compacted.
    pub min_dirty_ratio: f64,
    /// A tombstone is kept for so long after it was first compacted, and so is the marker of a transaction.
    pub delete_retention_ms: i64,
    /// The memory for keys. When they do not fit a run goes as far as they do, and the next one on from there.
    pub keys_bytes_max: usize,
}

impl Default for CompactionRules {
    fn default() -> CompactionRules {
        CompactionRules {
            min_lag_ms: 0,
            max_lag_ms: i64::MAX,
            min_dirty_ratio: 0.5,
            delete_retention_ms: 24 * 60 * 60 * 1000,
            keys_bytes_max: 128 << 20,
        }
    }
}

/// What the owner of a log knows of its producers and transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamState {
    /// All transactions are decided below this offset. What is from it on stays.
    pub stable_offset: i64,
    /// All that were aborted and have records below.
    pub aborted: Vec<AbortedTransaction>,
    /// All producers whose state must survive.
    pub producers: Vec<LastBatch>,
}

/// The offsets are those of the first record and of the marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
    pub last_offset: i64,
}

/// What a producer wrote last. The batch stays, if only its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastBatch {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Of its last batch with records; `None` if only a marker is known.
    pub last_data_offset: Option<i64>,
}

/// A run of compaction that is to be.
#[derive(Debug)]
pub struct Compaction {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    view: Arc<View>,
    config: LogConfig,
    rules: CompactionRules,
    state: StreamState,
    now_ms: i64,
    /// The sealed segments, from the first on, that hold offsets below the limit.
    segments: Vec<Placed>,
    compacted_below: i64,
    limit: i64,
}

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

/// What a run made, not yet part of the log.
#[derive(Debug)]
pub struct Compacted(Finished);

/// What was replaced. The files that are gone take their space until this is dropped, which may take a while.
#[derive(Debug)]
pub struct Replaced {
    pub bytes_before: u64,
    pub bytes_after: u64,
    _sources: Vec<Arc<Segment>>,
}

/// How far a run came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Below this offset no key has two records that both were there when the run began.
    pub compacted_below: i64,
    /// Whether the keys did not fit: the next run has something to do at once.
    pub is_partial: bool,
    /// Batches that stay because their records could not be read.
    pub unreadable_batches: u64,
    /// Whether something is damaged, and stays.
    pub is_damaged: bool,
}

impl Log {
    /// What is to be compacted, if it is time. All below the stable offset must be flushed before the run begins: what
    /// it leaves out is gone then.
    pub fn plan_compaction(
        &self,
        rules: &CompactionRules,
        state: StreamState,
        now_ms: i64,
    ) -> io::Result<Option<Compaction>> {
        let Some(due) = self.view.due(rules, state.stable_offset, now_ms)? else { return Ok(None) };
        let Due { segments, limit, compacted_below, .. } = due;
        Ok(Some(Compaction {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            view: self.view.clone(),
            config: self.config.clone(),
            rules: rules.clone(),
            state,
            now_ms,
            segments,
            compacted_below,
            limit,
        }))
    }

    /// Puts a compacted segment in place. Readers that are in an old one finish it. Flushes names, up to three times:
    /// afterwards all of it is durable. `None` when what it was made of was trimmed meanwhile: the run is void then, as
    /// what it made next would count on this.
    pub fn install_compacted(&mut self, compacted: Compacted) -> Result<Option<Replaced>, LogError> {
        let Finished { sources, segment } = compacted.0;
        if !self.view.holds(&sources) {
            swap::discard(&*self.disk, &self.dir, segment.base_offset)?;
            return Ok(None);
        }
        let last = sources.last().expect("it was made from something");
        swap::swap(&*self.disk, &self.dir, &(segment.base_offset..self.view.limit_of(last)))?;
        self.view.replace(&sources, segment.clone());
        let replaced = Replaced {
            bytes_before: sources.iter().map(|source| source.len_bytes()).sum(),
            bytes_after: segment.len_bytes(),
            _sources: sources,
        };
        // It is flushed, but the recovery point may have to move beyond it.
        let is_source = |of: &Arc<Segment>| replaced._sources.iter().any(|source| Arc::ptr_eq(source, of));
        if self.unflushed.extract_if(.., |unflushed| is_source(unflushed)).count() > 0 {
            self.unflushed.push(segment);
        }
        Ok(Some(replaced))
    }

    /// Remembers how far a run came, of which all is installed. Kept from the next flush on.
    ///
    /// Snapshots below go: what they knew of may be settled by batches that the run left out.
    pub fn end_compaction(&mut self, report: &CompactionReport) -> Result<(), LogError> {
        let known = self.checkpoint.known();
        let compacted_below = report.compacted_below.max(known.compacted_below);
        self.snapshots.remove_below(&*self.disk, &self.dir, compacted_below)?;
        self.has_new_names = true;
        self.view.set_compacted_below(compacted_below);
        self.checkpoint.set(&self.disk, &self.dir, Known { compacted_below, ..known })
    }
}

impl LogReader {
    /// How much of the log was not compacted, as a share, if it is time. See [`Log::plan_compaction`].
    pub fn share_to_compact(
        &self,
        rules: &CompactionRules,
        stable_offset: i64,
        now_ms: i64,
    ) -> io::Result<Option<f64>> {
        Ok(self.view.due(rules, stable_offset, now_ms)?.map(|due| due.share))
    }
}

/// What there is to compact.
struct Due {
    segments: Vec<Placed>,
    limit: i64,
    compacted_below: i64,
    share: f64,
}

impl View {
    fn due(&self, rules: &CompactionRules, stable_offset: i64, now_ms: i64) -> io::Result<Option<Due>> {
        let mut segments = self.all();
        let active = segments.pop().expect("a log has a segment").segment;
        let compacted_below = self.compacted_below().max(self.start_offset());
        let limit = stable_offset.min(active.base_offset);
        if limit <= compacted_below {
            return Ok(None);
        }
        let limit = limit.min(limit_by_age(&segments, compacted_below, rules, now_ms)?);
        segments.retain(|placed| placed.segment.base_offset < limit);
        let (dirty, clean): (Vec<&Placed>, Vec<_>) =
            segments.iter().partition(|placed| placed.offset_limit > compacted_below);
        let bytes = |of: &[&Placed]| of.iter().map(|placed| placed.segment.len_bytes()).sum::<u64>() as f64;
        let share = bytes(&dirty) / (bytes(&dirty) + bytes(&clean)).max(1.0);
        let is_time = share > rules.min_dirty_ratio || waits_too_long(&dirty, rules, now_ms)?;
        let is_due = limit > compacted_below && !dirty.is_empty() && is_time;
        Ok(is_due.then_some(Due { segments, limit, compacted_below, share }))
    }
}

/// Up to where records are old enough to be compacted.
fn limit_by_age(
    segments: &[Placed],
    compacted_below: i64,
    rules: &CompactionRules,
    now_ms: i64,
) -> io::Result<i64> {
    if rules.min_lag_ms > 0 {
        for placed in segments.iter().filter(|placed| placed.offset_limit > compacted_below) {
            let latest_ms = placed.segment.max_timestamp()?;
            if latest_ms.is_some_and(|latest_ms| latest_ms > now_ms.saturating_sub(rules.min_lag_ms)) {
                return Ok(placed.segment.base_offset);
            }
        }
    }
    Ok(i64::MAX)
}

fn waits_too_long(dirty: &[&Placed], rules: &CompactionRules, now_ms: i64) -> io::Result<bool> {
    if rules.max_lag_ms == i64::MAX {
        return Ok(false);
    }
    let oldest_ms = now_ms.saturating_sub(rules.max_lag_ms);
    for placed in dirty {
        if let Some(first_ms) = placed.segment.look_for_first_timestamp()? {
            return Ok(first_ms < oldest_ms);
        }
    }
    Ok(false)
}

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
                Fate::Stays => out.keep(batch.bytes())?,
                Fate::Becomes(smaller) => out.replace(&smaller)?,
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

impl View {
    /// Whether all these segments are still part of the log.
    fn holds(&self, sources: &[Arc<Segment>]) -> bool {
        let all = self.all();
        sources.iter().all(|source| all.iter().any(|placed| Arc::ptr_eq(&placed.segment, source)))
    }

    /// The offset at which the segment after this one begins.
    fn limit_of(&self, segment: &Arc<Segment>) -> i64 {
        let all = self.all();
        let found = all.iter().find(|placed| Arc::ptr_eq(&placed.segment, segment));
        found.expect("the segment is part of the log").offset_limit
    }
}
