//! The runtime: who owns what.
//!
//! | who | owns | hears from | tells |
//! |---|---|---|---|
//! | queue task | a queue | connections, the storage thread, timers | connections, storage, other queues |
//! | storage thread | every log, the definitions | queue tasks, virtual hosts | queue tasks |
//! | partition task | one partition of a topic | connections, the storage thread | storage; readers look, or are woken |
//! | groups' coordinator | every group | connections, partition tasks, timers | partitions |
//! | coordinator of transactional ids | every transactional id | connections, timers | partitions, groups |
//! | virtual host | exchanges, queues, bindings, behind one short lock | connections | storage |
//!
//! Down, from a connection to a queue, may wait; up, from a queue to a connection, never does.

pub mod clock;
mod dead_letter;
mod definitions;
pub mod groups;
mod limits;
mod mark;
mod memory;
mod node;
mod pace;
mod producer_ids;
mod queue_handle;
mod queue_task;
mod recovery;
mod routing;
mod settings;
mod settled;
mod storage;
mod stored;
pub mod stream;
mod target;
pub mod transactional_ids;
mod transactions;
mod users;
mod vhost;

pub use dead_letter::delay_ms;
pub use definitions::{About, Blueprint, Definitions, DefinitionsError, Imported};
pub use limits::DEFINITIONS_BYTES_MAX;
pub use memory::{Alarms, Memory, Pressure};
pub use node::{Defaults, Node, NodeConfig, StartError};
pub use queue_handle::{
    ConfirmTag, DeleteError, Event, Link, QueueHandle, Receipts, Room, Share, Status, ToConsumer,
};
pub use routing::{EnvelopeFacts, with_copies};
pub use settings::{NodeSettings, Settings};
pub use storage::Flush;
pub use target::Target;
pub use transactions::Part;
pub use users::{GUEST, LoginRefusal, Users, is_loopback, random_salt};
pub use vhost::{DeleteQueueError, Queues, Saved, Vhost};
