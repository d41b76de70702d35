//! How error messages tell values, in the words RabbitMQ's clients know.

use crate::value::Value;

/// What kind of value it is.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Void => "void",
        Value::Bool(_) => "bool",
        Value::I8(_) => "byte",
        Value::U8(_) => "unsignedbyte",
        Value::I16(_) => "short",
        Value::U16(_) => "unsignedshort",
        Value::I32(_) => "signedint",
        Value::U32(_) => "unsignedint",
        Value::I64(_) => "long",
        Value::F32(_) => "float",
        Value::F64(_) => "double",
        Value::Decimal { .. } => "decimal",
        Value::Text(_) => "longstr",
        Value::Bytes(_) => "binary",
        Value::Timestamp(_) => "timestamp",
        Value::List(_) => "array",
        Value::Table(_) => "table",
    }
}

/// The value alone, without quotes.
pub(crate) fn shown(value: &Value) -> String {
    match (value, value.as_integer()) {
        (_, Some(number)) => number.to_string(),
        (Value::Text(bytes), _) => String::from_utf8_lossy(bytes).into_owned(),
        (Value::Bool(flag), _) => flag.to_string(),
        (Value::F32(number), _) => number.to_string(),
        (Value::F64(number), _) => number.to_string(),
        (other, _) => format!("{other:?}"),
    }
}
