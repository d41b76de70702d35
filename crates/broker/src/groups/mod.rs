//! Groups: who reads topics together, and how far they have come.
//!
//! One task owns every group of the node. What must survive is kept in the topic `__consumer_offsets`, in Kafka's
//! records; at start the task reads it before it answers anybody.
//!
//! | file | what it holds |
//! |---|---|
//! | `handle`, `command` | how others reach the task, and what they may ask |
//! | `coordinator`, `requests` | the task: it calls the machine of a group and carries out its effects |
//! | `registry` | the groups there are, and when each wants to be called again |
//! | `waiting` | requests without an answer |
//! | `writes` | records on their way to the log |
//! | `loading` | how groups come back |
//! | `records`, `offsets_topic` | the records of groups, and the topic they are kept in |

mod command;
mod coordinator;
mod handle;
mod loading;
mod offsets_topic;
mod records;
mod registry;
mod requests;
mod waiting;
mod writes;

use std::sync::Arc;

pub use command::{GroupError, Listed};
pub use handle::Groups;
pub use records::subscribed_topics;

pub(crate) use coordinator::Coordinator;

pub type GroupId = Arc<str>;
