//! Transactional ids: producers that come back under a name, and their transactions over many partitions. (The
//! transactions of channels are another matter: see `transactions`.)
//!
//! One task owns every transactional id of the node. What must survive is kept in the topic `__transaction_state`, in
//! Kafka's records; at start the task reads it, turns everybody away until it has, and carries on what was decided.
//!
//! | file | what it holds |
//! |---|---|
//! | `handle`, `command` | how others reach the task, and what they may ask |
//! | `coordinator`, `requests` | the task: it calls the machine and carries out its effects |
//! | `parked` | requests that wait until their transactional id is at rest |
//! | `under_way` | records and markers on their way to the log |
//! | `held` | what they take of the memory budget |
//! | `loading` | how transactional ids come back |
//! | `records`, `state_topic` | their records, and the topic those are kept in |
//! | `admission` | batches of a transaction on their way into a partition |

mod admission;
mod command;
mod coordinator;
mod handle;
mod held;
mod loading;
mod parked;
mod records;
mod requests;
mod state_topic;
mod under_way;

pub use admission::{AdmissionRefusal, Candidate};
pub use command::{Listed, TransactionalError};
pub use handle::TransactionalIds;

pub(crate) use coordinator::Coordinator;
