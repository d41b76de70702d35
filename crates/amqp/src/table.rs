//! Tables: arguments of methods and headers of messages.
//!
//! ```text
//! table := length:u32 (name:short-string letter:u8 value)*
//! list  := length:u32 (letter:u8 value)*
//! ```
//!
//! The letters are read as RabbitMQ reads them, which is not what the specification says.

use cauce_core::{Table, Value};

use crate::error::DecodeError;
use crate::wire::{self, Reader};

/// Tables and lists nested deeper are refused; the recursion below is bounded by it.
pub const DEPTH_MAX: usize = 32;

/// An encoded table without its length, not looked into until asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RawTable<'a>(pub &'a [u8]);

impl<'a> RawTable<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in their order; ends after the first error.
    pub fn entries(&self) -> Entries<'a> {
        Entries { bytes: Reader::new(self.0) }
    }

    /// The whole table.
    pub fn decode(&self) -> Result<Table, DecodeError> {
        decode_table(self.0, DEPTH_MAX)
    }

    /// The first value of that name; entries behind it are not looked at.
    pub fn get(&self, name: &str) -> Result<Option<Value>, DecodeError> {
        self.find(name)?.map(|value| value.decode()).transpose()
    }

    /// As [`RawTable::get`], without decoding the value.
    pub fn find(&self, name: &str) -> Result<Option<RawValue<'a>>, DecodeError> {
        for entry in self.entries() {
            let (key, value) = entry?;
            if key == name {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Whether [`RawTable::decode`] would succeed, without allocating.
    pub fn validate(&self) -> Result<(), DecodeError> {
        self.entries().try_for_each(|entry| entry?.1.validate(DEPTH_MAX))
    }
}

/// One encoded value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawValue<'a> {
    letter: u8,
    /// Without the length that text, tables and lists carry in front.
    bytes: &'a [u8],
}

impl<'a> RawValue<'a> {
    pub fn text(text: &'a [u8]) -> RawValue<'a> {
        RawValue { letter: b'S', bytes: text }
    }

    pub fn binary(bytes: &'a [u8]) -> RawValue<'a> {
        RawValue { letter: b'x', bytes }
    }

    /// A list of what was encoded by [`RawValue::encode`], one behind the other.
    pub fn list(items: &'a [u8]) -> RawValue<'a> {
        RawValue { letter: b'A', bytes: items }
    }

    /// Appends the letter and the value, as it stands in a table or a list.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.letter);
        match self.letter {
            b'S' | b'x' | b'F' | b'A' => wire::put_long_bytes(out, self.bytes),
            _ => out.extend_from_slice(self.bytes),
        }
    }

    pub fn decode(&self) -> Result<Value, DecodeError> {
        decode_value(*self, DEPTH_MAX)
    }

    /// The text, if it is text; nothing promises UTF-8.
    pub fn as_text(&self) -> Option<&'a [u8]> {
        (self.letter == b'S').then_some(self.bytes)
    }

    /// The bytes, if it is text or binary.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        matches!(self.letter, b'S' | b'x').then_some(self.bytes)
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<Items<'a>> {
        (self.letter == b'A').then_some(Items { bytes: Reader::new(self.bytes) })
    }

    pub fn as_table(&self) -> Option<RawTable<'a>> {
        (self.letter == b'F').then_some(RawTable(self.bytes))
    }

    fn read(bytes: &mut Reader<'a>) -> Result<RawValue<'a>, DecodeError> {
        let letter = bytes.u8()?;
        let bytes = match letter {
            b'S' | b'x' | b'F' | b'A' => bytes.long_bytes()?,
            b'V' => bytes.take(0)?,
            b't' | b'b' | b'B' => bytes.take(1)?,
            b's' | b'u' => bytes.take(2)?,
            b'I' | b'i' | b'f' => bytes.take(4)?,
            b'D' => bytes.take(5)?,
            b'l' | b'L' | b'd' | b'T' => bytes.take(8)?,
            letter => return Err(DecodeError::UnknownFieldType { letter }),
        };
        Ok(RawValue { letter, bytes })
    }

    fn validate(&self, depth_left: usize) -> Result<(), DecodeError> {
        if let Some(table) = self.as_table() {
            let depth_left = deeper(depth_left)?;
            return table.entries().try_for_each(|entry| entry?.1.validate(depth_left));
        }
        if let Some(mut items) = self.as_list() {
            let depth_left = deeper(depth_left)?;
            return items.try_for_each(|item| item?.validate(depth_left));
        }
        Ok(())
    }
}

/// Iterator over [`RawTable::entries`].
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    bytes: Reader<'a>,
}

impl<'a> Entries<'a> {
    fn read(&mut self) -> Result<(&'a str, RawValue<'a>), DecodeError> {
        Ok((self.bytes.short_string()?, RawValue::read(&mut self.bytes)?))
    }

    /// The encoded entries not yet handed out.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.rest()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(&'a str, RawValue<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let entry = self.read();
        if entry.is_err() {
            self.bytes = Reader::new(&[]);
        }
        Some(entry)
    }
}

