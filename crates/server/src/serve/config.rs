//! What `cauce serve` is told: by a TOML file, by `CAUCE_*` variables, by flags; the later wins.

use std::path::{Path, PathBuf};

use cauce_amqp::FRAME_MIN_SIZE;
use cauce_broker::{Defaults, Flush, GUEST};
use cauce_core::access::{PatternError, Permissions};
use cauce_core::names;
use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::machine;
use super::values::{Names, Size, Timeout};
use crate::amqp::Limits;
use crate::kafka::{Anonymous, Listener};

/// Free bytes below which publishers wait; RabbitMQ's default `disk_free_limit`.
const DISK_FREE_BYTES_MIN: u64 = 50_000_000;

/// RabbitMQ's default `consumer_timeout`.
const CONSUMER_TIMEOUT_MS: u64 = 30 * 60_000;

/// Less holds hardly a block of messages: somebody forgot the unit.
const MEMORY_BYTES_MIN: usize = 1 << 20;

/// No message may be larger, whatever is configured; as in RabbitMQ.
const BODY_BYTES_MAX: u64 = 512 << 20;

/// Everything can also be said in the file, under the same names with `_` for `-`.
#[derive(Debug, Default, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Flags {
    /// TOML file with any of these settings, such as `amqp = "0.0.0.0:5672"`.
    #[arg(long, value_name = "FILE", env = "CAUCE_CONFIG")]
    config: Option<PathBuf>,
    /// Print one line of JSON with the address of every listener once all accept.
    #[arg(long)]
    pub(super) print_ports: bool,
    #[command(flatten)]
    settings: Settings,
}

