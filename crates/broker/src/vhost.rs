//! One virtual host: its topology, and the changes to it, made durable where they must be.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cauce_core::Table;
use cauce_core::exchange::{Destination, ExchangeKind, Facts};
use cauce_core::queue::{self, Effects, Queue};
use cauce_core::topology::{
    Binding, Declared, ExchangeSpec, Overflow, QueueEntry, QueueLimits, QueueSpec, QueueType, Removed,
    Routed, Topology, TopologyError, is_predeclared,
};
use cauce_log::LogReader;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::oneshot;

use crate::clock::now_ms;
use crate::definitions::{About, BindingChange, Change};
use crate::limits::{LEAVING_BYTES_MAX, LEAVING_MAX};
use crate::memory::Memory;
use crate::node::Shared;
use crate::queue_handle::{DeleteError, QueueHandle};
use crate::queue_task::QueueTask;
use crate::storage::{Job, QueueId, Storage};
use crate::stream::{StreamHandle, TOPICS_VHOST, Topic, asks_for_stream, spec_of};
use crate::target::Target;

pub type Queues = Topology<Target>;

/// Why a queue cannot be deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteQueueError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("queue '{name}' in vhost '{vhost}' {error}")]
    Refused { name: String, vhost: String, error: DeleteError },
}

#[derive(Debug)]
pub struct Vhost {
    pub name: Arc<str>,
    about: RwLock<About>,
    topology: RwLock<Queues>,
    generation: AtomicU64,
    /// What holds the messages of each delayed exchange. Changed under the topology's lock.
    delays: RwLock<HashMap<Arc<str>, Arc<QueueHandle>>>,
    pub(crate) shared: Arc<Shared>,
}

/// Waits until a change survives what the node promises to survive.
#[derive(Debug, Default)]
#[must_use]
pub struct Saved(pub(crate) Vec<oneshot::Receiver<()>>);

impl Saved {
    pub async fn wait(self) {
        for change in self.0 {
            // The storage thread answers or ends the process.
            let _ = change.await;
        }
    }
}

impl FromIterator<Saved> for Saved {
    fn from_iter<I: IntoIterator<Item = Saved>>(all: I) -> Saved {
        Saved(all.into_iter().flat_map(|saved| saved.0).collect())
    }
}

impl Vhost {
    pub(crate) fn new(name: &str, about: About, shared: Arc<Shared>) -> Vhost {
        Vhost {
            name: name.into(),
            about: RwLock::new(about),
            topology: RwLock::new(Topology::new(name)),
            generation: AtomicU64::new(0),
            delays: RwLock::default(),
            shared,
        }
    }

    pub fn about(&self) -> About {
        self.about.read().clone()
    }

    pub(crate) fn set_about(&self, about: About) {
        *self.about.write() = about;
    }

    pub fn memory(&self) -> &Memory {
        &self.shared.memory
    }

    /// Waits until all that was defined is back.
    pub(crate) async fn started(&self) {
        self.shared.started().await;
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.shared.storage
    }

