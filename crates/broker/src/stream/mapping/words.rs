//! What properties and values are called and how they look to Kafka's clients.

use std::borrow::Cow;

use cauce_amqp::{DecodeError, RawValue, TextProperty};
use cauce_core::Value;

use crate::definitions::json_of;

/// Properties of AMQP as headers of records. Delivery mode, timestamp and cluster id have none.
pub(super) const TEXT_PROPERTIES: [(&str, TextProperty); 9] = [
    ("amqp.content-type", TextProperty::ContentType),
    ("amqp.content-encoding", TextProperty::ContentEncoding),
    ("amqp.correlation-id", TextProperty::CorrelationId),
    ("amqp.reply-to", TextProperty::ReplyTo),
    ("amqp.expiration", TextProperty::Expiration),
    ("amqp.message-id", TextProperty::MessageId),
    ("amqp.type", TextProperty::Kind),
    ("amqp.user-id", TextProperty::UserId),
    ("amqp.app-id", TextProperty::AppId),
];
pub(super) const PRIORITY: &str = "amqp.priority";
pub(super) const EXCHANGE: &str = "amqp.exchange";

/// The values of the headers that stand for one header of AMQP: lists become repeated headers.
pub(super) fn spelled<'v>(value: RawValue<'v>) -> Result<Vec<Cow<'v, [u8]>>, DecodeError> {
    if let Some(bytes) = value.as_bytes() {
        return Ok(vec![bytes.into()]);
    }
    let Some(items) = value.as_list() else {
        return Ok(vec![spelled_out(&value.decode()?)]);
    };
    let items: Vec<RawValue<'_>> = items.collect::<Result<_, _>>()?;
    if items.iter().any(|item| item.as_list().is_some() || item.as_table().is_some()) {
        return Ok(vec![spelled_out(&value.decode()?)]);
    }
    let spelled = |item: RawValue<'v>| match item.as_bytes() {
        Some(bytes) => Ok(bytes.into()),
        None => Ok(spelled_out(&item.decode()?)),
    };
    items.into_iter().map(spelled).collect()
}

fn spelled_out(value: &Value) -> Cow<'static, [u8]> {
    let text = match value {
        Value::Void => String::new(),
        Value::Bool(flag) => flag.to_string(),
        Value::F32(number) => number.to_string(),
        Value::F64(number) => number.to_string(),
        Value::Decimal { scale, value } => decimal(*scale, *value),
        Value::Timestamp(seconds) => seconds.to_string(),
        Value::Text(bytes) | Value::Bytes(bytes) => return bytes.to_vec().into(),
        Value::List(_) | Value::Table(_) => json_of(value).to_string(),
        whole => whole.as_integer().expect("all others are whole numbers").to_string(),
    };
    text.into_bytes().into()
}

fn decimal(scale: u8, value: u32) -> String {
    let scale = usize::from(scale);
    let mut digits = format!("{value:0width$}", width = scale + 1);
    if scale > 0 {
        digits.insert(digits.len() - scale, '.');
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_keeps_all_its_digits() {
        assert_eq!(decimal(0, 42), "42");
        assert_eq!(decimal(2, 314), "3.14");
        assert_eq!(decimal(5, 314), "0.00314");
    }
}
