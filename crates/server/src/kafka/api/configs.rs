//! What can be set, as the three APIs that show and change it say it.

use cauce_broker::stream::Topic;
use cauce_broker::{NodeSettings, Settings};
use cauce_core::settings::{Kind, SettingError};
use cauce_core::topic::TopicConfig;
use cauce_kafka::ErrorCode;

use super::{Call, ClusterRight, Right};
use crate::kafka::error::Coded;

/// Resources that one request may name: what is said of each is far longer than its name.
pub(super) const RESOURCES_MAX: usize = 10_000;

/// Kinds of resources, as the protocol counts them.
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
pub(super) const GROUP: i8 = 32;

/// Where a value comes from, as the protocol counts.
pub(super) const FROM_TOPIC: i8 = 1;
pub(super) const FROM_BROKER: i8 = 4;
pub(super) const FROM_DEFAULT: i8 = 5;

/// Why something is not shown or changed.
#[derive(Debug)]
pub(super) struct Refused(pub(super) ErrorCode, pub(super) String);

impl From<cauce_broker::stream::TopicError> for Refused {
    fn from(error: cauce_broker::stream::TopicError) -> Refused {
        Refused(error.code(), error.to_string())
    }
}

impl From<SettingError> for Refused {
    fn from(error: SettingError) -> Refused {
        Refused(ErrorCode::InvalidConfig, error.to_string())
    }
}

pub(super) fn invalid(reason: impl ToString) -> Refused {
    Refused(ErrorCode::InvalidRequest, reason.to_string())
}

/// One of the values a setting could have, the first being the one it has.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) source: i8,
}

/// A setting with its values.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) name: &'static str,
    pub(super) kind: i8,
    pub(super) read_only: bool,
    pub(super) values: Vec<Value>,
}

/// All settings of a topic.
pub(super) fn of_topic(settings: &Settings, topic: &Topic) -> Vec<Described> {
    let overrides = topic.overrides();
    let describe = |&(name, kind): &(&'static str, Kind)| {
        let own = overrides.get(name).map(|text| Value { name, value: text.to_owned(), source: FROM_TOPIC });
        let values = own.into_iter().chain(usual(settings, name)).collect();
        Described { name, kind: kind_of(kind), read_only: false, values }
    };
    TopicConfig::NAMES.iter().map(describe).collect()
}

/// All settings of the node. They stay while it runs.
pub(super) fn of_node(settings: &Settings) -> Vec<Described> {
    let defaults = NodeSettings::default();
    let own = NodeSettings::NAMES.iter().map(|&(name, kind)| {
        let (value, default) = (settings.node.get(name), defaults.get(name));
        Described { name, kind: kind_of(kind), read_only: true, values: values(name, value, default) }
    });
    let of_topics = TopicConfig::NAMES.iter().filter_map(|&(name, kind)| {
        let usual_name = TopicConfig::usual_name(name)?;
        Some(Described {
            name: usual_name,
            kind: kind_of(kind),
            read_only: true,
            values: usual(settings, name),
        })
    });
    own.chain(of_topics).collect()
}

/// What topics have that do not say.
fn usual(settings: &Settings, name: &'static str) -> Vec<Value> {
    let usual_name = TopicConfig::usual_name(name).unwrap_or(name);
    values(usual_name, settings.topic.get(name), TopicConfig::default().get(name))
}

fn values(name: &'static str, value: Option<String>, default: Option<String>) -> Vec<Value> {
    let set = value.filter(|value| Some(value) != default.as_ref());
    let set = set.map(|value| Value { name, value, source: FROM_BROKER });
    let default = default.map(|value| Value { name, value, source: FROM_DEFAULT });
    set.into_iter().chain(default).collect()
}

/// As the protocol counts.
fn kind_of(kind: Kind) -> i8 {
    match kind {
        Kind::Bool => 1,
        Kind::Text => 2,
        Kind::Int => 3,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
    }
}

impl Call {
    /// As [`Call::check_topic`] does, for what says why it is refused.
    pub(super) fn authorize(&self, right: Right, topic: &str) -> Result<(), Refused> {
        let refused = |code| Refused(code, "no permission for this topic".to_owned());
        self.check_topic(right, topic).map_err(refused)
    }

    pub(super) fn authorize_cluster(&self, right: ClusterRight) -> Result<(), Refused> {
        let refused = |code| Refused(code, "no permission for the node as a whole".to_owned());
        self.check_cluster(right).map_err(refused)
    }

    /// Whether a broker of this name is us. No name means all brokers.
    pub(super) fn check_broker(&self, name: &str) -> Result<(), Refused> {
        let node_id = self.node_id();
        match name.is_empty() || name == node_id.to_string() {
            true => Ok(()),
            false => Err(invalid(format!("broker '{name}', and there is only broker {node_id}"))),
        }
    }
}
