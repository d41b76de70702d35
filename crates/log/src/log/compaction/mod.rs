//! Compaction: of the records of one key the last is kept, as Kafka's log cleaner does it.
//!
//! [`Log::plan_compaction`] looks whether there is enough to do, [`CompactionRun`] does it beside the log, on any thread,
//! and [`Log::install_compacted`] puts what came of it in place, one segment after the other. Offsets stay, and so does
//! the order. The active segment never changes.
//!
//! | module           | what it holds                                                 |
//! |------------------|---------------------------------------------------------------|
//! | [`planning`]     | whether it is time, and how far                               |
//! | [`run`]          | reading keys, then making segments anew                       |
//! | [`selection`]    | what becomes of each batch: no IO                             |
//! | [`key_map`]      | the latest offset of each key                                 |
//! | [`transactions`] | which batches were aborted, which markers still needed        |
//! | [`rewrite`]      | a batch with fewer records                                    |
//! | [`cleaned`]      | the new segment while it is written                           |
//! | [`swap`]         | how it takes the place of the old ones                        |

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::checkpoint::Known;
use super::view::{Placed, View};
use super::{Log, LogConfig};
use crate::disk::Disk;
use crate::error::LogError;
use crate::segment::Segment;

mod cleaned;
mod key_map;
mod planning;
mod rewrite;
mod run;
mod selection;
pub(super) mod swap;
mod transactions;

pub use run::{CompactionRun, Pace};
pub(super) use selection::records_of;

use cleaned::Finished;

/// Compresses and decompresses the records of batches. `codec` is as in [`RecordBatch::compression_codec`](crate::RecordBatch::compression_codec).
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