/// What may be set, wherever it is.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Directory that holds everything the broker keeps; created when missing [default: cauce-data].
    #[arg(long, value_name = "DIR", env = "CAUCE_DATA")]
    data: Option<PathBuf>,
    /// Address for AMQP 0-9-1 clients, host:port; port 0 takes any free one [default: 0.0.0.0:5672].
    #[arg(long, value_name = "ADDR", env = "CAUCE_AMQP")]
    amqp: Option<String>,
    /// Where Kafka clients are accepted, with commas between several: `[NAME=]HOST:PORT[/HOST:PORT]`, what is behind
    /// the `/` being where clients are told to come back to; `none` for nowhere [default: 0.0.0.0:9092].
    #[arg(long, value_name = "LISTENERS", env = "CAUCE_KAFKA")]
    kafka: Option<Names>,
    /// From where Kafka clients are served that do not log in: from this machine, from anywhere, or never. They may do
    /// everything [default: loopback].
    #[arg(long, value_enum, value_name = "WHERE", env = "CAUCE_KAFKA_ANONYMOUS")]
    kafka_anonymous: Option<Anonymous>,
    /// A setting of Kafka's brokers, such as `num.partitions=3`; may be given again and again.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_pair)]
    #[serde(default, deserialize_with = "pairs")]
    set: Vec<(String, String)>,
    /// Address of the management API. Not served yet: accepted, and nothing listens there.
    #[arg(long, value_name = "ADDR", env = "CAUCE_HTTP")]
    http: Option<String>,
    /// Address of the metrics. Not served yet: accepted, and nothing listens there.
    #[arg(long, value_name = "ADDR", env = "CAUCE_METRICS")]
    metrics: Option<String>,
    /// When a publish is confirmed: once it is flushed to disk, or once the system has it [default: always].
    #[arg(long, value_enum, value_name = "WHEN", env = "CAUCE_FLUSH")]
    flush: Option<FlushSetting>,
    /// Memory for messages, such as 512M or 2G; above it publishers wait [default: 40 % of the machine's or the
    /// container's].
    #[arg(long, value_name = "SIZE", env = "CAUCE_MEMORY")]
    memory: Option<Size>,
    /// Free disk, such as 50M or 2G, below which publishers wait [default: 50MB].
    #[arg(long, value_name = "SIZE", env = "CAUCE_DISK_FREE_LIMIT")]
    disk_free_limit: Option<Size>,
    /// Largest body of an AMQP message, 512M at most [default: 128M].
    #[arg(long, value_name = "SIZE", env = "CAUCE_MAX_MESSAGE_SIZE")]
    max_message_size: Option<Size>,
    /// Largest AMQP frame in bytes, at least 4096 [default: 131072].
    #[arg(long, value_name = "BYTES", env = "CAUCE_FRAME_MAX")]
    frame_max: Option<u32>,
    /// Most channels of an AMQP connection; 0 for as many as the protocol has [default: 2047].
    #[arg(long, value_name = "COUNT", env = "CAUCE_CHANNEL_MAX")]
    channel_max: Option<u16>,
    /// Seconds between heartbeats proposed to AMQP clients, who decide; 0 proposes none [default: 60].
    #[arg(long, value_name = "SECONDS", env = "CAUCE_HEARTBEAT")]
    heartbeat: Option<u16>,
    /// JSON file of users, virtual hosts, permissions, exchanges, queues and bindings in RabbitMQ's format, imported
    /// at every start. With it the first start defines no default user and virtual host.
    #[arg(long, value_name = "FILE", env = "CAUCE_DEFINITIONS")]
    definitions: Option<PathBuf>,
    /// Users that may log in from this machine only, with commas between, or `none` [default: guest].
    #[arg(long, value_name = "NAMES", env = "CAUCE_LOOPBACK_USERS")]
    loopback_users: Option<Names>,
    /// User the first start defines [default: guest].
    #[arg(long, value_name = "NAME", env = "CAUCE_DEFAULT_USER", help_heading = FIRST_START)]
    default_user: Option<String>,
    /// Its password [default: guest].
    #[arg(long, value_name = "PASSWORD", env = "CAUCE_DEFAULT_PASS", hide_env_values = true, help_heading = FIRST_START)]
    default_pass: Option<String>,
    /// Its tags, with commas between, or `none` [default: administrator].
    #[arg(long, value_name = "NAMES", env = "CAUCE_DEFAULT_USER_TAGS", help_heading = FIRST_START)]
    default_user_tags: Option<Names>,
    /// Virtual host the first start defines [default: /].
    #[arg(long, value_name = "NAME", env = "CAUCE_DEFAULT_VHOST", help_heading = FIRST_START)]
    default_vhost: Option<String>,
    /// Pattern of what the user may declare and delete there [default: .*].
    #[arg(long, value_name = "PATTERN", env = "CAUCE_DEFAULT_CONFIGURE", help_heading = FIRST_START)]
    default_configure: Option<String>,
    /// Pattern of what it may publish and bind to [default: .*].
    #[arg(long, value_name = "PATTERN", env = "CAUCE_DEFAULT_WRITE", help_heading = FIRST_START)]
    default_write: Option<String>,
    /// Pattern of what it may consume and bind from [default: .*].
    #[arg(long, value_name = "PATTERN", env = "CAUCE_DEFAULT_READ", help_heading = FIRST_START)]
    default_read: Option<String>,
    /// How long a consumer may hold a message, such as 90s or 2h, where its queue does not say; `off` for as
    /// long as it likes [default: 30m].
    #[arg(long, value_name = "TIME", env = "CAUCE_CONSUMER_TIMEOUT")]
    consumer_timeout: Option<Timeout>,
}

const FIRST_START: &str = "First start";

const AFTER_HELP: &str = "\
A flag weighs more than its environment variable, and that more than the file of --config, where the same settings
are named with `_` for `-`. CAUCE_LOG says how much is logged: warn, info or debug.

Examples:
  cauce serve                                        on port 5672, everything in ./cauce-data
  cauce serve --data /var/lib/cauce --memory 512M    elsewhere, and within a budget
  cauce serve --amqp 127.0.0.1:0 --print-ports       on any free port, which is printed";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FlushSetting {
    /// Confirmed messages survive a power cut.
    Always,
    /// Confirmed messages survive the end of the process, not of the machine.
    Os,
}

