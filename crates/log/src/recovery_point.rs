//! Up to where a log was flushed: the segments below the recovery point, their indexes and the name of the one that
//! follows them are durable. Written after the flush, and flushed itself before anything behind it is promised.
//!
//! ```text
//! recovery-point  offset i64 | CRC-32C of it u32
//! ```

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{self, Disk, DiskFile};

const NAME: &str = "recovery-point";
const ENCODED_BYTES: usize = 12;

pub(crate) fn path_in(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

pub(crate) fn write(file: &dyn DiskFile, offset: i64) -> io::Result<()> {
    file.write_all_at(&encode(offset), 0)
}

/// The recovery point of the log in `dir`, which holds `names`; of a log that never had one, the first offset. `None`
/// when it cannot be read: a power cut tore it, after all below it was flushed, or the disk damaged it.
pub(crate) fn read(disk: &dyn Disk, dir: &Path, names: &[String]) -> io::Result<Option<i64>> {
    if !names.iter().any(|name| name == NAME) {
        return Ok(Some(0));
    }
    let content = disk::read_all(&*disk.open(&path_in(dir))?)?;
    Ok(if content.is_empty() { Some(0) } else { decode(&content) })
}

/// Replaces one that cannot be read, durably.
pub(crate) fn repair(disk: &dyn Disk, dir: &Path, offset: i64) -> io::Result<()> {
    let file = disk.open(&path_in(dir))?;
    write(&*file, offset)?;
    file.set_len(ENCODED_BYTES as u64)?;
    file.sync_data()
}

fn encode(offset: i64) -> [u8; ENCODED_BYTES] {
    let mut bytes = [0; ENCODED_BYTES];
    let (number, crc) = bytes.split_at_mut(8);
    number.copy_from_slice(&offset.to_be_bytes());
    crc.copy_from_slice(&crc_fast::crc32_iscsi(number).to_be_bytes());
    bytes
}

fn decode(content: &[u8]) -> Option<i64> {
    let offset = i64::from_be_bytes(*content.first_chunk()?);
    (content == encode(offset)).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_point_is_an_offset_and_its_checksum() {
        let bytes = encode(4711);
        assert_eq!(bytes[..8], [0, 0, 0, 0, 0, 0, 0x12, 0x67]);
        assert_eq!(decode(&bytes), Some(4711));
        assert_eq!(decode(&bytes[..11]), None);
        for bit in 0..96 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None);
        }
    }
}
