//! The types a field can have, and how they lie in a frame.
//!
//! Every type has two forms. From its first *flexible* version on (KIP-482) a message writes lengths as
//! variable-length integers, one too high so that 0 means null, and ends each struct with its tagged fields.

use bytes::Bytes;

use crate::text::Text;

/// Elements of all arrays of one message together. An element can take a hundred times the memory it took
/// in the frame, so that the size of the frame alone would be no bound.
const ELEMENTS_MAX: usize = 1 << 18;

/// Record sets shorter than this are copied into the message rather than sent as pieces of their own.
const COPIED_BYTES_MAX: usize = 1 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the message ends before its fields do")]
    Truncated,
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    #[error("a length of {0} where only {1} bytes are left")]
    Length(i64, usize),
    #[error("null where the protocol has none")]
    Null,
    #[error("text that is not UTF-8")]
    NotUtf8,
    #[error("a variable-length integer that does not end")]
    Varint,
    #[error("more than {ELEMENTS_MAX} elements in one message")]
    TooManyElements,
    #[error("tagged fields out of order")]
    TagOrder,
}

/// The version a message is read or written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub number: i16,
    pub flexible: bool,
}

/// A type that can be a field.
pub(crate) trait Field: Sized {
    fn read(from: &mut Reader, version: Version) -> Result<Self, DecodeError>;
    fn write(&self, to: &mut Writer, version: Version);
}

/// Reads fields from a frame. Text and bytes are slices of it.
#[derive(Debug)]
pub(crate) struct Reader {
    left: Bytes,
    elements_left: usize,
}

impl Reader {
    pub(crate) fn new(frame: Bytes) -> Reader {
        Reader { left: frame, elements_left: ELEMENTS_MAX }
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.left.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = *self.left.first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        bytes::Buf::advance(&mut self.left, N);
        Ok(bytes)
    }

    fn bytes(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        match length <= self.left.len() {
            true => Ok(self.left.split_to(length)),
            false => Err(DecodeError::Length(length as i64, self.left.len())),
        }
    }

    pub(crate) fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array::<1>()?;
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::Varint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint)
    }

    /// A length; `None` is null. The plain form of text has two bytes, of all else four.
    fn length(&mut self, version: Version, short: bool) -> Result<Option<usize>, DecodeError> {
        if version.flexible {
            return Ok((self.varint()? as usize).checked_sub(1));
        }
        let length = match short {
            true => i16::from_be_bytes(self.array()?).into(),
            false => i32::from_be_bytes(self.array()?),
        };
        match length {
            -1 => Ok(None),
            0.. => Ok(Some(length as usize)),
            _ => Err(DecodeError::Length(length.into(), self.left.len())),
        }
    }

    /// The tagged fields of a struct: `read` gets a known one with a reader of its own and answers true,
    /// or false to have it skipped.
    pub(crate) fn tagged(
        &mut self,
        mut read: impl FnMut(u32, &mut Reader) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut last = None;
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            if last.is_some_and(|last| tag <= last) {
                return Err(DecodeError::TagOrder);
            }
            last = Some(tag);
            let length = self.varint()? as usize;
            let mut field = Reader { left: self.bytes(length)?, elements_left: self.elements_left };
            if read(tag, &mut field)? {
                self.elements_left = field.elements_left;
                field.finish()?;
            }
        }
        Ok(())
    }
}

/// What a writer made: bytes, with larger record sets in between.
#[derive(Debug, Default)]
pub struct Encoded {
    pub bytes: Vec<u8>,
    /// Each goes before the byte of `bytes` at its position; positions rise.
    pub splices: Vec<(usize, Splice)>,
}

impl Encoded {
    pub fn len(&self) -> usize {
        self.bytes.len() + self.splices.iter().map(|(_, splice)| splice.len()).sum::<usize>()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Without what is elsewhere.
    pub fn bytes_in_memory(&self) -> usize {
        let splices = self.splices.iter().map(|(_, splice)| match splice {
            Splice::Bytes(bytes) => bytes.len(),
            Splice::Elsewhere(_) => 0,
        });
        self.bytes.len() + splices.sum::<usize>()
    }
}

/// A record set that is not copied into the message it is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Splice {
    Bytes(Bytes),
    /// So many bytes that whoever sends the message takes from elsewhere, a file for instance.
    Elsewhere(usize),
}

impl Splice {
    fn len(&self) -> usize {
        match self {
            Splice::Bytes(bytes) => bytes.len(),
            Splice::Elsewhere(length) => *length,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) encoded: Encoded,
}

impl Writer {
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.encoded.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.raw(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.raw(&[value as u8]);
    }

    fn length(&mut self, length: Option<usize>, version: Version, short: bool) {
        if version.flexible {
            return self.varint(length.map_or(0, |length| length as u32 + 1));
        }
        match (short, length) {
            (true, Some(length)) => self.raw(&(length as i16).to_be_bytes()),
            (true, None) => self.raw(&(-1i16).to_be_bytes()),
            (false, Some(length)) => self.raw(&(length as i32).to_be_bytes()),
            (false, None) => self.raw(&(-1i32).to_be_bytes()),
        }
    }

    fn splice(&mut self, splice: Splice) {
        self.encoded.splices.push((self.encoded.bytes.len(), splice));
    }

