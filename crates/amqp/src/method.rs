//! Every method of AMQP 0-9-1 and of RabbitMQ's extensions, as one table.
//!
//! `&'a str` is a short string, `&'a [u8]` a long one, [`RawTable`] a table not yet looked into, and
//! `bool` a bit. The tickets of the old access class and other reserved fields do not appear.

mod define;

use define::{Field, FieldReader, FieldWriter, methods};

use crate::error::DecodeError;
use crate::table::RawTable;

methods! {
    "connection.start" (10, 10) ConnectionStart<'a> [] {
        version_major: u8, version_minor: u8, server_properties: RawTable<'a>,
        mechanisms: &'a [u8], locales: &'a [u8],
    } []
    "connection.start-ok" (10, 11) ConnectionStartOk<'a> [] {
        client_properties: RawTable<'a>, mechanism: &'a str, response: &'a [u8], locale: &'a str,
    } []
    "connection.secure" (10, 20) ConnectionSecure<'a> [] { challenge: &'a [u8] } []
    "connection.secure-ok" (10, 21) ConnectionSecureOk<'a> [] { response: &'a [u8] } []
    "connection.tune" (10, 30) ConnectionTune [] { channel_max: u16, frame_max: u32, heartbeat: u16 } []
    "connection.tune-ok" (10, 31) ConnectionTuneOk [] { channel_max: u16, frame_max: u32, heartbeat: u16 } []
    "connection.open" (10, 40) ConnectionOpen<'a> [] { virtual_host: &'a str } [&str, bool]
    "connection.open-ok" (10, 41) ConnectionOpenOk [] {} [&str]
    "connection.close" (10, 50) ConnectionClose<'a> [] {
        reply_code: u16, reply_text: &'a str, class_id: u16, method_id: u16,
    } []
    "connection.close-ok" (10, 51) ConnectionCloseOk [] {} []
    "connection.blocked" (10, 60) ConnectionBlocked<'a> [] { reason: &'a str } []
    "connection.unblocked" (10, 61) ConnectionUnblocked [] {} []
    "connection.update-secret" (10, 70) ConnectionUpdateSecret<'a> [] {
        new_secret: &'a [u8], reason: &'a str,
    } []
    "connection.update-secret-ok" (10, 71) ConnectionUpdateSecretOk [] {} []

    "channel.open" (20, 10) ChannelOpen [] {} [&str]
    "channel.open-ok" (20, 11) ChannelOpenOk [] {} [&[u8]]
    "channel.flow" (20, 20) ChannelFlow [] { active: bool } []
    "channel.flow-ok" (20, 21) ChannelFlowOk [] { active: bool } []
    "channel.close" (20, 40) ChannelClose<'a> [] {
        reply_code: u16, reply_text: &'a str, class_id: u16, method_id: u16,
    } []
    "channel.close-ok" (20, 41) ChannelCloseOk [] {} []

    "access.request" (30, 10) AccessRequest<'a> [] {
        realm: &'a str, exclusive: bool, passive: bool, active: bool, write: bool, read: bool,
    } []
    "access.request-ok" (30, 11) AccessRequestOk [] { ticket: u16 } []

    "exchange.declare" (40, 10) ExchangeDeclare<'a> [u16] {
        exchange: &'a str, kind: &'a str, passive: bool, durable: bool, auto_delete: bool, internal: bool,
        no_wait: bool, arguments: RawTable<'a>,
    } []
    "exchange.declare-ok" (40, 11) ExchangeDeclareOk [] {} []
    "exchange.delete" (40, 20) ExchangeDelete<'a> [u16] {
        exchange: &'a str, if_unused: bool, no_wait: bool,
    } []
    "exchange.delete-ok" (40, 21) ExchangeDeleteOk [] {} []
    "exchange.bind" (40, 30) ExchangeBind<'a> [u16] {
        destination: &'a str, source: &'a str, routing_key: &'a str, no_wait: bool, arguments: RawTable<'a>,
    } []
    "exchange.bind-ok" (40, 31) ExchangeBindOk [] {} []
    "exchange.unbind" (40, 40) ExchangeUnbind<'a> [u16] {
        destination: &'a str, source: &'a str, routing_key: &'a str, no_wait: bool, arguments: RawTable<'a>,
    } []
    "exchange.unbind-ok" (40, 51) ExchangeUnbindOk [] {} []

    "queue.declare" (50, 10) QueueDeclare<'a> [u16] {
        queue: &'a str, passive: bool, durable: bool, exclusive: bool, auto_delete: bool, no_wait: bool,
        arguments: RawTable<'a>,
    } []
    "queue.declare-ok" (50, 11) QueueDeclareOk<'a> [] {
        queue: &'a str, message_count: u32, consumer_count: u32,
    } []
    "queue.bind" (50, 20) QueueBind<'a> [u16] {
        queue: &'a str, exchange: &'a str, routing_key: &'a str, no_wait: bool, arguments: RawTable<'a>,
    } []
    "queue.bind-ok" (50, 21) QueueBindOk [] {} []
    "queue.purge" (50, 30) QueuePurge<'a> [u16] { queue: &'a str, no_wait: bool } []
    "queue.purge-ok" (50, 31) QueuePurgeOk [] { message_count: u32 } []
    "queue.delete" (50, 40) QueueDelete<'a> [u16] {
        queue: &'a str, if_unused: bool, if_empty: bool, no_wait: bool,
    } []
    "queue.delete-ok" (50, 41) QueueDeleteOk [] { message_count: u32 } []
    "queue.unbind" (50, 50) QueueUnbind<'a> [u16] {
        queue: &'a str, exchange: &'a str, routing_key: &'a str, arguments: RawTable<'a>,
    } []
    "queue.unbind-ok" (50, 51) QueueUnbindOk [] {} []

    "basic.qos" (60, 10) BasicQos [] { prefetch_size: u32, prefetch_count: u16, global: bool } []
    "basic.qos-ok" (60, 11) BasicQosOk [] {} []
    "basic.consume" (60, 20) BasicConsume<'a> [u16] {
        queue: &'a str, consumer_tag: &'a str, no_local: bool, no_ack: bool, exclusive: bool, no_wait: bool,
        arguments: RawTable<'a>,
    } []
    "basic.consume-ok" (60, 21) BasicConsumeOk<'a> [] { consumer_tag: &'a str } []
    "basic.cancel" (60, 30) BasicCancel<'a> [] { consumer_tag: &'a str, no_wait: bool } []
    "basic.cancel-ok" (60, 31) BasicCancelOk<'a> [] { consumer_tag: &'a str } []
    "basic.publish" (60, 40) BasicPublish<'a> [u16] {
        exchange: &'a str, routing_key: &'a str, mandatory: bool, immediate: bool,
    } []
    "basic.return" (60, 50) BasicReturn<'a> [] {
        reply_code: u16, reply_text: &'a str, exchange: &'a str, routing_key: &'a str,
    } []
    "basic.deliver" (60, 60) BasicDeliver<'a> [] {
        consumer_tag: &'a str, delivery_tag: u64, redelivered: bool, exchange: &'a str, routing_key: &'a str,
    } []
    "basic.get" (60, 70) BasicGet<'a> [u16] { queue: &'a str, no_ack: bool } []
    "basic.get-ok" (60, 71) BasicGetOk<'a> [] {
        delivery_tag: u64, redelivered: bool, exchange: &'a str, routing_key: &'a str, message_count: u32,
    } []
    "basic.get-empty" (60, 72) BasicGetEmpty [] {} [&str]
    "basic.ack" (60, 80) BasicAck [] { delivery_tag: u64, multiple: bool } []
    "basic.reject" (60, 90) BasicReject [] { delivery_tag: u64, requeue: bool } []
    "basic.recover-async" (60, 100) BasicRecoverAsync [] { requeue: bool } []
    "basic.recover" (60, 110) BasicRecover [] { requeue: bool } []
    "basic.recover-ok" (60, 111) BasicRecoverOk [] {} []
    "basic.nack" (60, 120) BasicNack [] { delivery_tag: u64, multiple: bool, requeue: bool } []

    "confirm.select" (85, 10) ConfirmSelect [] { no_wait: bool } []
    "confirm.select-ok" (85, 11) ConfirmSelectOk [] {} []

    "tx.select" (90, 10) TxSelect [] {} []
    "tx.select-ok" (90, 11) TxSelectOk [] {} []
    "tx.commit" (90, 20) TxCommit [] {} []
    "tx.commit-ok" (90, 21) TxCommitOk [] {} []
    "tx.rollback" (90, 30) TxRollback [] {} []
    "tx.rollback-ok" (90, 31) TxRollbackOk [] {} []
}

/// `basic.publish`, the method that matters for speed; `None` if the payload is another one.
#[inline]
pub fn decode_publish(payload: &[u8]) -> Option<Result<BasicPublish<'_>, DecodeError>> {
    let fields = payload.strip_prefix(&[0, 60, 0, 40])?;
    let mut fields = FieldReader::new(fields);
    Some(BasicPublish::read(&mut fields).and_then(|publish| fields.finish().map(|()| publish)))
}

impl Method<'_> {
    /// Whether a content header and a body follow.
    pub fn has_content(&self) -> bool {
        matches!(
            self,
            Method::BasicPublish(_)
                | Method::BasicReturn(_)
                | Method::BasicDeliver(_)
                | Method::BasicGetOk(_)
        )
    }
}

#[cfg(test)]
mod tests;
