//! Fields behind a version in two bytes: how messages lie where no request says which version they are in.

use bytes::Bytes;

use crate::wire::{DecodeError, Field, Reader, Version, Writer};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VersionedError {
    #[error("version {0} is not known")]
    Version(i16),
    #[error(transparent)]
    Fields(#[from] DecodeError),
}

pub(crate) fn encode(version: Version, fields: &impl Field) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.raw(&version.number.to_be_bytes());
    fields.write(&mut writer, version);
    writer.encoded.bytes
}

/// The version, and a reader of what follows.
pub(crate) fn open(bytes: Bytes) -> Result<(i16, Reader), VersionedError> {
    let mut reader = Reader::new(bytes);
    match i16::read(&mut reader, plain(0))? {
        version @ 0.. => Ok((version, reader)),
        version => Err(VersionedError::Version(version)),
    }
}

/// Fields, and nothing after them.
pub(crate) fn read_all<T: Field>(mut reader: Reader, version: Version) -> Result<T, VersionedError> {
    let fields = T::read(&mut reader, version)?;
    reader.finish()?;
    Ok(fields)
}

/// A version without tagged fields.
pub(crate) fn plain(number: i16) -> Version {
    Version { number, flexible: false }
}
