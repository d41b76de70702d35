//! Headers: a binding's arguments are compared with the headers of the message.

use std::hash::BuildHasher;

use super::{Destination, LazyFacts, Map};
use crate::topology::wording::{shown, type_name};
use crate::value::{Table, Value};

const MATCH: &str = "x-match";
const RULES: [&str; 4] = ["all", "any", "all-with-x", "any-with-x"];

#[derive(Debug, Default)]
pub(crate) struct Headers {
    /// By what [`place`] says of them, so that one can be taken out without looking at the others.
    bindings: Map<u64, Vec<HeaderBinding>>,
}

#[derive(Debug)]
struct HeaderBinding {
    condition: Condition,
    destination: Destination,
    key: Box<str>,
    arguments: Table,
}

/// What the arguments of a binding ask for.
#[derive(Debug)]
struct Condition {
    rule: Rule,
    wanted: Vec<(Box<str>, Value)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    All,
    Any,
}

impl Headers {
    pub(crate) fn insert(&mut self, key: &str, arguments: &Table, destination: &Destination) {
        let place = place(key, arguments, destination);
        self.bindings.entry(place).or_default().push(HeaderBinding {
            condition: Condition::of(arguments),
            destination: destination.clone(),
            key: key.into(),
            arguments: arguments.clone(),
        });
    }

    pub(crate) fn remove(&mut self, key: &str, arguments: &Table, destination: &Destination) {
        let same = |binding: &HeaderBinding| {
            binding.destination == *destination && *binding.key == *key && binding.arguments == *arguments
        };
        let place = place(key, arguments, destination);
        let Some(bindings) = self.bindings.get_mut(&place) else {
            return;
        };
        if let Some(index) = bindings.iter().position(same) {
            bindings.swap_remove(index);
        }
        if bindings.is_empty() {
            self.bindings.remove(&place);
        }
    }

    pub(crate) fn route<'a>(&'a self, facts: &LazyFacts<'_>, found: &mut dyn FnMut(&'a Destination)) {
        if self.bindings.is_empty() {
            return;
        }
        let headers = facts.headers();
        let matching = self.bindings.values().flatten().filter(|binding| binding.condition.holds(headers));
        matching.for_each(|binding| found(&binding.destination));
    }
}

/// A number that equal bindings share, and others hardly ever.
fn place(key: &str, arguments: &Table, destination: &Destination) -> u64 {
    foldhash::fast::FixedState::default().hash_one((key, arguments.fingerprint(), destination))
}

/// Whether the arguments of a binding can be read as a condition; if not, why.
pub(crate) fn check(arguments: &Table) -> Result<(), String> {
    let Some(value) = arguments.get(MATCH) else {
        return Ok(());
    };
    // The capitals and the `<<"..">>` are odd here, but they are what RabbitMQ's clients see.
    match value {
        Value::Text(_) if value.as_str().is_some_and(|rule| RULES.contains(&rule)) => Ok(()),
        Value::Text(_) => Err(format!(
            "Invalid x-match field value <<{:?}>>; expected all, any, all-with-x, or any-with-x",
            shown(value)
        )),
        _ => Err(format!(
            "Invalid x-match field type {} (value {}); expected longstr",
            type_name(value),
            shown(value)
        )),
    }
}

impl Condition {
    fn of(arguments: &Table) -> Condition {
        let rule = arguments.get(MATCH).and_then(Value::as_str).unwrap_or("all");
        let with_x = rule.ends_with("-with-x");
        let counts = |name: &str| name != MATCH && (with_x || !name.starts_with("x-"));
        Condition {
            rule: if rule.starts_with("any") { Rule::Any } else { Rule::All },
            wanted: arguments.0.iter().filter(|(name, _)| counts(name)).cloned().collect(),
        }
    }

    fn holds(&self, headers: &Table) -> bool {
        let mut each = self.wanted.iter().map(|(name, wanted)| {
            let held = headers.get(name);
            held.is_some_and(|held| *wanted == Value::Void || equal_by_value(wanted, held))
        });
        match self.rule {
            Rule::All => each.all(|held| held),
            Rule::Any => each.any(|held| held),
        }
    }
}

/// Equal, taking two numbers as equal if they are the same number, whatever width they came in.
pub(crate) fn equal_by_value(left: &Value, right: &Value) -> bool {
    match (left.as_integer(), right.as_integer()) {
        (Some(left), Some(right)) => left == right,
        (None, None) => match (as_float(left), as_float(right)) {
            (Some(left), Some(right)) => left == right,
            _ => left == right,
        },
        // The cast is exact up to 2^53, beyond which a float names no single whole number anyway.
        (Some(whole), None) => as_float(right) == Some(whole as f64),
        (None, Some(whole)) => as_float(left) == Some(whole as f64),
    }
}

