//! The node: its virtual hosts and users, and how they come back when it starts.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cauce_core::access::{AccessError, PasswordHash, Permissions, TopicPermissions, User};
use cauce_core::queue::{ConsumerId, Effects, Queue, Rules};
use cauce_core::topic::TopicId;
use cauce_core::topology::TopologyError;
use cauce_log::{Disk, Journal, LogError, LogReader, Recovery};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore};

use crate::clock::now_ms;
use crate::definitions::{
    About, BindingDefinition, Blueprint, Change, Definitions, DefinitionsError, ExchangeDefinition, Imported,
    NO_QUEUE, NOBODY, Plan, QueueDefinition, Step, VhostBlueprint, VhostDefinition,
};
use crate::groups::{self, Groups};
use crate::memory::Memory;
use crate::producer_ids::ProducerIds;
use crate::queue_handle::{Event, Link};
use crate::queue_task::QueueTask;
use crate::recovery::{self, Known};
use crate::settings::Settings;
use crate::storage::{self, Flush, QueueId, Storage};
use crate::stream::{StreamHandle, TOPICS_VHOST, Topics};
use crate::target::Target;
use crate::transactional_ids::{self, TransactionalIds};
use crate::transactions::{Part, Transactions, TransactionsFile};
use crate::users::{GUEST, Users, random_salt};
use crate::vhost::{Saved, Vhost, delay_rules, rules};

/// What the first start defines.
#[derive(Debug, Clone)]
pub struct Defaults {
    pub user: String,
    pub password: String,
    pub tags: Vec<String>,
    pub vhost: String,
    pub permissions: Permissions,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            user: GUEST.to_owned(),
            password: GUEST.to_owned(),
            tags: vec!["administrator".to_owned()],
            vhost: "/".to_owned(),
            permissions: Permissions::all(),
        }
    }
}

/// A queue brought back, what it has to do first, and the way to its log.
type Raised = (Queue, Effects, Option<LogReader>);

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
    #[error("topic '{name}' cannot be brought back: {reason}")]
    Topic { name: String, reason: String },
}

#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub flush: Flush,
    pub memory_bytes: usize,
    /// How long a consumer may hold a message where its queue does not say.
    pub consumer_timeout_ms: Option<u64>,
    pub settings: Settings,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            flush: Flush::Always,
            memory_bytes: 1 << 30,
            consumer_timeout_ms: None,
            settings: Settings::default(),
        }
    }
}

/// What queues, topics and virtual hosts share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) storage: Storage,
    pub(crate) memory: Memory,
    pub(crate) consumer_timeout_ms: Option<u64>,
    pub(crate) settings: Settings,
    pub(crate) topics: Topics,
    pub(crate) producer_ids: ProducerIds,
    /// Names this node, as the one of its cluster.
    pub(crate) cluster: String,
    transactions: Transactions,
    next_id: AtomicU64,
    random: Random,
    /// Never has a place; closed once all that was defined is back.
    starting: Semaphore,
}

impl Shared {
    pub(crate) fn next_id(&self) -> QueueId {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn random_name(&self) -> String {
        self.random.name()
    }

    pub(crate) fn random_topic_id(&self) -> TopicId {
        TopicId(self.random.bytes())
    }

    /// Waits until all that was defined is back.
    pub(crate) async fn started(&self) {
        let _ = self.starting.acquire().await;
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

    fn bytes(&self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes()
    }

    fn name(&self) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let number = u128::from_be_bytes(self.bytes());
        (0..22).map(|at| LETTERS[(number >> (at * 6)) as usize & 63] as char).collect()
    }
}

#[derive(Debug)]
pub struct Node {
    pub(crate) shared: Arc<Shared>,
    pub(crate) vhosts: RwLock<HashMap<String, Arc<Vhost>>>,
    pub users: Users,
    pub(crate) groups: Groups,
    transactional_ids: TransactionalIds,
    /// Every connection that is open, by its number.
    connections: Mutex<HashMap<u64, Link>>,
    /// Told of every connection that ends.
    departure: Notify,
}

impl Node {
    /// Opens the data directory, brings back what it holds and starts the queues. The first start of all
    /// defines what every newcomer knows.
    pub fn start(disk: Arc<dyn Disk>, config: NodeConfig) -> Result<Arc<Node>, StartError> {
        let node = Node::open(disk, config)?;
        if node.is_blank() {
            node.define(&Defaults::default());
        }
        Ok(node)
    }

