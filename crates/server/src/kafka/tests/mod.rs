//! Whole connections over a node in memory.

mod admin;
mod client;
mod fetching;
mod flushing;
mod groups;
mod hostile;
mod logins;
mod permissions;
mod producing;
mod requests;
mod transactions;
