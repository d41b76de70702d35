//! The topics there are, by name and by id.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cauce_core::Table;
use cauce_core::message::Gauge;
use cauce_core::partition::TopicPartition;
use cauce_core::settings::SettingError;
use cauce_core::topic::{self, NameError, Overrides, TopicConfig, TopicId, TopicName};
use cauce_log::LogReader;
use parking_lot::RwLock;

use super::files::Location;
use super::handle::PartitionHandle;
use super::task::PartitionTask;
use crate::definitions::{Arguments, TopicDefinition};
use crate::limits::PARTITIONS_OF_NODE_MAX;
use crate::storage::Storage;

/// Why a topic is not made, changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("topic '{0}' already exists")]
    Exists(String),
    #[error("topic '{name}' differs from the existing topic '{other}' only in '.' and '_'")]
    Collides { name: String, other: String },
    #[error("'{0}' is a queue: topics and queues share their names")]
    IsQueue(String),
    #[error("topic '{0}' is being deleted")]
    Leaving(String),
    #[error("{wanted} partitions, where 1 to {most} are possible")]
    Partitions { wanted: i32, most: i32 },
    #[error(transparent)]
    Config(#[from] SettingError),
    #[error("no topic '{0}'")]
    Unknown(String),
    #[error("topic '{0}' is the broker's own")]
    Internal(String),
    #[error("topic '{name}' has {has} partitions, and can only get more than that")]
    NotMore { name: String, has: i32 },
    #[error("the node has {has} partitions, and not more than {most} may be")]
    Crowded { has: usize, most: usize },
}

#[derive(Debug)]
pub struct Topic {
    pub name: TopicName,
    pub id: TopicId,
    /// The arguments it was declared with, if a client of AMQP made it.
    pub(crate) declared: Option<Table>,
    /// By number. Only ever grows.
    partitions: RwLock<Arc<[Arc<PartitionHandle>]>>,
    settings: RwLock<TopicSettings>,
}

#[derive(Debug, Clone)]
struct TopicSettings {
    overrides: Arc<Overrides>,
    config: Arc<TopicConfig>,
}

impl Topic {
    pub fn partitions(&self) -> Arc<[Arc<PartitionHandle>]> {
        self.partitions.read().clone()
    }

    pub fn partition(&self, number: i32) -> Option<Arc<PartitionHandle>> {
        self.partitions.read().get(usize::try_from(number).ok()?).cloned()
    }

    pub fn config(&self) -> Arc<TopicConfig> {
        self.settings.read().config.clone()
    }

    /// What the topic says itself.
    pub fn overrides(&self) -> Arc<Overrides> {
        self.settings.read().overrides.clone()
    }

    pub fn is_internal(&self) -> bool {
        topic::is_internal(&self.name)
    }

    /// The topic says this itself from now on. Called under the lock of [`Topics::change`].
    pub(super) fn configure(&self, overrides: Overrides, config: TopicConfig) {
        let settings = TopicSettings { overrides: Arc::new(overrides), config: Arc::new(config) };
        let config = settings.config.clone();
        *self.settings.write() = settings;
        self.partitions().iter().for_each(|partition| partition.configure(config.clone()));
    }

    /// Called under the lock of [`Topics::change`].
    pub(super) fn add_partitions(&self, more: impl IntoIterator<Item = Arc<PartitionHandle>>) {
        let mut partitions = self.partitions.write();
        *partitions = partitions.iter().cloned().chain(more).collect();
    }

    pub(crate) fn definition(&self) -> TopicDefinition {
        TopicDefinition {
            id: self.id.to_string(),
            partitions: self.partitions.read().len() as i32,
            arguments: self.declared.as_ref().map(Arguments::from),
            config: self.overrides().iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
        }
    }
}

/// The topics of a node. Changes are made one at a time, under a lock.
#[derive(Debug, Default)]
pub struct Topics(RwLock<Named>);

#[derive(Debug, Default)]
pub(crate) struct Named {
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
    /// The topic with a name that differs only in '.' and '_'.
    by_collision: HashMap<String, Arc<str>>,
    /// Deleted, and their files are not gone yet.
    leaving: HashSet<Arc<str>>,
    /// Of all topics together.
    partitions: usize,
}