    /// The same, and a node that never kept anything stays blank.
    pub fn open(disk: Arc<dyn Disk>, config: NodeConfig) -> Result<Arc<Node>, StartError> {
        let (definitions, entries, recovery) = Journal::open(disk.clone(), "definitions".into())?;
        if recovery != Recovery::default() {
            tracing::warn!(?recovery, "the definitions were not as they were left");
        }
        let changes: Vec<Change> =
            entries.iter().map(|entry| Change::decode(entry)).collect::<Result<_, _>>()?;
        let transactions = TransactionsFile::open(&disk)?;
        let (committed, stopped) = (transactions.committed().clone(), transactions.stopped());
        let mut known = Known { stopped, next: committed.next(), committed };
        let storage = Storage::start(disk.clone(), definitions, transactions, config.flush);
        let last_id = changes.iter().filter_map(|change| match change {
            Change::Queue { id, .. } | Change::Exchange { delay_queue: Some(id), .. } => Some(*id),
            _ => None,
        });
        let next_id = last_id.max().unwrap_or(0) + 1;
        let blueprint = Blueprint::from_changes(changes)?;
        let random = Random::default();
        let (groups, groups_coordinator) = groups::Coordinator::new();
        let (transactional_ids, transactions_coordinator) = transactional_ids::Coordinator::new();
        let node = Arc::new(Node {
            shared: Arc::new(Shared {
                storage,
                memory: Memory::new(config.memory_bytes),
                consumer_timeout_ms: config.consumer_timeout_ms,
                settings: config.settings,
                topics: Topics::default(),
                producer_ids: ProducerIds::new(blueprint.free_producer_id),
                cluster: blueprint.cluster.unwrap_or_else(|| random.name()),
                transactions: Transactions::default(),
                next_id: AtomicU64::new(next_id),
                random,
                starting: Semaphore::new(0),
            }),
            vhosts: RwLock::default(),
            users: Users::new(blueprint.access),
            groups,
            transactional_ids,
            connections: Mutex::default(),
            departure: Notify::new(),
        });
        for (name, definition) in blueprint.topics {
            node.raise_topic(&disk, &name, definition)?;
        }
        for (name, vhost) in blueprint.vhosts {
            node.raise(&disk, &name, vhost, &mut known)?;
        }
        node.remove_strangers(&disk)?;
        node.remove_strange_partitions(&disk)?;
        node.shared.storage.send(storage::Job::Redefine { entries: node.snapshot() });
        node.shared.storage.begin(known.next);
        node.shared.transactions.start_at(known.next);
        node.shared.starting.close();
        groups_coordinator.start(&node);
        transactions_coordinator.start(&node);
        node.start_housekeeping();
        Ok(node)
    }

    /// Carries all parts of a transaction out, or after a crash none; answers when that is safe.
    pub async fn commit(&self, parts: Vec<Part>) {
        self.shared.transactions.commit(&self.shared.storage, parts).await;
    }

    /// Ends in order: the next start will know which messages were given out. Queues rest from then on.
    pub async fn stop(&self) {
        for vhost in self.vhosts() {
            for queue in vhost.all_queues() {
                queue.stop().await;
            }
        }
        self.transactional_ids.stop().await;
        self.groups.stop().await;
        self.stop_topics().await;
        self.flush().await;
        let transaction = self.shared.transactions.next();
        self.shared.storage.send(storage::Job::Stop { transaction });
        self.flush().await;
    }

    pub fn memory(&self) -> &Memory {
        &self.shared.memory
    }

    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    pub fn transactional_ids(&self) -> &TransactionalIds {
        &self.transactional_ids
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

    /// Names this node, as the one of its cluster: the same for ever.
    pub fn cluster(&self) -> &str {
        &self.shared.cluster
    }

    /// Waits until all that was written before is as safe as [`Flush`] says.
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
            for queue in vhost.topology().queues().filter_map(|entry| entry.handle.queue()) {
                queue.evict();
            }
        }
    }

    /// Whether there is neither a user nor a virtual host, so that nobody could come in.
    pub fn is_blank(&self) -> bool {
        self.vhosts.read().is_empty() && self.users.is_empty()
    }

    /// Defines a first user and a first virtual host of a blank node: both or, if the power goes, neither.
    pub fn define(&self, defaults: &Defaults) {
        let password_hash = PasswordHash::with_salt(random_salt(), defaults.password.as_bytes());
        let user = User { name: (*defaults.user).into(), password_hash, tags: defaults.tags.clone() };
        let description = "Default virtual host".to_owned();
        self.add_vhost(&defaults.vhost, About { description, tags: Vec::new() });
        self.users.change(|access| {
            access.put_user(user);
            let granted = access.grant(&defaults.user, &defaults.vhost, defaults.permissions.clone());
            granted.expect("the user was just added");
        });
        self.shared.storage.send(storage::Job::Redefine { entries: self.snapshot() });
    }

