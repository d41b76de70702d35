//! The messaging domain, pure.

pub mod message;
pub mod queue;
pub mod range_set;
pub mod value;

pub use value::{Table, Value};
