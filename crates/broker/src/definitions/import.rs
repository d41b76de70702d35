//! From what a file asks for to what has to change.
//!
//! RabbitMQ's rules: users and permissions become as the file says, virtual hosts, exchanges, queues and
//! bindings are added where they are missing, and nothing is ever removed.

use cauce_core::access::{PasswordHash, Permissions, TopicPermissions, User};
use cauce_core::exchange::Destination;
use cauce_core::topology::{Declared, TopologyError};

use super::blueprint::{Blueprint, VhostBlueprint};
use super::read::{
    BindingDefinition, Definitions, DefinitionsError, ExchangeDefinition, Notes, Password, QueueDefinition,
    UserDefinition, VhostDefinition,
};

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Definitions that are new or became others.
    pub changes: usize,
    /// What was left out or left as it was, a line for each reason.
    pub notes: Vec<String>,
}

/// One thing to change.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Vhost(&'a VhostDefinition),
    User(User),
    Permissions { user: &'a str, vhost: &'a str, permissions: &'a Permissions },
    TopicPermissions { user: &'a str, vhost: &'a str, exchange: &'a str, permissions: &'a TopicPermissions },
    Exchange(&'a ExchangeDefinition),
    Queue(&'a QueueDefinition),
    Binding(&'a BindingDefinition),
}

#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    pub(crate) steps: Vec<Step<'a>>,
    pub(crate) notes: Vec<String>,
}

impl<'a> Plan<'a> {
    /// Tries everything on the blueprint first, so that what is wrong is found before anything is changed.
    pub(crate) fn new(
        definitions: &'a Definitions,
        blueprint: Blueprint,
        salt: impl Fn() -> [u8; 4],
    ) -> Result<Plan<'a>, DefinitionsError> {
        let mut trial = Trial { blueprint, steps: Vec::new(), notes: Notes::default() };
        for user in &definitions.users {
            trial.user(user, &salt);
        }
        for vhost in &definitions.vhosts {
            trial.vhost(vhost);
        }
        for one in &definitions.permissions {
            trial.permissions(&one.user, &one.vhost, &one.permissions)?;
        }
        for one in &definitions.topic_permissions {
            trial.topic_permissions(&one.user, &one.vhost, &one.exchange, &one.permissions)?;
        }
        for exchange in &definitions.exchanges {
            trial.exchange(exchange)?;
        }
        for queue in &definitions.queues {
            trial.queue(queue)?;
        }
        for binding in &definitions.bindings {
            trial.binding(binding)?;
        }
        let mut notes = definitions.notes.lines();
        notes.extend(trial.notes.lines());
        Ok(Plan { steps: trial.steps, notes })
    }
}

struct Trial<'a> {
    blueprint: Blueprint,
    steps: Vec<Step<'a>>,
    notes: Notes,
}

impl<'a> Trial<'a> {
    fn user(&mut self, definition: &UserDefinition, salt: impl Fn() -> [u8; 4]) {
        let known = self.blueprint.access.user(&definition.name);
        let password_hash = match (&definition.password, known) {
            (Password::Hash(hash), _) => hash.clone(),
            // A password that did not change keeps its salt.
            (Password::Plain(text), Some(known)) if known.password_hash.verify(text.as_bytes()) => {
                known.password_hash.clone()
            }
            (Password::Plain(text), _) => PasswordHash::with_salt(salt(), text.as_bytes()),
        };
        let user = User { name: (*definition.name).into(), password_hash, tags: definition.tags.clone() };
        if known != Some(&user) {
            self.blueprint.access.put_user(user.clone());
            self.steps.push(Step::User(user));
        }
    }

    fn vhost(&mut self, definition: &'a VhostDefinition) {
        let VhostDefinition { name, about } = definition;
        let known = self.blueprint.vhosts.get(name);
        if known.is_none_or(|vhost| vhost.about != *about) {
            let vhosts = &mut self.blueprint.vhosts;
            let vhost = vhosts.entry(name.clone()).or_insert_with_key(|name| VhostBlueprint::new(name));
            vhost.about = about.clone();
            self.steps.push(Step::Vhost(definition));
        }
    }