/// All settings, with the defaults filled in.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) data: PathBuf,
    pub(super) amqp: String,
    pub(super) kafka: Vec<Listener>,
    pub(super) kafka_anonymous: Anonymous,
    /// Under Kafka's names.
    pub(super) settings: cauce_broker::Settings,
    pub(super) flush: Flush,
    pub(super) memory_bytes: usize,
    pub(super) consumer_timeout_ms: Option<u64>,
    pub(super) disk_free_bytes_min: u64,
    pub(super) limits: Limits,
    pub(super) definitions: Option<PathBuf>,
    pub(super) loopback_users: Vec<String>,
    pub(super) defaults: Defaults,
    /// Listeners that were asked for and are not served yet.
    pub(super) not_served: Vec<(&'static str, String)>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("configuration file {}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("configuration file {}: {error}", path.display())]
    Parse { path: PathBuf, error: Box<toml::de::Error> },
    #[error("{setting}: {reason}")]
    Setting { setting: &'static str, reason: String },
    #[error("frame-max is {0}, and must be {FRAME_MIN_SIZE} at least")]
    FrameMax(u32),
    #[error("max-message-size is {0}, and must be {BODY_BYTES_MAX} at most")]
    MessageSize(u64),
    #[error("memory is {0} bytes, and must be {MEMORY_BYTES_MIN} at least")]
    Memory(usize),
}

impl Config {
    fn check(&self) -> Result<(), ConfigError> {
        match self.limits {
            Limits { frame_max, .. } if frame_max < FRAME_MIN_SIZE => Err(ConfigError::FrameMax(frame_max)),
            Limits { body_bytes_max, .. } if body_bytes_max > BODY_BYTES_MAX => {
                Err(ConfigError::MessageSize(body_bytes_max))
            }
            _ if self.memory_bytes < MEMORY_BYTES_MIN => Err(ConfigError::Memory(self.memory_bytes)),
            _ => Ok(()),
        }
    }
}

impl Flags {
    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        let file = self.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let config = self.settings.clone().or(file).filled()?;
        config.check()?;
        Ok(config)
    }
}

fn read_file(path: &Path) -> Result<Settings, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
    toml::from_str(&text)
        .map_err(|error| ConfigError::Parse { path: path.to_owned(), error: Box::new(error) })
}

impl Settings {
    /// What is not said here is as `weaker` says.
    fn or(self, weaker: Settings) -> Settings {
        Settings {
            data: self.data.or(weaker.data),
            amqp: self.amqp.or(weaker.amqp),
            kafka: self.kafka.or(weaker.kafka),
            kafka_anonymous: self.kafka_anonymous.or(weaker.kafka_anonymous),
            // The last one counts.
            set: weaker.set.into_iter().chain(self.set).collect(),
            http: self.http.or(weaker.http),
            metrics: self.metrics.or(weaker.metrics),
            flush: self.flush.or(weaker.flush),
            memory: self.memory.or(weaker.memory),
            disk_free_limit: self.disk_free_limit.or(weaker.disk_free_limit),
            max_message_size: self.max_message_size.or(weaker.max_message_size),
            frame_max: self.frame_max.or(weaker.frame_max),
            channel_max: self.channel_max.or(weaker.channel_max),
            heartbeat: self.heartbeat.or(weaker.heartbeat),
            definitions: self.definitions.or(weaker.definitions),
            loopback_users: self.loopback_users.or(weaker.loopback_users),
            default_user: self.default_user.or(weaker.default_user),
            default_pass: self.default_pass.or(weaker.default_pass),
            default_user_tags: self.default_user_tags.or(weaker.default_user_tags),
            default_vhost: self.default_vhost.or(weaker.default_vhost),
            default_configure: self.default_configure.or(weaker.default_configure),
            default_write: self.default_write.or(weaker.default_write),
            default_read: self.default_read.or(weaker.default_read),
            consumer_timeout: self.consumer_timeout.or(weaker.consumer_timeout),
        }
    }

    fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            frame_max: self.frame_max.unwrap_or(usual.frame_max),
            channel_max: self
                .channel_max
                .map_or(usual.channel_max, |most| if most == 0 { u16::MAX } else { most }),
            body_bytes_max: self.max_message_size.map_or(usual.body_bytes_max, |Size(bytes)| bytes as u64),
            heartbeat_s: self.heartbeat.unwrap_or(usual.heartbeat_s),
            ..usual
        }
    }

    fn filled(self) -> Result<Config, ConfigError> {
        let limits = self.limits();
        let defaults = self.defaults()?;
        let kafka = listeners(self.kafka)?;
        let settings = settings(&self.set)?;
        let not_served = [("http", self.http), ("metrics", self.metrics)];
        Ok(Config {
            data: self.data.unwrap_or_else(|| "cauce-data".into()),
            amqp: self.amqp.unwrap_or_else(|| "0.0.0.0:5672".into()),
            kafka,
            kafka_anonymous: self.kafka_anonymous.unwrap_or(Anonymous::Loopback),
            settings,
            flush: match self.flush.unwrap_or(FlushSetting::Always) {
                FlushSetting::Always => Flush::Always,
                FlushSetting::Os => Flush::Os,
            },
            definitions: self.definitions,
            loopback_users: self.loopback_users.map_or_else(|| vec![GUEST.to_owned()], |Names(names)| names),
            defaults,
            memory_bytes: self.memory.map_or_else(default_memory_bytes, |Size(bytes)| bytes),
            consumer_timeout_ms: self.consumer_timeout.map_or(Some(CONSUMER_TIMEOUT_MS), |Timeout(ms)| ms),
            disk_free_bytes_min: self.disk_free_limit.map_or(DISK_FREE_BYTES_MIN, |Size(bytes)| bytes as u64),
            limits,
            not_served: not_served
                .into_iter()
                .filter_map(|(what, address)| address.map(|address| (what, address)))
                .collect(),
        })
    }

    /// Checked at every start, though only the first takes them.
    fn defaults(&self) -> Result<Defaults, ConfigError> {
        let usual = Defaults::default();
        let named = |setting, name: &Option<String>, usual: String| {
            let name = name.clone().unwrap_or(usual);
            match names::check_name(&name) {
                Ok(()) => Ok(name),
                Err(error) => Err(ConfigError::Setting { setting, reason: error.to_string() }),
            }
        };
        let pattern = |pattern: &Option<String>| pattern.clone().unwrap_or_else(|| ".*".to_owned());
        let [configure, write, read] =
            [&self.default_configure, &self.default_write, &self.default_read].map(pattern);
        let permissions = Permissions::parse(&configure, &write, &read);
        let wrong_pattern = |error: PatternError| ConfigError::Setting {
            setting: "default_configure, default_write, default_read",
            reason: error.to_string(),
        };
        Ok(Defaults {
            user: named("default_user", &self.default_user, usual.user)?,
            password: self.default_pass.clone().unwrap_or(usual.password),
            tags: self.default_user_tags.clone().map_or(usual.tags, |Names(names)| names),
            vhost: named("default_vhost", &self.default_vhost, usual.vhost)?,
            permissions: permissions.map_err(wrong_pattern)?,
        })
    }
}

