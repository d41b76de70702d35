//! Record batches: made for a broker, and read from one.

use bytes::Bytes;
use cauce_broker::stream::Compression as Codecs;
use cauce_kafka::messages::fetch::AbortedTransaction;
use cauce_log::{BatchError, Codec, Record, RecordBatch};
use clap::ValueEnum;
use serde::Serialize;

use super::aborted::Aborted;

/// Error of a batch that cannot be read.
pub(super) type RecordsError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    /// The same batch with its records compressed.
    pub(crate) fn compress(self, batch: Bytes) -> Bytes {
        if self == Compression::None {
            return batch;
        }
        let (batch, _) = RecordBatch::parse(batch).expect("we built this batch");
        let records = Codecs.compress(self as u8, &batch.records_bytes());
        let records = records.expect("compressing into memory does not fail");
        batch.with_compressed_records(self as u8, &records).into_bytes()
    }
}

/// Calls `each` with every record from offset `from` on, without control records and those of the aborted
/// transactions; returns where to read on. A batch that is not there whole is left for the next time.
pub(super) fn for_each_record(
    mut records: Bytes,
    from: i64,
    aborted: Vec<AbortedTransaction>,
    mut each: impl FnMut(&Record<'_>),
) -> Result<i64, RecordsError> {
    let mut next_offset = from;
    let mut aborted = Aborted::new(aborted);
    while !records.is_empty() {
        let (batch, rest) = match RecordBatch::parse(records) {
            Err(BatchError::Incomplete { .. }) => break,
            parsed => parsed?,
        };
        records = rest;
        if !aborted.leaves_out(&batch) {
            batch.verify()?;
            let decompressed = match batch.compression_codec() {
                0 => None,
                codec => Some(Codecs.decompress(codec, &batch.records_bytes())?),
            };
            let of_batch = match &decompressed {
                Some(bytes) => batch.records_in(bytes),
                None => batch.records(),
            };
            for record in of_batch {
                let record = record?;
                if record.offset >= from {
                    each(&record);
                }
            }
        }
        next_offset = next_offset.max(batch.next_offset());
    }
    Ok(next_offset)
}

#[cfg(test)]
mod tests {
    use cauce_log::BatchBuilder;

    use super::*;

    #[test]
    fn every_compression_is_read_again() {
        for compression in Compression::value_variants() {
            let batch = compression.compress(batch(10, &["one", "two", "three"]));
            assert_eq!(read(batch, 11), (vec![(11, "two".to_owned()), (12, "three".to_owned())], 13));
        }
    }

    #[test]
    fn the_beginning_of_a_batch_waits_for_its_end() {
        let whole = [batch(0, &["a"]), batch(1, &["b"])].concat();
        assert_eq!(read(Bytes::from(whole[..whole.len() - 1].to_vec()), 0), (vec![(0, "a".to_owned())], 1));
        assert_eq!(read(Bytes::copy_from_slice(&whole[..20]), 0), (vec![], 0));
    }

    fn batch(offset: i64, values: &[&str]) -> Bytes {
        let mut builder = BatchBuilder::new();
        builder.start(offset, 0);
        for (offset, value) in (offset..).zip(values) {
            builder.push(offset, 0, None, Some(&[value.as_bytes()]), &[]);
        }
        builder.finish()
    }

    fn read(records: Bytes, from: i64) -> (Vec<(i64, String)>, i64) {
        let mut found = Vec::new();
        let next = for_each_record(records, from, Vec::new(), |record| {
            let value = record.value.expect("a value");
            found.push((record.offset, String::from_utf8_lossy(value).into_owned()));
        });
        (found, next.expect("records"))
    }
}
