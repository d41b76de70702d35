//! Walks the batches of a file and finds the way again behind damage.
//!
//! A batch's CRC leaves out base offset, length and leader epoch. What guards them is that batches are contiguous:
//! each starts at the offset after the last one of the batch before it, at the byte behind it, under the same epoch.

use std::io;
use std::ops::Range;

use bytes::{Buf, BytesMut};

use crate::batch::{self, HEADER_BYTES, RecordBatch};
use crate::disk::DiskFile;

/// The limit of a file that may grow.
pub(crate) const NO_OFFSET_LIMIT: i64 = i64::MAX;

/// How much one search for the next batch computes checksums of without anything else to speak for a batch there.
/// Bytes made to look like many large batches would otherwise cost the square of their number.
const SEARCH_CHECKED_BYTES_MAX: usize = 1 << 30;

/// Reads a file in chunks; the batches it finds are slices of them.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    file: &'a dyn DiskFile,
    /// Where the front of `buffer` is in the file.
    position: u64,
    end: u64,
    buffer: BytesMut,
    chunk_bytes: usize,
    /// The next batch starts at this offset...
    next_offset: i64,
    /// ...and ends before this one.
    offset_limit: i64,
}

#[derive(Debug)]
pub(crate) enum Found {
    /// A batch whose every byte is verified.
    Batch { position: u64, batch: RecordBatch },
    /// Bytes that are no batch, up to the next one or to the end.
    Damage { bytes: Range<u64>, offsets: Range<i64>, reaches_end: bool },
}

/// What the bytes behind a batch say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// The header of a batch that starts at the offset where this one ends, or the end of the file if it ends there.
    Continuation,
    /// The header of a batch that starts at another offset.
    Contradiction,
    NoHeader,
}

/// On the way to the next whole batch.
#[derive(Debug)]
struct Search {
    start: u64,
    /// How far to go on.
    step: usize,
    /// The offset at which the next batch starts, by the header last stepped over.
    promised: Option<i64>,
    checked_bytes: usize,
}

