//! Making and deleting topics, and how they come back when the node starts.

use std::collections::HashSet;
use std::sync::Arc;

use cauce_core::Table;
use cauce_core::partition::TopicPartition;
use cauce_core::settings::SettingError;
use cauce_core::stream::Stream;
use cauce_core::topic::{self, Overrides, TopicConfig, TopicId, TopicName};
use cauce_log::Disk;

use super::files::{self, Location, PartitionJob, topics_dir};
use super::task::PartitionTask;
use super::topics::{Plan, Topic, TopicError, Topics};
use crate::clock::now_ms;
use crate::definitions::{Arguments, Change, TopicDefinition};
use crate::limits::PARTITIONS_MAX;
use crate::node::{Node, Shared, StartError};
use crate::settings::Settings;
use crate::storage::Job;
use crate::vhost::{Queues, Saved};

/// The virtual host whose names topics share.
pub const TOPICS_VHOST: &str = "/";

impl Node {
    pub fn topics(&self) -> &Topics {
        &self.shared.topics
    }

    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Whether a topic could be made, without making it.
    pub fn check_new_topic(
        &self,
        name: &str,
        partitions: i32,
        overrides: &Overrides,
    ) -> Result<TopicName, TopicError> {
        let name = TopicName::parse(name)?;
        if let Some(vhost) = self.vhost(TOPICS_VHOST) {
            check_no_queue(&vhost.topology(), &name)?;
        }
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(TopicError::Partitions { wanted: partitions, most: PARTITIONS_MAX });
        }
        {
            let topics = self.shared.topics.change();
            topics.check_new(&name)?;
            topics.check_room(partitions)?;
        }
        overrides.over(&self.shared.settings.topic)?;
        Ok(name)
    }

    /// Makes a topic. It can be used at once, and outlives the node when it is saved.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        overrides: Overrides,
    ) -> Result<(Arc<Topic>, Saved), TopicError> {
        let name = self.check_new_topic(name, partitions, &overrides)?;
        // Held until the topic is there, so that no queue takes its name meanwhile. The topology's lock comes first.
        let vhosts = self.vhosts.read();
        let vhost = vhosts.get(TOPICS_VHOST);
        let mut topology = vhost.map(|vhost| vhost.change());
        if let Some(topology) = &topology {
            check_no_queue(&topology.guard, &name)?;
        }
        let (topic, saved) = self.shared.add_topic(name, partitions, overrides, None)?;
        if let Some(topology) = &mut topology
            && !topic.is_internal()
        {
            topology.show_topic(topic.clone());
        }
        Ok((topic, saved))
    }

    /// Changes what a topic says itself. `change` gets that, and gives it back as it shall be.
    pub fn alter_topic(
        &self,
        name: &str,
        change: impl FnOnce(Overrides, &TopicConfig) -> Result<Overrides, SettingError>,
        validate_only: bool,
    ) -> Result<Saved, TopicError> {
        let topics = self.shared.topics.change();
        let topic = topics.find(name)?;
        let overrides = change((*topic.overrides()).clone(), &topic.config())?;
        let config = overrides.over(&self.shared.settings.topic)?;
        if validate_only {
            return Ok(Saved::default());
        }
        topic.configure(overrides, config);
        Ok(self.save(&topic))
    }

    /// Gives a topic more partitions, `count` in all.
    pub fn add_partitions(&self, name: &str, count: i32, validate_only: bool) -> Result<Saved, TopicError> {
        if topic::is_internal(name) {
            return Err(TopicError::Internal(name.to_owned()));
        }
        let mut topics = self.shared.topics.change();
        let topic = topics.find(name)?;
        let has = topic.partitions().len() as i32;
        if count <= has {
            return Err(TopicError::NotMore { name: name.to_owned(), has });
        }
        if count > PARTITIONS_MAX {
            return Err(TopicError::Partitions { wanted: count, most: PARTITIONS_MAX });
        }
        topics.check_room(count - has)?;
        if validate_only {
            return Ok(Saved::default());
        }
        let (rules, config) = (self.shared.settings.stream_rules(), topic.config());
        topic.add_partitions((has..count).map(|partition| {
            let at = TopicPartition { topic: topic.name.shared(), partition };
            let location = Arc::new(Location::new(self.shared.next_id(), &at, topic.id, &config));
            let stream = Stream::new(rules, 0, now_ms());
            PartitionTask::spawn(
                at,
                location,
                self.shared.storage.clone(),
                self.memory().gauge(),
                stream,
                None,
            )
        }));
        topics.count((count - has) as usize);
        Ok(self.save(&topic))
    }

    fn save(&self, topic: &Topic) -> Saved {
        self.shared.save_topic(topic)
    }

    /// A topic the broker keeps for itself, made if it is not there. What is written to it is never safe sooner than its
    /// definition: the storage thread keeps the order.
    pub(crate) fn internal_topic(
        &self,
        name: &str,
        partitions: i32,
        segment_bytes: i32,
    ) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.topics().get(name) {
            return Ok(topic);
        }
        let segment_bytes = segment_bytes.to_string();
        let config = Overrides::parse([
            ("cleanup.policy", "compact"),
            ("compression.type", "producer"),
            ("segment.bytes", &segment_bytes),
        ])?;
        match self.create_topic(name, partitions, config) {
            Ok((topic, _)) => Ok(topic),
            // Somebody else was faster.
            Err(error) => self.topics().get(name).ok_or(error),
        }
    }

    /// Deletes a topic with all it holds; answers when that is safe and the files are gone.
    pub async fn delete_topic(&self, name: &str) -> Result<(), TopicError> {
        if topic::is_internal(name) {
            return Err(TopicError::Internal(name.to_owned()));
        }
        let (topic, saved) = {
            let vhost = self.vhost(TOPICS_VHOST);
            let topology = vhost.as_ref().map(|vhost| vhost.change());
            let mut topics = self.shared.topics.change();
            let topic = topics.take_out(name).ok_or_else(|| TopicError::Unknown(name.to_owned()))?;
            let mut saved = vec![self.shared.define(&Change::TopicGone { name: name.to_owned() })];
            saved.extend(topology.into_iter().flat_map(|mut topology| topology.hide_topic(name).0));
            (topic, saved)
        };
        Saved(saved).wait().await;
        for partition in topic.partitions().iter() {
            partition.delete().await;
        }
        // Before another can have the name.
        self.groups.topic_deleted(topic.name.shared()).await;
        self.shared.topics.change().forget(&topic);
        Ok(())
    }

    /// A topic that was defined, with what its logs hold.
    pub(crate) fn raise_topic(
        &self,
        disk: &Arc<dyn Disk>,
        name: &str,
        definition: TopicDefinition,
    ) -> Result<(), StartError> {
        let wrong = |reason: String| StartError::Topic { name: name.to_owned(), reason };
        let settings = definition.config.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let overrides = Overrides::parse(settings).map_err(|error| wrong(error.to_string()))?;
        let config = overrides.over(&self.shared.settings.topic).map_err(|error| wrong(error.to_string()))?;
        let plan = Plan {
            name: TopicName::parse(name).map_err(|error| wrong(error.to_string()))?,
            id: TopicId::from_hex(&definition.id).ok_or_else(|| wrong("its id is none".to_owned()))?,
            overrides,
            config,
            declared: definition.arguments.as_ref().map(Arguments::table),
        };
        let (storage, rules) = (&self.shared.storage, self.shared.settings.stream_rules());
        let number = || self.shared.next_id();
        let topic =
            plan.start(definition.partitions, storage, self.memory().gauge(), number, |location| {
                let recovered = files::recover(disk, location, rules, now_ms())?;
                let reader = recovered.log.as_ref().map(|log| log.reader());
                if let Some(log) = recovered.log {
                    storage.send(Job::Partition { at: location.clone(), job: PartitionJob::Adopt { log } });
                }
                Ok::<_, StartError>((recovered.stream, reader))
            })?;
        self.shared.topics.change().add(topic);
        Ok(())
    }

    /// Directories of partitions that no definition names: of topics deleted just before a crash.
    pub(crate) fn remove_strange_partitions(&self, disk: &Arc<dyn Disk>) -> Result<(), StartError> {
        let mut known = HashSet::new();
        for topic in self.shared.topics.all() {
            known.extend(topic.partitions().iter().map(|partition| partition.at.to_string()));
        }
        for name in disk.list(&topics_dir())? {
            if !known.contains(&name) {
                disk.remove_dir_all(&topics_dir().join(name))?;
            }
        }
        Ok(())
    }

    pub(crate) async fn stop_topics(&self) {
        for topic in self.shared.topics.all() {
            for partition in topic.partitions().iter() {
                partition.stop().await;
            }
        }
    }
}

