//! Values and tables: what arguments of declarations and headers of messages are made of.
//!
//! The variants keep the width a client chose, so that a value goes out as it came in; rules that
//! only care about the number use [`Value::as_integer`].

use std::hash::{BuildHasher, Hash, Hasher};

/// One value of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Void,
    Bool(bool),
    I8(i8),
    U8(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    F32(f32),
    F64(f64),
    /// `value / 10^scale`.
    Decimal {
        scale: u8,
        value: u32,
    },
    /// Text as clients send it; nothing promises UTF-8.
    Text(Box<[u8]>),
    Bytes(Box<[u8]>),
    /// Seconds since 1970-01-01 UTC.
    Timestamp(u64),
    List(Vec<Value>),
    Table(Table),
}

impl Value {
    /// Text from a Rust string.
    pub fn text(text: impl AsRef<str>) -> Value {
        Value::Text(text.as_ref().as_bytes().into())
    }

    /// The number, whatever its width; `None` for anything that is not a whole number.
    pub fn as_integer(&self) -> Option<i64> {
        match *self {
            Value::I8(n) => Some(n.into()),
            Value::U8(n) => Some(n.into()),
            Value::I16(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::I32(n) => Some(n.into()),
            Value::U32(n) => Some(n.into()),
            Value::I64(n) => Some(n),
            _ => None,
        }
    }

    /// The text, if it is text and UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Equal values add the same.
    fn add_to(&self, hasher: &mut impl Hasher) {
        std::mem::discriminant(self).hash(hasher);
        match self {
            Value::Void => {}
            Value::Bool(b) => b.hash(hasher),
            // Zero equals its negative.
            Value::F32(n) => (n + 0.0).to_bits().hash(hasher),
            Value::F64(n) => (n + 0.0).to_bits().hash(hasher),
            Value::Decimal { scale, value } => (scale, value).hash(hasher),
            Value::Text(bytes) | Value::Bytes(bytes) => bytes.hash(hasher),
            Value::Timestamp(seconds) => seconds.hash(hasher),
            Value::List(values) => values.iter().for_each(|value| value.add_to(hasher)),
            Value::Table(table) => table.add_to(hasher),
            Value::I8(_)
            | Value::U8(_)
            | Value::I16(_)
            | Value::U16(_)
            | Value::I32(_)
            | Value::U32(_)
            | Value::I64(_) => self.as_integer().hash(hasher),
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(b) => Some(b),
            _ => None,
        }
    }
}

/// Names and values in the order they came. A name may occur twice; look-ups see the first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table(pub Vec<(Box<str>, Value)>);

impl Table {
    pub fn new() -> Table {
        Table::default()
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)
    }

    /// Replaces the value of that name, or adds it at the end.
    pub fn set(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(key, _)| &**key == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name.into(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| &**key != name);
    }

    /// A number that equal tables share, and others hardly ever.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = foldhash::fast::FixedState::default().build_hasher();
        self.add_to(&mut hasher);
        hasher.finish()
    }

    fn add_to(&self, hasher: &mut impl Hasher) {
        for (name, value) in self.iter() {
            name.hash(hasher);
            value.add_to(hasher);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<K: AsRef<str>> FromIterator<(K, Value)> for Table {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(entries: I) -> Table {
        Table(entries.into_iter().map(|(key, value)| (key.as_ref().into(), value)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_tables_share_a_fingerprint() {
        let of = |value| Table::from_iter([("a", value)]).fingerprint();
        assert_eq!(of(Value::F64(0.0)), of(Value::F64(-0.0)));
        assert_eq!(of(Value::F32(0.0)), of(Value::F32(-0.0)));
        let different = [
            Value::Void,
            Value::I32(1),
            Value::I64(1),
            Value::text("1"),
            Value::Bytes((*b"1").into()),
            Value::List(vec![Value::I32(1)]),
            Value::Table(Table::from_iter([("a", Value::I32(1))])),
        ];
        let fingerprints: std::collections::HashSet<u64> = different.iter().cloned().map(of).collect();
        assert_eq!(fingerprints.len(), different.len());
        assert!(different.iter().all(|value| of(value.clone()) == of(value.clone())));
    }
}
