//! The messaging domain, pure.

pub mod access;
pub mod exchange;
pub mod group;
pub mod message;
pub mod names;
pub mod partition;
pub mod producer;
pub mod queue;
pub mod range_set;
pub mod settings;
pub mod stream;
pub mod topic;
pub mod topology;
pub mod transaction;
pub mod value;

pub use value::{Table, Value};