impl Topics {
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.0.read().by_name.get(name).cloned()
    }

    pub fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.0.read().by_id.get(&id).cloned()
    }

    /// All, by name.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.0.read().by_name.values().cloned().collect()
    }

    pub fn contains(&self, name: &str) -> bool {
        let named = self.0.read();
        named.by_name.contains_key(name) || named.leaving.contains(name)
    }

    pub(crate) fn change(&self) -> parking_lot::RwLockWriteGuard<'_, Named> {
        self.0.write()
    }
}

impl Named {
    /// Whether a topic of this name could be added.
    pub(crate) fn check_new(&self, name: &TopicName) -> Result<(), TopicError> {
        if self.by_name.contains_key(&**name) {
            return Err(TopicError::Exists(name.to_string()));
        }
        if self.leaving.contains(&**name) {
            return Err(TopicError::Leaving(name.to_string()));
        }
        match self.by_collision.get(&name.collision_key()) {
            Some(other) => Err(TopicError::Collides { name: name.to_string(), other: other.to_string() }),
            None => Ok(()),
        }
    }

    /// Whether so many partitions more could be added.
    pub(crate) fn check_room(&self, partitions: i32) -> Result<(), TopicError> {
        match self.partitions + partitions as usize <= PARTITIONS_OF_NODE_MAX {
            true => Ok(()),
            false => Err(TopicError::Crowded { has: self.partitions, most: PARTITIONS_OF_NODE_MAX }),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Result<Arc<Topic>, TopicError> {
        self.by_name.get(name).cloned().ok_or_else(|| TopicError::Unknown(name.to_owned()))
    }

    pub(crate) fn count(&mut self, partitions_more: usize) {
        self.partitions += partitions_more;
    }

    pub(crate) fn add(&mut self, topic: Arc<Topic>) {
        self.partitions += topic.partitions().len();
        self.by_collision.insert(topic.name.collision_key(), topic.name.shared());
        self.by_id.insert(topic.id, topic.clone());
        self.by_name.insert(topic.name.shared(), topic);
    }

    /// Nobody finds the topic any more. Its name stays taken until [`Named::forget`].
    pub(crate) fn take_out(&mut self, name: &str) -> Option<Arc<Topic>> {
        let topic = self.by_name.remove(name)?;
        self.partitions -= topic.partitions().len();
        self.by_id.remove(&topic.id);
        self.leaving.insert(topic.name.shared());
        Some(topic)
    }

    pub(crate) fn forget(&mut self, topic: &Topic) {
        self.leaving.remove(&*topic.name);
        self.by_collision.remove(&topic.name.collision_key());
    }
}

/// A topic whose partitions are to be started.
pub(crate) struct Plan {
    pub(crate) name: TopicName,
    pub(crate) id: TopicId,
    pub(crate) overrides: Overrides,
    pub(crate) config: TopicConfig,
    pub(crate) declared: Option<Table>,
}

impl Plan {
    pub(crate) fn at(&self, partition: i32) -> TopicPartition {
        TopicPartition { topic: self.name.shared(), partition }
    }

    /// The topic with a task for each partition. `make` gives what is known of each, and the way to its log.
    pub(crate) fn start<E>(
        self,
        partitions: i32,
        storage: &Storage,
        gauge: &Gauge,
        mut number: impl FnMut() -> u64,
        mut make: impl FnMut(&Arc<Location>) -> Result<(cauce_core::stream::Stream, Option<LogReader>), E>,
    ) -> Result<Arc<Topic>, E> {
        let mut handles = Vec::with_capacity(partitions as usize);
        for partition in 0..partitions {
            let at = self.at(partition);
            let location = Arc::new(Location::new(number(), &at, self.id, &self.config));
            let (stream, reader) = make(&location)?;
            handles.push(PartitionTask::spawn(at, location, storage.clone(), gauge, stream, reader));
        }
        let settings = TopicSettings { overrides: Arc::new(self.overrides), config: Arc::new(self.config) };
        Ok(Arc::new(Topic {
            name: self.name,
            id: self.id,
            declared: self.declared,
            partitions: RwLock::new(handles.into()),
            settings: RwLock::new(settings),
        }))
    }
}
