//! A definitions file in RabbitMQ's format: JSON, read whole and checked field by field.

use std::collections::BTreeSet;

use cauce_core::Table;
use cauce_core::access::{PasswordAlgorithm, PasswordHash, Permissions, TopicPermissions};
use cauce_core::exchange::{Destination, ExchangeKind};
use cauce_core::names;
use cauce_core::topology::{ExchangeSpec, QueueSpec, is_predeclared};
use serde_json::Value as Json;

use super::About;
use super::fields::Fields;
use crate::limits::{DEFINITIONS_BYTES_MAX, NAMES_IN_A_NOTE_MAX};
use crate::stream::{TOPICS_VHOST, asks_for_stream};

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionsError {
    #[error("{bytes} bytes of definitions are more than {DEFINITIONS_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("not JSON: {reason}")]
    NotJson { reason: String },
    #[error("{subject}: {field}: {reason}")]
    Field { subject: String, field: String, reason: String },
    #[error("{subject}: {reason}")]
    Object { subject: String, reason: String },
}

/// Everything a file defines that this version serves, and notes on the rest.
#[derive(Debug, Default)]
pub struct Definitions {
    pub(super) users: Vec<UserDefinition>,
    pub(super) vhosts: Vec<VhostDefinition>,
    pub(super) permissions: Vec<PermissionsDefinition>,
    pub(super) topic_permissions: Vec<TopicPermissionsDefinition>,
    pub(super) exchanges: Vec<ExchangeDefinition>,
    pub(super) queues: Vec<QueueDefinition>,
    pub(super) bindings: Vec<BindingDefinition>,
    pub(super) notes: Notes,
}

#[derive(Debug)]
pub(super) struct UserDefinition {
    pub(super) name: String,
    pub(super) password: Password,
    pub(super) tags: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct VhostDefinition {
    pub(crate) name: String,
    pub(crate) about: About,
}

pub(super) enum Password {
    Hash(PasswordHash),
    Plain(String),
}

/// Keeps passwords out of logs.
impl std::fmt::Debug for Password {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Password")
    }
}

#[derive(Debug)]
pub(super) struct PermissionsDefinition {
    pub(super) user: String,
    pub(super) vhost: String,
    pub(super) permissions: Permissions,
}

#[derive(Debug)]
pub(super) struct TopicPermissionsDefinition {
    pub(super) user: String,
    pub(super) vhost: String,
    pub(super) exchange: String,
    pub(super) permissions: TopicPermissions,
}

#[derive(Debug)]
pub(crate) struct ExchangeDefinition {
    pub(crate) vhost: String,
    pub(crate) name: String,
    pub(crate) spec: ExchangeSpec,
}

#[derive(Debug)]
pub(crate) struct QueueDefinition {
    pub(crate) vhost: String,
    pub(crate) name: String,
    pub(crate) spec: QueueSpec,
}

#[derive(Debug)]
pub(crate) struct BindingDefinition {
    pub(crate) vhost: String,
    pub(crate) source: String,
    pub(crate) destination: Destination,
    pub(crate) key: String,
    pub(crate) arguments: Table,
}

/// What an operator should know of what was not taken over: a reason, and to whom it applies.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<(String, BTreeSet<String>)>);

impl Notes {
    pub(super) fn add(&mut self, reason: impl Into<String>, subject: impl Into<String>) {
        let (reason, subject) = (reason.into(), subject.into());
        match self.0.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, subjects)) => drop(subjects.insert(subject)),
            None => self.0.push((reason, BTreeSet::from([subject]))),
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.iter().map(|(reason, subjects)| line(reason, subjects)).collect()
    }
}

fn line(reason: &str, subjects: &BTreeSet<String>) -> String {
    let named: Vec<&str> = subjects.iter().take(NAMES_IN_A_NOTE_MAX).map(String::as_str).collect();
    let more = match subjects.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{reason}: {}{more}", named.join(", "))
}

