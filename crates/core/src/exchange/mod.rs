//! Exchanges: given a key and, for some kinds, headers, which bindings match.
//!
//! Each kind keeps its bindings in the shape that makes its own question cheap. None of them knows
//! names, durability or what lies behind a destination: that is [`crate::topology`].

mod consistent_hash;
mod direct;
mod facts;
mod fanout;
mod headers;
mod kind;
mod topic;

use std::collections::HashMap;
use std::sync::Arc;

use crate::value::Table;

pub use facts::{Facts, Property};
pub use kind::ExchangeKind;

pub(crate) use facts::LazyFacts;
pub(crate) use headers::equal_by_value;

use consistent_hash::ConsistentHash;
use direct::Direct;
use fanout::Fanout;
use headers::Headers;
use topic::Topic;

/// A fixed seed, so that two runs over the same calls give the same order everywhere.
pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// Where a binding leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    Queue(Arc<str>),
    Exchange(Arc<str>),
}

impl Destination {
    pub fn queue(name: &str) -> Destination {
        Destination::Queue(name.into())
    }

    pub fn exchange(name: &str) -> Destination {
        Destination::Exchange(name.into())
    }

    pub fn name(&self) -> &str {
        match self {
            Destination::Queue(name) | Destination::Exchange(name) => name,
        }
    }
}

/// The bindings of one exchange, arranged for its kind.
#[derive(Debug)]
pub(crate) enum Matcher {
    Direct(Direct),
    Fanout(Fanout),
    Topic(Topic),
    Headers(Headers),
    ConsistentHash(ConsistentHash),
}

impl Matcher {
    /// The arguments were checked when the exchange was declared.
    pub(crate) fn new(kind: &ExchangeKind, arguments: &Table) -> Matcher {
        match kind {
            ExchangeKind::Direct => Matcher::Direct(Direct::default()),
            ExchangeKind::Fanout => Matcher::Fanout(Fanout::default()),
            ExchangeKind::Topic => Matcher::Topic(Topic::default()),
            ExchangeKind::Headers => Matcher::Headers(Headers::default()),
            ExchangeKind::ConsistentHash => Matcher::ConsistentHash(ConsistentHash::new(arguments)),
            ExchangeKind::Delayed(inner) => Matcher::new(inner, arguments),
        }
    }

    /// Whether a binding of this key and these arguments makes sense here; if not, why.
    pub(crate) fn check(&self, key: &str, arguments: &Table) -> Result<(), String> {
        match self {
            Matcher::Direct(_) | Matcher::Fanout(_) | Matcher::Topic(_) => Ok(()),
            Matcher::Headers(_) => headers::check(arguments),
            Matcher::ConsistentHash(_) => consistent_hash::weight(key).map(|_| ()),
        }
    }

    /// Adds a binding that passed [`Matcher::check`].
    pub(crate) fn insert(&mut self, key: &str, arguments: &Table, destination: &Destination) {
        match self {
            Matcher::Direct(direct) => direct.insert(key, destination),
            Matcher::Fanout(fanout) => fanout.insert(destination),
            Matcher::Topic(topic) => topic.insert(key, destination),
            Matcher::Headers(headers) => headers.insert(key, arguments, destination),
            Matcher::ConsistentHash(hash) => hash.insert(key, destination),
        }
    }

    /// Takes away a binding that was inserted.
    pub(crate) fn remove(&mut self, key: &str, arguments: &Table, destination: &Destination) {
        match self {
            Matcher::Direct(direct) => direct.remove(key, destination),
            Matcher::Fanout(fanout) => fanout.remove(destination),
            Matcher::Topic(topic) => topic.remove(key, destination),
            Matcher::Headers(headers) => headers.remove(key, arguments, destination),
            Matcher::ConsistentHash(hash) => hash.remove(key, destination),
        }
    }

    /// Calls `found` for every destination that matches, some perhaps more than once.
    pub(crate) fn route<'a>(
        &'a self,
        keys: &[&str],
        facts: &LazyFacts<'_>,
        found: &mut dyn FnMut(&'a Destination),
    ) {
        match self {
            Matcher::Direct(direct) => keys.iter().for_each(|key| direct.route(key, found)),
            Matcher::Fanout(fanout) => fanout.route(found),
            Matcher::Topic(topic) => keys.iter().for_each(|key| topic.route(key, found)),
            Matcher::Headers(headers) => headers.route(facts, found),
            Matcher::ConsistentHash(hash) => hash.route(keys, facts, found),
        }
    }
}

/// Destinations with how many bindings lead to each, as two bindings may differ in arguments alone.
#[derive(Debug, Default)]
pub(crate) struct Targets(Map<Destination, u32>);

impl Targets {
    fn insert(&mut self, destination: &Destination) {
        *self.0.entry(destination.clone()).or_default() += 1;
    }

    fn remove(&mut self, destination: &Destination) {
        let Some(count) = self.0.get_mut(destination) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.0.remove(destination);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn each<'a>(&'a self, found: &mut dyn FnMut(&'a Destination)) {
        self.0.keys().for_each(found);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// The names `route` finds, sorted and each once.
    pub(crate) fn names_found<'a>(route: impl FnOnce(&mut dyn FnMut(&'a Destination))) -> Vec<String> {
        let mut names = Vec::new();
        route(&mut |destination| names.push(destination.name().to_owned()));
        names.sort();
        names.dedup();
        names
    }
}