    /// Grows with every change of the topology; routes kept from another generation are stale.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn topology(&self) -> RwLockReadGuard<'_, Queues> {
        self.topology.read()
    }

    pub(crate) fn change(&self) -> TopologyChange<'_> {
        TopologyChange { vhost: self, guard: self.topology.write() }
    }

    /// The queues that get a message.
    pub(crate) fn route(
        &self,
        topology: &Queues,
        exchange: &str,
        keys: &[&str],
        facts: &dyn Facts,
    ) -> Result<Vec<Target>, TopologyError> {
        let mut routed = Routed::default();
        topology.route(exchange, keys, facts, &mut routed)?;
        Ok(self.targets(&mut routed).collect())
    }

    /// The queues that were reached, and those that hold the message for delayed exchanges.
    pub fn targets<'a>(&self, routed: &'a mut Routed<Target>) -> impl Iterator<Item = Target> + use<'a> {
        let delay = |exchange: Arc<str>| self.delays.read().get(&exchange).cloned().map(Target::Queue);
        let delays: Vec<_> = routed.delayed.drain(..).filter_map(delay).collect();
        routed.queues.drain(..).chain(delays)
    }

    pub fn declare_exchange(
        self: &Arc<Self>,
        name: &str,
        spec: ExchangeSpec,
    ) -> Result<Saved, TopologyError> {
        let mut topology = self.change();
        let (durable, is_delayed) = (spec.durable, matches!(spec.kind, ExchangeKind::Delayed(_)));
        if topology.guard.declare_exchange(name, spec)? == Declared::Existing {
            return Ok(self.save(None));
        }
        if is_delayed {
            let queue = Queue::new(delay_rules(durable), now_ms());
            self.add_delay(name, self.shared.next_id(), queue, Effects::default(), None);
        }
        let entry = topology.guard.exchange(name).expect("just declared");
        let change = durable.then(|| self.exchange_change(name, entry.spec()));
        Ok(self.save(change))
    }

    /// Starts the queue that holds the messages of a delayed exchange.
    pub(crate) fn add_delay(
        self: &Arc<Self>,
        exchange: &str,
        id: QueueId,
        queue: Queue,
        effects: Effects,
        reader: Option<LogReader>,
    ) {
        let handle = QueueTask::spawn(id, exchange.into(), self.clone(), queue, effects, reader);
        self.delays.write().insert(exchange.into(), handle);
    }

    /// Every queue, those of delayed exchanges included.
    pub(crate) fn all_queues(&self) -> Vec<Arc<QueueHandle>> {
        let topology = self.topology();
        let delays = self.delays.read();
        let queues = topology.queues().filter_map(|entry| entry.handle.queue().cloned());
        queues.chain(delays.values().cloned()).collect()
    }

    pub fn delete_exchange(&self, name: &str, if_unused: bool) -> Result<Saved, TopologyError> {
        let mut topology = self.change();
        let removed = topology.guard.delete_exchange(name, if_unused)?;
        Ok(self.save(self.take_down(removed)))
    }

    /// Declares a queue for `connection`, under a name it chose.
    pub fn declare_queue(
        self: &Arc<Self>,
        name: &str,
        spec: QueueSpec,
        connection: u64,
    ) -> Result<(Target, Saved), TopologyError> {
        let mut topology = self.change();
        let known = topology.guard.queue(name).map(|entry| entry.handle.clone());
        match known {
            Some(Target::Stream(stream)) => {
                self.open_stream(&topology.guard, &stream, &spec, connection)?;
                return Ok((Target::Stream(stream), Saved::default()));
            }
            None if asks_for_stream(&spec) => return self.make_stream(&mut topology, name, spec),
            None => self.check_no_topic(name)?,
            Some(Target::Queue(_)) => {}
        }
        let make = self.maker(name, &spec);
        let (declared, handle) = topology.guard.declare_queue(name, spec, connection, make)?;
        let saved = self.save_queue(&topology.guard, name, declared);
        Ok((handle, saved))
    }

    /// Adds a queue under a name the node chose, which nobody has.
    pub fn add_queue(
        self: &Arc<Self>,
        name: &str,
        spec: QueueSpec,
    ) -> Result<(Target, Saved), TopologyError> {
        let mut topology = self.change();
        if asks_for_stream(&spec) {
            let (name, vhost) = (name.to_owned(), self.name.to_string());
            let reason = "it needs a name that a client chose".to_owned();
            return Err(TopologyError::NoStream { name, vhost, reason });
        }
        let make = self.maker(name, &spec);
        let handle = topology.guard.add_queue(name, spec, make)?;
        let saved = self.save_queue(&topology.guard, name, Declared::New);
        Ok((handle, saved))
    }

    /// Topics and queues share their names. Called under the topology's lock, which who makes a topic holds too.
    fn check_no_topic(&self, name: &str) -> Result<(), TopologyError> {
        match &*self.name == TOPICS_VHOST && self.shared.topics.contains(name) {
            true => Err(self.is_stream(name)),
            false => Ok(()),
        }
    }

    /// Starts the task of a queue, if it comes to that.
    fn maker(self: &Arc<Self>, name: &str, spec: &QueueSpec) -> impl FnOnce() -> Target + use<> {
        // Parsed again by the topology, which refuses what is wrong; then no task is made.
        let limits = QueueLimits::parse(&spec.arguments).unwrap_or_default();
        let rules = rules(spec, &limits, self.shared.consumer_timeout_ms);
        let (name, vhost) = (Arc::<str>::from(name), self.clone());
        move || {
            let queue = Queue::new(rules, now_ms());
            let id = vhost.shared.next_id();
            Target::Queue(QueueTask::spawn(id, name, vhost, queue, Effects::default(), None))
        }
    }

    fn save_queue(&self, topology: &Queues, name: &str, declared: Declared) -> Saved {
        let entry = topology.queue(name).expect("just declared");
        let kept = declared == Declared::New && entry.spec.outlives_restart();
        self.save(kept.then(|| self.queue_change(entry)).flatten())
    }

    /// A queue under a name the node chose, that goes with its last consumer.
    pub fn make_reply_queue(self: &Arc<Self>, name: &str) -> Result<Arc<QueueHandle>, TopologyError> {
        let spec = QueueSpec { auto_delete: true, ..QueueSpec::default() };
        let make = self.maker(name, &spec);
        let made = self.change().guard.add_queue(name, spec, make)?;
        Ok(made.queue().expect("it is no stream").clone())
    }

    pub async fn delete_queue(
        &self,
        name: &str,
        connection: u64,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<u64, DeleteQueueError> {
        let handle = {
            let topology = self.topology();
            let Some(_) = topology.queue(name) else {
                return Ok(0);
            };
            let Target::Queue(queue) = topology.queue_for(name, connection)?.handle.clone() else {
                return Err(self.is_stream(name).into());
            };
            queue
        };
        let ready = match handle.delete(if_unused, if_empty).await {
            Some(Ok(ready)) => ready,
            Some(Err(error)) => {
                let (name, vhost) = (name.to_owned(), self.name.to_string());
                return Err(DeleteQueueError::Refused { name, vhost, error });
            }
            // Somebody else was faster.
            None => 0,
        };
        self.forget_queue(&handle).wait().await;
        Ok(ready)
    }

    /// Takes the queue out of the topology, if it is still the one of that name.
    fn forget_queue(&self, handle: &QueueHandle) -> Saved {
        let mut topology = self.change();
        let known = topology.guard.queue(&handle.name).and_then(|entry| entry.handle.queue());
        if known.is_none_or(|known| known.id != handle.id) {
            return Saved(Vec::new());
        }
        let (entry, removed) = topology.guard.delete_queue(&handle.name).expect("looked up above");
        let gone = entry
            .spec
            .outlives_restart()
            .then(|| Change::QueueGone { vhost: self.name.to_string(), name: handle.name.to_string() });
        let removed = self.take_down(removed);
        self.save(gone.into_iter().chain(removed))
    }

    /// A queue found that nobody uses it any more. Tells whoever waits when it is gone.
    pub(crate) fn delete_unused(
        self: &Arc<Self>,
        handle: Arc<QueueHandle>,
        done: Option<oneshot::Sender<()>>,
    ) {
        let vhost = self.clone();
        tokio::spawn(async move {
            if let Some(Ok(_)) = handle.delete(true, false).await {
                vhost.forget_queue(&handle).wait().await;
            }
            if let Some(done) = done {
                let _ = done.send(());
            }
        });
    }

    /// Deletes the queues that belong to a connection that is gone.
    pub async fn delete_exclusive(&self, connection: u64) {
        let owned: Vec<Arc<QueueHandle>> = {
            let topology = self.topology();
            let mine = topology.queues().filter(|entry| entry.spec.exclusive_owner == Some(connection));
            mine.filter_map(|entry| entry.handle.queue().cloned()).collect()
        };
        for handle in owned {
            handle.delete(false, false).await;
            self.forget_queue(&handle).wait().await;
        }
    }

    pub fn bind(
        &self,
        source: &str,
        destination: Destination,
        key: &str,
        arguments: Table,
    ) -> Result<Saved, TopologyError> {
        let mut topology = self.change();
        let new = topology.guard.bind(source, destination.clone(), key, arguments.clone())?;
        let binding = Binding { source: source.into(), destination, key: key.into(), arguments };
        let kept = new && is_kept(&topology.guard, &binding);
        Ok(self.save(kept.then(|| Change::Binding(self.binding_change(&binding)))))
    }

    pub fn unbind(
        &self,
        source: &str,
        destination: &Destination,
        key: &str,
        arguments: Table,
    ) -> Result<Saved, TopologyError> {
        let mut topology = self.change();
        let removed = topology.guard.unbind(source, destination, key, arguments)?;
        Ok(self.save(self.take_down(removed)))
    }

    /// Lets go of what exchanges that are gone held, and says what the removals mean on disk. Applying
    /// that twice does no harm, so what might not have been kept is included.
    fn take_down(&self, removed: Vec<Removed>) -> Vec<Change> {
        let mut changes = Vec::new();
        for removed in removed {
            if let Removed::Exchange { name, .. } = &removed
                && let Some(delay) = self.delays.write().remove(name)
            {
                delay.discard();
            }
            match removed {
                Removed::Exchange { name, spec } if spec.durable => changes
                    .push(Change::ExchangeGone { vhost: self.name.to_string(), name: name.to_string() }),
                Removed::Exchange { .. } => {}
                Removed::Binding(binding) => changes.push(Change::BindingGone(self.binding_change(&binding))),
            }
        }
        changes
    }

    fn exchange_change(&self, name: &str, spec: &ExchangeSpec) -> Change {
        Change::Exchange {
            vhost: self.name.to_string(),
            name: name.to_owned(),
            kind: spec.kind.name().to_owned(),
            auto_delete: spec.auto_delete,
            internal: spec.internal,
            arguments: (&spec.arguments).into(),
            delay_queue: self.delays.read().get(name).map(|handle| handle.id),
        }
    }

    /// Topics are defined by themselves.
    fn queue_change(&self, entry: &QueueEntry<Target>) -> Option<Change> {
        Some(Change::Queue {
            vhost: self.name.to_string(),
            name: entry.name.to_string(),
            id: entry.handle.queue()?.id,
            auto_delete: entry.spec.auto_delete,
            arguments: (&entry.spec.arguments).into(),
        })
    }

    /// The queue of that name, if it is one and no stream.
    pub fn queue(&self, name: &str) -> Option<Arc<QueueHandle>> {
        self.topology().queue(name)?.handle.queue().cloned()
    }

    fn is_stream(&self, name: &str) -> TopologyError {
        TopologyError::IsTopic { name: name.to_owned(), vhost: self.name.to_string() }
    }

    fn binding_change(&self, binding: &Binding) -> BindingChange {
        BindingChange {
            vhost: self.name.to_string(),
            source: binding.source.to_string(),
            to_exchange: matches!(binding.destination, Destination::Exchange(_)),
            destination: binding.destination.name().to_owned(),
            key: binding.key.to_string(),
            arguments: (&binding.arguments).into(),
        }
    }

    /// Hands the changes to the storage thread, in the order of the topology's lock.
    fn save(&self, changes: impl IntoIterator<Item = Change>) -> Saved {
        Saved(changes.into_iter().map(|change| self.shared.define(&change)).collect())
    }

    /// Everything that must outlive a restart, in an order that can be applied.
    pub(crate) fn snapshot(&self) -> Vec<Change> {
        let topology = self.topology();
        let exchanges = topology.exchanges();
        let exchanges = exchanges.filter(|entry| entry.spec().durable && !is_predeclared(entry.name()));
        let exchanges = exchanges.map(|entry| self.exchange_change(entry.name(), entry.spec()));
        let queues = topology.queues().filter(|entry| entry.spec.outlives_restart());
        let queues = queues.filter_map(|entry| self.queue_change(entry));
        let bindings = topology.bindings().filter(|binding| is_kept(&topology, binding));
        let bindings = bindings.map(|binding| Change::Binding(self.binding_change(&binding)));
        exchanges.chain(queues).chain(bindings).collect()
    }
}

