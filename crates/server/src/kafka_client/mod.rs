//! A small Kafka client, for the commands and the load generator: any broker, one connection to each.
//!
//! | module       | what it holds                                                  |
//! |--------------|----------------------------------------------------------------|
//! | `options`    | where the broker is and who we are there                       |
//! | `connection` | one socket: versions, login, requests and their answers        |
//! | `client`     | the brokers of a cluster, and who leads or coordinates what    |
//! | `offsets`    | offsets of partitions by time, and of groups                   |
//! | `reader`     | partitions that one broker leads, read on and on                |
//! | `records`    | record batches, made for a broker and read from one            |
//! | `aborted`    | what a reader of committed records leaves out                  |

mod aborted;
mod client;
mod connection;
mod error;
mod offsets;
mod options;
mod reader;
mod records;

pub(crate) use client::{Client, PartitionLeader};
pub(crate) use connection::Connection;
pub(crate) use error::{ClientError, check};
pub(crate) use offsets::{AtTime, EARLIEST, LATEST, Offsets};
pub(crate) use options::ConnectOptions;
pub(crate) use reader::{FetchLimits, Position, Reader};
pub(crate) use records::Compression;
