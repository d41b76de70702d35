//! What a journal of changes amounts to: every definition, and no queue that runs.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use cauce_core::access::{Access, PasswordHash, Permissions, TopicPermissions, User};
use cauce_core::exchange::{Destination, ExchangeKind};
use cauce_core::topic;
use cauce_core::topology::{ExchangeSpec, QueueSpec, Topology, TopologyError};
use cauce_log::{Disk, Journal};

use super::{About, BindingChange, Change, TopicDefinition};
use crate::node::StartError;
use crate::storage::QueueId;
use crate::stream::TOPICS_VHOST;

/// The number of no queue: of topics, which have none.
pub(crate) const NO_QUEUE: QueueId = 0;

#[derive(Debug, Default)]
pub struct Blueprint {
    pub(crate) access: Access,
    pub(crate) vhosts: BTreeMap<String, VhostBlueprint>,
    pub(crate) topics: BTreeMap<String, TopicDefinition>,
    /// The first producer id that nobody can have.
    pub(crate) free_producer_id: i64,
    pub(crate) cluster: Option<String>,
}

#[derive(Debug)]
pub(crate) struct VhostBlueprint {
    pub(crate) topology: Topology<QueueId>,
    /// The queue that holds the messages of each delayed exchange.
    pub(crate) delays: HashMap<Arc<str>, QueueId>,
    pub(crate) about: About,
}

impl VhostBlueprint {
    pub(crate) fn new(name: &str) -> VhostBlueprint {
        VhostBlueprint { topology: Topology::new(name), delays: HashMap::new(), about: About::default() }
    }

    /// Clients of AMQP see topics as streams, but for those that are the broker's own.
    fn show_topic(&mut self, name: &str, definition: &TopicDefinition) -> Result<(), TopologyError> {
        if !topic::is_internal(name) && self.topology.queue(name).is_none() {
            self.topology.add_queue(name, definition.spec(), || NO_QUEUE)?;
        }
        Ok(())
    }
}

impl Blueprint {
    /// What a data directory holds that no node is using.
    pub fn read(disk: Arc<dyn Disk>) -> Result<Blueprint, StartError> {
        let (_, entries, _) = Journal::open(disk, PathBuf::from("definitions"))?;
        let changes = entries.iter().map(|entry| Change::decode(entry)).collect::<Result<Vec<_>, _>>()?;
        Ok(Blueprint::from_changes(changes)?)
    }

    pub(crate) fn from_changes(
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Blueprint, TopologyError> {
        let mut blueprint = Blueprint::default();
        for change in changes {
            blueprint.apply(change)?;
        }
        Ok(blueprint)
    }

    /// One about something that went meanwhile changes nothing.
    fn apply(&mut self, change: Change) -> Result<(), TopologyError> {
        match change {
            Change::Vhost { name, about } => {
                let is_new = !self.vhosts.contains_key(&name);
                let vhost = self.vhosts.entry(name).or_insert_with_key(|name| VhostBlueprint::new(name));
                vhost.about = about;
                if is_new && vhost.topology.vhost() == TOPICS_VHOST {
                    for (name, definition) in &self.topics {
                        vhost.show_topic(name, definition)?;
                    }
                }
            }
            Change::VhostGone { name } => drop(self.vhosts.remove(&name)),
            Change::User { name, password_hash, tags } => {
                let password_hash =
                    PasswordHash::from_base64(&password_hash).unwrap_or_else(|_| PasswordHash::locked());
                self.access.put_user(User { name: name.into(), password_hash, tags });
            }
            Change::UserGone { name } => drop(self.access.remove_user(&name)),
            Change::Permissions { user, vhost, configure, write, read } => {
                if let Ok(permissions) = Permissions::parse(&configure, &write, &read) {
                    let _ = self.access.grant(&user, &vhost, permissions);
                }
            }
            Change::PermissionsGone { user, vhost } => drop(self.access.revoke(&user, &vhost)),
            Change::TopicPermissions { user, vhost, exchange, write, read } => {
                if let Ok(permissions) = TopicPermissions::parse(&write, &read, &user, &vhost) {
                    let _ = self.access.grant_topic(&user, &vhost, &exchange, permissions);
                }
            }
            Change::Exchange { vhost, name, kind, auto_delete, internal, arguments, delay_queue } => {
                let Some(vhost) = self.vhosts.get_mut(&vhost) else { return Ok(()) };
                let arguments = arguments.table();
                let kind = ExchangeKind::parse(&kind, &arguments)?;
                let spec = ExchangeSpec { kind, durable: true, auto_delete, internal, arguments };
                vhost.topology.declare_exchange(&name, spec)?;
                if let Some(id) = delay_queue {
                    vhost.delays.insert(name.into(), id);
                }
            }
            Change::ExchangeGone { vhost, name } => {
                let Some(vhost) = self.vhosts.get_mut(&vhost) else { return Ok(()) };
                vhost.topology.delete_exchange(&name, false)?;
                let VhostBlueprint { topology, delays, .. } = vhost;
                delays.retain(|exchange, _| topology.exchange(exchange).is_some());
            }
            Change::Queue { vhost, name, id, auto_delete, arguments } => {
                let Some(vhost) = self.vhosts.get_mut(&vhost) else { return Ok(()) };
                let arguments = arguments.table();
                let spec = QueueSpec { durable: true, exclusive_owner: None, auto_delete, arguments };
                vhost.topology.delete_queue(&name);
                vhost.topology.add_queue(&name, spec, || id)?;
            }
            Change::QueueGone { vhost, name } => {
                let Some(vhost) = self.vhosts.get_mut(&vhost) else { return Ok(()) };
                vhost.topology.delete_queue(&name);
            }
            Change::Binding(binding) => {
                let Some(vhost) = self.vhosts.get_mut(&binding.vhost) else { return Ok(()) };
                let (destination, arguments) = (binding.end(), binding.arguments.table());
                vhost.topology.bind(&binding.source, destination, &binding.key, arguments)?;
            }
            Change::BindingGone(binding) => {
                let Some(vhost) = self.vhosts.get_mut(&binding.vhost) else { return Ok(()) };
                let (destination, arguments) = (binding.end(), binding.arguments.table());
                vhost.topology.unbind(&binding.source, &destination, &binding.key, arguments)?;
            }
            Change::Topic { name, definition } => {
                if let Some(vhost) = self.vhosts.get_mut(TOPICS_VHOST) {
                    vhost.show_topic(&name, &definition)?;
                }
                self.topics.insert(name, definition);
            }
            Change::TopicGone { name } => {
                if let Some(vhost) = self.vhosts.get_mut(TOPICS_VHOST) {
                    vhost.topology.delete_queue(&name);
                }
                self.topics.remove(&name);
            }
            Change::ProducerIds { upto } => self.free_producer_id = self.free_producer_id.max(upto),
            Change::Cluster { id } => self.cluster = Some(id),
        }
        Ok(())
    }
}

impl BindingChange {
    fn end(&self) -> Destination {
        match self.to_exchange {
            true => Destination::exchange(&self.destination),
            false => Destination::queue(&self.destination),
        }
    }
}