/// Iterator over [`RawValue::as_list`].
#[derive(Debug, Clone)]
pub struct Items<'a> {
    bytes: Reader<'a>,
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<RawValue<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let item = RawValue::read(&mut self.bytes);
        if item.is_err() {
            self.bytes = Reader::new(&[]);
        }
        Some(item)
    }
}

fn decode_table(bytes: &[u8], depth_left: usize) -> Result<Table, DecodeError> {
    let mut table = Table::new();
    for entry in RawTable(bytes).entries() {
        let (name, value) = entry?;
        table.0.push((name.into(), decode_value(value, depth_left)?));
    }
    Ok(table)
}

fn decode_list(items: Items<'_>, depth_left: usize) -> Result<Vec<Value>, DecodeError> {
    items.map(|item| decode_value(item?, depth_left)).collect()
}

fn decode_value(value: RawValue<'_>, depth_left: usize) -> Result<Value, DecodeError> {
    let mut bytes = Reader::new(value.bytes);
    Ok(match value.letter {
        b'S' => Value::Text(value.bytes.into()),
        b'x' => Value::Bytes(value.bytes.into()),
        b'F' => Value::Table(decode_table(value.bytes, deeper(depth_left)?)?),
        b'A' => Value::List(decode_list(Items { bytes }, deeper(depth_left)?)?),
        b'V' => Value::Void,
        b't' => Value::Bool(bytes.u8()? != 0),
        b'b' => Value::I8(bytes.u8()? as i8),
        b'B' => Value::U8(bytes.u8()?),
        b's' => Value::I16(bytes.u16()? as i16),
        b'u' => Value::U16(bytes.u16()?),
        b'I' => Value::I32(bytes.u32()? as i32),
        b'i' => Value::U32(bytes.u32()?),
        // Both are signed: https://www.rabbitmq.com/amqp-0-9-1-errata
        b'l' | b'L' => Value::I64(bytes.u64()? as i64),
        b'f' => Value::F32(f32::from_bits(bytes.u32()?)),
        b'd' => Value::F64(f64::from_bits(bytes.u64()?)),
        b'D' => Value::Decimal { scale: bytes.u8()?, value: bytes.u32()? },
        b'T' => Value::Timestamp(bytes.u64()?),
        letter => return Err(DecodeError::UnknownFieldType { letter }),
    })
}

fn deeper(depth_left: usize) -> Result<usize, DecodeError> {
    depth_left.checked_sub(1).ok_or(DecodeError::TooDeep { depth_max: DEPTH_MAX })
}

/// Appends the entries without the length of the whole, so that [`RawTable`] can wrap them.
pub fn encode_table(table: &Table, out: &mut Vec<u8>) {
    for (name, value) in table.iter() {
        encode_entry(name, value, out);
    }
}

/// Appends one entry of a table. The name has at most 255 bytes.
pub fn encode_entry(name: &str, value: &Value, out: &mut Vec<u8>) {
    wire::put_short_string(out, name);
    encode_value(value, out);
}

/// The same, of a value that is encoded.
pub fn encode_raw_entry(name: &str, value: RawValue<'_>, out: &mut Vec<u8>) {
    wire::put_short_string(out, name);
    value.encode(out);
}

/// Appends the letter and the value, as it stands in a table or a list.
pub fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Void => out.push(b'V'),
        Value::Bool(truth) => out.extend_from_slice(&[b't', (*truth).into()]),
        Value::I8(number) => put(out, b'b', number.to_be_bytes()),
        Value::U8(number) => put(out, b'B', number.to_be_bytes()),
        Value::I16(number) => put(out, b's', number.to_be_bytes()),
        Value::U16(number) => put(out, b'u', number.to_be_bytes()),
        Value::I32(number) => put(out, b'I', number.to_be_bytes()),
        Value::U32(number) => put(out, b'i', number.to_be_bytes()),
        Value::I64(number) => put(out, b'l', number.to_be_bytes()),
        Value::F32(number) => put(out, b'f', number.to_be_bytes()),
        Value::F64(number) => put(out, b'd', number.to_be_bytes()),
        Value::Timestamp(seconds) => put(out, b'T', seconds.to_be_bytes()),
        Value::Decimal { scale, value } => {
            put(out, b'D', [*scale]);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Value::Text(text) => {
            out.push(b'S');
            wire::put_long_bytes(out, text);
        }
        Value::Bytes(bytes) => {
            out.push(b'x');
            wire::put_long_bytes(out, bytes);
        }
        Value::List(items) => {
            out.push(b'A');
            wire::put_with_length(out, |out| items.iter().for_each(|item| encode_value(item, out)));
        }
        Value::Table(table) => {
            out.push(b'F');
            wire::put_with_length(out, |out| encode_table(table, out));
        }
    }
}

fn put<const N: usize>(out: &mut Vec<u8>, letter: u8, bytes: [u8; N]) {
    out.push(letter);
    out.extend_from_slice(&bytes);
}

#[cfg(test)]
pub(crate) mod tests;