    fn permissions(
        &mut self,
        user: &'a str,
        vhost: &'a str,
        permissions: &'a Permissions,
    ) -> Result<(), DefinitionsError> {
        let subject = || format!("permissions of user '{user}' in vhost '{vhost}'");
        self.known_vhost(vhost, subject)?;
        if self.blueprint.access.permissions(user, vhost) == Some(permissions) {
            return Ok(());
        }
        let granted = self.blueprint.access.grant(user, vhost, permissions.clone());
        granted.map_err(|error| wrong(subject(), error))?;
        self.steps.push(Step::Permissions { user, vhost, permissions });
        Ok(())
    }

    fn topic_permissions(
        &mut self,
        user: &'a str,
        vhost: &'a str,
        exchange: &'a str,
        permissions: &'a TopicPermissions,
    ) -> Result<(), DefinitionsError> {
        let subject =
            || format!("topic permissions of user '{user}' on exchange '{exchange}' in vhost '{vhost}'");
        self.known_vhost(vhost, subject)?;
        if self.blueprint.access.topic_permissions(user, vhost, exchange) == Some(permissions) {
            return Ok(());
        }
        let granted = self.blueprint.access.grant_topic(user, vhost, exchange, permissions.clone());
        granted.map_err(|error| wrong(subject(), error))?;
        self.steps.push(Step::TopicPermissions { user, vhost, exchange, permissions });
        Ok(())
    }

    fn exchange(&mut self, definition: &'a ExchangeDefinition) -> Result<(), DefinitionsError> {
        let ExchangeDefinition { vhost, name, spec } = definition;
        let subject = || format!("exchange '{name}' in vhost '{vhost}'");
        let topology = &mut self.known_vhost(vhost, subject)?.topology;
        match topology.declare_exchange(name, spec.clone()) {
            Ok(Declared::New) => self.steps.push(Step::Exchange(definition)),
            Ok(Declared::Existing) => {}
            Err(TopologyError::Inequivalent(difference)) => self.notes.add(AS_IT_WAS, difference.to_string()),
            Err(error) => return Err(wrong(subject(), error)),
        }
        Ok(())
    }

    fn queue(&mut self, definition: &'a QueueDefinition) -> Result<(), DefinitionsError> {
        let QueueDefinition { vhost, name, spec } = definition;
        let subject = || format!("queue '{name}' in vhost '{vhost}'");
        let topology = &mut self.known_vhost(vhost, subject)?.topology;
        match topology.declare_queue(name, spec.clone(), NOBODY, || 0) {
            Ok((Declared::New, _)) => self.steps.push(Step::Queue(definition)),
            Ok((Declared::Existing, _)) => {}
            Err(TopologyError::Inequivalent(difference)) => self.notes.add(AS_IT_WAS, difference.to_string()),
            Err(TopologyError::Locked { .. }) => {
                self.notes.add(AS_IT_WAS, format!("exclusive {}", subject()))
            }
            Err(error) => return Err(wrong(subject(), error)),
        }
        Ok(())
    }

    fn binding(&mut self, definition: &'a BindingDefinition) -> Result<(), DefinitionsError> {
        let BindingDefinition { vhost, source, destination, key, arguments } = definition;
        let what = match destination {
            Destination::Queue(_) => "queue",
            Destination::Exchange(_) => "exchange",
        };
        let subject =
            || format!("binding from '{source}' to {what} '{}' in vhost '{vhost}'", destination.name());
        let topology = &mut self.known_vhost(vhost, subject)?.topology;
        match topology.bind(source, destination.clone(), key, arguments.clone()) {
            Ok(true) => self.steps.push(Step::Binding(definition)),
            Ok(false) => {}
            // RabbitMQ exports the bindings of exclusive queues and not the queues; it imports neither.
            Err(TopologyError::NoSuchQueue { .. } | TopologyError::NoSuchExchange { .. }) => {
                self.notes.add("bindings of what does not exist are left out", subject());
            }
            Err(error) => return Err(wrong(subject(), error)),
        }
        Ok(())
    }

    fn known_vhost(
        &mut self,
        vhost: &str,
        subject: impl Fn() -> String,
    ) -> Result<&mut VhostBlueprint, DefinitionsError> {
        let known = self.blueprint.vhosts.get_mut(vhost);
        known.ok_or_else(|| wrong(subject(), format!("no vhost '{vhost}', neither in the file nor here")))
    }
}

const AS_IT_WAS: &str = "defined otherwise already, and left as it was";

/// A connection number nobody has.
pub(crate) const NOBODY: u64 = 0;

fn wrong(subject: String, reason: impl ToString) -> DefinitionsError {
    DefinitionsError::Object { subject, reason: reason.to_string() }
}