impl Definitions {
    pub fn parse(json: &[u8]) -> Result<Definitions, DefinitionsError> {
        if json.len() > DEFINITIONS_BYTES_MAX {
            return Err(DefinitionsError::TooLarge { bytes: json.len() });
        }
        // RabbitMQ takes an empty file for no definitions.
        if json.is_empty() {
            return Ok(Definitions::default());
        }
        let json: Json = serde_json::from_slice(json)
            .map_err(|error| DefinitionsError::NotJson { reason: error.to_string() })?;
        let mut file = Fields::new("the file", json)?;
        let mut definitions = Definitions::default();
        let notes = &mut definitions.notes;
        definitions.users = read_all(&mut file, "users", notes, read_user)?;
        definitions.vhosts = read_all(&mut file, "vhosts", notes, read_vhost)?;
        definitions.permissions = read_all(&mut file, "permissions", notes, read_permissions)?;
        definitions.topic_permissions =
            read_all(&mut file, "topic_permissions", notes, read_topic_permissions)?;
        definitions.exchanges =
            read_all(&mut file, "exchanges", notes, read_exchange)?.into_iter().flatten().collect();
        definitions.queues =
            read_all(&mut file, "queues", notes, read_queue)?.into_iter().flatten().collect();
        definitions.bindings =
            read_all(&mut file, "bindings", notes, read_binding)?.into_iter().flatten().collect();
        note_what_is_not_served(&mut file, notes)?;
        for about in ["rabbit_version", "rabbitmq_version", "product_name", "product_version"] {
            file.take(about);
        }
        for about in ["rabbitmq_definition_format", "original_cluster_name", "explanation"] {
            file.take(about);
        }
        for field in file.values.keys() {
            notes.add("not known, and not looked at", format!("'{field}'"));
        }
        Ok(definitions)
    }
}

impl Definitions {
    /// For who writes to a data directory that no node is using: what would not outlive the start.
    pub fn leave_out_transient(&mut self) {
        const REASON: &str = "not durable, and left out";
        for queue in self.queues.extract_if(.., |queue| !queue.spec.durable) {
            self.notes.add(REASON, format!("queue '{}' in vhost '{}'", queue.name, queue.vhost));
        }
        for exchange in self.exchanges.extract_if(.., |exchange| !exchange.spec.durable) {
            self.notes.add(REASON, format!("exchange '{}' in vhost '{}'", exchange.name, exchange.vhost));
        }
    }
}

/// Reads every object of one kind, and notes the fields nobody asked for.
fn read_all<T>(
    file: &mut Fields,
    kind: &'static str,
    notes: &mut Notes,
    read: impl Fn(&mut Fields, &mut Notes) -> Result<T, DefinitionsError>,
) -> Result<Vec<T>, DefinitionsError> {
    let mut all = Vec::new();
    for (at, json) in file.list(kind)?.into_iter().enumerate() {
        let mut fields = Fields::new(&format!("{kind}[{at}]"), json)?;
        all.push(read(&mut fields, notes)?);
        for field in fields.values.keys() {
            notes.add("not known, and not looked at", format!("'{field}' of {kind}"));
        }
    }
    Ok(all)
}

fn read_user(user: &mut Fields, notes: &mut Notes) -> Result<UserDefinition, DefinitionsError> {
    let name = user.text("name")?;
    user.subject = format!("user '{name}'");
    if name.is_empty() {
        return Err(user.wrong("name", "a name must not be empty"));
    }
    let (hash, algorithm) = (user.optional_text("password_hash")?, user.optional_text("hashing_algorithm")?);
    let password = match (user.optional_text("password")?, hash) {
        (Some(_), Some(_)) => return Err(user.wrong("password", "given beside 'password_hash'")),
        (Some(password), None) => Password::Plain(password),
        (None, None) => Password::Hash(PasswordHash::locked()),
        (None, Some(hash)) => Password::Hash(read_hash(user, &hash, algorithm.as_deref())?),
    };
    let tags = user.tags()?;
    if user.take("limits").is_some_and(|limits| !is_empty(&limits)) {
        notes.add("limits of users are not served", &*user.subject);
    }
    Ok(UserDefinition { name, password, tags })
}

