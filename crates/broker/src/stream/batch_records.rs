//! The records of a batch one after the other, however they are compressed, and for as long as somebody takes to read them:
//! of a compressed batch one record is in memory, and what the codec needs.

use std::io::{self, BufReader, Read};

use bytes::Bytes;
use cauce_log::{Record, RecordBatch};

use super::checking::{malformed, varint};
use super::compression::{self, DECOMPRESSED_BYTES_MAX, Room};

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
                let read = compression::decoder(codec, records, Room::AMPLE).map_err(io::Error::other)?;
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

#[cfg(test)]
mod tests {
    use super::super::checking::tests::{compressed, three, with_records};
    use super::*;

    /// Offsets and values until the end or an error.
    fn read(batch: Bytes) -> (Vec<(i64, Vec<u8>)>, io::Result<()>) {
        let mut found = Vec::new();
        let mut records = match BatchRecords::open(RecordBatch::parse(batch).unwrap().0) {
            Ok(records) => records,
            Err(error) => return (found, Err(error)),
        };
        loop {
            match records.next() {
                Ok(Some(record)) => found.push((record.offset, record.value.unwrap_or_default().to_vec())),
                Ok(None) => return (found, Ok(())),
                Err(error) => return (found, Err(error)),
            }
        }
    }

    #[test]
    fn records_are_the_same_however_they_are_compressed() {
        let (plain, end) = read(three());
        assert!(end.is_ok());
        assert_eq!(plain.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [0, 1, 2]);
        for codec in 1..=4 {
            let (found, end) = read(compressed(codec));
            assert!(end.is_ok(), "{codec}");
            assert_eq!(found, plain, "{codec}");
        }
        assert!(read(with_records(&three(), 5, b"")).1.is_err());
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        // A record of 100 MiB, of which next to nothing comes.
        let mut lie = Vec::new();
        put_varint(&mut lie, 100 << 20);
        lie.resize(30, 0);
        let zstd = zstd::stream::encode_all(&lie[..], 1).unwrap();
        for (codec, records) in [(0, &lie), (4, &zstd)] {
            let (found, end) = read(with_records(&three(), codec, records));
            assert!(found.is_empty() && end.is_err());
        }
    }

    #[test]
    fn what_blows_up_ends_with_an_error() {
        let mut bomb = Vec::new();
        put_varint(&mut bomb, DECOMPRESSED_BYTES_MAX as i64);
        bomb.resize(DECOMPRESSED_BYTES_MAX as usize + 100, 0);
        let zstd = zstd::stream::encode_all(&bomb[..], 1).unwrap();
        assert!(zstd.len() < 100 << 10);
        let (found, end) = read(with_records(&three(), 4, &zstd));
        assert!(found.is_empty() && end.is_err());
    }
}
