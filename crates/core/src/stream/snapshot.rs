//! The state of a partition as bytes, so that a restart need not read the whole log again.
//!
//! ```text
//! version | CRC | end | producers… | aborted transactions…
//! u16     | u32 | u64 | u32 count  | u32 count
//!
//! a producer:  id  | epoch | coordinator epoch | open from | used | batches: first | last seq. | first | last offset | time
//!              i64 | i16   | i32, -1: none     | i64, -1   | i64  | u8       i32   | i32       | u64   | u64         | i64
//!
//! an aborted transaction:  producer | first | last offset | last stable offset
//!                          i64      | u64   | u64         | u64
//! ```
//!
//! All big endian. The CRC-32C covers what follows it.

use super::producer::{ProducerState, RECENT_MAX, Recent};
use super::{Aborted, Rules, Stream};
use crate::producer::ProducerId;

const VERSION: u16 = 1;
const CHECKED_START: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("the snapshot ends too early")]
    Truncated,
    #[error("a snapshot of version {0}, not {VERSION}")]
    UnknownVersion(u16),
    #[error("the snapshot's checksum is {stored:08x}, its bytes give {computed:08x}")]
    WrongChecksum { stored: u32, computed: u32 },
    #[error("{0} bytes follow the snapshot")]
    Trailing(usize),
    #[error("{0} batches of one producer")]
    TooManyBatches(u8),
}

impl Stream {
    /// What is known of all below [`end`](Stream::end). Only usable once the log is stored up to there: a log
    /// that ends earlier after a crash needs an older snapshot.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(VERSION.to_be_bytes());
        out.extend([0; 4]);
        out.extend(self.end.to_be_bytes());
        let mut producers: Vec<_> = self.producers.iter().collect();
        producers.sort_unstable_by_key(|(id, _)| *id);
        out.extend((producers.len() as u32).to_be_bytes());
        producers.iter().for_each(|(id, state)| put_producer(&mut out, *id, state));
        out.extend((self.transactions.aborted().count() as u32).to_be_bytes());
        self.transactions.aborted().for_each(|aborted| put_aborted(&mut out, aborted));
        let crc = crc_fast::crc32_iscsi(&out[CHECKED_START..]);
        out[2..CHECKED_START].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// The state as of the snapshot. The log's batches from [`end`](Stream::end) on are to be
    /// [replayed](Stream::replay), and what was deleted is to be [trimmed](Stream::trim).
    pub fn from_snapshot(rules: Rules, bytes: &[u8], now_ms: i64) -> Result<Stream, SnapshotError> {
        let mut from = Cursor { left: checked(bytes)? };
        let end = from.u64()?;
        let mut stream = Stream::new(rules, end, now_ms);
        stream.log_start = 0;
        for _ in 0..from.u32()? {
            let (id, state) = read_producer(&mut from)?;
            if let Some(first_offset) = state.open_from {
                stream.transactions.open(first_offset, id);
            }
            stream.producers.insert(id, state);
        }
        for _ in 0..from.u32()? {
            stream.transactions.keep_aborted(read_aborted(&mut from)?);
        }
        match from.left.len() {
            0 => Ok(stream),
            left => Err(SnapshotError::Trailing(left)),
        }
    }
}

fn checked(bytes: &[u8]) -> Result<&[u8], SnapshotError> {
    let mut header = Cursor { left: bytes };
    let version = u16::from_be_bytes(header.array()?);
    if version != VERSION {
        return Err(SnapshotError::UnknownVersion(version));
    }
    let stored = header.u32()?;
    let computed = crc_fast::crc32_iscsi(header.left);
    match stored == computed {
        true => Ok(header.left),
        false => Err(SnapshotError::WrongChecksum { stored, computed }),
    }
}

fn put_producer(out: &mut Vec<u8>, id: ProducerId, state: &ProducerState) {
    out.extend(id.0.to_be_bytes());
    out.extend(state.epoch.to_be_bytes());
    out.extend(state.coordinator_epoch.unwrap_or(-1).to_be_bytes());
    out.extend(state.open_from.map_or(-1, |offset| offset as i64).to_be_bytes());
    out.extend(state.used_ms.to_be_bytes());
    out.push(state.recent.len() as u8);
    for recent in &state.recent {
        out.extend(recent.first_sequence.to_be_bytes());
        out.extend(recent.last_sequence.to_be_bytes());
        out.extend(recent.first_offset.to_be_bytes());
        out.extend(recent.last_offset.to_be_bytes());
        out.extend(recent.timestamp_ms.to_be_bytes());
    }
}

fn read_producer(from: &mut Cursor<'_>) -> Result<(ProducerId, ProducerState), SnapshotError> {
    let id = ProducerId(from.i64()?);
    let mut state = ProducerState::new(i16::from_be_bytes(from.array()?), 0);
    state.coordinator_epoch = Some(from.i32()?).filter(|epoch| *epoch >= 0);
    state.open_from = u64::try_from(from.i64()?).ok();
    state.used_ms = from.i64()?;
    let [batches] = from.array()?;
    if usize::from(batches) > RECENT_MAX {
        return Err(SnapshotError::TooManyBatches(batches));
    }
    for _ in 0..batches {
        state.recent.push_back(Recent {
            first_sequence: from.i32()?,
            last_sequence: from.i32()?,
            first_offset: from.u64()?,
            last_offset: from.u64()?,
            timestamp_ms: from.i64()?,
        });
    }
    Ok((id, state))
}

fn put_aborted(out: &mut Vec<u8>, aborted: &Aborted) {
    out.extend(aborted.producer.0.to_be_bytes());
    out.extend(aborted.first_offset.to_be_bytes());
    out.extend(aborted.last_offset.to_be_bytes());
    out.extend(aborted.last_stable_offset.to_be_bytes());
}

fn read_aborted(from: &mut Cursor<'_>) -> Result<Aborted, SnapshotError> {
    Ok(Aborted {
        producer: ProducerId(from.i64()?),
        first_offset: from.u64()?,
        last_offset: from.u64()?,
        last_stable_offset: from.u64()?,
    })
}

/// Every count is met by reading, not by room made in advance, so that none can lie.
struct Cursor<'a> {
    left: &'a [u8],
}

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (read, left) = self.left.split_first_chunk::<N>().ok_or(SnapshotError::Truncated)?;
        self.left = left;
        Ok(*read)
    }

    fn u32(&mut self) -> Result<u32, SnapshotError> {
        self.array().map(u32::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, SnapshotError> {
        self.array().map(i32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, SnapshotError> {
        self.array().map(u64::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, SnapshotError> {
        self.array().map(i64::from_be_bytes)
    }
}