fn read_hash(user: &Fields, hash: &str, algorithm: Option<&str>) -> Result<PasswordHash, DefinitionsError> {
    let read = match algorithm {
        None => PasswordHash::from_base64(hash),
        Some(name) => {
            let algorithm = PasswordAlgorithm::parse(name)
                .ok_or_else(|| user.wrong("hashing_algorithm", &format!("'{name}' is not known")))?;
            PasswordHash::from_base64_of(algorithm, hash)
        }
    };
    read.map_err(|error| user.wrong("password_hash", &error.to_string()))
}

fn read_vhost(vhost: &mut Fields, notes: &mut Notes) -> Result<VhostDefinition, DefinitionsError> {
    let name = vhost.text("name")?;
    vhost.subject = format!("vhost '{name}'");
    names::check_name(&name).map_err(|error| vhost.wrong("name", &error.to_string()))?;
    if vhost.take("limits").is_some_and(|limits| !is_empty(&limits)) {
        notes.add("limits of vhosts are not served", &*vhost.subject);
    }
    if vhost.take("tracing") == Some(Json::Bool(true)) {
        notes.add("tracing is not served", &*vhost.subject);
    }
    vhost.take("protected_from_deletion");
    // Some releases write these beside the name, some in an object of their own, some in both places.
    let mut about = vhost.object_of("metadata")?;
    for field in ["description", "tags", "default_queue_type"] {
        if let Some(value) = vhost.take(field) {
            about.values.insert(field.to_owned(), value);
        }
    }
    let default_type = about.optional_text("default_queue_type")?;
    if default_type.is_some_and(|name| !["", "classic", "undefined"].contains(&&*name)) {
        notes.add("a default queue type is not served", &*vhost.subject);
    }
    let description = about.optional_text("description")?.unwrap_or_default();
    let tags = about.words("tags")?.unwrap_or_default();
    for field in about.values.keys() {
        notes.add("not known, and not looked at", format!("'{field}' of vhosts"));
    }
    Ok(VhostDefinition { name, about: About { description, tags } })
}

fn read_permissions(
    fields: &mut Fields,
    _notes: &mut Notes,
) -> Result<PermissionsDefinition, DefinitionsError> {
    let (user, vhost) = (fields.text("user")?, fields.text("vhost")?);
    fields.subject = format!("permissions of user '{user}' in vhost '{vhost}'");
    let [configure, write, read] = ["configure", "write", "read"].map(|field| fields.text(field));
    let (configure, write, read) = (configure?, write?, read?);
    let permissions =
        Permissions::parse(&configure, &write, &read).map_err(|error| fields.object(&error.to_string()))?;
    Ok(PermissionsDefinition { user, vhost, permissions })
}

fn read_topic_permissions(
    fields: &mut Fields,
    _notes: &mut Notes,
) -> Result<TopicPermissionsDefinition, DefinitionsError> {
    let [user, vhost, exchange] = ["user", "vhost", "exchange"].map(|field| fields.text(field));
    let (user, vhost, exchange) = (user?, vhost?, exchange?);
    fields.subject =
        format!("topic permissions of user '{user}' on exchange '{exchange}' in vhost '{vhost}'");
    let (write, read) = (fields.text("write")?, fields.text("read")?);
    let permissions = TopicPermissions::parse(&write, &read, &user, &vhost)
        .map_err(|error| fields.object(&error.to_string()))?;
    Ok(TopicPermissionsDefinition { user, vhost, exchange, permissions })
}

