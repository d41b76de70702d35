//! Walks the batches of a file and finds the way again behind damage.

use std::io;
use std::ops::Range;

use bytes::{Buf, BytesMut};

use crate::batch::{self, HEADER_BYTES, RecordBatch};
use crate::disk::DiskFile;
use crate::stamp;

/// Reads a file in chunks; the batches it finds are slices of them.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    file: &'a dyn DiskFile,
    /// Where the front of `buffer` is in the file.
    position: u64,
    end: u64,
    buffer: BytesMut,
    chunk_bytes: usize,
    /// Batches start at this offset or later...
    next_offset: i64,
    /// ...and end before this one.
    offset_limit: i64,
}

#[derive(Debug)]
pub(crate) enum Found {
    /// A batch whose every byte is verified.
    Batch { position: u64, batch: RecordBatch },
    /// Bytes that are no batch, up to the next one or to the end.
    Damage { bytes: Range<u64>, offsets: Range<i64>, reaches_end: bool },
}

impl<'a> Scanner<'a> {
    /// Scans the bytes `range` of a file, where offsets from `offsets.start` up to `offsets.end` may be.
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
            return Ok(None);
        }
        match self.whole_batch_bytes()? {
            Some(len) => Ok(Some(self.take_batch(len))),
            None => self.skip_damage().map(Some),
        }
    }

    /// The size of the batch in front, as far as its stamped header says.
    pub(crate) fn stamped_len(&mut self) -> io::Result<Option<usize>> {
        if !self.fill(HEADER_BYTES)? {
            return Ok(None);
        }
        let Ok(len) = batch::encoded_len(&self.buffer) else {
            return Ok(None);
        };
        let fits = len as u64 <= self.end - self.position;
        Ok((fits && stamp::is_stamped(&self.buffer)).then_some(len))
    }

    fn whole_batch_bytes(&mut self) -> io::Result<Option<usize>> {
        let Some(len) = self.stamped_len()? else {
            return Ok(None);
        };
        if !self.fill(len)? {
            return Ok(None);
        }
        let bytes = &self.buffer[..len];
        let is_whole = batch::check_crc(bytes).is_ok()
            && batch::check_counts(bytes).is_ok()
            && batch::base_offset(bytes) >= self.next_offset
            && batch::last_offset(bytes) < self.offset_limit;
        Ok(is_whole.then_some(len))
    }

    fn take_batch(&mut self, len: usize) -> Found {
        let position = self.position;
        let mut bytes = self.buffer.split_to(len);
        self.position += len as u64;
        stamp::remove_stamp(&mut bytes);
        let (batch, _) = RecordBatch::parse(bytes.freeze()).expect("the batch was checked");
        self.next_offset = batch.next_offset();
        Found::Batch { position, batch }
    }

    /// Looks for the next whole batch. A stamped header can be trusted for the length of the batch it begins, and
    /// trusting it keeps the content of that batch from being mistaken for batches. Without one, try every byte.
    fn skip_damage(&mut self) -> io::Result<Found> {
        let start = self.position;
        loop {
            let step = self.stamped_len()?.unwrap_or(1);
            self.advance(step);
            let reaches_end = self.position >= self.end;
            if reaches_end || self.whole_batch_bytes()?.is_some() {
                let next_offset =
                    if reaches_end { self.offset_limit } else { batch::base_offset(&self.buffer) };
                let offsets = self.next_offset..next_offset;
                return Ok(Found::Damage { bytes: start..self.position, offsets, reaches_end });
            }
        }
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
