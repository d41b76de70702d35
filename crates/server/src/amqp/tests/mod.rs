//! Whole connections over a node in memory.

mod client;
mod flow;
mod random;