/// `None` for exchanges that are there anyhow.
fn read_exchange(
    exchange: &mut Fields,
    notes: &mut Notes,
) -> Result<Option<ExchangeDefinition>, DefinitionsError> {
    let (name, vhost) = (exchange.text("name")?, exchange.text("vhost")?);
    exchange.subject = format!("exchange '{name}' in vhost '{vhost}'");
    let kind = exchange.text("type")?;
    let (durable, auto_delete) = (exchange.flag("durable")?, exchange.flag("auto_delete")?);
    let internal = exchange.optional_flag("internal")?.unwrap_or(false);
    let arguments = exchange.arguments()?;
    for about in ["policy", "user_who_performed_action"] {
        exchange.take(about);
    }
    if is_predeclared(&name) {
        notes.add("names of the broker's own are left out", &*exchange.subject);
        return Ok(None);
    }
    let kind =
        ExchangeKind::parse(&kind, &arguments).map_err(|error| exchange.wrong("type", &error.to_string()))?;
    let spec = ExchangeSpec { kind, durable, auto_delete, internal, arguments };
    Ok(Some(ExchangeDefinition { vhost, name, spec }))
}

/// `None` for queues that only the broker itself could have named, and for streams that cannot be here.
fn read_queue(queue: &mut Fields, notes: &mut Notes) -> Result<Option<QueueDefinition>, DefinitionsError> {
    let (name, vhost) = (queue.text("name")?, queue.text("vhost")?);
    queue.subject = format!("queue '{name}' in vhost '{vhost}'");
    let (durable, auto_delete) = (queue.flag("durable")?, queue.flag("auto_delete")?);
    let arguments = queue.arguments()?;
    // The type stands among the arguments too.
    for about in ["type", "policy", "user_who_performed_action"] {
        queue.take(about);
    }
    if names::is_reserved(&name) {
        notes.add("names of the broker's own are left out", &*queue.subject);
        return Ok(None);
    }
    let spec = QueueSpec { durable, exclusive_owner: None, auto_delete, arguments };
    if asks_for_stream(&spec) && vhost != TOPICS_VHOST {
        notes.add("streams are served in vhost '/' only, others are left out", &*queue.subject);
        return Ok(None);
    }
    Ok(Some(QueueDefinition { vhost, name, spec }))
}

/// `None` for those every queue has to the default exchange.
fn read_binding(
    binding: &mut Fields,
    _notes: &mut Notes,
) -> Result<Option<BindingDefinition>, DefinitionsError> {
    let [vhost, source, end] = ["vhost", "source", "destination"].map(|field| binding.text(field));
    let (vhost, source, end) = (vhost?, source?, end?);
    binding.subject = format!("binding from '{source}' to '{end}' in vhost '{vhost}'");
    let destination = match &*binding.text("destination_type")? {
        "queue" => Destination::queue(&end),
        "exchange" => Destination::exchange(&end),
        _ => return Err(binding.wrong("destination_type", "neither 'queue' nor 'exchange'")),
    };
    let (key, arguments) = (binding.text("routing_key")?, binding.arguments()?);
    // Some tools add it; it says nothing new.
    binding.take("properties_key");
    if source == names::DEFAULT_EXCHANGE && key == end {
        return Ok(None);
    }
    Ok(Some(BindingDefinition { vhost, source, destination, key, arguments }))
}

fn note_what_is_not_served(file: &mut Fields, notes: &mut Notes) -> Result<(), DefinitionsError> {
    for kind in ["policies", "parameters", "global_parameters"] {
        for (at, json) in file.list(kind)?.into_iter().enumerate() {
            let fields = Fields::new(&format!("{kind}[{at}]"), json)?;
            let word = |field: &str| fields.values.get(field).and_then(Json::as_str);
            let name = word("name").unwrap_or_default();
            // Every export has these, and no client sees them.
            if kind == "global_parameters" && ["cluster_name", "internal_cluster_id"].contains(&name) {
                continue;
            }
            let component = word("component").map(|component| format!("{component} ")).unwrap_or_default();
            let place = word("vhost").map(|vhost| format!(" in vhost '{vhost}'")).unwrap_or_default();
            let kind = kind.replace('_', " ");
            notes.add(format!("{kind} are not served and left out"), format!("{component}'{name}'{place}"));
        }
    }
    Ok(())
}

fn is_empty(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::Array(list) => list.is_empty(),
        Json::Object(map) => map.is_empty(),
        _ => false,
    }
}
