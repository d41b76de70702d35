//! Whole connections over a node in memory.

mod admin;
mod client;
mod fetching;
mod hostile;
mod producing;
