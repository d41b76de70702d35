//! What an exchange may want to know of a message beyond its routing keys.

use std::cell::{Cell, OnceCell};

use crate::value::Table;

/// A property of a message that a consistent-hash exchange may hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    MessageId,
    CorrelationId,
    Timestamp,
}

/// Answers about one message, asked only when an exchange needs them: decoding headers costs more
/// than most routing does.
///
/// A closure that returns the headers is enough where no property is known.
pub trait Facts {
    fn headers(&self) -> Table;

    /// The property as text, a timestamp in decimal.
    fn property(&self, property: Property) -> Option<String>;
}

impl<F: Fn() -> Table> Facts for F {
    fn headers(&self) -> Table {
        self()
    }

    fn property(&self, _: Property) -> Option<String> {
        None
    }
}

/// Asks at most once for the headers of a message, and remembers whether anything was asked.
pub(crate) struct LazyFacts<'a> {
    facts: &'a dyn Facts,
    headers: OnceCell<Table>,
    asked: Cell<bool>,
}

impl<'a> LazyFacts<'a> {
    pub(crate) fn new(facts: &'a dyn Facts) -> LazyFacts<'a> {
        LazyFacts { facts, headers: OnceCell::new(), asked: Cell::new(false) }
    }

    pub(crate) fn headers(&self) -> &Table {
        self.asked.set(true);
        self.headers.get_or_init(|| self.facts.headers())
    }

    pub(crate) fn property(&self, property: Property) -> Option<String> {
        self.asked.set(true);
        self.facts.property(property)
    }

    pub(crate) fn asked(&self) -> bool {
        self.asked.get()
    }
}
