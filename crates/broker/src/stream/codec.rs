//! Compression both ways: batches that compaction makes smaller are compressed again as they were.

use std::io::{self, Write};

use bytes::Bytes;
use cauce_log::Codec;

use super::compression::{self, XERIAL_MAGIC};

/// What is decompressed stays within the bound of `compression.rs`.
#[derive(Debug)]
pub struct Compression;

/// After the magic of snappy-java: its version, and the oldest that can read it.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_BLOCK_BYTES: usize = 32 << 10;

impl Codec for Compression {
    fn decompress(&self, codec: u8, records: &[u8]) -> io::Result<Vec<u8>> {
        compression::decompress(codec, Bytes::copy_from_slice(records))
    }

    fn compress(&self, codec: u8, records: &[u8]) -> io::Result<Vec<u8>> {
        match codec {
            1 => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(records)?;
                encoder.finish()
            }
            2 => snappy(records),
            3 => {
                // What Kafka's clients can read: blocks of their size, each for itself.
                let frame = lz4_flex::frame::FrameInfo::new()
                    .block_size(lz4_flex::frame::BlockSize::Max64KB)
                    .block_mode(lz4_flex::frame::BlockMode::Independent);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
                encoder.write_all(records)?;
                encoder.finish().map_err(io::Error::other)
            }
            4 => zstd::stream::encode_all(records, zstd::DEFAULT_COMPRESSION_LEVEL),
            codec => Err(io::Error::other(compression::UnknownCodec(codec))),
        }
    }
}

/// Framed as snappy-java does.
fn snappy(records: &[u8]) -> io::Result<Vec<u8>> {
    let mut framed = [XERIAL_MAGIC, XERIAL_VERSIONS].concat();
    for block in records.chunks(XERIAL_BLOCK_BYTES) {
        let block = snap::raw::Encoder::new().compress_vec(block).map_err(io::Error::other)?;
        framed.extend((block.len() as u32).to_be_bytes());
        framed.extend(block);
    }
    Ok(framed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_is_decompressed_again() {
        for records in
            [&b"a few"[..], &vec![7; 300_000], &(0..=255).cycle().take(70_000).collect::<Vec<u8>>()]
        {
            for codec in 1..=4 {
                let compressed = Compression.compress(codec, records).unwrap();
                assert_eq!(Compression.decompress(codec, &compressed).unwrap(), records, "{codec}");
            }
        }
        assert!(Compression.compress(5, b"").is_err());
    }
}
