//! Bindings, kept from both ends so that either can go without looking at the others.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;

use super::{ExchangeSpec, Topology, TopologyError};
use crate::exchange::{Destination, Map};
use crate::names::{self, DEFAULT_EXCHANGE};
use crate::value::Table;

#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    pub source: Arc<str>,
    pub destination: Destination,
    pub key: Arc<str>,
    /// Sorted by name: the same arguments in another order are the same binding.
    pub arguments: Table,
}

/// Something that went as a consequence of a deletion.
#[derive(Debug, Clone, PartialEq)]
pub enum Removed {
    Binding(Binding),
    Exchange { name: Arc<str>, spec: ExchangeSpec },
}

/// The bindings of a source: the arguments of those with that destination, key and
/// [fingerprint](Table::fingerprint), mostly one.
#[derive(Debug, Default)]
pub(super) struct Outgoing(Map<(Destination, Arc<str>, u64), Vec<Table>>);

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The source, key and fingerprint of the bindings of a destination.
pub(super) type Inbound = HashSet<(Arc<str>, Arc<str>, u64), foldhash::fast::FixedState>;

impl<Q: Clone + Debug> Topology<Q> {
    /// Whether the binding is new. Whether the connection may touch an exclusive queue is for the
    /// caller to ask of [`Topology::queue_for`].
    pub fn bind(
        &mut self,
        source: &str,
        destination: Destination,
        key: &str,
        arguments: Table,
    ) -> Result<bool, TopologyError> {
        refuse_default_exchange(source, &destination)?;
        self.check_destination(&destination)?;
        let Some(entry) = self.exchanges.get_mut(source) else {
            return Err(self.no_such_exchange(source));
        };
        let valid = names::check_key(key).map_err(|error| error.to_string());
        if let Err(reason) = valid.and_then(|()| entry.matcher.check(key, &arguments)) {
            return Err(TopologyError::InvalidBinding { reason });
        }
        let (key, arguments) = (Arc::<str>::from(key), sorted(arguments));
        let fingerprint = arguments.fingerprint();
        let end = (destination.clone(), key.clone(), fingerprint);
        let variants = entry.outgoing.0.entry(end).or_default();
        if variants.contains(&arguments) {
            return Ok(false);
        }
        entry.matcher.insert(&key, &arguments, &destination);
        variants.push(arguments);
        self.inbound.entry(destination).or_default().insert((entry.name.clone(), key, fingerprint));
        self.generation += 1;
        Ok(true)
    }

    /// What went: the binding, and the source if that was to go with its last binding, and so on.
    /// Unbinding what is not bound, or does not exist, removes nothing and is no error.
    pub fn unbind(
        &mut self,
        source: &str,
        destination: &Destination,
        key: &str,
        arguments: Table,
    ) -> Result<Vec<Removed>, TopologyError> {
        refuse_default_exchange(source, destination)?;
        let Some(entry) = self.exchanges.get_mut(source) else {
            return Ok(Vec::new());
        };
        let arguments = sorted(arguments);
        let end = (destination.clone(), Arc::<str>::from(key), arguments.fingerprint());
        let Some(variants) = entry.outgoing.0.get_mut(&end) else {
            return Ok(Vec::new());
        };
        let Some(index) = variants.iter().position(|bound| *bound == arguments) else {
            return Ok(Vec::new());
        };
        variants.remove(index);
        let last = variants.is_empty();
        entry.matcher.remove(key, &arguments, destination);
        let (source, key) = (entry.name.clone(), end.1.clone());
        let mut doomed = Vec::new();
        if last {
            entry.outgoing.0.remove(&end);
            if entry.spec.auto_delete && entry.outgoing.is_empty() {
                doomed.push(source.clone());
            }
            self.forget_inbound(destination, &source, &key, end.2);
        }
        let mut removed =
            vec![Removed::Binding(Binding { source, destination: destination.clone(), key, arguments })];
        self.sweep(doomed, &mut removed);
        self.generation += 1;
        Ok(removed)
    }

    /// Every binding. Those everybody has to the default exchange are not among them.
    pub fn bindings(&self) -> impl Iterator<Item = Binding> {
        self.exchanges.keys().flat_map(|source| self.bindings_from(source))
    }

