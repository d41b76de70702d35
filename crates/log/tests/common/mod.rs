//! What the tests of a log share.

#![allow(dead_code, unreachable_pub)]

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cauce_log::{BatchBuilder, Codec, Disk, Log, LogConfig, LogReader, MemoryDisk, RecordBatch, Recovery};

pub const DIR: &str = "vhost/queue";

pub fn open(disk: &MemoryDisk, segment_bytes: u64) -> (Log, Recovery) {
    let config = LogConfig { segment_bytes, index_interval_bytes: 64, ..LogConfig::default() };
    Log::open(Arc::new(disk.clone()), DIR.into(), config).unwrap()
}

/// A batch of `records` records from `base_offset` on whose content tells its offset.
pub fn batch(base_offset: i64, records: i64, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.start(base_offset, base_offset * 10);
    for offset in base_offset..base_offset + records {
        let value = vec![offset as u8; value_bytes];
        builder.push(offset, offset * 10, Some(&offset.to_be_bytes()), Some(&[&value]), &[(b"h", &[b"x"])]);
    }
    builder.finish()
}

/// Everything a log serves, in reads of a few hundred bytes.
pub fn read_all(log: &Log) -> Vec<Bytes> {
    read_from(&log.reader(), log.start_offset())
}

pub fn read_from(reader: &LogReader, mut next: i64) -> Vec<Bytes> {
    let mut all = Vec::new();
    loop {
        let batches = reader.read(next, 400).unwrap();
        let Some(last) = batches.last() else { return all };
        next = last.next_offset();
        all.extend(batches.into_iter().map(RecordBatch::into_bytes));
    }
}

pub fn offsets_of(batch: &Bytes) -> std::ops::Range<i64> {
    let (batch, _) = RecordBatch::parse(batch.clone()).unwrap();
    batch.base_offset()..batch.next_offset()
}

/// A disk that holds one file, its name durable.
pub fn disk_with(path: &Path, content: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir_all(path.parent().unwrap()).unwrap();
    disk.open(path).unwrap().write_all_at(content, 0).unwrap();
    disk
}

pub fn content_of(disk: &MemoryDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path).unwrap();
    let mut content = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut content, 0).unwrap();
    content
}

/// Knows no compression.
pub struct Plain;

impl Codec for Plain {
    fn decompress(&self, _codec: u8, _records: &[u8]) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn compress(&self, _codec: u8, _records: &[u8]) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