    pub fn put_user(&self, user: User) -> Saved {
        self.users.change(|access| {
            let change = Change::user(&user);
            access.put_user(user);
            self.define_one(&change)
        })
    }

    pub fn grant(&self, user: &str, vhost: &str, permissions: &Permissions) -> Result<Saved, AccessError> {
        self.users.change(|access| {
            access.grant(user, vhost, permissions.clone())?;
            Ok(self.define_one(&Change::permissions(user, vhost, permissions)))
        })
    }

    pub fn grant_topic(
        &self,
        user: &str,
        vhost: &str,
        exchange: &str,
        permissions: &TopicPermissions,
    ) -> Result<Saved, AccessError> {
        self.users.change(|access| {
            access.grant_topic(user, vhost, exchange, permissions.clone())?;
            Ok(self.define_one(&Change::topic_permissions(user, vhost, exchange, permissions)))
        })
    }

    /// Adds the virtual host, or changes what is known about the one of that name.
    pub fn put_vhost(&self, name: &str, about: &About) -> Saved {
        let mut vhosts = self.vhosts.write();
        match vhosts.get(name) {
            Some(vhost) => vhost.set_about(about.clone()),
            None => {
                let vhost = self.new_vhost(name, about.clone());
                vhosts.insert(name.to_owned(), vhost);
            }
        }
        self.define_one(&Change::Vhost { name: name.to_owned(), about: about.clone() })
    }

    fn define_one(&self, change: &Change) -> Saved {
        Saved(vec![self.shared.define(change)])
    }

    /// Takes over what a file defines: all of it or, if any of it is wrong, nothing.
    pub async fn import(&self, definitions: &Definitions) -> Result<Imported, DefinitionsError> {
        let Plan { steps, mut notes } = Plan::new(definitions, self.blueprint(), random_salt)?;
        let changes = steps.len();
        let mut saved = Vec::new();
        for step in steps {
            match self.carry_out(step) {
                Ok(one) => saved.push(one),
                // It was fine a moment ago: a client was faster.
                Err(error) => notes.push(error.to_string()),
            }
        }
        saved.into_iter().collect::<Saved>().wait().await;
        Ok(Imported { changes, notes })
    }

    fn carry_out(&self, step: Step<'_>) -> Result<Saved, Box<dyn std::error::Error>> {
        let vhost = |name: &str| self.vhost(name).ok_or_else(|| format!("vhost '{name}' is gone"));
        Ok(match step {
            Step::Vhost(VhostDefinition { name, about }) => self.put_vhost(name, about),
            Step::User(user) => self.put_user(user),
            Step::Permissions { user, vhost, permissions } => self.grant(user, vhost, permissions)?,
            Step::TopicPermissions { user, vhost, exchange, permissions } => {
                self.grant_topic(user, vhost, exchange, permissions)?
            }
            Step::Exchange(ExchangeDefinition { vhost: of, name, spec }) => {
                vhost(of)?.declare_exchange(name, spec.clone())?
            }
            Step::Queue(QueueDefinition { vhost: of, name, spec }) => {
                vhost(of)?.declare_queue(name, spec.clone(), NOBODY)?.1
            }
            Step::Binding(BindingDefinition { vhost: of, source, destination, key, arguments }) => {
                vhost(of)?.bind(source, destination.clone(), key, arguments.clone())?
            }
        })
    }

    /// Everything that is defined now.
    pub fn blueprint(&self) -> Blueprint {
        let vhosts = self.vhosts().into_iter().map(|vhost| {
            let id_of = |target: &Target| target.queue().map_or(NO_QUEUE, |queue| queue.id);
            let topology = vhost.topology().with_handles(|entry| id_of(&entry.handle));
            // Which queues hold messages of delayed exchanges concerns no definition.
            (
                vhost.name.to_string(),
                VhostBlueprint { topology, delays: HashMap::new(), about: vhost.about() },
            )
        });
        let topics = self.topics().all();
        let topics = topics.iter().map(|topic| (topic.name.to_string(), topic.definition()));
        Blueprint {
            access: self.users.access(),
            vhosts: vhosts.collect(),
            topics: topics.collect(),
            ..Blueprint::default()
        }
    }

