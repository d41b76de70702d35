//! What goes to the log and its journal, and what comes back from it.

use std::ops::Range;
use std::sync::Arc;

use cauce_core::message::BlockBuilder;
use cauce_log::LogReader;

use super::QueueTask;
use crate::limits::{RECORD_BATCH_BYTES, RESIDENT_BYTES_SHORT, UNSTORED_BYTES_MAX};
use crate::mark::Mark;
use crate::memory::Pressure;
use crate::queue_handle::{QueueCommand, QueueHandle};
use crate::settled::Notes;
use crate::storage::{Job, report_damage};
use crate::stored;
use crate::vhost::Vhost;

impl QueueTask {
    /// What is to be kept becomes record batches. What is too much for now goes when the log has taken some.
    pub(super) fn write_arrivals(&mut self) {
        let pages = match self.vhost.memory().pressure() {
            Pressure::None => false,
            Pressure::Paging => self.queue.unwritten_bytes() > RESIDENT_BYTES_SHORT,
            Pressure::Tight => true,
        };
        if pages {
            self.queue.write_all();
        }
        let durable = self.queue.rules().durable;
        let (batch, written, preparing) = (&mut self.batch, &mut self.written, &self.preparing);
        let has_paged = &mut self.has_paged;
        let (mut batches, mut bytes, mut promised) = (Vec::new(), 0, false);
        while self.unstored_bytes + bytes <= UNSTORED_BYTES_MAX {
            let mut is_started = false;
            let more = self.queue.take_unwritten(
                |message| pages || (durable && message.traits.persistent),
                |offset, message| {
                    if batch.len_bytes() >= RECORD_BATCH_BYTES && is_started {
                        batches.push(batch.finish());
                        is_started = false;
                    }
                    if !is_started {
                        batch.start(offset as i64, message.traits.arrived_ms);
                        is_started = true;
                    }
                    let outlives = durable && message.traits.persistent;
                    promised |= outlives;
                    *has_paged |= !outlives;
                    let transaction = preparing.iter().find(|part| part.offsets.contains(&offset));
                    stored::push(batch, offset, &message, transaction.map(|part| part.transaction));
                    written.insert(offset);
                },
            );
            if is_started {
                batches.push(batch.finish());
            }
            bytes = batches.iter().map(|batch| batch.len()).sum();
            if !more {
                break;
            }
        }
        if !batches.is_empty() {
            self.unstored_bytes += bytes;
            let (charge, upto) = (self.vhost.memory().gauge().charge(bytes), self.queue.log_end());
            let (queue, mailbox) = (self.handle.id, self.handle.mailbox.clone());
            self.vhost.storage().send(Job::Append { queue, batches, charge, promised, upto, mailbox });
        }
    }

    /// What became of messages; only of what is in the log it needs remembering.
    pub(super) fn write_notes(&mut self) {
        let queue = self.handle.id;
        for transaction in self.committed.drain(..) {
            self.vhost.storage().send(Job::Committed { queue, transaction });
        }
        let mut notes = Notes::default();
        for range in self.effects.drain_settled() {
            self.written.remove_range(range, |run| add_range(&mut notes.done, run));
        }
        let written = &self.written;
        notes.returned.extend(self.effects.drain_returned().filter(|(offset, _)| written.contains(*offset)));
        if !notes.is_empty() {
            self.vhost.storage().send(Job::Settle { queue, notes, floor: self.queue.floor() });
        }
    }

    pub(super) fn remember_given_out(&mut self) {
        let given_out: Vec<Range<u64>> = self.queue.given_out().runs().collect();
        let notes = Notes { given_out, ..Notes::default() };
        if self.queue.rules().durable && !notes.is_empty() {
            let floor = self.queue.floor();
            self.vhost.storage().send(Job::Settle { queue: self.handle.id, notes, floor });
        }
    }

    pub(super) fn leave_mark(&self) {
        // Of transactions that are not over the log must be asked.
        let is_plain = self.endings.is_empty() && !self.has_paged;
        if let Some(mark) = is_plain.then(|| Mark::of(&self.queue, &self.written)).flatten() {
            self.vhost.storage().send(Job::Mark { queue: self.handle.id, mark });
        }
    }

    /// What is not in the log is as safe as it gets; the rest waits for the log.
    pub(super) fn decide_confirms(&mut self) {
        let decided = self.queue.offered_upto();
        while self.arrived.front().is_some_and(|(offset, _)| *offset < decided) {
            let (offset, pending) = self.arrived.pop_front().expect("seen above");
            if self.written.contains(offset) {
                self.pending.push_back((offset, pending));
            } else {
                self.up.confirm_pending(pending);
            }
        }
    }

    pub(super) fn confirm_below(&mut self, upto: u64) {
        while self.pending.front().is_some_and(|(offset, _)| *offset < upto) {
            let (_, pending) = self.pending.pop_front().expect("seen above");
            self.up.confirm_pending(pending);
        }
    }
}

/// Offsets mostly come in a row: the last range grows instead of a new one.
pub(super) fn add_range(ranges: &mut Vec<Range<u64>>, added: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == added.start => last.end = added.end,
        _ => ranges.push(added),
    }
}

/// Reads from the log off the runtime's threads and sends what it finds as a command.
pub(super) fn load(
    handle: &Arc<QueueHandle>,
    vhost: &Arc<Vhost>,
    reader: Option<LogReader>,
    from: u64,
    bytes: usize,
) {
    let (mailbox, gauge) = (handle.mailbox.clone(), vhost.memory().gauge().clone());
    let name = handle.name.clone();
    tokio::task::spawn_blocking(move || {
        let mut block = BlockBuilder::new();
        let mut offsets = Vec::new();
        let mut end = from + 1;
        let read = reader.as_ref().map(|reader| reader.read(from as i64, bytes));
        reader.iter().for_each(|reader| report_damage(&name, reader));
        match read {
            Some(Ok(batches)) => {
                let last = batches.last().map_or(0, |batch| batch.last_offset() as u64 + 1);
                end = end.max(last);
                let records = batches.iter().flat_map(|batch| batch.records()).flatten();
                for record in records.filter(|record| record.offset as u64 >= from) {
                    if block.len_bytes() >= bytes {
                        end = record.offset as u64;
                        break;
                    }
                    stored::copy_into(&mut block, &mut offsets, &record);
                }
            }
            Some(Err(error)) => tracing::error!(queue = %name, from, %error, "reading the log failed"),
            None => tracing::error!(queue = %name, from, "a message is neither in memory nor in a log"),
        }
        mailbox.send(QueueCommand::Loaded { covered: from..end, block: block.finish(&gauge), offsets });
    });
}