fn listeners(written: Option<Names>) -> Result<Vec<Listener>, ConfigError> {
    let Names(written) = written.unwrap_or_else(|| Names(vec!["0.0.0.0:9092".to_owned()]));
    let wrong = |reason| ConfigError::Setting { setting: "kafka", reason };
    let mut listeners: Vec<Listener> = Vec::with_capacity(written.len());
    for text in written {
        let listener: Listener = text.parse().map_err(wrong)?;
        if listeners.iter().any(|other| other.name == listener.name) {
            return Err(wrong(format!("two listeners have the name '{}'", listener.name)));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

fn settings(pairs: &[(String, String)]) -> Result<cauce_broker::Settings, ConfigError> {
    let wrong = |error: cauce_core::settings::SettingError| ConfigError::Setting {
        setting: "set",
        reason: error.to_string(),
    };
    let mut settings = cauce_broker::Settings::default();
    for (name, value) in pairs {
        settings.set(name, value).map_err(wrong)?;
    }
    settings.check().map_err(wrong)?;
    Ok(settings)
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write name=value")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// In the file: a table of numbers, text, true and false.
fn pairs<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<(String, String)>, D::Error> {
    let table = toml::Table::deserialize(from)?;
    let pair = |(name, value)| match value {
        toml::Value::String(text) => Ok((name, text)),
        toml::Value::Table(_) => Err(serde::de::Error::custom(format!("write '{name}' in quotes"))),
        other => Ok((name, other.to_string())),
    };
    table.into_iter().map(pair).collect()
}

/// 40 % of what the machine or the container has.
fn default_memory_bytes() -> usize {
    machine::memory_bytes() / 10 * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_weigh_more_than_the_file_and_the_file_more_than_nothing() {
        let file: Settings = toml::from_str("amqp = '127.0.0.1:1'\nflush = 'os'\nmemory = 1048576").unwrap();
        let flags = Settings { amqp: Some("127.0.0.1:2".into()), ..Settings::default() };
        let config = flags.or(file).filled().unwrap();
        assert_eq!(config.amqp, "127.0.0.1:2");
        assert_eq!(config.flush, Flush::Os);
        assert_eq!(config.memory_bytes, 1 << 20);
        assert_eq!(config.disk_free_bytes_min, 50_000_000);
        assert_eq!(config.data, PathBuf::from("cauce-data"));
    }

    #[test]
    fn the_first_user_and_vhost_can_be_chosen_and_are_checked() {
        let text = "default_user = 'ana'\ndefault_vhost = 'shop'\ndefault_user_tags = ['a', 'b']\ndefault_write = ''\nloopback_users = 'none'";
        let config = toml::from_str::<Settings>(text).unwrap().filled().unwrap();
        let Defaults { user, password, tags, vhost, permissions } = config.defaults;
        assert_eq!([&user, &password, &vhost], ["ana", "guest", "shop"]);
        assert_eq!(tags, ["a", "b"]);
        assert_eq!(permissions, Permissions::parse(".*", "", ".*").unwrap());
        assert!(config.loopback_users.is_empty());
        for wrong in ["default_user = ''", "default_vhost = ''", "default_read = '('"] {
            assert!(toml::from_str::<Settings>(wrong).unwrap().filled().is_err(), "{wrong}");
        }
        assert_eq!("guest, ana,".parse(), Ok(Names(vec!["guest".into(), "ana".into()])));
    }

    #[test]
    fn limits_are_those_asked_for_where_they_can_be() {
        let file = "max_message_size = '1M'\nframe_max = 8192\nchannel_max = 0\nheartbeat = 7\ndisk_free_limit = '1G'";
        let config = toml::from_str::<Settings>(file).unwrap().filled().unwrap();
        let Limits { frame_max, channel_max, body_bytes_max, heartbeat_s, .. } = config.limits;
        assert_eq!((frame_max, channel_max, body_bytes_max, heartbeat_s), (8192, u16::MAX, 1 << 20, 7));
        assert_eq!(config.disk_free_bytes_min, 1 << 30);
        assert!(config.check().is_ok());
        for wrong in ["frame_max = 4095", "max_message_size = '513M'", "memory = 512"] {
            assert!(toml::from_str::<Settings>(wrong).unwrap().filled().unwrap().check().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_consumer_may_hold_a_message_for_as_long_as_is_configured() {
        let ms = |text: &str| toml::from_str::<Settings>(text).unwrap().filled().unwrap().consumer_timeout_ms;
        assert_eq!(ms(""), Some(1_800_000));
        assert_eq!(ms("consumer_timeout = '2h'"), Some(7_200_000));
    }

    #[test]
    fn a_name_that_nobody_knows_is_refused_by_name() {
        let error = toml::from_str::<Settings>("ampq = '127.0.0.1:1'").unwrap_err();
        assert!(error.to_string().contains("ampq"), "{error}");
    }
}
