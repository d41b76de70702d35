//! Definitions on disk: a journal of changes, one JSON object each. Applied in order they give back
//! the virtual hosts, users, exchanges, queues and bindings of the node.
//!
//! Arguments are kept as encoded AMQP tables in hexadecimal, so that every value keeps its width.

mod blueprint;
mod export;
mod fields;
mod import;
mod read;
#[cfg(test)]
mod stories;

use std::collections::BTreeMap;

use cauce_amqp::table::{RawTable, encode_table};
use cauce_core::Table;
use cauce_core::access::{Permissions, TopicPermissions, User};
use cauce_core::topology::QueueSpec;
use serde::{Deserialize, Serialize};

use crate::stream::spec_of;

pub use blueprint::Blueprint;
pub use import::Imported;
pub use read::{Definitions, DefinitionsError};

pub(crate) use blueprint::{NO_QUEUE, VhostBlueprint};
pub(crate) use export::value as json_of;
pub(crate) use import::{NOBODY, Plan, Step};
pub(crate) use read::{BindingDefinition, ExchangeDefinition, QueueDefinition, VhostDefinition};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum Change {
    /// Adds the virtual host, or says anew what is known about it.
    Vhost {
        name: String,
        #[serde(flatten)]
        about: About,
    },
    VhostGone {
        name: String,
    },
    User {
        name: String,
        password_hash: String,
        tags: Vec<String>,
    },
    UserGone {
        name: String,
    },
    Permissions {
        user: String,
        vhost: String,
        configure: String,
        write: String,
        read: String,
    },
    PermissionsGone {
        user: String,
        vhost: String,
    },
    TopicPermissions {
        user: String,
        vhost: String,
        exchange: String,
        write: String,
        read: String,
    },
    Exchange {
        vhost: String,
        name: String,
        kind: String,
        auto_delete: bool,
        internal: bool,
        arguments: Arguments,
        /// The number of the queue that holds its messages, of a delayed exchange.
        #[serde(default)]
        delay_queue: Option<u64>,
    },
    ExchangeGone {
        vhost: String,
        name: String,
    },
    Queue {
        vhost: String,
        name: String,
        id: u64,
        auto_delete: bool,
        arguments: Arguments,
    },
    QueueGone {
        vhost: String,
        name: String,
    },
    Binding(BindingChange),
    BindingGone(BindingChange),
    Topic {
        name: String,
        #[serde(flatten)]
        definition: TopicDefinition,
    },
    TopicGone {
        name: String,
    },
    /// Ids below this may have been given to producers.
    ProducerIds {
        upto: i64,
    },
    /// Names this node, as the one of its cluster.
    Cluster {
        id: String,
    },
}

/// A topic, but for its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicDefinition {
    /// In hexadecimal.
    pub(crate) id: String,
    pub(crate) partitions: i32,
    /// What it says itself, by name.
    #[serde(default)]
    pub(crate) config: BTreeMap<String, String>,
    /// With which it was declared, if a client of AMQP made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arguments: Option<Arguments>,
}

impl TopicDefinition {
    /// What it is declared as in AMQP.
    pub(crate) fn spec(&self) -> QueueSpec {
        spec_of(self.arguments.as_ref().map(Arguments::table).as_ref())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BindingChange {
    pub(crate) vhost: String,
    pub(crate) source: String,
    pub(crate) to_exchange: bool,
    pub(crate) destination: String,
    pub(crate) key: String,
    pub(crate) arguments: Arguments,
}

/// What people wrote about a virtual host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    pub description: String,
    pub tags: Vec<String>,
}

impl Change {
    pub(crate) fn user(user: &User) -> Change {
        Change::User {
            name: user.name.to_string(),
            password_hash: user.password_hash.to_base64(),
            tags: user.tags.clone(),
        }
    }

    pub(crate) fn permissions(user: &str, vhost: &str, permissions: &Permissions) -> Change {
        Change::Permissions {
            user: user.to_owned(),
            vhost: vhost.to_owned(),
            configure: permissions.configure.as_str().to_owned(),
            write: permissions.write.as_str().to_owned(),
            read: permissions.read.as_str().to_owned(),
        }
    }

    pub(crate) fn topic_permissions(
        user: &str,
        vhost: &str,
        exchange: &str,
        permissions: &TopicPermissions,
    ) -> Change {
        Change::TopicPermissions {
            user: user.to_owned(),
            vhost: vhost.to_owned(),
            exchange: exchange.to_owned(),
            write: permissions.write.as_str().to_owned(),
            read: permissions.read.as_str().to_owned(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("changes are plain data")
    }

    pub(crate) fn decode(entry: &[u8]) -> Result<Change, serde_json::Error> {
        serde_json::from_slice(entry)
    }
}

/// A table in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arguments(String);

impl From<&Table> for Arguments {
    fn from(table: &Table) -> Arguments {
        use std::fmt::Write;
        let mut bytes = Vec::new();
        encode_table(table, &mut bytes);
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            write!(text, "{byte:02x}").expect("writing to a string");
        }
        Arguments(text)
    }
}

impl Arguments {
    /// What was encoded is ours; anything else reads as no arguments.
    pub(crate) fn table(&self) -> Table {
        let digits = self.0.as_bytes().chunks_exact(2).map(|pair| {
            let text = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(text, 16).ok()
        });
        let bytes: Option<Vec<u8>> = digits.collect();
        bytes.and_then(|bytes| RawTable(&bytes).decode().ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cauce_core::Value;

    #[test]
    fn a_vhost_needs_nothing_but_a_name() {
        let change = Change::decode(br#"{"change":"vhost","name":"/"}"#).unwrap();
        assert_eq!(change, Change::Vhost { name: "/".into(), about: About::default() });
    }

    #[test]
    fn a_change_reads_back_with_the_width_of_every_value() {
        let table: Table =
            [("x-message-ttl", Value::I32(5)), ("x-name", Value::text("ñ"))].into_iter().collect();
        let change = Change::Queue {
            vhost: "/".into(),
            name: "q".into(),
            id: 7,
            auto_delete: false,
            arguments: (&table).into(),
        };
        let Change::Queue { arguments, .. } = Change::decode(&change.encode()).unwrap() else { panic!() };
        assert_eq!(arguments.table(), table);
    }
}
