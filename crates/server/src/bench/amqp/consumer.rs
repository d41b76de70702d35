//! A consumer: counts messages where they lie in the read buffer, and acknowledges many at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cauce_amqp::frame::FrameKind;
use cauce_amqp::method::{BasicAck, BasicConsume, BasicDeliver, BasicQos};
use cauce_amqp::{ContentHeader, Method};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::timeout;

use super::connection::{CHANNEL, Connection, Error, close_frame, decode, unexpected};
use crate::bench::latency::Latencies;
use crate::bench::load::Trouble;
use crate::bench::run::Run;

const CLOSE_SECONDS_MAX: u64 = 10;

#[derive(Debug, Clone, Copy)]
pub(super) struct Receipt {
    /// 0 is no limit.
    pub(super) prefetch: u16,
    /// 0 is no acknowledgements at all.
    pub(super) ack_every: u64,
    pub(super) is_stamped: bool,
}

#[derive(Debug)]
pub(super) struct Consumer {
    connection: Connection,
    receipt: Receipt,
    delivery: Delivery,
    acks: Vec<u8>,
    unacked: u64,
    last_tag: u64,
}

/// How far the message that is arriving has come.
#[derive(Debug, Default)]
struct Delivery {
    bytes_left: u64,
    is_body_begun: bool,
}

impl Consumer {
    pub(super) async fn new(
        mut connection: Connection,
        queues: &[&str],
        receipt: Receipt,
    ) -> Result<Consumer, Error> {
        if receipt.prefetch > 0 {
            let qos = BasicQos { prefetch_count: receipt.prefetch, ..BasicQos::default() };
            connection.call(qos.into(), "basic.qos-ok").await?;
        }
        // The queues are new and empty, so no delivery comes between these answers.
        for (index, queue) in queues.iter().enumerate() {
            let consume = BasicConsume {
                queue,
                consumer_tag: &index.to_string(),
                no_ack: receipt.ack_every == 0,
                ..BasicConsume::default()
            };
            connection.call(consume.into(), "basic.consume-ok").await?;
        }
        Ok(Consumer {
            connection,
            receipt,
            delivery: Delivery::default(),
            acks: Vec::new(),
            unacked: 0,
            last_tag: 0,
        })
    }

    /// Consumes until told to stop, and then acknowledges the rest.
    pub(super) async fn consume(
        mut self,
        run: Arc<Run>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Latencies, Error> {
        let mut latencies = Latencies::new();
        loop {
            let filled = tokio::select! {
                filled = self.connection.reader.fill() => filled,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            filled?;
            let now = run.is_measuring().then(|| run.now());
            let consumed = self.take(now, &mut latencies)?;
            run.consumed.fetch_add(consumed, Ordering::Relaxed);
            self.write_acks().await?;
        }
        self.acknowledge();
        self.write_acks().await?;
        self.close().await?;
        Ok(latencies)
    }

    /// Everything that has arrived; returns how many messages became complete.
    fn take(&mut self, now: Option<u64>, latencies: &mut Latencies) -> Result<u64, Error> {
        let mut consumed = 0;
        while let Some(frame) = self.connection.reader.next()? {
            match frame.kind {
                FrameKind::Method => match delivery_tag(frame.payload) {
                    Some(tag) => {
                        self.last_tag = tag;
                        continue;
                    }
                    None => return Err(unexpected("basic.deliver", &decode(frame.payload)?)),
                },
                FrameKind::Header => {
                    self.delivery.bytes_left = ContentHeader::decode(frame.payload)?.body_size;
                    self.delivery.is_body_begun = false;
                }
                FrameKind::Body => {
                    let is_first = !std::mem::replace(&mut self.delivery.is_body_begun, true);
                    self.delivery.bytes_left =
                        self.delivery.bytes_left.saturating_sub(frame.payload.len() as u64);
                    if let (true, true, Some(now), Some(stamp)) =
                        (is_first, self.receipt.is_stamped, now, frame.payload.first_chunk())
                    {
                        latencies.record(now.saturating_sub(u64::from_be_bytes(*stamp)), 1);
                    }
                }
                FrameKind::Heartbeat => continue,
            }
            if self.delivery.bytes_left > 0 {
                continue;
            }
            consumed += 1;
            self.unacked += 1;
            if self.unacked == self.receipt.ack_every {
                self.acknowledge();
            }
        }
        Ok(consumed)
    }

    fn acknowledge(&mut self) {
        if self.receipt.ack_every == 0 || self.unacked == 0 {
            return;
        }
        let ack = BasicAck { delivery_tag: self.last_tag, multiple: self.unacked > 1 };
        Method::from(ack).write_frame(CHANNEL, &mut self.acks);
        self.unacked = 0;
    }

    async fn write_acks(&mut self) -> Result<(), Error> {
        if !self.acks.is_empty() {
            self.connection.writer.write_all(&self.acks).await?;
            self.acks.clear();
        }
        Ok(())
    }

    async fn close(mut self) -> Result<(), Error> {
        self.connection.writer.write_all(&close_frame()).await?;
        let limit = Duration::from_secs(CLOSE_SECONDS_MAX);
        timeout(limit, self.wait_for_close_ok()).await.unwrap_or(Err(Trouble::Silent {
            what: "connection.close",
            seconds: CLOSE_SECONDS_MAX,
        }
        .into()))
    }

    async fn wait_for_close_ok(&mut self) -> Result<(), Error> {
        loop {
            while let Some(frame) = self.connection.reader.next()? {
                if frame.kind == FrameKind::Method
                    && matches!(decode(frame.payload)?, Method::ConnectionCloseOk(_))
                {
                    return Ok(());
                }
            }
            self.connection.reader.fill().await?;
        }
    }
}

/// The tag of a `basic.deliver`, `None` for any other method.
///
/// ```text
/// 0       2        4          5             5+length       13+length
/// +-------+--------+----------+--------------+--------------+- - -
/// | class | method | length   | consumer tag | delivery tag |
/// +-------+--------+----------+--------------+--------------+- - -
/// ```
#[inline]
fn delivery_tag(payload: &[u8]) -> Option<u64> {
    const { assert!(BasicDeliver::ID.0 == 60 && BasicDeliver::ID.1 == 60) };
    let fields = payload.strip_prefix(&[0, 60, 0, 60])?;
    let (length, rest) = fields.split_first()?;
    let tag = rest.get(usize::from(*length)..)?.first_chunk()?;
    Some(u64::from_be_bytes(*tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_read_without_the_rest() {
        let mut payload = Vec::new();
        let deliver = BasicDeliver {
            consumer_tag: "consumer",
            delivery_tag: 0x0102_0304_0506_0708,
            redelivered: false,
            exchange: "e",
            routing_key: "k",
        };
        Method::from(deliver).encode(&mut payload);
        assert_eq!(delivery_tag(&payload), Some(0x0102_0304_0506_0708));
        assert_eq!(delivery_tag(&payload[..10]), None);
        payload[3] = 61;
        assert_eq!(delivery_tag(&payload), None);
    }
}