impl<'a> Scanner<'a> {
    /// Scans the bytes `range` of a file, which hold the batches from `offsets.start` up to `offsets.end`.
    pub(crate) fn new(
        file: &'a dyn DiskFile,
        range: Range<u64>,
        offsets: Range<i64>,
        chunk_bytes: usize,
    ) -> Scanner<'a> {
        Scanner {
            file,
            position: range.start,
            end: range.end,
            buffer: BytesMut::new(),
            chunk_bytes,
            next_offset: offsets.start,
            offset_limit: offsets.end,
        }
    }

    pub(crate) fn next(&mut self) -> io::Result<Option<Found>> {
        if self.position >= self.end {
            return Ok(self.missing_end());
        }
        match self.expected_len()? {
            Some(len) if self.is_whole(0, len)? => Ok(Some(self.take_batch(len))),
            _ => self.skip_damage().map(Some),
        }
    }

    /// What a file lacks that ends between two batches and should go on.
    fn missing_end(&mut self) -> Option<Found> {
        let offsets = self.next_offset..self.offset_limit;
        let is_missing = self.offset_limit != NO_OFFSET_LIMIT && !offsets.is_empty();
        self.next_offset = self.offset_limit;
        is_missing.then_some(Found::Damage { bytes: self.end..self.end, offsets, reaches_end: true })
    }

    /// The size of the batch in front, if its header is the one that must be there.
    pub(crate) fn expected_len(&mut self) -> io::Result<Option<usize>> {
        let len = self.header_at(0)?;
        Ok(len.filter(|_| batch::base_offset(&self.buffer) == self.next_offset))
    }

    /// The size of the batch `at` bytes from the front, if its header can be one of this file's.
    fn header_at(&mut self, at: usize) -> io::Result<Option<usize>> {
        if !self.fill(at + HEADER_BYTES)? {
            return Ok(None);
        }
        let header = &self.buffer[at..];
        let len = batch::encoded_len(header).ok().filter(|_| batch::has_served_epoch(header));
        Ok(len.filter(|len| (at + len) as u64 <= self.end - self.position))
    }

    /// Whether the batch of `len` bytes, `at` bytes from the front, is what was written.
    fn is_whole(&mut self, at: usize, len: usize) -> io::Result<bool> {
        if !self.fill(at + len)? {
            return Ok(false);
        }
        let bytes = &self.buffer[at..at + len];
        Ok(batch::check_crc(bytes).is_ok()
            && batch::check_counts(bytes).is_ok()
            && batch::base_offset(bytes) >= self.next_offset
            && batch::last_offset(bytes) < self.offset_limit)
    }

    fn take_batch(&mut self, len: usize) -> Found {
        let position = self.position;
        let bytes = self.buffer.split_to(len);
        self.position += len as u64;
        let (batch, _) = RecordBatch::parse(bytes.freeze()).expect("the batch was checked");
        self.next_offset = batch.next_offset();
        Found::Batch { position, batch }
    }

    /// Goes to the next whole batch. Where the extent of what is damaged is sure, it is stepped over, which keeps its
    /// content from being mistaken for batches. Where it is not, every byte is tried.
    fn skip_damage(&mut self) -> io::Result<Found> {
        let start = self.position;
        let mut search = self.begin_search()?;
        loop {
            self.advance(search.step);
            let reaches_end = self.position >= self.end;
            if reaches_end || self.is_found(&mut search)? {
                let next_offset =
                    if reaches_end { self.offset_limit } else { batch::base_offset(&self.buffer) };
                let offsets = self.next_offset..next_offset;
                self.next_offset = next_offset;
                return Ok(Found::Damage { bytes: start..self.position, offsets, reaches_end });
            }
            search.step = 1;
            if let Some(len) = self.continued_len()? {
                (search.step, search.promised) = (len, Some(batch::last_offset(&self.buffer) + 1));
            }
        }
    }

    /// Looks what of the damaged batch in front can still be believed.
    fn begin_search(&mut self) -> io::Result<Search> {
        let mut search = Search { start: self.position, step: 1, promised: None, checked_bytes: 0 };
        if !self.fill(HEADER_BYTES)? {
            return Ok(search);
        }
        if batch::base_offset(&self.buffer) == self.next_offset {
            search.promised = batch::last_offset(&self.buffer).checked_add(1);
        }
        let left = self.end - self.position;
        let Some(len) = batch::encoded_len(&self.buffer).ok().filter(|len| *len as u64 <= left) else {
            return Ok(search);
        };
        if self.fill(len)? && batch::check_crc(&self.buffer[..len]).is_ok() {
            // So base offset or epoch is wrong. The distance to the last offset is not.
            let offsets = batch::last_offset(&self.buffer).checked_sub(batch::base_offset(&self.buffer));
            search.promised = offsets.and_then(|offsets| self.next_offset.checked_add(offsets + 1));
            search.step = len;
        } else if self.continued_len()?.is_some() {
            (search.step, search.promised) = (len, Some(batch::last_offset(&self.buffer) + 1));
        } else if let Some(next_offset) = self.offset_behind_wrong_last(len)? {
            (search.step, search.promised) = (len, Some(next_offset));
        }
        Ok(search)
    }

    /// The base offset of the header behind the batch of `len` bytes in front, if with it the CRC would be right:
    /// then the last offset is all that is wrong.
    fn offset_behind_wrong_last(&mut self, len: usize) -> io::Result<Option<i64>> {
        if self.expected_len()?.is_none() || self.header_at(len)?.is_none() {
            return Ok(None);
        }
        let next_offset = batch::base_offset(&self.buffer[len..]);
        let mut repaired = self.buffer[..len].to_vec();
        let is_right = batch::set_last_offset(&mut repaired, next_offset.saturating_sub(1))
            && batch::check_crc(&repaired).is_ok();
        Ok(is_right.then_some(next_offset))
    }

    /// The length of the batch in front, of which only the header need be whole, if a batch that continues it follows.
    fn continued_len(&mut self) -> io::Result<Option<usize>> {
        let Some(len) = self.header_at(0)? else {
            return Ok(None);
        };
        let is_in_order = batch::base_offset(&self.buffer) >= self.next_offset;
        Ok((is_in_order && self.behind(len)? == Behind::Continuation).then_some(len))
    }

    /// Whether a whole batch is in front. Something else than itself must speak for its base offset.
    fn is_found(&mut self, search: &mut Search) -> io::Result<bool> {
        let Some(len) = self.header_at(0)? else {
            return Ok(false);
        };
        let base_offset = batch::base_offset(&self.buffer);
        if base_offset < self.next_offset || base_offset >= self.offset_limit {
            return Ok(false);
        }
        let behind = self.behind(len)?;
        if behind != Behind::Continuation {
            let records_lost_max = (self.position - search.start) / batch::RECORD_BYTES_MIN as u64;
            let offsets_lost = (base_offset - self.next_offset) as u64;
            let is_near = (1..=records_lost_max).contains(&offsets_lost) && behind == Behind::NoHeader;
            search.checked_bytes += len;
            let may_check = search.checked_bytes <= SEARCH_CHECKED_BYTES_MAX;
            if !may_check || (search.promised != Some(base_offset) && !is_near) {
                return Ok(false);
            }
        }
        self.is_whole(0, len)
    }

    /// What follows the batch of `len` bytes in front.
    fn behind(&mut self, len: usize) -> io::Result<Behind> {
        let next_offset = batch::last_offset(&self.buffer).checked_add(1);
        if self.position + len as u64 == self.end {
            let is_end = next_offset == Some(self.offset_limit);
            return Ok(if is_end { Behind::Continuation } else { Behind::NoHeader });
        }
        let mut header = [0; HEADER_BYTES];
        match self.buffer.get(len..len + HEADER_BYTES) {
            Some(buffered) => header.copy_from_slice(buffered),
            // Not by filling the buffer: the search may ask this at every byte.
            None if self.position + (len + HEADER_BYTES) as u64 > self.end => return Ok(Behind::NoHeader),
            None => drop(self.file.read_at(&mut header, self.position + len as u64)?),
        }
        let is_header = batch::encoded_len(&header).is_ok() && batch::has_served_epoch(&header);
        Ok(match is_header {
            false => Behind::NoHeader,
            true if Some(batch::base_offset(&header)) == next_offset => Behind::Continuation,
            true => Behind::Contradiction,
        })
    }

    fn advance(&mut self, step: usize) {
        self.buffer.advance(step.min(self.buffer.len()));
        self.position += step as u64;
    }

    /// Makes the buffer hold `wanted` bytes; false when the file ends before.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        if self.buffer.len() >= wanted {
            return Ok(true);
        }
        let left = self.end - self.position;
        if left < wanted as u64 {
            return Ok(false);
        }
        let held = self.buffer.len();
        let mut filled = BytesMut::zeroed(left.min(self.chunk_bytes.max(wanted) as u64) as usize);
        filled[..held].copy_from_slice(&self.buffer);
        let read = self.file.read_at(&mut filled[held..], self.position + held as u64)?;
        filled.truncate(held + read);
        self.buffer = filled;
        Ok(self.buffer.len() >= wanted)
    }
}