/// The write side of a topology; readers see the new generation once it is let go.
pub(crate) struct TopologyChange<'a> {
    vhost: &'a Vhost,
    pub(crate) guard: RwLockWriteGuard<'a, Queues>,
}

impl TopologyChange<'_> {
    /// Clients of AMQP see the topic from now on, as a stream.
    pub(crate) fn show_topic(&mut self, topic: Arc<Topic>) -> Target {
        let (name, spec) = (topic.name.clone(), spec_of(topic.declared.as_ref()));
        let gauge = self.vhost.memory().gauge().clone();
        let make = || Target::Stream(StreamHandle::new(topic, gauge));
        self.guard.add_queue(&name, spec, make).expect("the name of a topic is one of a queue, and free")
    }

    /// The topic is gone, and its bindings with it.
    pub(crate) fn hide_topic(&mut self, name: &str) -> Saved {
        let removed = self.guard.delete_queue(name).map(|(_, removed)| removed);
        self.vhost.save(self.vhost.take_down(removed.unwrap_or_default()))
    }
}

impl Drop for TopologyChange<'_> {
    fn drop(&mut self) {
        self.vhost.generation.store(self.guard.generation(), Ordering::Release);
    }
}

/// A binding outlives a restart if both its ends do.
fn is_kept(topology: &Queues, binding: &Binding) -> bool {
    let exchange_kept = |name: &str| topology.exchange(name).is_some_and(|entry| entry.spec().durable);
    let destination_kept = match &binding.destination {
        Destination::Exchange(name) => exchange_kept(name),
        Destination::Queue(name) => topology.queue(name).is_some_and(|entry| entry.spec.outlives_restart()),
    };
    exchange_kept(&binding.source) && destination_kept
}

