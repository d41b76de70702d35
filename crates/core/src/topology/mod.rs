//! The exchanges, queues and bindings of one virtual host.
//!
//! `Q` is whatever the runtime reaches a queue by; the topology only keeps it and hands it out.

mod arguments;
mod bindings;
mod equivalence;
mod error;
mod route;
#[cfg(test)]
mod stories;
pub(crate) mod wording;

use std::fmt::Debug;
use std::sync::Arc;

use crate::exchange::{Destination, ExchangeKind, Map, Matcher};
use crate::names::{self, DEFAULT_EXCHANGE, NameError};
use crate::value::{Table, Value};

pub use arguments::{ArgumentError, Overflow, QueueLimits, QueueType, age_ms};
pub use bindings::{Binding, Removed};
pub use error::{Inequivalent, TopologyError};
pub use route::{DELAY_HEADER, Routed};

use bindings::{Inbound, Outgoing};

const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

#[derive(Debug)]
pub struct Topology<Q: Clone + Debug> {
    vhost: Box<str>,
    exchanges: Map<Arc<str>, ExchangeEntry>,
    queues: Map<Arc<str>, QueueEntry<Q>>,
    /// The bindings of every destination, from its end.
    inbound: Map<Destination, Inbound>,
    generation: u64,
    next_serial: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ExchangeSpec {
    pub kind: ExchangeKind,
    pub durable: bool,
    pub auto_delete: bool,
    /// Only other exchanges route into it; whoever publishes must check [`ExchangeEntry::is_internal`].
    pub internal: bool,
    pub arguments: Table,
}

impl ExchangeSpec {
    /// Transient, kept until deleted, open to publishers, without arguments.
    pub fn new(kind: ExchangeKind) -> ExchangeSpec {
        ExchangeSpec { kind, durable: false, auto_delete: false, internal: false, arguments: Table::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueueSpec {
    pub durable: bool,
    /// The connection that alone may use the queue.
    pub exclusive_owner: Option<u64>,
    pub auto_delete: bool,
    pub arguments: Table,
}

impl QueueSpec {
    /// Kept over a restart. What belongs to a connection goes with it, whatever it was declared as.
    pub fn outlives_restart(&self) -> bool {
        self.durable && self.exclusive_owner.is_none()
    }
}

#[derive(Debug)]
pub struct ExchangeEntry {
    name: Arc<str>,
    spec: ExchangeSpec,
    alternate: Option<Arc<str>>,
    matcher: Matcher,
    outgoing: Outgoing,
}

impl ExchangeEntry {
    fn new(name: &str, spec: ExchangeSpec) -> ExchangeEntry {
        ExchangeEntry {
            name: name.into(),
            alternate: spec.arguments.get(ALTERNATE_EXCHANGE).and_then(Value::as_str).map(Arc::from),
            matcher: Matcher::new(&spec.kind, &spec.arguments),
            outgoing: Outgoing::default(),
            spec,
        }
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub fn spec(&self) -> &ExchangeSpec {
        &self.spec
    }

    pub fn is_internal(&self) -> bool {
        self.spec.internal
    }
}

#[derive(Debug)]
pub struct QueueEntry<Q> {
    pub name: Arc<str>,
    pub spec: QueueSpec,
    /// The arguments of the spec, read.
    pub limits: QueueLimits,
    pub handle: Q,
    /// Later declared, higher; orders what a message is routed to.
    serial: u64,
}

impl<Q> QueueEntry<Q> {
    pub fn is_stream(&self) -> bool {
        self.limits.queue_type == QueueType::Stream
    }

    /// Whether another connection than `connection` has the queue to itself.
    pub fn is_locked_for(&self, connection: u64) -> bool {
        self.spec.exclusive_owner.is_some_and(|owner| owner != connection)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declared {
    New,
    Existing,
}

impl<Q: Clone + Debug> Topology<Q> {
    /// A virtual host with the exchanges every client counts on.
    pub fn new(vhost: &str) -> Topology<Q> {
        let mut topology = Topology {
            vhost: vhost.into(),
            exchanges: Map::default(),
            queues: Map::default(),
            inbound: Map::default(),
            generation: 0,
            next_serial: 0,
        };
        for (name, kind) in [
            (DEFAULT_EXCHANGE, ExchangeKind::Direct),
            ("amq.direct", ExchangeKind::Direct),
            ("amq.fanout", ExchangeKind::Fanout),
            ("amq.topic", ExchangeKind::Topic),
            ("amq.headers", ExchangeKind::Headers),
            ("amq.match", ExchangeKind::Headers),
            ("amq.rabbitmq.trace", ExchangeKind::Topic),
        ] {
            let internal = name == "amq.rabbitmq.trace";
            let spec = ExchangeSpec { durable: true, internal, ..ExchangeSpec::new(kind) };
            topology.exchanges.insert(name.into(), ExchangeEntry::new(name, spec));
        }
        topology
    }

    /// The same exchanges, queues and bindings, reached by other handles.
    pub fn with_handles<R: Clone + Debug>(&self, mut make: impl FnMut(&QueueEntry<Q>) -> R) -> Topology<R> {
        const VALID: &str = "what is in a topology has passed all checks";
        let mut topology = Topology::new(&self.vhost);
        for entry in self.exchanges.values().filter(|entry| !is_predeclared(&entry.name)) {
            topology.declare_exchange(&entry.name, entry.spec.clone()).expect(VALID);
        }
        let mut queues: Vec<_> = self.queues.values().collect();
        queues.sort_unstable_by_key(|entry| entry.serial);
        for entry in queues {
            topology.add_queue(&entry.name, entry.spec.clone(), || make(entry)).expect(VALID);
        }
        for binding in self.bindings() {
            let Binding { source, destination, key, arguments } = binding;
            topology.bind(&source, destination, &key, arguments).expect(VALID);
        }
        topology
    }

    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// Grows with every change, so that a route kept from an earlier generation can be known as stale.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    // ---- exchanges ----

    /// The exchange of that name, the default one included.
    pub fn exchange(&self, name: &str) -> Option<&ExchangeEntry> {
        self.exchanges.get(name)
    }

    pub fn exchanges(&self) -> impl Iterator<Item = &ExchangeEntry> {
        self.exchanges.values()
    }

    /// The exchange of that name, for who declares it without wanting to create it.
    pub fn check_exchange(&self, name: &str) -> Result<&ExchangeEntry, TopologyError> {
        if name == DEFAULT_EXCHANGE {
            return Err(TopologyError::DefaultExchange);
        }
        self.exchange(name).ok_or_else(|| self.no_such_exchange(name))
    }

    pub fn declare_exchange(&mut self, name: &str, spec: ExchangeSpec) -> Result<Declared, TopologyError> {
        if name == DEFAULT_EXCHANGE {
            return Err(TopologyError::DefaultExchange);
        }
        if let Some(current) = self.exchanges.get(name) {
            equivalence::check_exchange(name, &self.vhost, &current.spec, &spec)?;
            return Ok(Declared::Existing);
        }
        check_new_name("exchange", name)?;
        self.check_exchange_arguments(name, &spec)?;
        let entry = ExchangeEntry::new(name, spec);
        self.exchanges.insert(entry.name.clone(), entry);
        self.generation += 1;
        Ok(Declared::New)
    }

    fn check_exchange_arguments(&self, name: &str, spec: &ExchangeSpec) -> Result<(), TopologyError> {
        let invalid = |argument: &str, reason: String| TopologyError::InvalidArgument {
            subject: self.subject("exchange", name),
            argument: argument.to_owned(),
            reason,
        };
        if spec.arguments.get(ALTERNATE_EXCHANGE).is_some_and(|value| value.as_str().is_none()) {
            return Err(invalid(ALTERNATE_EXCHANGE, "expected text".to_owned()));
        }
        spec.kind.check(&spec.arguments).map_err(|(argument, reason)| invalid(argument, reason))
    }

    /// Some exchanges are always there.
    pub fn check_deletion(&self, name: &str) -> Result<(), TopologyError> {
        if name == DEFAULT_EXCHANGE {
            return Err(TopologyError::DefaultExchange);
        }
        if names::is_reserved(name) {
            return Err(TopologyError::SystemExchange { name: name.to_owned(), vhost: self.vhost_name() });
        }
        Ok(())
    }

    /// What went with it: the exchange itself, its bindings on both sides, and exchanges that were to
    /// go with their last binding. Nothing, if there was no such exchange.
    pub fn delete_exchange(&mut self, name: &str, if_unused: bool) -> Result<Vec<Removed>, TopologyError> {
        self.check_deletion(name)?;
        let Some(entry) = self.exchanges.get(name) else {
            return Ok(Vec::new());
        };
        if if_unused && !entry.outgoing.is_empty() {
            return Err(TopologyError::InUse { name: name.to_owned(), vhost: self.vhost_name() });
        }
        let mut removed = Vec::new();
        self.sweep(vec![entry.name.clone()], &mut removed);
        self.generation += 1;
        Ok(removed)
    }

    // ---- queues ----

    pub fn queue(&self, name: &str) -> Option<&QueueEntry<Q>> {
        self.queues.get(name)
    }

    pub fn queues(&self) -> impl Iterator<Item = &QueueEntry<Q>> {
        self.queues.values()
    }

    /// The queue of that name, unless another connection has it to itself.
    pub fn queue_for(&self, name: &str, connection: u64) -> Result<&QueueEntry<Q>, TopologyError> {
        let entry = self.queue(name).ok_or_else(|| self.no_such_queue(name))?;
        if entry.is_locked_for(connection) {
            return Err(self.locked(name));
        }
        Ok(entry)
    }

    /// Whether what is there under the name is what a declaration of `owner` asks for. `None` if nothing is.
    pub fn check_declared(
        &self,
        name: &str,
        received: &QueueSpec,
        owner: u64,
    ) -> Result<Option<&QueueEntry<Q>>, TopologyError> {
        let Some(current) = self.queues.get(name) else { return Ok(None) };
        let same_owner = current.spec.exclusive_owner == received.exclusive_owner;
        if !same_owner || current.is_locked_for(owner) {
            return Err(self.locked(name));
        }
        equivalence::check_queue(name, &self.vhost, &current.spec, received)?;
        Ok(Some(current))
    }

    /// Whether a queue could be added under a name a client chose.
    pub fn check_new_queue(&self, name: &str, spec: &QueueSpec) -> Result<QueueLimits, TopologyError> {
        check_new_name("queue", name)?;
        self.check_spec(name, spec)
    }

    fn check_spec(&self, name: &str, spec: &QueueSpec) -> Result<QueueLimits, TopologyError> {
        let subject = || self.subject("queue", name);
        let limits = QueueLimits::parse(&spec.arguments).map_err(|error| error.about(subject()))?;
        match unfit_property(limits.queue_type, spec) {
            Some(property) => Err(TopologyError::InvalidProperty { subject: subject(), property }),
            None => Ok(limits),
        }
    }

    /// Declares a queue under a name a client chose. `make` is called only if the queue is new.
    pub fn declare_queue(
        &mut self,
        name: &str,
        spec: QueueSpec,
        owner: u64,
        make: impl FnOnce() -> Q,
    ) -> Result<(Declared, Q), TopologyError> {
        if let Some(current) = self.check_declared(name, &spec, owner)? {
            return Ok((Declared::Existing, current.handle.clone()));
        }
        check_new_name("queue", name)?;
        let handle = self.add_queue(name, spec, make)?;
        Ok((Declared::New, handle))
    }

    /// Adds a queue under a name the broker chose, or brings one back after a restart: the reserved
    /// prefix is fine here. A name that is taken is our own mistake.
    pub fn add_queue(
        &mut self,
        name: &str,
        spec: QueueSpec,
        make: impl FnOnce() -> Q,
    ) -> Result<Q, TopologyError> {
        assert!(!self.queues.contains_key(name), "queue '{name}' is added only once");
        check_name("queue", name)?;
        let limits = self.check_spec(name, &spec)?;
        let handle = make();
        let serial = self.next_serial;
        let entry = QueueEntry { name: name.into(), spec, limits, handle: handle.clone(), serial };
        self.queues.insert(entry.name.clone(), entry);
        self.next_serial += 1;
        self.generation += 1;
        Ok(handle)
    }

    /// The queue that was, and what went with it: its bindings, and exchanges that were to go with
    /// their last binding.
    pub fn delete_queue(&mut self, name: &str) -> Option<(QueueEntry<Q>, Vec<Removed>)> {
        let entry = self.queues.remove(name)?;
        let mut removed = Vec::new();
        let doomed = self.remove_inbound(&Destination::Queue(entry.name.clone()), &mut removed);
        self.sweep(doomed, &mut removed);
        self.generation += 1;
        Some((entry, removed))
    }

    // ---- errors ----

    fn no_such_exchange(&self, name: &str) -> TopologyError {
        TopologyError::NoSuchExchange { name: name.to_owned(), vhost: self.vhost_name() }
    }

    fn no_such_queue(&self, name: &str) -> TopologyError {
        TopologyError::NoSuchQueue { name: name.to_owned(), vhost: self.vhost_name() }
    }

    fn locked(&self, name: &str) -> TopologyError {
        TopologyError::Locked { name: name.to_owned(), vhost: self.vhost_name() }
    }

    fn subject(&self, what: &str, name: &str) -> String {
        format!("{what} '{name}' in vhost '{}'", self.vhost)
    }

    fn vhost_name(&self) -> String {
        self.vhost.to_string()
    }
}

/// Whether the exchange is there from the start.
pub fn is_predeclared(exchange: &str) -> bool {
    exchange == DEFAULT_EXCHANGE || names::is_reserved(exchange)
}

fn check_new_name(what: &'static str, name: &str) -> Result<(), TopologyError> {
    if names::is_reserved(name) {
        return Err(TopologyError::ReservedName { what, name: name.to_owned() });
    }
    check_name(what, name)
}

fn check_name(what: &'static str, name: &str) -> Result<(), TopologyError> {
    names::check_name(name).map_err(|reason: NameError| TopologyError::InvalidName { what, reason })
}

/// Quorum queues and streams outlive connections and consumers by nature.
fn unfit_property(queue_type: QueueType, spec: &QueueSpec) -> Option<&'static str> {
    match queue_type {
        QueueType::Classic => None,
        QueueType::Quorum | QueueType::Stream if !spec.durable => Some("non-durable"),
        QueueType::Quorum | QueueType::Stream if spec.auto_delete => Some("auto-delete"),
        QueueType::Quorum | QueueType::Stream if spec.exclusive_owner.is_some() => Some("exclusive-owner"),
        QueueType::Quorum | QueueType::Stream => None,
    }
}
