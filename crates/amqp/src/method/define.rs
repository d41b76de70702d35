//! How a table of methods becomes code, and the types a field can have.

use super::Method;
use crate::error::DecodeError;
use crate::table::RawTable;
use crate::wire::{self, Reader};

/// One struct per method, and [`Method`](super::Method) over all of them.
///
/// A line reads `"name" (class, method) Struct [reserved first] { fields } [reserved last]`, the
/// fields in wire order. Reserved fields are skipped when read and written as zero or empty.
macro_rules! methods {
    ($(
        $label:literal ($class:literal, $method:literal) $name:ident $(<$lifetime:lifetime>)?
        [$($first:ty),*] { $($field:ident: $kind:ty),* $(,)? } [$($last:ty),*]
    )*) => {
        /// Any method.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Method<'a> {
            $($name($name $(<$lifetime>)?),)*
        }

        impl<'a> Method<'a> {
            /// Reads the payload of a method frame.
            pub fn decode(payload: &'a [u8]) -> Result<Method<'a>, DecodeError> {
                let mut fields = FieldReader::new(payload);
                let method = match (u16::read(&mut fields)?, u16::read(&mut fields)?) {
                    $(($class, $method) => Method::$name($name::read(&mut fields)?),)*
                    (class, method) => return Err(DecodeError::UnknownMethod { class, method }),
                };
                fields.finish()?;
                Ok(method)
            }

            /// Appends the payload of a method frame.
            pub fn encode(&self, out: &mut Vec<u8>) {
                let (class, method) = self.id();
                let mut fields = FieldWriter::new(out);
                class.write(&mut fields);
                method.write(&mut fields);
                match self {
                    $(Method::$name(method) => method.write(&mut fields),)*
                }
            }

            /// Class and method number.
            pub fn id(&self) -> (u16, u16) {
                match self {
                    $(Method::$name(_) => ($class, $method),)*
                }
            }

            /// `queue.declare` and the like.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Method::$name(_) => $label,)*
                }
            }
        }

        $(
            #[doc = concat!("`", $label, "`")]
            #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
            pub struct $name $(<$lifetime>)? {
                $(pub $field: $kind,)*
            }

            impl<'a> Field<'a> for $name $(<$lifetime>)? {
                #[inline]
                fn read(_fields: &mut FieldReader<'a>) -> Result<Self, DecodeError> {
                    $(<$first as Field<'a>>::read(_fields)?;)*
                    $(let $field = <$kind as Field<'a>>::read(_fields)?;)*
                    $(<$last as Field<'a>>::read(_fields)?;)*
                    Ok($name { $($field),* })
                }

                #[inline]
                fn write(&self, _fields: &mut FieldWriter<'_>) {
                    $(<$first>::default().write(_fields);)*
                    $(self.$field.write(_fields);)*
                    $(<$last>::default().write(_fields);)*
                }
            }

            impl $(<$lifetime>)? $name $(<$lifetime>)? {
                /// Class and method number.
                pub const ID: (u16, u16) = ($class, $method);
            }

            impl<'a> From<$name $(<$lifetime>)?> for Method<'a> {
                fn from(method: $name $(<$lifetime>)?) -> Method<'a> {
                    Method::$name(method)
                }
            }
        )*

        /// One of each, filled from `source`.
        #[cfg(test)]
        fn one_of_each<'a>(source: &mut tests::Source<'a>) -> Vec<Method<'a>> {
            vec![$(Method::$name($name {
                $($field: <$kind as tests::Arbitrary<'a>>::arbitrary(source)),*
            }),)*]
        }
    };
}
pub(super) use methods;

/// Reads fields one after another. Bits that follow each other share an octet, lowest first.
#[derive(Debug)]
pub(super) struct FieldReader<'a> {
    bytes: Reader<'a>,
    bits: u8,
    bits_left: u8,
}

impl<'a> FieldReader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> FieldReader<'a> {
        FieldReader { bytes: Reader::new(payload), bits: 0, bits_left: 0 }
    }

    #[inline]
    fn bytes(&mut self) -> &mut Reader<'a> {
        self.bits_left = 0;
        &mut self.bytes
    }

    #[inline]
    fn bit(&mut self) -> Result<bool, DecodeError> {
        if self.bits_left == 0 {
            self.bits = self.bytes.u8()?;
            self.bits_left = 8;
        }
        let bit = self.bits & 1 != 0;
        self.bits >>= 1;
        self.bits_left -= 1;
        Ok(bit)
    }

    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        self.bytes.finish()
    }
}

#[derive(Debug)]
pub(super) struct FieldWriter<'o> {
    out: &'o mut Vec<u8>,
    bits_used: u8,
}

impl<'o> FieldWriter<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> FieldWriter<'o> {
        FieldWriter { out, bits_used: 0 }
    }

    #[inline]
    fn bytes(&mut self) -> &mut Vec<u8> {
        self.bits_used = 0;
        self.out
    }

    #[inline]
    fn bit(&mut self, bit: bool) {
        if self.bits_used.is_multiple_of(8) {
            self.out.push(0);
            self.bits_used = 0;
        }
        let octet = self.out.last_mut().expect("an octet for bits was just pushed or is being filled");
        *octet |= u8::from(bit) << self.bits_used;
        self.bits_used += 1;
    }
}

/// Something a method is made of.
pub(super) trait Field<'a>: Sized {
    fn read(fields: &mut FieldReader<'a>) -> Result<Self, DecodeError>;
    fn write(&self, fields: &mut FieldWriter<'_>);
}

macro_rules! number_fields {
    ($($number:ident),*) => {$(
        impl<'a> Field<'a> for $number {
            #[inline]
            fn read(fields: &mut FieldReader<'a>) -> Result<Self, DecodeError> {
                fields.bytes().$number()
            }

            #[inline]
            fn write(&self, fields: &mut FieldWriter<'_>) {
                fields.bytes().extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}

number_fields!(u8, u16, u32, u64);

impl<'a> Field<'a> for bool {
    #[inline]
    fn read(fields: &mut FieldReader<'a>) -> Result<Self, DecodeError> {
        fields.bit()
    }

    #[inline]
    fn write(&self, fields: &mut FieldWriter<'_>) {
        fields.bit(*self);
    }
}

impl<'a> Field<'a> for &'a str {
    #[inline]
    fn read(fields: &mut FieldReader<'a>) -> Result<Self, DecodeError> {
        fields.bytes().short_string()
    }

    #[inline]
    fn write(&self, fields: &mut FieldWriter<'_>) {
        wire::put_short_string(fields.bytes(), self);
    }
}

impl<'a> Field<'a> for &'a [u8] {
    #[inline]
    fn read(fields: &mut FieldReader<'a>) -> Result<Self, DecodeError> {
        fields.bytes().long_bytes()
    }

    #[inline]
    fn write(&self, fields: &mut FieldWriter<'_>) {
        wire::put_long_bytes(fields.bytes(), self);
    }
}

impl<'a> Field<'a> for RawTable<'a> {
    #[inline]
    fn read(fields: &mut FieldReader<'a>) -> Result<Self, DecodeError> {
        fields.bytes().long_bytes().map(RawTable)
    }

    #[inline]
    fn write(&self, fields: &mut FieldWriter<'_>) {
        wire::put_long_bytes(fields.bytes(), self.0);
    }
}

impl Method<'_> {
    /// Appends the whole frame.
    pub fn write_frame(&self, channel: u16, out: &mut Vec<u8>) {
        crate::frame::write_with(out, crate::frame::FrameKind::Method, channel, |out| self.encode(out));
    }
}
