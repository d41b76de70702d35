//! Definitions in RabbitMQ's format, so that they can move there too.

use cauce_core::access::Access;
use cauce_core::exchange::Destination;
use cauce_core::topology::{Topology, is_predeclared};
use cauce_core::{Table, Value};
use serde_json::{Map, Value as Json, json};

use super::About;
use super::blueprint::Blueprint;

impl Blueprint {
    /// Everything, as a JSON document. What is exclusive to a connection cannot be defined elsewhere.
    pub fn export(&self) -> Json {
        let topologies: Vec<_> = self.vhosts.values().map(|vhost| &vhost.topology).collect();
        let all = |list: fn(&Topology<u64>) -> Vec<Json>| -> Vec<Json> {
            topologies.iter().flat_map(|topology| list(topology)).collect()
        };
        json!({
            "product_name": "Cauce",
            "product_version": env!("CARGO_PKG_VERSION"),
            "users": users(&self.access),
            "vhosts": self.vhosts.iter().map(|(name, own)| vhost(name, &own.about)).collect::<Vec<_>>(),
            "permissions": permissions(&self.access),
            "topic_permissions": topic_permissions(&self.access),
            "parameters": [],
            "global_parameters": [],
            "policies": [],
            "exchanges": all(exchanges),
            "queues": all(queues),
            "bindings": all(bindings),
        })
    }
}

fn users(access: &Access) -> Vec<Json> {
    let user = |user: &cauce_core::access::User| {
        json!({
            "name": user.name,
            "password_hash": user.password_hash.to_base64(),
            "hashing_algorithm": user.password_hash.algorithm().name(),
            "tags": user.tags,
            "limits": {},
        })
    };
    access.users().map(user).collect()
}

fn vhost(name: &str, about: &About) -> Json {
    json!({ "name": name, "limits": [], "metadata": about })
}

fn permissions(access: &Access) -> Vec<Json> {
    let all = access.all_permissions().map(|(user, vhost, permissions)| {
        json!({
            "user": user,
            "vhost": vhost,
            "configure": permissions.configure.as_str(),
            "write": permissions.write.as_str(),
            "read": permissions.read.as_str(),
        })
    });
    all.collect()
}

fn topic_permissions(access: &Access) -> Vec<Json> {
    let all = access.all_topic_permissions().map(|(user, vhost, exchange, permissions)| {
        json!({
            "user": user,
            "vhost": vhost,
            "exchange": exchange,
            "write": permissions.write.as_str(),
            "read": permissions.read.as_str(),
        })
    });
    all.collect()
}

fn exchanges(topology: &Topology<u64>) -> Vec<Json> {
    let mut own: Vec<_> = topology.exchanges().filter(|entry| !is_predeclared(entry.name())).collect();
    own.sort_by_key(|entry| entry.name());
    let exchange = |entry: &cauce_core::topology::ExchangeEntry| {
        let spec = entry.spec();
        json!({
            "name": &**entry.name(),
            "vhost": topology.vhost(),
            "type": spec.kind.name(),
            "durable": spec.durable,
            "auto_delete": spec.auto_delete,
            "internal": spec.internal,
            "arguments": table(&spec.arguments),
        })
    };
    own.into_iter().map(exchange).collect()
}

fn queues(topology: &Topology<u64>) -> Vec<Json> {
    let mut shared: Vec<_> = topology.queues().filter(|entry| entry.spec.exclusive_owner.is_none()).collect();
    shared.sort_by_key(|entry| &entry.name);
    let queue = |entry: &cauce_core::topology::QueueEntry<u64>| {
        json!({
            "name": &*entry.name,
            "vhost": topology.vhost(),
            "durable": entry.spec.durable,
            "auto_delete": entry.spec.auto_delete,
            "arguments": table(&entry.spec.arguments),
        })
    };
    shared.into_iter().map(queue).collect()
}

fn bindings(topology: &Topology<u64>) -> Vec<Json> {
    let exclusive =
        |name: &str| topology.queue(name).is_some_and(|entry| entry.spec.exclusive_owner.is_some());
    let mut all: Vec<_> = topology.bindings().collect();
    all.retain(|binding| !matches!(&binding.destination, Destination::Queue(name) if exclusive(name)));
    all.sort_by(|one, other| {
        let order = |binding: &cauce_core::topology::Binding| {
            (binding.source.clone(), binding.destination.clone(), binding.key.clone())
        };
        order(one).cmp(&order(other))
    });
    let binding = |binding: cauce_core::topology::Binding| {
        let kind = match binding.destination {
            Destination::Queue(_) => "queue",
            Destination::Exchange(_) => "exchange",
        };
        json!({
            "source": &*binding.source,
            "vhost": topology.vhost(),
            "destination": binding.destination.name(),
            "destination_type": kind,
            "routing_key": &*binding.key,
            "arguments": table(&binding.arguments),
        })
    };
    all.into_iter().map(binding).collect()
}

fn table(table: &Table) -> Json {
    Json::Object(table.iter().map(|(name, item)| (name.to_owned(), value(item))).collect::<Map<_, _>>())
}

/// JSON knows fewer types, as RabbitMQ's exports do: every whole number comes back as the widest.
pub(crate) fn value(value: &Value) -> Json {
    if let Some(number) = value.as_integer() {
        return number.into();
    }
    match value {
        Value::Bool(flag) => (*flag).into(),
        Value::F32(number) => f64::from(*number).into(),
        Value::F64(number) => (*number).into(),
        Value::Decimal { scale, value } => (f64::from(*value) / 10f64.powi(i32::from(*scale))).into(),
        Value::Text(bytes) | Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned().into(),
        Value::Timestamp(seconds) => (*seconds).into(),
        Value::List(list) => list.iter().map(self::value).collect(),
        Value::Table(nested) => table(nested),
        // Void; all whole numbers are above.
        _ => Json::Null,
    }
}
