//! The task that owns one partition: it takes commands in batches, asks the machine where each goes, and hands
//! what is to be kept to the storage thread. Nobody else changes the partition.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cauce_core::message::{Charge, Gauge};
use cauce_core::producer::Ending;
use cauce_core::stream::{Appended, Isolation, Marker, Stream};
use cauce_kafka::internal::control::EndMarker;
use cauce_log::{BatchBuilder, LogReader};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::checking::CheckedBatch;
use super::files::{Location, PartitionJob};
use super::handle::{Acks, AppendAnswer, Extent, PartitionCommand, PartitionHandle, Place};
use crate::clock::now_ms;
use crate::limits::{SNAPSHOT_INTERVAL_BYTES, TURN_COMMANDS_MAX};
use crate::storage::{Job, Storage};

/// Attributes of the batch that ends a transaction: transactional, control.
const MARKER_ATTRIBUTES: i16 = 1 << 4 | 1 << 5;

/// An append that waits until all below an offset is written, or stored.
#[derive(Debug)]
struct Waiting {
    upto: u64,
    place: Place,
    done: oneshot::Sender<AppendAnswer>,
}

impl Waiting {
    fn answer(self) {
        let _ = self.done.send(Ok(self.place));
    }
}

/// Those that wait, by rising offset.
#[derive(Debug, Default)]
struct Queue(VecDeque<Waiting>);

impl Queue {
    fn push(&mut self, waiting: Waiting) {
        // What is repeated waits for an earlier offset than what came last.
        let at = self.0.partition_point(|other| other.upto <= waiting.upto);
        self.0.insert(at, waiting);
    }

    fn answer(&mut self, upto: u64) {
        while let Some(waiting) = self.0.pop_front_if(|waiting| waiting.upto <= upto) {
            waiting.answer();
        }
    }
}

pub(super) struct PartitionTask {
    handle: Arc<PartitionHandle>,
    storage: Storage,
    location: Arc<Location>,
    stream: Stream,
    /// The batches of this turn, and the bytes of them.
    placed: Vec<Bytes>,
    placed_bytes: usize,
    tells_written: bool,
    written: u64,
    to_be_written: Queue,
    to_be_stored: Queue,
    /// Bytes that readers see since the start.
    visible_bytes: u64,
    /// Bytes since the last snapshot.
    unsnapped_bytes: usize,
    /// As the last compaction left it.
    nothing_aborted_below: u64,
    markers: BatchBuilder,
    /// Charges of what is on its way to the log.
    charges: VecDeque<(u64, Arc<Charge>)>,
    /// For what is remembered of producers.
    of_producers: Charge,
}

/// How the task ends.
enum End {
    Deleted(oneshot::Sender<()>),
    Stopped(oneshot::Sender<()>),
}

impl PartitionTask {
    pub(super) fn spawn(
        at: cauce_core::partition::TopicPartition,
        location: Arc<Location>,
        storage: Storage,
        gauge: &Gauge,
        stream: Stream,
        reader: Option<LogReader>,
    ) -> Arc<PartitionHandle> {
        let (handle, mailbox) = PartitionHandle::new(at, extent_of(&stream, 0), reader);
        let task = PartitionTask {
            handle: handle.clone(),
            storage,
            location,
            written: stream.end(),
            placed: Vec::new(),
            placed_bytes: 0,
            tells_written: false,
            to_be_written: Queue::default(),
            to_be_stored: Queue::default(),
            visible_bytes: 0,
            unsnapped_bytes: 0,
            nothing_aborted_below: 0,
            markers: BatchBuilder::new(),
            charges: VecDeque::new(),
            of_producers: gauge.charge(stream.producers_bytes()),
            stream,
        };
        tokio::spawn(task.run(mailbox));
        handle
    }