/// A delayed exchange keeps messages over a restart if it is kept itself.
pub(crate) fn delay_rules(durable: bool) -> queue::Rules {
    queue::Rules {
        durable,
        dead_letters: true,
        leaving_max: Some(LEAVING_MAX),
        leaving_bytes_max: Some(LEAVING_BYTES_MAX),
        holds_until_due: true,
        ..queue::Rules::default()
    }
}

/// `usual_timeout_ms` is how long a consumer may hold a message where the queue does not say.
pub(crate) fn rules(spec: &QueueSpec, limits: &QueueLimits, usual_timeout_ms: Option<u64>) -> queue::Rules {
    queue::Rules {
        durable: spec.outlives_restart(),
        auto_delete: spec.auto_delete,
        message_ttl_ms: limits.message_ttl_ms,
        expires_ms: limits.expires_ms,
        length_max: limits.max_length,
        length_bytes_max: limits.max_length_bytes,
        overflow: match limits.overflow {
            Overflow::DropHead => queue::Overflow::DropHead,
            Overflow::RejectPublish => queue::Overflow::RejectPublish,
            Overflow::RejectPublishDlx => queue::Overflow::RejectPublishDeadLetter,
        },
        dead_letters: limits.dead_letter_exchange.is_some(),
        leaving_max: Some(LEAVING_MAX),
        leaving_bytes_max: Some(LEAVING_BYTES_MAX),
        priority_max: limits.max_priority.unwrap_or(0),
        holds_until_due: false,
        single_active_consumer: limits.single_active_consumer,
        delivery_limit: limits.delivery_limit,
        tells_returns: limits.queue_type == QueueType::Quorum,
        consumer_timeout_ms: limits.consumer_timeout_ms.or(usual_timeout_ms),
    }
}

impl Shared {
    pub(crate) fn define(&self, change: &Change) -> oneshot::Receiver<()> {
        let (done, answer) = oneshot::channel();
        self.storage.send(Job::Define { entry: change.encode(), done });
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_the_usual_consumer_timeout_unless_it_says_another() {
        let timeout = |own, usual| {
            let limits = QueueLimits { consumer_timeout_ms: own, ..QueueLimits::default() };
            rules(&QueueSpec::default(), &limits, usual).consumer_timeout_ms
        };
        assert_eq!(timeout(None, Some(1_800_000)), Some(1_800_000));
        assert_eq!(timeout(Some(5), Some(1_800_000)), Some(5));
        assert_eq!((timeout(None, None), timeout(Some(5), None)), (None, Some(5)));
    }
}
