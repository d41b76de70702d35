//! Headers that steer routing: `CC` and `BCC` name further routing keys.

use crate::error::DecodeError;
use crate::properties::Properties;
use crate::table::RawTable;

/// The further routing keys of a message: those its receivers may see, and those they may not.
///
/// Items that are not text are ignored, as RabbitMQ does; a header that is not a list is an error of
/// the channel.
pub fn carbon_copies(headers: RawTable<'_>) -> Result<(Vec<String>, Vec<String>), DecodeError> {
    Ok((routing_keys(headers, "CC")?, routing_keys(headers, "BCC")?))
}

/// The properties without the `BCC` header, which no receiver may see.
pub fn strip_bcc(properties: &[u8]) -> Vec<u8> {
    without_header(properties, "BCC")
}

/// The properties without a header. What cannot be read is left as it is.
pub fn without_header(properties: &[u8], name: &str) -> Vec<u8> {
    try_without_header(properties, name).unwrap_or_else(|_| properties.to_vec())
}

/// The properties with an integer header set. What cannot be read is left as it is.
pub fn with_integer_header(properties: &[u8], name: &str, value: i64) -> Vec<u8> {
    try_with_integer_header(properties, name, value).unwrap_or_else(|_| properties.to_vec())
}

fn try_with_integer_header(properties: &[u8], name: &str, value: i64) -> Result<Vec<u8>, DecodeError> {
    let view = Properties::parse(properties)?;
    let mut entries = view.headers().map_or(Ok(Vec::new()), |headers| entries_without(headers, name))?;
    entries.push(name.len() as u8);
    entries.extend_from_slice(name.as_bytes());
    entries.push(b'l');
    entries.extend_from_slice(&value.to_be_bytes());
    let mut out = Vec::with_capacity(properties.len() + entries.len());
    view.with_headers(RawTable(&entries)).encode(&mut out);
    Ok(out)
}

fn try_without_header(properties: &[u8], name: &str) -> Result<Vec<u8>, DecodeError> {
    let view = Properties::parse(properties)?;
    let Some(headers) = view.headers() else {
        return Ok(properties.to_vec());
    };
    let kept = entries_without(headers, name)?;
    let mut out = Vec::with_capacity(properties.len());
    view.with_headers(RawTable(&kept)).encode(&mut out);
    Ok(out)
}

fn entries_without(headers: RawTable<'_>, name: &str) -> Result<Vec<u8>, DecodeError> {
    let mut kept = Vec::with_capacity(headers.0.len());
    let mut entries = headers.entries();
    let mut before = entries.rest();
    while let Some(entry) = entries.next() {
        let (key, _) = entry?;
        let after = entries.rest();
        if key != name {
            kept.extend_from_slice(&before[..before.len() - after.len()]);
        }
        before = after;
    }
    Ok(kept)
}

fn routing_keys(headers: RawTable<'_>, name: &'static str) -> Result<Vec<String>, DecodeError> {
    let Some(value) = headers.find(name)? else {
        return Ok(Vec::new());
    };
    let Some(items) = value.as_list() else {
        return Err(DecodeError::HeaderIsNotAList { name });
    };
    let mut keys = Vec::new();
    for item in items {
        let Some(text) = item?.as_text() else { continue };
        keys.push(std::str::from_utf8(text).map_err(|_| DecodeError::NotUtf8)?.to_owned());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use cauce_core::{Table, Value};

    use super::*;
    use crate::properties::PropertiesBuf;
    use crate::table::encode_table;

    #[test]
    fn copies_are_lists_of_text() {
        let headers = encoded([
            ("CC", list(&["a", "b"])),
            ("n", Value::I32(1)),
            ("BCC", Value::List(vec![Value::I8(1), Value::text("c")])),
        ]);
        let (cc, bcc) = carbon_copies(RawTable(&headers)).unwrap();
        assert_eq!((cc, bcc), (vec!["a".into(), "b".into()], vec!["c".into()]));
    }

    #[test]
    fn a_copy_that_is_not_a_list_is_refused() {
        let headers = encoded([("CC", Value::text("a"))]);
        let error = carbon_copies(RawTable(&headers)).unwrap_err();
        assert_eq!(error, DecodeError::HeaderIsNotAList { name: "CC" });
        assert_eq!(error.reply_code().code(), 406);
    }

    #[test]
    fn only_the_blind_copies_are_taken_away() {
        let mut properties = PropertiesBuf {
            content_type: Some(b"text/plain".to_vec()),
            headers: Some(Table::from_iter([
                ("BCC", list(&["c"])),
                ("CC", list(&["a"])),
                ("BCC", list(&["d"])),
                ("k", Value::Void),
            ])),
            delivery_mode: Some(2),
            ..Default::default()
        };
        let stripped = strip_bcc(&properties.to_bytes());
        properties.headers.as_mut().unwrap().remove("BCC");
        assert_eq!(stripped, properties.to_bytes());
        assert_eq!(strip_bcc(b"\x10\x00\x02"), b"\x10\x00\x02");
        assert_eq!(strip_bcc(b"\xFF"), b"\xFF");
    }

    #[test]
    fn an_integer_header_is_added_or_replaced() {
        let headers = |entries: &[(&str, Value)]| {
            let headers = Some(entries.iter().cloned().collect());
            PropertiesBuf { headers, delivery_mode: Some(2), ..Default::default() }.to_bytes()
        };
        let (mine, count) = (("mine", Value::I32(1)), |count| ("n", Value::I64(count)));
        let counted = with_integer_header(&headers(std::slice::from_ref(&mine)), "n", 7);
        assert_eq!(counted, headers(&[mine.clone(), count(7)]));
        assert_eq!(with_integer_header(&counted, "n", 8), headers(&[mine, count(8)]));
        let none = PropertiesBuf { delivery_mode: Some(2), ..Default::default() }.to_bytes();
        assert_eq!(with_integer_header(&none, "n", -1), headers(&[count(-1)]));
        assert_eq!(with_integer_header(b"\xFF", "n", 1), b"\xFF");
    }

    fn encoded<const N: usize>(entries: [(&str, Value); N]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_table(&Table::from_iter(entries), &mut out);
        out
    }

    fn list(texts: &[&str]) -> Value {
        Value::List(texts.iter().map(Value::text).collect())
    }
}
