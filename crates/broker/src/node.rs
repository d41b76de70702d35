//! The node: its virtual hosts and users, and how they come back when it starts.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cauce_core::exchange::{Destination, ExchangeKind};
use cauce_core::message::{Message, Traits};
use cauce_core::queue::{ConsumerId, Effects, Kept, Queue, Rules};
use cauce_core::topology::{ExchangeSpec, QueueLimits, QueueSpec, TopologyError};
use cauce_log::{Disk, Journal, LogError, LogReader, Recovery};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::clock::now_ms;
use crate::definitions::Change;
use crate::memory::Memory;
use crate::queue_handle::{Event, Link};
use crate::queue_task::QueueTask;
use crate::storage::{self, Flush, QueueId, Storage};
use crate::stored;
use crate::users::Users;
use crate::vhost::{Vhost, delay_rules, rules};

/// Bytes read at a time while the logs of queues are looked through at start.
const SCAN_BYTES: usize = 4 << 20;

pub(crate) const DEFAULT_VHOST: &str = "/";

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the data directory: {0}")]
    Log(#[from] LogError),
    #[error("the data directory: {0}")]
    Io(#[from] std::io::Error),
    #[error("a definition that cannot be read: {0}")]
    Definition(#[from] serde_json::Error),
    #[error("a definition that cannot be applied: {0}")]
    Topology(#[from] TopologyError),
}

#[derive(Debug, Clone, Copy)]
pub struct NodeConfig {
    pub flush: Flush,
    pub memory_bytes: usize,
}

/// What queues and virtual hosts share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) storage: Storage,
    pub(crate) memory: Memory,
    next_id: AtomicU64,
    random: Random,
}

impl Shared {
    pub(crate) fn next_id(&self) -> QueueId {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn random_name(&self) -> String {
        self.random.name()
    }
}

/// Names nobody can guess, from the process's hash keys, which the system made random.
#[derive(Debug, Default)]
struct Random {
    state: std::hash::RandomState,
    count: AtomicU64,
}

impl Random {
    fn next(&self) -> u64 {
        use std::hash::BuildHasher;
        self.state.hash_one(self.count.fetch_add(1, Ordering::Relaxed))
    }

    fn name(&self) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let number = u128::from(self.next()) << 64 | u128::from(self.next());
        (0..22).map(|at| LETTERS[(number >> (at * 6)) as usize & 63] as char).collect()
    }
}

#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    vhosts: RwLock<HashMap<String, Arc<Vhost>>>,
    pub users: Users,
    /// Every connection that is open, by its number.
    connections: Mutex<HashMap<u64, Link>>,
    /// Told of every connection that ends.
    departure: Notify,
}

impl Node {
    /// Opens the data directory, brings back what it holds and starts the queues.
    pub fn start(disk: Arc<dyn Disk>, config: NodeConfig) -> Result<Arc<Node>, StartError> {
        let (definitions, entries, recovery) = Journal::open(disk.clone(), "definitions".into())?;
        if recovery != Recovery::default() {
            tracing::warn!(?recovery, "the definitions were not as they were left");
        }
        let changes: Vec<Change> =
            entries.iter().map(|entry| Change::decode(entry)).collect::<Result<_, _>>()?;
        let storage = Storage::start(disk.clone(), definitions, config.flush);
        let last_id = changes.iter().filter_map(|change| match change {
            Change::Queue { id, .. } | Change::Exchange { delay_queue: Some(id), .. } => Some(*id),
            _ => None,
        });
        let shared = Arc::new(Shared {
            storage,
            memory: Memory::new(config.memory_bytes),
            next_id: AtomicU64::new(last_id.max().unwrap_or(0) + 1),
            random: Random::default(),
        });
        let node = Arc::new(Node {
            shared,
            vhosts: RwLock::default(),
            users: Users::default(),
            connections: Mutex::default(),
            departure: Notify::new(),
        });
        if changes.is_empty() {
            node.define_defaults();
        }
        for change in changes {
            node.apply(&disk, change)?;
        }
        node.remove_strangers(&disk)?;
        node.shared.storage.send(storage::Job::Redefine { entries: node.snapshot() });
        Ok(node)
    }

    pub fn memory(&self) -> &Memory {
        &self.shared.memory
    }

    pub fn vhost(&self, name: &str) -> Option<Arc<Vhost>> {
        self.vhosts.read().get(name).cloned()
    }

    pub fn vhosts(&self) -> Vec<Arc<Vhost>> {
        self.vhosts.read().values().cloned().collect()
    }

    pub fn next_consumer(&self) -> ConsumerId {
        ConsumerId(self.shared.next_id())
    }

    /// A number no other connection, consumer or queue of this run has.
    pub fn next_id(&self) -> u64 {
        self.shared.next_id()
    }

    pub fn random_name(&self) -> String {
        self.shared.random_name()
    }

    /// Waits until all that was written before is flushed.
    pub async fn flush(&self) {
        self.shared.storage.flush().await;
    }

    /// The connection can be asked to close from now on.
    pub fn connected(&self, connection: u64, link: Link) {
        self.connections.lock().insert(connection, link);
    }

    pub fn disconnected(&self, connection: u64) {
        self.connections.lock().remove(&connection);
        self.departure.notify_waiters();
    }

    /// Waits until no connection is left.
    pub async fn all_disconnected(&self) {
        loop {
            // Asked for before the look, so that no departure is missed in between.
            let departure = self.departure.notified();
            if self.connections.lock().is_empty() {
                return;
            }
            departure.await;
        }
    }

    /// Asks every client to leave, and tells it why.
    pub fn close_connections(&self, reason: &str) {
        for link in self.connections.lock().values() {
            let _ = link.send(Event::Close { reason: reason.to_owned() });
        }
    }

    /// Asks every queue to let go of what the logs can give back.
    pub fn evict(&self) {
        for vhost in self.vhosts() {
            for entry in vhost.topology().queues() {
                entry.handle.evict();
            }
        }
    }

    /// Writes down what the next start would have to read the logs for. Nobody is connected any more.
    pub async fn mark(&self) {
        for vhost in self.vhosts() {
            let queues: Vec<_> = vhost.topology().queues().map(|entry| entry.handle.clone()).collect();
            for queue in queues {
                queue.mark().await;
            }
        }
        self.flush().await;
    }

    fn define_defaults(&self) {
        self.add_vhost(DEFAULT_VHOST);
        self.users.add_guest(self.shared.random.next().to_be_bytes());
    }

    fn add_vhost(&self, name: &str) -> Arc<Vhost> {
        let vhost = Arc::new(Vhost::new(name, self.shared.clone()));
        self.vhosts.write().insert(name.to_owned(), vhost.clone());
        vhost
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        let vhosts = self.vhosts();
        let names = vhosts.iter().map(|vhost| Change::Vhost { name: vhost.name.to_string() });
        let contents = vhosts.iter().flat_map(|vhost| vhost.snapshot());
        names.chain(self.users.snapshot()).chain(contents).map(|change| change.encode()).collect()
    }

    /// Applies a change from disk. One about something that went meanwhile changes nothing.
    fn apply(&self, disk: &Arc<dyn Disk>, change: Change) -> Result<(), StartError> {
        match change {
            Change::Vhost { name } => drop(self.add_vhost(&name)),
            Change::VhostGone { name } => drop(self.vhosts.write().remove(&name)),
            Change::User { .. } | Change::UserGone { .. } => self.users.apply(change),
            Change::Permissions { .. } | Change::PermissionsGone { .. } => self.users.apply(change),
            Change::Exchange { vhost, name, kind, auto_delete, internal, arguments, delay_queue } => {
                let Some(vhost) = self.vhost(&vhost) else {
                    return Ok(());
                };
                let arguments = arguments.table();
                let kind = ExchangeKind::parse(&kind, &arguments)?;
                let spec = ExchangeSpec { kind, durable: true, auto_delete, internal, arguments };
                vhost.change().guard.declare_exchange(&name, spec)?;
                if let Some(id) = delay_queue {
                    let (queue, effects, reader) = self.recover(disk, &name, id, delay_rules(true))?;
                    vhost.add_delay(&name, id, queue, effects, reader);
                }
            }
            Change::ExchangeGone { vhost, name } => {
                let Some(vhost) = self.vhost(&vhost) else {
                    return Ok(());
                };
                vhost.forget_exchange(&name)?;
            }
            Change::Queue { vhost, name, id, auto_delete, arguments } => {
                let Some(vhost) = self.vhost(&vhost) else {
                    return Ok(());
                };
                let spec = QueueSpec {
                    durable: true,
                    exclusive_owner: None,
                    auto_delete,
                    arguments: arguments.table(),
                };
                self.bring_back(disk, &vhost, &name, id, spec)?;
            }
            Change::QueueGone { vhost, name } => {
                let Some(vhost) = self.vhost(&vhost) else {
                    return Ok(());
                };
                vhost.change().guard.delete_queue(&name);
            }
            Change::Binding(binding) => {
                let Some(vhost) = self.vhost(&binding.vhost) else {
                    return Ok(());
                };
                let destination = destination(binding.to_exchange, &binding.destination);
                let arguments = binding.arguments.table();
                vhost.change().guard.bind(&binding.source, destination, &binding.key, arguments)?;
            }
            Change::BindingGone(binding) => {
                let Some(vhost) = self.vhost(&binding.vhost) else {
                    return Ok(());
                };
                let destination = destination(binding.to_exchange, &binding.destination);
                let arguments = binding.arguments.table();
                vhost.change().guard.unbind(&binding.source, &destination, &binding.key, arguments)?;
            }
        }
        Ok(())
    }

    fn bring_back(
        &self,
        disk: &Arc<dyn Disk>,
        vhost: &Arc<Vhost>,
        name: &str,
        id: QueueId,
        spec: QueueSpec,
    ) -> Result<(), StartError> {
        let limits = QueueLimits::parse(&spec.arguments)
            .map_err(|error| error.about(format!("queue '{name}' in vhost '{}'", vhost.name)))?;
        let (queue, effects, reader) = self.recover(disk, name, id, rules(&spec, &limits))?;
        let mut topology = vhost.change();
        topology.guard.delete_queue(name);
        topology.guard.add_queue(name, spec, || {
            QueueTask::spawn(id, name.into(), vhost.clone(), queue, effects, reader)
        })?;
        Ok(())
    }

    /// A queue with what its log holds, if there is one.
    fn recover(
        &self,
        disk: &Arc<dyn Disk>,
        name: &str,
        id: QueueId,
        rules: Rules,
    ) -> Result<(Queue, Effects, Option<LogReader>), StartError> {
        let holds_until_due = rules.holds_until_due;
        let mut queue = Queue::new(rules, now_ms());
        let mut effects = Effects::default();
        let mut reader = None;
        if let Some(recovered) = storage::recover(disk, id)? {
            let kept = match &recovered.mark {
                Some(mark) => mark.kept(&recovered.settled),
                None => scan(&recovered, holds_until_due)?,
            };
            storage::report_damage(name, &recovered.reader);
            queue.recover(recovered.next, kept, false, &mut effects);
            reader = Some(recovered.reader);
            self.shared.storage.send(storage::Job::Adopt { queue: id, files: recovered.files });
        }
        Ok((queue, effects, reader))
    }

    /// Directories of queues that no definition names: transient queues, or deleted just before a crash.
    fn remove_strangers(&self, disk: &Arc<dyn Disk>) -> Result<(), StartError> {
        let known: HashSet<String> =
            self.vhosts().iter().flat_map(|vhost| vhost.queue_ids()).map(|id| id.to_string()).collect();
        for name in disk.list(Path::new("queues"))? {
            if !known.contains(&name) {
                disk.remove_dir_all(&Path::new("queues").join(name))?;
            }
        }
        Ok(())
    }
}

fn destination(to_exchange: bool, name: &str) -> Destination {
    if to_exchange { Destination::exchange(name) } else { Destination::queue(name) }
}

/// Every message the log holds that is not done.
fn scan(recovered: &storage::Recovered, holds_until_due: bool) -> Result<Vec<Kept>, LogError> {
    let mut kept: Vec<Kept> = Vec::new();
    let mut from = recovered.reader.start_offset();
    loop {
        let batches = recovered.reader.read(from, SCAN_BYTES)?;
        let Some(last) = batches.last() else {
            return Ok(kept);
        };
        from = last.last_offset() + 1;
        for record in batches.iter().flat_map(|batch| batch.records()) {
            let Ok(record) = record else { continue };
            let Some(message) = stored::read(&record) else {
                continue;
            };
            let offset = record.offset as u64;
            if message.traits.persistent && !recovered.settled.contains(offset) {
                keep(&mut kept, offset, &message, holds_until_due);
            }
        }
    }
}

fn keep(kept: &mut Vec<Kept>, offset: u64, message: &Message<'_>, holds_until_due: bool) {
    let Traits { priority, .. } = message.traits;
    let body_bytes = message.body_bytes();
    // Elsewhere it does not matter, and would only keep runs apart.
    let due_ms = if holds_until_due { message.traits.due_ms() } else { 0 };
    match kept.last_mut() {
        Some(last) if last.offsets.end == offset && (last.priority, last.due_ms) == (priority, due_ms) => {
            last.offsets.end += 1;
            last.body_bytes += body_bytes;
        }
        _ => kept.push(Kept { offsets: offset..offset + 1, priority, body_bytes, due_ms }),
    }
}