    /// One tagged field, whose size goes before it.
    pub(crate) fn tagged(&mut self, tag: u32, field: &impl Field, version: Version) {
        let mut value = Writer::default();
        field.write(&mut value, version);
        debug_assert!(value.encoded.splices.is_empty(), "no tagged field holds records");
        self.varint(tag);
        self.varint(value.encoded.bytes.len() as u32);
        self.raw(&value.encoded.bytes);
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            fn read(from: &mut Reader, _: Version) -> Result<$number, DecodeError> {
                Ok(<$number>::from_be_bytes(from.array()?))
            }

            fn write(&self, to: &mut Writer, _: Version) {
                to.raw(&self.to_be_bytes());
            }
        }
    )*};
}

numbers!(i8, i16, u16, i32, u32, i64, f64);

impl Field for bool {
    fn read(from: &mut Reader, _: Version) -> Result<bool, DecodeError> {
        Ok(from.array::<1>()? != [0])
    }

    fn write(&self, to: &mut Writer, _: Version) {
        to.raw(&[u8::from(*self)]);
    }
}

/// 16 bytes that name a topic, a member or an incarnation. All zeros means none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    pub const ZERO: Uuid = Uuid([0; 16]);
}

impl Field for Uuid {
    fn read(from: &mut Reader, _: Version) -> Result<Uuid, DecodeError> {
        Ok(Uuid(from.array()?))
    }

    fn write(&self, to: &mut Writer, _: Version) {
        to.raw(&self.0);
    }
}

/// Types that have a null beside their values.
pub(crate) trait Nullable: Sized {
    fn read_nullable(from: &mut Reader, version: Version) -> Result<Option<Self>, DecodeError>;
    fn write_nullable(this: Option<&Self>, to: &mut Writer, version: Version);
}

impl<T: Nullable> Field for Option<T> {
    fn read(from: &mut Reader, version: Version) -> Result<Option<T>, DecodeError> {
        T::read_nullable(from, version)
    }

    fn write(&self, to: &mut Writer, version: Version) {
        T::write_nullable(self.as_ref(), to, version);
    }
}

/// The form without null of a type that has one.
macro_rules! never_null {
    ($([$($generic:tt)*] $kind:ty),* $(,)?) => {$(
        impl $($generic)* Field for $kind {
            fn read(from: &mut Reader, version: Version) -> Result<$kind, DecodeError> {
                <$kind>::read_nullable(from, version)?.ok_or(DecodeError::Null)
            }

            fn write(&self, to: &mut Writer, version: Version) {
                <$kind>::write_nullable(Some(self), to, version);
            }
        }
    )*};
}

never_null!([] Text, [] Bytes, [] Records, [<T: Field>] Vec<T>);

impl Nullable for Text {
    fn read_nullable(from: &mut Reader, version: Version) -> Result<Option<Text>, DecodeError> {
        let Some(length) = from.length(version, true)? else {
            return Ok(None);
        };
        Text::from_utf8(from.bytes(length)?).map(Some).ok_or(DecodeError::NotUtf8)
    }

    fn write_nullable(this: Option<&Text>, to: &mut Writer, version: Version) {
        to.length(this.map(|text| text.len()), version, true);
        this.into_iter().for_each(|text| to.raw(text.as_bytes()));
    }
}

impl Nullable for Bytes {
    fn read_nullable(from: &mut Reader, version: Version) -> Result<Option<Bytes>, DecodeError> {
        from.length(version, false)?.map(|length| from.bytes(length)).transpose()
    }

    fn write_nullable(this: Option<&Bytes>, to: &mut Writer, version: Version) {
        to.length(this.map(Bytes::len), version, false);
        this.into_iter().for_each(|bytes| to.raw(bytes));
    }
}

/// Record batches, as they came or as they lie in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    Bytes(Bytes),
    /// So many bytes, which the sender takes from elsewhere. Never read.
    Elsewhere(usize),
}

impl Default for Records {
    fn default() -> Records {
        Records::Bytes(Bytes::new())
    }
}

impl Records {
    pub fn len(&self) -> usize {
        match self {
            Records::Bytes(bytes) => bytes.len(),
            Records::Elsewhere(length) => *length,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Nullable for Records {
    fn read_nullable(from: &mut Reader, version: Version) -> Result<Option<Records>, DecodeError> {
        Ok(Bytes::read_nullable(from, version)?.map(Records::Bytes))
    }

    fn write_nullable(this: Option<&Records>, to: &mut Writer, version: Version) {
        match this {
            None => to.length(None, version, false),
            Some(Records::Bytes(bytes)) => {
                to.length(Some(bytes.len()), version, false);
                match bytes.len() <= COPIED_BYTES_MAX {
                    true => to.raw(bytes),
                    false => to.splice(Splice::Bytes(bytes.clone())),
                }
            }
            Some(Records::Elsewhere(length)) => {
                to.length(Some(*length), version, false);
                to.splice(Splice::Elsewhere(*length));
            }
        }
    }
}

impl<T: Field> Nullable for Vec<T> {
    fn read_nullable(from: &mut Reader, version: Version) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = from.length(version, false)? else {
            return Ok(None);
        };
        // Every element takes a byte at least.
        if count > from.left.len() {
            return Err(DecodeError::Length(count as i64, from.left.len()));
        }
        from.elements_left = from.elements_left.checked_sub(count).ok_or(DecodeError::TooManyElements)?;
        (0..count).map(|_| T::read(from, version)).collect::<Result<Vec<T>, _>>().map(Some)
    }

    fn write_nullable(this: Option<&Vec<T>>, to: &mut Writer, version: Version) {
        to.length(this.map(Vec::len), version, false);
        this.into_iter().flatten().for_each(|element| element.write(to, version));
    }
}
