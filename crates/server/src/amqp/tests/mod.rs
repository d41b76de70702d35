//! Whole connections over a node in memory.

mod client;
mod flow;
mod flushing;
mod random;
