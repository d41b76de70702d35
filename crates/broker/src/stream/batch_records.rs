//! The records of a batch one after the other, however they are compressed, and for as long as somebody takes to read them:
//! of a compressed batch one record is in memory, and what the codec needs.

use std::io::{self, BufReader, Read};

use bytes::Bytes;
use cauce_log::{Record, RecordBatch};

use super::checking::{malformed, varint};
use super::compression::{self, DECOMPRESSED_BYTES_MAX};

/// Bytes that are decompressed at a time.
const DECOMPRESSED_BYTES: usize = 16 << 10;

/// What the room for a record is cut back to after a large one.
const RECORD_BYTES_KEPT: usize = 1 << 20;

/// A decoder that comes to an end when it gave more than a batch may hold.
type Decompressing = BufReader<io::Take<Box<dyn Read + Send>>>;

pub(super) struct BatchRecords {
    pub(super) batch: RecordBatch,
    left: i32,
    source: Source,
    /// The last record of a compressed batch, with its length before it.
    record: Vec<u8>,
}

enum Source {
    Plain { records: Bytes, at: usize },
    Compressed(Decompressing),
}

impl BatchRecords {
    pub(super) fn open(batch: RecordBatch) -> io::Result<BatchRecords> {
        let source = match (batch.compression_codec(), batch.records_bytes()) {
            (0, records) => Source::Plain { records, at: 0 },
            (codec, records) => {
                let read = compression::decoder(codec, records).map_err(io::Error::other)?;
                let read = read.take(DECOMPRESSED_BYTES_MAX);
                Source::Compressed(BufReader::with_capacity(DECOMPRESSED_BYTES, read))
            }
        };
        Ok(BatchRecords { left: batch.record_count(), batch, source, record: Vec::new() })
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Record<'_>>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let bytes = match &mut self.source {
            Source::Plain { records, at } => {
                let mut rest = &records[*at..];
                let before = rest.len();
                let length = usize::try_from(varint(&mut rest)?).map_err(|_| malformed("its length"))?;
                let bytes = before - rest.len() + length;
                *at += bytes;
                records.get(*at - bytes..*at).ok_or(malformed("its length"))?
            }
            Source::Compressed(read) => {
                read_record(read, &mut self.record)?;
                &self.record[..]
            }
        };
        let record = self.batch.records_in(bytes).next().ok_or(malformed("no record"))?;
        record.map(Some).map_err(io::Error::other)
    }
}

/// A record with its length before it.
fn read_record(read: &mut Decompressing, record: &mut Vec<u8>) -> io::Result<()> {
    let length = varint(read)?;
    if !(0..=DECOMPRESSED_BYTES_MAX as i64).contains(&length) {
        return Err(malformed("its length"));
    }
    record.clear();
    record.shrink_to(RECORD_BYTES_KEPT);
    put_varint(record, length);
    // Grows with what is there, whatever the length says.
    let read = read.take(length as u64).read_to_end(record)?;
    if (read as i64) < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut left = (number << 1 ^ number >> 63) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

impl std::fmt::Debug for BatchRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchRecords").field("left", &self.left).finish_non_exhaustive()
    }
}