    async fn run(mut self, mut mailbox: UnboundedReceiver<PartitionCommand>) {
        let mut commands = Vec::new();
        loop {
            let wake_at = self.stream.next_timeout();
            tokio::select! {
                biased;
                count = mailbox.recv_many(&mut commands, TURN_COMMANDS_MAX) => if count == 0 { return },
                () = sleep_until(wake_at) => self.stream.on_timeout(now_ms()),
            }
            let now_ms = now_ms();
            let mut end = None;
            for command in commands.drain(..) {
                if let ControlFlow::Break(how) = self.obey(command, now_ms) {
                    end = Some(how);
                    break;
                }
            }
            self.finish_turn();
            match end {
                None => {}
                Some(End::Deleted(done)) => {
                    self.handle.close();
                    return self.send(PartitionJob::Forget { done });
                }
                Some(End::Stopped(done)) => {
                    self.snapshot();
                    let _ = done.send(());
                    // The node ends. Until it has, nobody may take this partition for one that is gone.
                    return std::future::pending().await;
                }
            }
        }
    }

    fn obey(&mut self, command: PartitionCommand, now_ms: i64) -> ControlFlow<End> {
        match command {
            PartitionCommand::Append { batch, guard, acks, done } => {
                match self.stream.append(&batch.header, guard, now_ms) {
                    Ok(appended) => self.place(batch, appended, acks, done),
                    Err(error) => drop(done.send(Err(error.into()))),
                }
            }
            PartitionCommand::EndTransaction { marker, done } => {
                match self.stream.end_transaction(&marker, now_ms) {
                    Ok(offset) => self.place_marker(&marker, offset, now_ms, done),
                    Err(error) => drop(done.send(Err(error.into()))),
                }
            }
            PartitionCommand::Verification { sender, version, done } => {
                let _ = done.send(self.stream.verification(&sender, version, now_ms));
            }
            PartitionCommand::Aborted { offsets, done } => {
                let _ = done.send(self.stream.aborted_between(offsets.start, offsets.end));
            }
            PartitionCommand::Producers { done } => drop(done.send(self.stream.producers().collect())),
            PartitionCommand::Trim { before, done } => {
                self.stream.trim(before.min(self.stream.high_watermark()));
                self.send(PartitionJob::Trim { before: self.stream.log_start() });
                let _ = done.send(self.stream.log_start());
            }
            PartitionCommand::Configure(config) => {
                self.location.configure(config);
                self.send(PartitionJob::Configure);
            }
            PartitionCommand::Chore(chore) => {
                self.send_placed();
                if let Some(below) = chore.nothing_aborted_below() {
                    // Not at once: a reader may be between the records it found and the question which were aborted.
                    self.stream.forget_aborted(std::mem::replace(&mut self.nothing_aborted_below, below));
                }
                let (config, mailbox) = (self.location.config(), self.handle.mailbox());
                let job = chore.prepare(&self.stream, config, mailbox, now_ms);
                self.send(PartitionJob::Chore(job));
            }
            PartitionCommand::Begins { at, removed, done } => {
                self.stream.trim(at);
                let _ = done.send(removed);
            }
            PartitionCommand::Written { upto } => self.has_written(upto),
            PartitionCommand::Stored { upto, bytes, reader } => {
                self.handle.set_reader(reader);
                self.visible_bytes += bytes;
                self.stream.stored(upto);
                self.has_written(upto);
                // Shown first: who hears that it is stored may look for it at once.
                self.handle.show(extent_of(&self.stream, self.visible_bytes));
                self.to_be_stored.answer(upto);
            }
            PartitionCommand::Delete { done } => return ControlFlow::Break(End::Deleted(done)),
            PartitionCommand::Stop { done } => return ControlFlow::Break(End::Stopped(done)),
        }
        ControlFlow::Continue(())
    }

