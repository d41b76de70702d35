//! The fields of an object in a definitions file: taken one by one, each checked, and named where it is wrong.

use cauce_amqp::table::{DEPTH_MAX, encode_table};
use cauce_core::{Table, Value, names};
use serde_json::Value as Json;

use super::read::DefinitionsError;
use crate::limits::ARGUMENTS_BYTES_MAX;

/// The fields of one object that were not read yet, and what to call it.
pub(super) struct Fields {
    pub(super) subject: String,
    pub(super) values: serde_json::Map<String, Json>,
}

impl Fields {
    pub(super) fn new(subject: &str, json: Json) -> Result<Fields, DefinitionsError> {
        match json {
            Json::Object(values) => Ok(Fields { subject: subject.to_owned(), values }),
            _ => Err(DefinitionsError::Object {
                subject: subject.to_owned(),
                reason: "expected an object".to_owned(),
            }),
        }
    }

    /// The field, from now on read; null is as good as absent.
    pub(super) fn take(&mut self, field: &str) -> Option<Json> {
        self.values.remove(field).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, field: &str) -> Result<String, DefinitionsError> {
        self.optional_text(field)?.ok_or_else(|| self.wrong(field, "missing"))
    }

    pub(super) fn optional_text(&mut self, field: &str) -> Result<Option<String>, DefinitionsError> {
        match self.take(field) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, "expected text")),
        }
    }

    pub(super) fn flag(&mut self, field: &str) -> Result<bool, DefinitionsError> {
        self.optional_flag(field)?.ok_or_else(|| self.wrong(field, "missing"))
    }

    pub(super) fn optional_flag(&mut self, field: &str) -> Result<Option<bool>, DefinitionsError> {
        match self.take(field) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(field, "expected true or false")),
        }
    }

    pub(super) fn list(&mut self, field: &str) -> Result<Vec<Json>, DefinitionsError> {
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(Json::Array(list)) => Ok(list),
            Some(_) => Err(self.wrong(field, "expected a list")),
        }
    }

    /// The object in that field; an empty one if there is none.
    pub(super) fn object_of(&mut self, field: &str) -> Result<Fields, DefinitionsError> {
        let json = self.take(field).unwrap_or_else(|| Json::Object(serde_json::Map::new()));
        Fields::new(&self.subject, json).map_err(|_| self.wrong(field, "expected an object"))
    }

    /// Before there were tags there was one flag.
    pub(super) fn tags(&mut self) -> Result<Vec<String>, DefinitionsError> {
        match (self.words("tags")?, self.optional_flag("administrator")?) {
            (Some(tags), _) => Ok(tags),
            (None, Some(true)) => Ok(vec!["administrator".to_owned()]),
            (None, Some(false)) => Ok(Vec::new()),
            (None, None) => Err(self.wrong("tags", "missing")),
        }
    }

    /// A list of words, or words with commas between.
    pub(super) fn words(&mut self, field: &str) -> Result<Option<Vec<String>>, DefinitionsError> {
        let words: Option<Vec<String>> = match self.take(field) {
            None => return Ok(None),
            Some(Json::String(text)) => Some(text.split(',').map(str::to_owned).collect()),
            Some(Json::Array(list)) => list.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        let words = words.ok_or_else(|| self.wrong(field, "expected a list of words, or one text"))?;
        Ok(Some(words.iter().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()))
    }

    pub(super) fn arguments(&mut self) -> Result<Table, DefinitionsError> {
        let table = match self.take("arguments") {
            None => Table::new(),
            Some(Json::Array(list)) if list.is_empty() => Table::new(),
            Some(Json::Object(map)) => {
                read_table(map, DEPTH_MAX).map_err(|reason| self.wrong("arguments", &reason))?
            }
            Some(_) => return Err(self.wrong("arguments", "expected an object")),
        };
        let mut encoded = Vec::new();
        encode_table(&table, &mut encoded);
        if encoded.len() > ARGUMENTS_BYTES_MAX {
            let reason = format!("{} bytes are more than {ARGUMENTS_BYTES_MAX}", encoded.len());
            return Err(self.wrong("arguments", &reason));
        }
        Ok(table)
    }

    pub(super) fn wrong(&self, field: &str, reason: &str) -> DefinitionsError {
        DefinitionsError::Field {
            subject: self.subject.clone(),
            field: field.to_owned(),
            reason: reason.to_owned(),
        }
    }

    pub(super) fn object(&self, reason: &str) -> DefinitionsError {
        DefinitionsError::Object { subject: self.subject.clone(), reason: reason.to_owned() }
    }
}

fn read_table(map: serde_json::Map<String, Json>, depth_left: usize) -> Result<Table, String> {
    let entries = map.into_iter().map(|(name, value)| {
        if name.len() > names::NAME_BYTES_MAX {
            return Err(format!("the name '{name}' is longer than {} bytes", names::NAME_BYTES_MAX));
        }
        let value = read_value(value, depth_left).map_err(|reason| format!("'{name}': {reason}"))?;
        Ok((name, value))
    });
    entries.collect()
}

/// The widest of the types a number could have, as RabbitMQ takes them.
fn read_value(json: Json, depth_left: usize) -> Result<Value, String> {
    let deeper = || depth_left.checked_sub(1).ok_or_else(|| format!("nested deeper than {DEPTH_MAX}"));
    Ok(match json {
        Json::Null => Value::Void,
        Json::Bool(flag) => Value::Bool(flag),
        Json::String(text) => Value::text(text),
        Json::Array(list) => {
            let left = deeper()?;
            Value::List(list.into_iter().map(|one| read_value(one, left)).collect::<Result<_, _>>()?)
        }
        Json::Object(map) => Value::Table(read_table(map, deeper()?)?),
        Json::Number(number) => match (number.as_i64(), number.is_f64().then(|| number.as_f64()).flatten()) {
            (Some(whole), _) => Value::I64(whole),
            (None, Some(broken)) => Value::F64(broken),
            (None, None) => return Err(format!("{number} is too large")),
        },
    })
}