    /// One that shows the topics there are, if they are in it.
    fn new_vhost(&self, name: &str, about: About) -> Arc<Vhost> {
        let vhost = Arc::new(Vhost::new(name, about, self.shared.clone()));
        if name == TOPICS_VHOST {
            let mut topology = vhost.change();
            for topic in self.topics().all().into_iter().filter(|topic| !topic.is_internal()) {
                topology.show_topic(topic);
            }
        }
        vhost
    }

    fn add_vhost(&self, name: &str, about: About) -> Arc<Vhost> {
        let mut vhosts = self.vhosts.write();
        let vhost = self.new_vhost(name, about);
        vhosts.insert(name.to_owned(), vhost.clone());
        vhost
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        let vhosts = self.vhosts();
        let names =
            vhosts.iter().map(|vhost| Change::Vhost { name: vhost.name.to_string(), about: vhost.about() });
        let contents = vhosts.iter().flat_map(|vhost| vhost.snapshot());
        let topics = self.topics().all();
        let topics = topics
            .iter()
            .map(|topic| Change::Topic { name: topic.name.to_string(), definition: topic.definition() });
        let ids = self.shared.producer_ids.change();
        let cluster = Change::Cluster { id: self.shared.cluster.clone() };
        let all =
            // Topics before the bindings to them.
            names.chain(self.users.snapshot()).chain(topics).chain(contents).chain(ids).chain([cluster]);
        all.map(|change| change.encode()).collect()
    }

    /// A virtual host with what the logs of its queues hold.
    fn raise(
        &self,
        disk: &Arc<dyn Disk>,
        name: &str,
        blueprint: VhostBlueprint,
        known: &mut Known,
    ) -> Result<(), StartError> {
        let VhostBlueprint { topology, delays, about } = blueprint;
        let vhost = self.add_vhost(name, about);
        let mut recovered: HashMap<QueueId, Raised> = HashMap::new();
        for entry in topology.queues().filter(|entry| !entry.is_stream()) {
            let rules = rules(&entry.spec, &entry.limits, self.shared.consumer_timeout_ms);
            recovered.insert(entry.handle, self.recover(disk, &entry.name, entry.handle, rules, known)?);
        }
        let mut raised_delays = Vec::new();
        for (exchange, id) in delays {
            let raised = self.recover(disk, &exchange, id, delay_rules(true), known)?;
            raised_delays.push((exchange, id, raised));
        }
        // Nothing that starts here sees a topology without it.
        let mut change = vhost.change();
        *change.guard = topology.with_handles(|entry| {
            if entry.is_stream() {
                let topic = self.topics().get(&entry.name).expect("topics come back first");
                return Target::Stream(StreamHandle::new(topic, self.memory().gauge().clone()));
            }
            let (queue, effects, reader) = recovered.remove(&entry.handle).expect("recovered above");
            let (id, name) = (entry.handle, entry.name.clone());
            Target::Queue(QueueTask::spawn(id, name, vhost.clone(), queue, effects, reader))
        });
        for (exchange, id, (queue, effects, reader)) in raised_delays {
            vhost.add_delay(&exchange, id, queue, effects, reader);
        }
        Ok(())
    }

    /// A queue with what its log holds, if there is one.
    fn recover(
        &self,
        disk: &Arc<dyn Disk>,
        name: &str,
        id: QueueId,
        rules: Rules,
        known: &mut Known,
    ) -> Result<Raised, StartError> {
        let mut queue = Queue::new(rules, now_ms());
        let mut effects = Effects::default();
        let mut reader = None;
        if let Some(mut recovered) = storage::recover(disk, id, &known.committed)? {
            let mut found = recovery::find(&recovered, queue.rules(), known)?;
            storage::report_damage(name, &recovered.reader);
            if !found.abandoned.is_empty() {
                recovered.abandon(std::mem::take(&mut found.abandoned))?;
            }
            let past = std::mem::take(&mut found.past);
            queue.recover(recovered.next, found.kept(), past, &mut effects);
            reader = Some(recovered.reader);
            self.shared.storage.send(storage::Job::Adopt { queue: id, files: recovered.files });
        }
        Ok((queue, effects, reader))
    }

    /// Directories of queues that no definition names: transient queues, or deleted just before a crash.
    fn remove_strangers(&self, disk: &Arc<dyn Disk>) -> Result<(), StartError> {
        let known: HashSet<String> = self
            .vhosts()
            .iter()
            .flat_map(|vhost| vhost.all_queues())
            .map(|queue| queue.id.to_string())
            .collect();
        for name in disk.list(Path::new("queues"))? {
            if !known.contains(&name) {
                disk.remove_dir_all(&Path::new("queues").join(name))?;
            }
        }
        Ok(())
    }
}
