//! Dead letters: what a broker writes into a message that dies in a queue.
//!
//! The history is the header `x-death`, a list of tables with the most recent death in front and one
//! entry per queue and reason, whose count goes up. The rules and the names are RabbitMQ's.

use cauce_core::{Table, Value};

use crate::error::DecodeError;
use crate::headers::carbon_copies;
use crate::properties::Properties;
use crate::table::{RawTable, RawValue, encode_table};

/// Why a message died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Expired,
    Rejected,
    MaxLength,
    DeliveryLimit,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::Expired => "expired",
            Reason::Rejected => "rejected",
            Reason::MaxLength => "maxlen",
            Reason::DeliveryLimit => "delivery_limit",
        }
    }
}

/// One death of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death<'a> {
    /// The queue it died in.
    pub queue: &'a str,
    pub reason: Reason,
    /// The exchange it had come through.
    pub exchange: &'a str,
    /// The routing keys it had come with. Those of `CC` are added if they are missing, those of `BCC`
    /// left out.
    pub routing_keys: &'a [&'a str],
    /// Seconds since 1970-01-01 UTC.
    pub time_s: u64,
}

/// The properties of a message after `death`: with its history, and without its expiration, which
/// would kill it again in the next queue.
pub fn dead_letter(properties: &[u8], death: &Death<'_>) -> Result<Vec<u8>, DecodeError> {
    let view = Properties::parse(properties)?;
    let raw_headers = view.headers().unwrap_or_default();
    let mut headers = raw_headers.decode()?;

    let deaths = match headers.get("x-death") {
        Some(Value::List(deaths)) => Some(deaths.clone()),
        // Some clients send back what they got with every value as text; the history starts afresh.
        Some(_) => Some(Vec::new()),
        None => None,
    };
    if deaths.is_none() {
        note(&mut headers, "first", death);
    }
    note(&mut headers, "last", death);
    let deaths = record(deaths.unwrap_or_default(), death, || {
        first_record(death, &routing_keys(raw_headers, death), view.expiration())
    });
    headers.set("x-death", Value::List(deaths));
    headers.0.sort_by(|(one, _), (other, _)| one.cmp(other));

    let mut encoded = Vec::with_capacity(raw_headers.0.len() + 256);
    encode_table(&headers, &mut encoded);
    let mut out = Vec::with_capacity(properties.len() + 256);
    view.with_headers(RawTable(&encoded)).without_expiration().encode(&mut out);
    Ok(out)
}

/// Whether routing this message into `queue` would close a circle it could run in for ever: it has
/// died there before, and from then on nobody rejected it. A rejection is the will of a consumer, and
/// may lead around as often as it likes.
pub fn cycle(properties: &[u8], queue: &str) -> bool {
    try_cycle(properties, queue).unwrap_or(false)
}

fn try_cycle(properties: &[u8], queue: &str) -> Result<bool, DecodeError> {
    let Some(headers) = Properties::parse(properties)?.headers() else {
        return Ok(false);
    };
    let Some(deaths) = headers.find("x-death")?.and_then(|value| value.as_list()) else {
        return Ok(false);
    };
    for death in deaths {
        // Not a table: a client wrote it, so the circle is not of our making.
        let Some(death) = death?.as_table() else {
            return Ok(false);
        };
        if is_text(death.find("reason")?, Reason::Rejected.name()) {
            return Ok(false);
        }
        if is_text(death.find("queue")?, queue) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_text(value: Option<RawValue<'_>>, text: &str) -> bool {
    value.and_then(|value| value.as_text()) == Some(text.as_bytes())
}

/// `x-first-death-queue` and its kin.
fn note(headers: &mut Table, which: &str, death: &Death<'_>) {
    headers.set(&format!("x-{which}-death-exchange"), Value::text(death.exchange));
    headers.set(&format!("x-{which}-death-queue"), Value::text(death.queue));
    headers.set(&format!("x-{which}-death-reason"), Value::text(death.reason.name()));
}

/// Brings the record of this queue and reason to the front, one higher, or puts a new one there.
fn record(mut deaths: Vec<Value>, death: &Death<'_>, first: impl FnOnce() -> Table) -> Vec<Value> {
    let known = deaths.iter().position(|record| match record {
        Value::Table(record) => matches(record, death),
        _ => false,
    });
    let record = match known.map(|at| deaths.remove(at)) {
        Some(Value::Table(record)) => counted_again(record),
        _ => first(),
    };
    deaths.insert(0, Value::Table(record));
    deaths
}

fn matches(record: &Table, death: &Death<'_>) -> bool {
    let is = |name, text| record.get(name).and_then(Value::as_str) == Some(text);
    is("queue", death.queue) && is("reason", death.reason.name())
}

fn counted_again(mut record: Table) -> Table {
    let count = record.get("count").and_then(Value::as_integer).unwrap_or(0);
    record.set("count", Value::I64(count.saturating_add(1)));
    record
}

fn first_record(death: &Death<'_>, routing_keys: &[String], expiration: Option<&[u8]>) -> Table {
    let mut record = Table::new();
    if let Some(expiration) = expiration {
        record.set("original-expiration", Value::Text(expiration.into()));
    }
    record.set("count", Value::I64(1));
    record.set("reason", Value::text(death.reason.name()));
    record.set("queue", Value::text(death.queue));
    record.set("time", Value::Timestamp(death.time_s));
    record.set("exchange", Value::text(death.exchange));
    record.set("routing-keys", Value::List(routing_keys.iter().map(Value::text).collect()));
    record
}

fn routing_keys(headers: RawTable<'_>, death: &Death<'_>) -> Vec<String> {
    let (cc, bcc) = carbon_copies(headers).unwrap_or_default();
    let mut keys: Vec<String> = death.routing_keys.iter().map(|key| (*key).to_owned()).collect();
    keys.retain(|key| !bcc.contains(key));
    for key in cc {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

#[cfg(test)]
mod tests;