    fn place(
        &mut self,
        batch: CheckedBatch,
        appended: Appended,
        acks: Acks,
        done: oneshot::Sender<AppendAnswer>,
    ) {
        let log_start = self.stream.log_start();
        let (first_offset, upto, append_time_ms) = match appended {
            Appended::At(offset) => (offset, self.stream.end(), batch.append_time_ms),
            Appended::Before { first_offset, last_offset, timestamp_ms } => {
                (first_offset, last_offset + 1, batch.append_time_ms.map(|_| timestamp_ms))
            }
        };
        if let Appended::At(_) = appended {
            self.charges.push_back((upto, batch.charge));
            self.keep(batch.bytes);
        }
        let waiting = Waiting { upto, place: Place { first_offset, append_time_ms, log_start }, done };
        match acks {
            Acks::Written if upto <= self.written => waiting.answer(),
            Acks::Written => {
                self.tells_written = true;
                self.to_be_written.push(waiting);
            }
            Acks::All if upto <= self.stream.high_watermark() => waiting.answer(),
            Acks::All => self.to_be_stored.push(waiting),
        }
    }

    fn place_marker(
        &mut self,
        marker: &Marker,
        offset: u64,
        now_ms: i64,
        done: oneshot::Sender<AppendAnswer>,
    ) {
        let committed = marker.ending == Ending::Commit;
        let (key, value) = EndMarker { committed, coordinator_epoch: marker.coordinator_epoch }.encode();
        self.markers.start(offset as i64, now_ms);
        self.markers.set_producer(marker.producer.id.0, marker.producer.epoch, -1);
        self.markers.set_attributes(MARKER_ATTRIBUTES);
        self.markers.push(offset as i64, now_ms, Some(&key), Some(&[&value]), &[]);
        let bytes = self.markers.finish();
        self.keep(bytes);
        let log_start = self.stream.log_start();
        let place = Place { first_offset: offset, append_time_ms: None, log_start };
        self.to_be_stored.push(Waiting { upto: offset + 1, place, done });
    }

    fn keep(&mut self, bytes: Bytes) {
        self.placed_bytes += bytes.len();
        self.placed.push(bytes);
    }

    fn has_written(&mut self, upto: u64) {
        self.written = self.written.max(upto);
        self.to_be_written.answer(self.written);
        while self.charges.pop_front_if(|(end, _)| *end <= upto).is_some() {}
    }

    fn finish_turn(&mut self) {
        self.send_placed();
        self.of_producers.set(self.stream.producers_bytes());
        self.handle.show(extent_of(&self.stream, self.visible_bytes));
    }

    fn send_placed(&mut self) {
        if !self.placed.is_empty() {
            let bytes = std::mem::take(&mut self.placed_bytes);
            let job = PartitionJob::Append {
                batches: std::mem::take(&mut self.placed),
                bytes,
                upto: self.stream.end(),
                tells_written: std::mem::take(&mut self.tells_written),
                mailbox: self.handle.mailbox().clone(),
            };
            self.send(job);
            self.unsnapped_bytes += bytes;
            if self.unsnapped_bytes >= SNAPSHOT_INTERVAL_BYTES {
                self.snapshot();
            }
        }
    }

    /// Comes after the batches it knows of: the storage thread does one job after the other.
    fn snapshot(&mut self) {
        if std::mem::take(&mut self.unsnapped_bytes) > 0 {
            let (end, snapshot) = (self.stream.end(), self.stream.snapshot());
            self.send(PartitionJob::Snapshot { end, snapshot });
        }
    }

    fn send(&self, job: PartitionJob) {
        self.storage.send(Job::Partition { at: self.location.clone(), job });
    }
}

fn extent_of(stream: &Stream, bytes: u64) -> Extent {
    Extent {
        log_start: stream.log_start(),
        high_watermark: stream.high_watermark(),
        last_stable: stream.visible_end(Isolation::Committed),
        end: stream.end(),
        bytes,
    }
}

async fn sleep_until(at_ms: Option<i64>) {
    match at_ms {
        Some(at_ms) => {
            let wait_ms = at_ms.saturating_sub(now_ms()).max(0) as u64;
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        None => std::future::pending().await,
    }
}