impl Shared {
    /// Makes a topic and starts it. Whoever calls holds the lock of the topology whose names topics share.
    pub(super) fn add_topic(
        &self,
        name: TopicName,
        partitions: i32,
        overrides: Overrides,
        declared: Option<Table>,
    ) -> Result<(Arc<Topic>, Saved), TopicError> {
        let config = overrides.over(&self.settings.topic)?;
        let plan = Plan { name, id: self.random_topic_id(), overrides, config, declared };
        let mut topics = self.topics.change();
        topics.check_new(&plan.name)?;
        topics.check_room(partitions)?;
        let rules = self.settings.stream_rules();
        let fresh = || Ok::<_, std::convert::Infallible>((Stream::new(rules, 0, now_ms()), None));
        let Ok(topic) =
            plan.start(partitions, &self.storage, self.memory.gauge(), || self.next_id(), |_| fresh());
        topics.add(topic.clone());
        let saved = self.save_topic(&topic);
        Ok((topic, saved))
    }

    fn save_topic(&self, topic: &Topic) -> Saved {
        let name = topic.name.to_string();
        Saved(vec![self.define(&Change::Topic { name, definition: topic.definition() })])
    }
}

fn check_no_queue(topology: &Queues, name: &TopicName) -> Result<(), TopicError> {
    match topology.queue(name) {
        Some(entry) if !entry.is_stream() => Err(TopicError::IsQueue(name.to_string())),
        _ => Ok(()),
    }
}
