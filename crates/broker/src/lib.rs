//! The runtime: who owns what.
//!
//! | who | owns | hears from | tells |
//! |---|---|---|---|
//! | queue task | a queue | connections, the storage thread, timers | connections, storage, other queues |
//! | storage thread | every log, the definitions | queue tasks, virtual hosts | queue tasks |
//! | virtual host | exchanges, queues, bindings, behind one short lock | connections | storage |
//!
//! Down, from a connection to a queue, may wait; up, from a queue to a connection, never does.

pub mod clock;
mod dead_letter;
mod definitions;
mod limits;
mod mark;
mod memory;
mod node;
mod pace;
mod queue_handle;
mod queue_task;
mod routing;
mod storage;
mod stored;
mod users;
mod vhost;

pub use dead_letter::delay_ms;
pub use memory::{Alarms, Memory, Pressure};
pub use node::{Node, NodeConfig, StartError};
pub use queue_handle::{ConfirmTag, DeleteError, Event, Link, QueueHandle, Receipts, Status, ToConsumer};
pub use routing::{EnvelopeFacts, with_copies};
pub use storage::Flush;
pub use users::{GUEST, Users};
pub use vhost::{DeleteQueueError, Queues, Saved, Vhost};
