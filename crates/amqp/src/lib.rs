//! AMQP 0-9-1 without IO: bytes in, meaning out, and back.
//!
//! | module       | what it reads and writes                                             |
//! |--------------|----------------------------------------------------------------------|
//! | [`frame`]    | the envelope everything travels in                                   |
//! | [`method`]   | every method of the protocol and of RabbitMQ's extensions            |
//! | [`table`]    | arguments and headers                                                |
//! | [`properties`] | the properties of a message, and its content header                |
//! | [`content`]  | messages: written as method, header and body; assembled from frames  |
//! | [`headers`]  | `CC`, `BCC`, and a header taken away                                 |
//! | [`death`]    | what dead-lettering writes into a message                            |
//! | [`sasl`]     | login responses                                                      |
//! | [`server`]   | what a server says about itself                                      |
//! | [`reply`]    | reply codes                                                          |
//!
//! Nothing here starts a task, opens a socket or reads a clock. Every length is checked against the
//! bytes that are there, nesting is bounded, and nothing is allocated because a peer claims a size.

pub mod content;
pub mod death;
mod error;
pub mod frame;
pub mod headers;
pub mod method;
pub mod properties;
pub mod reply;
pub mod sasl;
pub mod server;
pub mod table;
mod wire;

pub use content::{
    Content, ContentAssembler, ContentError, write_deliver, write_get_ok, write_publish, write_return,
};
pub use death::{Death, Reason, cycle, dead_letter};
pub use error::DecodeError;
pub use frame::{
    FRAME_MIN_SIZE, FRAME_OVERHEAD, Frame, FrameError, FrameKind, HEARTBEAT_FRAME, PROTOCOL_HEADER,
};
pub use headers::{carbon_copies, strip_bcc, with_integer_header, without_header};
pub use method::{Method, decode_publish};
pub use properties::{ContentHeader, Properties, PropertiesBuf, PropertiesSummary, TextProperty};
pub use reply::ReplyCode;
pub use sasl::Credentials;
pub use server::server_properties;
pub use table::{RawTable, RawValue, encode_table};
