//! The messaging domain, pure.

pub mod value;

pub use value::{Table, Value};
