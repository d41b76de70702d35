//! Batches as they lie in a file, to be sent without being read.
//!
//! The headers of a region's batches are walked, which guards what the CRC leaves out; the bodies are not read. What
//! this process has neither written nor read is verified once, before the first region that holds it is given out.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::reader::{LogReader, Resume};
use super::recovery::Damage;
use super::view::Placed;
use crate::batch::{self, HEADER_BYTES};
use crate::disk::DiskFile;
use crate::error::LogError;
use crate::scan::{Found, NO_OFFSET_LIMIT};
use crate::segment::Segment;

/// How much of a file the walk over headers reads at once: several headers where batches are small.
const WALK_BYTES: usize = 2 << 10;
const VERIFY_CHUNK_BYTES: usize = 1 << 20;

/// Whole batches, one behind the other in one file. The file stays readable, whatever becomes of the log.
#[derive(Debug, Clone)]
pub struct Region {
    file: Arc<dyn DiskFile>,
    pub position: u64,
    pub bytes: u64,
    /// The first offset of the first batch.
    pub base_offset: i64,
    /// The offset after the last batch: where to go on.
    pub next_offset: i64,
}

impl Region {
    /// For `sendfile`; `None` when the file is none of the operating system's.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_fd()
    }

    /// Reads from `at` bytes behind the start of the region, and not beyond its end.
    pub fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let wanted = self.bytes.saturating_sub(at).min(buf.len() as u64) as usize;
        self.file.read_at(&mut buf[..wanted], self.position + at)
    }

    /// All of it, in memory.
    pub fn read(&self) -> io::Result<Bytes> {
        let mut content = vec![0; self.bytes as usize];
        let read = self.read_at(&mut content, 0)?;
        content.truncate(read);
        Ok(content.into())
    }
}

/// A place in a segment at which a batch starts.
#[derive(Debug, Clone, Copy)]
struct Place {
    position: u64,
    offset: i64,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    from: i64,
    upto: i64,
    bytes_max: u64,
}

/// What one walk came to.
enum Walked {
    Found(Region),
    /// The next batch reaches beyond what may be read, or there is none.
    End,
    /// A header is not what it must be.
    Damaged,
}

impl LogReader {
    /// Where the batches are from the one that holds `from_offset` on, which end before `upto_offset`: the first
    /// whatever its size, others as long as all fit in `bytes_max` and lie in the same file. Batches without
    /// records are among them. `None` when there is nothing to read yet. Damage is noticed (see
    /// [`LogReader::take_damage`]) and never part of a region.
    pub fn locate(
        &self,
        from_offset: i64,
        upto_offset: i64,
        bytes_max: u64,
    ) -> Result<Option<Region>, LogError> {
        let mut placed = self.view.segment_at(from_offset)?;
        let mut wanted = Wanted { from: from_offset, upto: upto_offset.min(self.end_offset()), bytes_max };
        while wanted.from < wanted.upto {
            if let Some(region) = self.locate_in(&placed, &wanted)? {
                self.resume_behind(&region, &placed.segment);
                return Ok(Some(region));
            }
            if placed.is_last || placed.offset_limit >= wanted.upto {
                return Ok(None);
            }
            wanted.from = wanted.from.max(placed.offset_limit);
            placed = self.view.segment_at(placed.offset_limit)?;
        }
        Ok(None)
    }

    fn locate_in(&self, placed: &Placed, wanted: &Wanted) -> io::Result<Option<Region>> {
        let (position, offset) = self.start_of_scan(placed, wanted.from)?;
        let start = Place { position, offset };
        match walk(placed, start, wanted, false)? {
            Walked::End => return Ok(None),
            Walked::Found(region) => {
                if let Some(region) = self.whole_part(&placed.segment, region)? {
                    return Ok(Some(region));
                }
            }
            Walked::Damaged => {}
        }
        let Some(first) = self.first_whole(placed, start, wanted.from)? else { return Ok(None) };
        match walk(placed, first, wanted, true)? {
            Walked::Found(region) => self.whole_part(&placed.segment, region),
            Walked::End | Walked::Damaged => Ok(None),
        }
    }

    /// The front of a region up to the first damage, unless that is where it starts.
    fn whole_part(&self, segment: &Segment, region: Region) -> io::Result<Option<Region>> {
        let bytes = region.position..region.position + region.bytes;
        if !self.view.verify_regions.load(Ordering::Relaxed) || segment.is_verified(&bytes) {
            return Ok(Some(region));
        }
        let end = verify(segment, &bytes, region.base_offset)?;
        segment.set_verified(region.position..end.position);
        let bytes = end.position - region.position;
        Ok((bytes > 0).then_some(Region { bytes, next_offset: end.offset, ..region }))
    }