    pub fn bindings_from(&self, source: &str) -> impl Iterator<Item = Binding> {
        self.exchanges.get(source).into_iter().flat_map(|entry| {
            let ends = entry.outgoing.0.iter();
            ends.flat_map(|((destination, key, _), variants)| expand(&entry.name, destination, key, variants))
        })
    }

    pub fn bindings_to(&self, destination: &Destination) -> impl Iterator<Item = Binding> {
        let known = self.inbound.get_key_value(destination);
        known.into_iter().flat_map(|(destination, inbound)| {
            inbound.iter().flat_map(|(source, key, fingerprint)| {
                let outgoing = self.exchanges.get(source).map(|entry| &entry.outgoing.0);
                let end = (destination.clone(), key.clone(), *fingerprint);
                let variants = outgoing.and_then(|outgoing| outgoing.get(&end));
                expand(source, destination, key, variants.map_or(&[], Vec::as_slice))
            })
        })
    }

    /// Removes the exchanges, and those that have to go because of that. A list instead of recursion,
    /// as clients decide how long the chain is.
    pub(super) fn sweep(&mut self, mut doomed: Vec<Arc<str>>, removed: &mut Vec<Removed>) {
        while let Some(name) = doomed.pop() {
            let Some(entry) = self.exchanges.remove(&name) else {
                continue;
            };
            for ((destination, key, fingerprint), variants) in &entry.outgoing.0 {
                self.forget_inbound(destination, &name, key, *fingerprint);
                removed.extend(expand(&name, destination, key, variants).map(Removed::Binding));
            }
            doomed.extend(self.remove_inbound(&Destination::Exchange(name.clone()), removed));
            removed.push(Removed::Exchange { name, spec: entry.spec });
        }
    }

    /// Removes the bindings of a destination; the sources that lost their last and do not outlive it.
    pub(super) fn remove_inbound(
        &mut self,
        destination: &Destination,
        removed: &mut Vec<Removed>,
    ) -> Vec<Arc<str>> {
        let mut doomed = Vec::new();
        for (source, key, fingerprint) in self.inbound.remove(destination).unwrap_or_default() {
            let Some(entry) = self.exchanges.get_mut(&source) else {
                continue;
            };
            let end = (destination.clone(), key, fingerprint);
            let variants = entry.outgoing.0.remove(&end).unwrap_or_default();
            for arguments in &variants {
                entry.matcher.remove(&end.1, arguments, destination);
            }
            removed.extend(expand(&source, destination, &end.1, &variants).map(Removed::Binding));
            if entry.spec.auto_delete && entry.outgoing.is_empty() {
                doomed.push(source);
            }
        }
        doomed
    }

    fn forget_inbound(
        &mut self,
        destination: &Destination,
        source: &Arc<str>,
        key: &Arc<str>,
        fingerprint: u64,
    ) {
        let Some(inbound) = self.inbound.get_mut(destination) else {
            return;
        };
        inbound.remove(&(source.clone(), key.clone(), fingerprint));
        if inbound.is_empty() {
            self.inbound.remove(destination);
        }
    }

    fn check_destination(&self, destination: &Destination) -> Result<(), TopologyError> {
        match destination {
            Destination::Queue(name) if !self.queues.contains_key(name) => Err(self.no_such_queue(name)),
            Destination::Exchange(name) if !self.exchanges.contains_key(name) => {
                Err(self.no_such_exchange(name))
            }
            _ => Ok(()),
        }
    }
}

fn refuse_default_exchange(source: &str, destination: &Destination) -> Result<(), TopologyError> {
    let into_default = matches!(destination, Destination::Exchange(name) if **name == *DEFAULT_EXCHANGE);
    if source == DEFAULT_EXCHANGE || into_default {
        return Err(TopologyError::DefaultExchange);
    }
    Ok(())
}

fn expand<'a>(
    source: &'a Arc<str>,
    destination: &'a Destination,
    key: &'a Arc<str>,
    variants: &'a [Table],
) -> impl Iterator<Item = Binding> + 'a {
    variants.iter().map(move |arguments| Binding {
        source: source.clone(),
        destination: destination.clone(),
        key: key.clone(),
        arguments: arguments.clone(),
    })
}

fn sorted(mut arguments: Table) -> Table {
    arguments.0.sort_by(|(left, _), (right, _)| left.cmp(right));
    arguments
}