fn as_float(value: &Value) -> Option<f64> {
    match *value {
        Value::F32(number) => Some(number.into()),
        Value::F64(number) => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::names_found;
    use super::*;

    #[test]
    fn all_wants_every_header_and_any_wants_one() {
        assert!(matches(
            &[("x-match", "all"), ("a", "1"), ("b", "2")],
            &[("a", "1"), ("b", "2"), ("c", "3")]
        ));
        assert!(!matches(&[("x-match", "all"), ("a", "1"), ("b", "2")], &[("a", "1")]));
        assert!(matches(&[("x-match", "any"), ("a", "1"), ("b", "2")], &[("b", "2")]));
        assert!(!matches(&[("x-match", "any"), ("a", "1")], &[("a", "2")]));
    }

    #[test]
    fn without_x_match_all_must_hold() {
        assert!(matches(&[("a", "1")], &[("a", "1")]));
        assert!(!matches(&[("a", "1"), ("b", "2")], &[("a", "1")]));
    }

    #[test]
    fn an_empty_condition_is_always_true_for_all_and_never_for_any() {
        assert!(matches(&[], &[]));
        assert!(matches(&[("x-match", "all")], &[("a", "1")]));
        assert!(!matches(&[("x-match", "any")], &[("a", "1")]));
    }

    #[test]
    fn x_headers_count_only_with_x() {
        assert!(matches(&[("x-match", "all"), ("x-a", "1")], &[]));
        assert!(!matches(&[("x-match", "any"), ("x-a", "1")], &[("x-a", "1")]));
        assert!(!matches(&[("x-match", "all-with-x"), ("x-a", "1")], &[]));
        assert!(matches(&[("x-match", "any-with-x"), ("x-a", "1")], &[("x-a", "1")]));
    }

    #[test]
    fn void_asks_only_for_presence() {
        let wanted = Table::from_iter([("a", Value::Void)]);
        assert!(holds(&wanted, &Table::from_iter([("a", Value::text("anything"))])));
        assert!(!holds(&wanted, &Table::new()));
    }

    #[test]
    fn numbers_are_equal_by_value() {
        let wanted = Table::from_iter([("a", Value::I32(7))]);
        for held in [Value::U8(7), Value::I64(7), Value::F64(7.0)] {
            assert!(holds(&wanted, &Table::from_iter([("a", held)])));
        }
        assert!(!holds(&wanted, &Table::from_iter([("a", Value::text("7"))])));
    }

    #[test]
    fn x_match_must_be_one_of_four_words() {
        assert!(check(&Table::new()).is_ok());
        assert!(check(&Table::from_iter([(MATCH, Value::text("any-with-x"))])).is_ok());
        let refused = |value| check(&Table::from_iter([(MATCH, value)])).unwrap_err();
        assert_eq!(
            refused(Value::text("some")),
            "Invalid x-match field value <<\"some\">>; expected all, any, all-with-x, or any-with-x"
        );
        assert_eq!(
            refused(Value::Bool(true)),
            "Invalid x-match field type bool (value true); expected longstr"
        );
        assert!(refused(Value::Text([0xff].into())).contains("field value"));
    }

    #[test]
    fn only_the_binding_with_the_same_arguments_is_removed() {
        let mut headers = Headers::default();
        let (red, blue) = (table(&[("colour", "red")]), table(&[("colour", "blue")]));
        headers.insert("", &red, &Destination::queue("q"));
        headers.insert("", &blue, &Destination::queue("q"));
        headers.remove("", &red, &Destination::queue("q"));
        let with = |message: &Table| {
            let facts = || message.clone();
            names_found(|found| headers.route(&LazyFacts::new(&facts), found))
        };
        assert!(with(&red).is_empty());
        assert_eq!(with(&blue), ["q"]);
    }

    fn matches(arguments: &[(&str, &str)], headers: &[(&str, &str)]) -> bool {
        holds(&table(arguments), &table(headers))
    }

    fn holds(arguments: &Table, headers: &Table) -> bool {
        check(arguments).unwrap();
        Condition::of(arguments).holds(headers)
    }

    fn table(entries: &[(&str, &str)]) -> Table {
        entries.iter().map(|(name, value)| (name, Value::text(value))).collect()
    }
}
