//! Looking into compressed batches: never more than a bound in memory, never more than a bound in all.

use std::cell::Cell;
use std::io::{self, Read};

use cauce_log::RecordBatch;

/// Bytes that one batch may hold once decompressed: what a small batch blows up to is no message.
pub(crate) const DECOMPRESSED_BYTES_MAX: u64 = 128 << 20;

/// What a decoder may make room for beside what it was given, in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    zstd_window_log: u32,
    snappy_block_bytes: u64,
}

impl Room {
    /// Enough for what clients send: zstd up to level 19, snappy that is framed or of few MiB.
    pub(crate) const LITTLE: Room = Room { zstd_window_log: 23, snappy_block_bytes: 4 << 20 };
    /// Enough for all that Kafka takes: 128 MiB, so who gives it does not give it to many at a time.
    pub(crate) const AMPLE: Room = Room { zstd_window_log: 27, snappy_block_bytes: DECOMPRESSED_BYTES_MAX };
}

/// Before blocks that were framed by snappy-java, as Kafka's clients do; then two numbers of its version.
pub(super) const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;

/// A codec that the batch's attributes name and nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("compression codec {0} is not known")]
pub struct UnknownCodec(pub u8);

/// The records of a batch, as a stream that ends with an error when so many bytes came and that was not all. Of
/// what is compressed, `left` is what may still come.
pub(crate) fn open<'l>(
    batch: &RecordBatch,
    room: Room,
    left: &'l Cell<u64>,
) -> Result<Box<dyn Read + 'l>, UnknownCodec> {
    open_records(batch.compression_codec(), batch.records_bytes(), room, left)
}

fn open_records(
    codec: u8,
    bytes: bytes::Bytes,
    room: Room,
    left: &Cell<u64>,
) -> Result<Box<dyn Read + '_>, UnknownCodec> {
    Ok(Box::new(Bounded { read: decoder(codec, bytes, room)?, left }))
}

/// Without a bound: it is for whoever reads to have one.
pub(super) fn decoder(
    codec: u8,
    bytes: bytes::Bytes,
    room: Room,
) -> Result<Box<dyn Read + Send>, UnknownCodec> {
    Ok(match codec {
        0 => Box::new(io::Cursor::new(bytes)),
        1 => Box::new(flate2::read::MultiGzDecoder::new(io::Cursor::new(bytes))),
        2 => Box::new(Snappy::new(bytes, room.snappy_block_bytes)),
        3 => Box::new(lz4_flex::frame::FrameDecoder::new(io::Cursor::new(bytes))),
        4 => match zstd_decoder(bytes, room.zstd_window_log) {
            Ok(decoder) => Box::new(decoder),
            Err(error) => Box::new(Failed(Some(error))),
        },
        codec => return Err(UnknownCodec(codec)),
    })
}

fn zstd_decoder(
    bytes: bytes::Bytes,
    window_log: u32,
) -> io::Result<zstd::stream::read::Decoder<'static, io::Cursor<bytes::Bytes>>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(io::Cursor::new(bytes))?;
    decoder.window_log_max(window_log)?;
    Ok(decoder)
}

/// Records, decompressed.
pub(super) fn decompress(codec: u8, records: bytes::Bytes) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let left = Cell::new(DECOMPRESSED_BYTES_MAX);
    open_records(codec, records, Room::AMPLE, &left).map_err(io::Error::other)?.read_to_end(&mut all)?;
    Ok(all)
}

struct Bounded<'l, R> {
    read: R,
    left: &'l Cell<u64>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.unwrap_or(0));
        left.map(|_| count).ok_or_else(|| {
            io::Error::other(format!("more than {DECOMPRESSED_BYTES_MAX} bytes when decompressed"))
        })
    }
}

/// A decoder that could not be made.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::ErrorKind::Other.into()))
    }
}

/// Blocks of snappy with a length before each, or one block of all.
struct Snappy {
    rest: bytes::Bytes,
    framed: bool,
    block_bytes_max: u64,
    block: io::Cursor<Vec<u8>>,
}

impl Snappy {
    fn new(mut rest: bytes::Bytes, block_bytes_max: u64) -> Snappy {
        let framed = rest.len() >= XERIAL_HEADER_BYTES && rest.starts_with(&XERIAL_MAGIC);
        if framed {
            bytes::Buf::advance(&mut rest, XERIAL_HEADER_BYTES);
        }
        Snappy { rest, framed, block_bytes_max, block: io::Cursor::default() }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let length = match self.framed {
            true => {
                let length = *self.rest.first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
                bytes::Buf::advance(&mut self.rest, 4);
                u32::from_be_bytes(length) as usize
            }
            false => self.rest.len(),
        };
        if length > self.rest.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let block = self.rest.split_to(length);
        // The block says its own size, so that is looked at before any room is made.
        if snap::raw::decompress_len(&block).map_err(io::Error::other)? as u64 > self.block_bytes_max {
            return Err(io::Error::other("a block of snappy that is too large"));
        }
        let block = snap::raw::Decoder::new().decompress_vec(&block).map_err(io::Error::other)?;
        self.block = io::Cursor::new(block);
        Ok(())
    }
}

impl Read for Snappy {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.block.read(buffer)?;
            if count > 0 || buffer.is_empty() || self.rest.is_empty() {
                return Ok(count);
            }
            self.next_block()?;
        }
    }
}
