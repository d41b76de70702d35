//! How records are printed.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use cauce_core::partition::TopicPartition;
use cauce_log::Record;
use serde::{Serialize, Serializer};

use crate::cli::when;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The value and nothing else, byte for byte.
    Values,
    /// Where and when, the key and the headers before the value.
    Lines,
    Json,
}

/// One JSON object for each line. What is not UTF-8 is written as `{"base64": …}`.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    key: Option<Content<'a>>,
    value: Option<Content<'a>>,
    headers: Vec<(Content<'a>, Option<Content<'a>>)>,
}

#[derive(Debug)]
struct Content<'a>(&'a [u8]);

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Binary {
            base64: String,
        }
        match std::str::from_utf8(self.0) {
            Ok(text) => text.serialize(serializer),
            Err(_) => Binary { base64: BASE64.encode(self.0) }.serialize(serializer),
        }
    }
}

impl Form {
    pub(super) fn print(
        self,
        out: &mut Vec<u8>,
        place: &TopicPartition,
        record: &Record<'_>,
    ) -> io::Result<()> {
        match self {
            Form::Values => out.write_all(record.value.unwrap_or_default())?,
            Form::Lines => line(out, place, record)?,
            Form::Json => serde_json::to_writer(&mut *out, &printed(place, record))?,
        }
        out.write_all(b"\n")
    }
}

fn line(out: &mut Vec<u8>, place: &TopicPartition, record: &Record<'_>) -> io::Result<()> {
    write!(out, "{place} {} {}", record.offset, when::written(record.timestamp_ms))?;
    if let Some(key) = record.key {
        write!(out, " key={}", text(key))?;
    }
    for (name, value) in record.headers() {
        write!(out, " {}={}", text(name), value.map_or("null".into(), text))?;
    }
    match record.value {
        Some(value) => write!(out, ": {}", text(value)),
        None => write!(out, " null"),
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn printed<'a>(place: &'a TopicPartition, record: &Record<'a>) -> Printed<'a> {
    Printed {
        topic: &place.topic,
        partition: place.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key.map(Content),
        value: record.value.map(Content),
        headers: record.headers().map(|(name, value)| (Content(name), value.map(Content))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use cauce_log::{BatchBuilder, RecordBatch};

    use super::*;

    #[test]
    fn a_record_is_printed_as_its_reader_needs_it() {
        check(Form::Values, b"caf\xc3\xa9", "café\n");
        check(Form::Lines, b"one", "orders-3 7 2023-11-14T22:13:20.000Z key=k h=v: one\n");
        check(
            Form::Json,
            b"one",
            concat!(
                r#"{"topic":"orders","partition":3,"offset":7,"timestamp_ms":1700000000000,"#,
                r#""key":"k","value":"one","headers":[["h","v"]]}"#,
                "\n"
            ),
        );
        check(
            Form::Json,
            &[0xff],
            concat!(
                r#"{"topic":"orders","partition":3,"offset":7,"timestamp_ms":1700000000000,"#,
                r#""key":"k","value":{"base64":"/w=="},"headers":[["h","v"]]}"#,
                "\n"
            ),
        );
    }

    fn check(form: Form, value: &[u8], expected: &str) {
        let mut builder = BatchBuilder::new();
        builder.start(7, 1_700_000_000_000);
        builder.push(7, 1_700_000_000_000, Some(b"k"), Some(&[value]), &[(b"h", &[b"v"])]);
        let (batch, _) = RecordBatch::parse(builder.finish()).expect("a batch");
        let record = batch.records().next().expect("one").expect("a record");
        let mut out = Vec::new();
        let place = TopicPartition { topic: "orders".into(), partition: 3 };
        form.print(&mut out, &place, &record).expect("memory takes it");
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
