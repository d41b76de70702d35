//! A publisher: one ready-made run of messages, of which only the times change.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cauce_amqp::frame::FrameKind;
use cauce_amqp::method::ConfirmSelect;
use cauce_amqp::{FRAME_OVERHEAD, Method, PropertiesBuf, write_publish};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{sleep, timeout};

use super::connection::{CHANNEL, Connection, Error, FrameReader, close_frame, decode, unexpected};
use super::topology::{ExchangeType, Topology, headers};
use super::window::Window;
use crate::bench::latency::Latencies;
use crate::bench::load::Trouble;
use crate::bench::pace::Pace;
use crate::bench::run::Run;

/// One write takes about this much, or one message if that is more.
const BATCH_BYTES: usize = 64 * 1024;
/// How often a waiting publisher looks whether the run is over.
const PAUSE_MAX: Duration = Duration::from_millis(50);
const CLOSE_SECONDS_MAX: u64 = 60;

#[derive(Debug, Clone, Copy)]
pub(super) struct Messages {
    pub(super) size: usize,
    pub(super) persistent: bool,
    pub(super) rate: u64,
    /// 0 is no confirms.
    pub(super) window: usize,
}

#[derive(Debug)]
pub(super) struct Publisher {
    connection: Connection,
    batch: Batch,
    pace: Pace,
    window: Option<Arc<Window>>,
}

impl Publisher {
    pub(super) async fn new(
        mut connection: Connection,
        topology: &Topology,
        queues: &[&str],
        messages: Messages,
    ) -> Result<Publisher, Error> {
        if messages.window > 0 {
            let select = ConfirmSelect::default();
            connection.call(select.into(), "confirm.select-ok").await?;
        }
        Ok(Publisher {
            batch: Batch::new(connection.frame_max, topology, queues, messages),
            pace: Pace::new(messages.rate),
            window: (messages.window > 0).then(|| Arc::new(Window::new(messages.window))),
            connection,
        })
    }

    /// Publishes until the run says stop and the broker has answered for everything.
    pub(super) async fn publish(self, run: Arc<Run>) -> Result<Latencies, Error> {
        let Connection { reader, mut writer, .. } = self.connection;
        let answers = tokio::spawn(read_answers(reader, self.window.clone(), run.clone()));
        let abort = answers.abort_handle();
        let written =
            write(&mut writer, self.batch, self.pace, self.window, &run, || answers.is_finished()).await;
        match written {
            Ok(()) => {
                writer.write_all(&close_frame()).await?;
                let limit = Duration::from_secs(CLOSE_SECONDS_MAX);
                let Ok(ended) = timeout(limit, answers).await else {
                    abort.abort();
                    return Err(
                        Trouble::Silent { what: "connection.close", seconds: CLOSE_SECONDS_MAX }.into()
                    );
                };
                ended.expect("reading answers does not panic")
            }
            // Why the broker hung up is in what it sent before, if it sent anything.
            Err(error) => match timeout(Duration::from_secs(1), answers).await {
                Ok(Ok(Err(reason))) => Err(reason),
                _ => {
                    abort.abort();
                    Err(error)
                }
            },
        }
    }
}

async fn write(
    writer: &mut OwnedWriteHalf,
    mut batch: Batch,
    pace: Pace,
    window: Option<Arc<Window>>,
    run: &Run,
    is_closed: impl Fn() -> bool,
) -> Result<(), Error> {
    let start = tokio::time::Instant::now();
    let mut sent = 0;
    while run.is_publishing() {
        if is_closed() {
            return Err(Trouble::HungUp.into());
        }
        let free = window.as_ref().map_or(u64::MAX, |window| window.free(sent));
        if free == 0 {
            if let Some(window) = &window {
                // Nobody tells us that the run is over, so the wait is short.
                let _ = timeout(PAUSE_MAX, window.changed()).await;
            }
            continue;
        }
        let due = pace.due(start.elapsed(), sent);
        if due == 0 {
            let wait = pace.next_after(sent).saturating_sub(start.elapsed());
            sleep(wait.min(PAUSE_MAX)).await;
            continue;
        }
        let count = free.min(due).min(batch.count_max as u64);
        let now = run.now();
        if let Some(window) = &window {
            window.sent(sent, count, now);
        }
        writer.write_all(batch.take(count as usize, now)).await?;
        sent += count;
        run.published.fetch_add(count, Ordering::Relaxed);
    }
    match window {
        Some(window) => wait_for_confirms(&window, sent, is_closed).await,
        None => Ok(()),
    }
}

async fn wait_for_confirms(window: &Window, sent: u64, is_closed: impl Fn() -> bool) -> Result<(), Error> {
    let mut silent = Duration::ZERO;
    let mut settled = window.settled();
    while settled < sent {
        if is_closed() {
            return Err(Trouble::HungUp.into());
        }
        let waited = timeout(PAUSE_MAX, window.changed()).await;
        if window.settled() > settled {
            settled = window.settled();
            silent = Duration::ZERO;
        } else if waited.is_err() {
            silent += PAUSE_MAX;
        }
        if silent.as_secs() >= CLOSE_SECONDS_MAX {
            return Err(Trouble::Silent { what: "the last publishes", seconds: CLOSE_SECONDS_MAX }.into());
        }
    }
    Ok(())
}

