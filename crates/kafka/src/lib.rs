//! The Kafka protocol without IO: bytes in, meaning out, and back.
//!
//! | module                | what it holds                                                   |
//! |-----------------------|-----------------------------------------------------------------|
//! | [`api`]               | the APIs served, their versions, and the frames around them     |
//! | [`messages`]          | the fields of every request and response                        |
//! | [`error`]             | error codes                                                     |
//! | [`consumer_protocol`] | what members of consumer groups say to each other               |
//! | [`internal`]          | records of the topics that the broker keeps for itself          |
//! | [`wire`]              | the types of fields; how decoding can fail                      |
//! | [`text`]              | text that shares the buffer it came in                          |
//!
//! Record sets stay bytes: what a producer sent is what a consumer gets. Nothing here starts a task, opens a
//! socket or reads a clock. Every length is checked against the bytes that are there, and nothing is
//! allocated because a peer claims a count.

pub mod api;
pub mod consumer_protocol;
mod define;
pub mod error;
pub mod internal;
pub mod messages;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
pub mod text;
mod versioned;
pub mod wire;

pub use api::{Api, Call, Request, RequestError, RequestHeader, Response};
pub use error::ErrorCode;
pub use text::Text;
pub use versioned::VersionedError;
pub use wire::{DecodeError, Encoded, Records, Splice, Uuid};