    /// The place of the first whole batch from the one on that holds `from`, found by reading all from `start` on.
    fn first_whole(&self, placed: &Placed, start: Place, from: i64) -> io::Result<Option<Place>> {
        let offsets = start.offset..placed.offset_limit;
        let mut scanner = placed.segment.scan(start.position, offsets, VERIFY_CHUNK_BYTES);
        while let Some(found) = scanner.next()? {
            match found {
                Found::Batch { batch, .. } if batch.last_offset() < from => {}
                Found::Batch { position, batch } => {
                    return Ok(Some(Place { position, offset: batch.base_offset() }));
                }
                Found::Damage { bytes, offsets, .. } => {
                    self.view.notice(Damage::new(&placed.segment.path, bytes, offsets));
                }
            }
        }
        Ok(None)
    }

    fn resume_behind(&self, region: &Region, segment: &Arc<Segment>) {
        let position = region.position + region.bytes;
        let segment = Arc::downgrade(segment);
        *self.resume.lock() = Some(Resume { offset: region.next_offset, segment, position });
    }
}

/// Goes from header to header. Until a batch is verified its header may say anything; so what it says is taken for
/// damage where it would end the walk with nothing found, unless the batch at the start is known to be whole.
fn walk(placed: &Placed, start: Place, wanted: &Wanted, start_is_whole: bool) -> io::Result<Walked> {
    let segment = &*placed.segment;
    let mut headers = Headers::new(segment, start);
    let mut found: Option<Region> = None;
    loop {
        let here = headers.here;
        let Some((bytes, next_offset)) = headers.next()? else {
            let is_end = here.position >= headers.end && here.offset >= wanted.upto.min(placed.offset_limit);
            let nothing = if is_end { Walked::End } else { Walked::Damaged };
            return Ok(found.map_or(nothing, Walked::Found));
        };
        if next_offset <= wanted.from {
            continue;
        }
        let Some(region) = &mut found else {
            if next_offset > wanted.upto {
                let is_sure = start_is_whole || segment.is_verified(&(here.position..here.position + bytes));
                return Ok(if is_sure { Walked::End } else { Walked::Damaged });
            }
            let (file, position, base_offset) = (segment.file.clone(), here.position, here.offset);
            found = Some(Region { file, position, bytes, base_offset, next_offset });
            continue;
        };
        if next_offset > wanted.upto || region.bytes + bytes > wanted.bytes_max {
            return Ok(found.map_or(Walked::End, Walked::Found));
        }
        region.bytes += bytes;
        region.next_offset = next_offset;
    }
}

/// The headers of a segment, each where the one before it says, at the offset after its last.
struct Headers<'a> {
    file: &'a dyn DiskFile,
    here: Place,
    end: u64,
    window: [u8; WALK_BYTES],
    window_position: u64,
    window_len: usize,
}

impl<'a> Headers<'a> {
    fn new(segment: &'a Segment, here: Place) -> Headers<'a> {
        let (file, end) = (&*segment.file, segment.len_bytes());
        Headers { file, here, end, window: [0; WALK_BYTES], window_position: 0, window_len: 0 }
    }

    /// The size of the batch that is here and the offset after it, unless this is no header that can be here.
    fn next(&mut self) -> io::Result<Option<(u64, i64)>> {
        let (end, here) = (self.end, self.here);
        let Some(header) = self.header()? else { return Ok(None) };
        let len = batch::encoded_len(header).ok().filter(|_| batch::has_served_epoch(header));
        let (base_offset, last_offset) = (batch::base_offset(header), batch::last_offset(header));
        let Some(bytes) = len.map(|len| len as u64).filter(|bytes| here.position + bytes <= end) else {
            return Ok(None);
        };
        if base_offset != here.offset || !(base_offset..i64::MAX).contains(&last_offset) {
            return Ok(None);
        }
        self.here = Place { position: here.position + bytes, offset: last_offset + 1 };
        Ok(Some((bytes, last_offset + 1)))
    }

    fn header(&mut self) -> io::Result<Option<&[u8]>> {
        if self.here.position + HEADER_BYTES as u64 > self.end {
            return Ok(None);
        }
        let window_end = self.window_position + self.window_len as u64;
        if self.here.position < self.window_position || self.here.position + HEADER_BYTES as u64 > window_end
        {
            self.window_position = self.here.position;
            self.window_len = self.file.read_at(&mut self.window, self.here.position)?;
        }
        let at = (self.here.position - self.window_position) as usize;
        Ok(self.window[..self.window_len].get(at..at + HEADER_BYTES))
    }
}

/// How far the batches in these bytes are whole.
fn verify(segment: &Segment, bytes: &Range<u64>, base_offset: i64) -> io::Result<Place> {
    let mut whole = Place { position: bytes.start, offset: base_offset };
    let chunk_bytes = VERIFY_CHUNK_BYTES.min((bytes.end - bytes.start) as usize);
    let mut scanner = segment.scan(bytes.start, base_offset..NO_OFFSET_LIMIT, chunk_bytes);
    while whole.position < bytes.end {
        let Some(Found::Batch { batch, .. }) = scanner.next()? else { break };
        whole = Place { position: whole.position + batch.len_bytes() as u64, offset: batch.next_offset() };
    }
    Ok(whole)
}