/// Reads confirms until the broker agrees to close.
async fn read_answers(
    mut reader: FrameReader,
    window: Option<Arc<Window>>,
    run: Arc<Run>,
) -> Result<Latencies, Error> {
    let mut latencies = Latencies::new();
    let mut settling = window.as_ref().map(|window| window.settling());
    loop {
        reader.fill().await?;
        let now = run.is_measuring().then(|| run.now());
        let (mut confirmed, mut refused) = (0, 0);
        while let Some(frame) = reader.next()? {
            if frame.kind != FrameKind::Method {
                continue;
            }
            let method = decode(frame.payload)?;
            let (tag, multiple, count) = match method {
                Method::BasicAck(ack) => (ack.delivery_tag, ack.multiple, &mut confirmed),
                Method::BasicNack(nack) => (nack.delivery_tag, nack.multiple, &mut refused),
                Method::ConnectionCloseOk(_) => return Ok(latencies),
                Method::ConnectionBlocked(_) | Method::ConnectionUnblocked(_) => continue,
                other => return Err(unexpected("basic.ack", &other)),
            };
            let Some(settling) = &mut settling else {
                return Err(unexpected("connection.close-ok", &method));
            };
            settling.settle(tag, multiple, |sent_at| {
                *count += 1;
                if let Some(now) = now {
                    latencies.record(now - sent_at.min(now), 1);
                }
            });
        }
        run.confirmed.fetch_add(confirmed, Ordering::Relaxed);
        run.refused.fetch_add(refused, Ordering::Relaxed);
        if let Some(settling) = &settling {
            settling.announce();
        }
    }
}

/// Messages back to back, one per queue and then again; a write takes as many as it wants from the
/// place where the last one ended.
#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    message_bytes: usize,
    /// Where the time goes in each message; `None` when the body has no room for it.
    stamp_at: Option<usize>,
    queues: usize,
    next_queue: usize,
    count_max: usize,
}

impl Batch {
    fn new(frame_max: u32, topology: &Topology, queues: &[&str], messages: Messages) -> Batch {
        let body = vec![b'x'; messages.size];
        let mut cycle = Vec::new();
        for queue in queues {
            write_message(&mut cycle, frame_max, topology, queue, messages.persistent, &body);
        }
        let message_bytes = cycle.len() / queues.len();
        let mut header = Vec::new();
        write_message(&mut header, frame_max, topology, queues[0], messages.persistent, &[]);
        let count_max = (BATCH_BYTES / message_bytes).max(1);
        let cycles = (count_max + queues.len() - 1).div_ceil(queues.len());
        Batch {
            bytes: cycle.repeat(cycles),
            message_bytes,
            stamp_at: (messages.size >= 8).then_some(header.len() + FRAME_OVERHEAD - 1),
            queues: queues.len(),
            next_queue: 0,
            count_max,
        }
    }

    /// The next `count` messages, at most `count_max`.
    fn take(&mut self, count: usize, now: u64) -> &[u8] {
        let from = self.next_queue * self.message_bytes;
        let bytes = &mut self.bytes[from..from + count * self.message_bytes];
        if let Some(at) = self.stamp_at {
            for message in bytes.chunks_exact_mut(self.message_bytes) {
                message[at..at + 8].copy_from_slice(&now.to_be_bytes());
            }
        }
        self.next_queue = (self.next_queue + count) % self.queues;
        bytes
    }
}

fn write_message(
    out: &mut Vec<u8>,
    frame_max: u32,
    topology: &Topology,
    queue: &str,
    persistent: bool,
    body: &[u8],
) {
    let is_matched = matches!(topology.exchange, Some((_, ExchangeType::Headers)));
    let properties = PropertiesBuf {
        delivery_mode: persistent.then_some(2),
        headers: is_matched.then(|| headers(queue)),
        ..PropertiesBuf::default()
    }
    .to_bytes();
    let exchange = topology.exchange_name().as_bytes();
    write_publish(out, frame_max, CHANNEL, exchange, queue.as_bytes(), false, &properties, body);
}

#[cfg(test)]
mod tests {
    use cauce_amqp::frame;

    use super::*;

    #[test]
    fn a_batch_goes_round_the_queues_and_carries_the_time() {
        let topology = Topology::new(1, 3, None, false);
        let messages = Messages { size: 10, persistent: true, rate: 0, window: 0 };
        let mut batch = Batch::new(4096, &topology, &topology.share(0, 1), messages);
        assert_eq!(read(batch.take(2, 77)), [("00000", 77), ("00001", 77)].map(owned));
        assert_eq!(read(batch.take(2, 78)), [("00002", 78), ("00000", 78)].map(owned));
        let count_max = batch.count_max;
        assert_eq!(read(batch.take(count_max, 79)).len(), count_max);
    }

    fn owned((queue, time): (&str, u64)) -> (String, u64) {
        (queue.to_owned(), time)
    }

    /// The end of each routing key, and the first eight bytes of each body.
    fn read(mut bytes: &[u8]) -> Vec<(String, u64)> {
        let mut messages = Vec::new();
        let mut key = String::new();
        while let Some((frame, taken)) = frame::parse(bytes, 0).expect("frames") {
            match frame.kind {
                FrameKind::Method => match Method::decode(frame.payload).expect("a method") {
                    Method::BasicPublish(publish) => {
                        key = publish.routing_key.rsplit('.').next().unwrap_or_default().to_owned();
                    }
                    other => panic!("{}", other.name()),
                },
                FrameKind::Body => {
                    let time = frame.payload.first_chunk().expect("eight bytes");
                    messages.push((key.clone(), u64::from_be_bytes(*time)));
                }
                _ => {}
            }
            bytes = &bytes[taken..];
        }
        messages
    }
}
