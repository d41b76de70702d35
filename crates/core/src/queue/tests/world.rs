//! A log in memory, and blocks to publish.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::message::{Block, BlockBuilder, Gauge, Message, Traits};
use crate::queue::{Effects, Kept, Past, Queue, Reason};

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) body_bytes: usize,
    pub(super) traits: Traits,
}

pub(super) fn block_of<'a>(items: impl IntoIterator<Item = &'a Item>) -> Arc<Block> {
    let mut builder = BlockBuilder::new();
    for item in items {
        builder.push(Message {
            exchange: b"",
            routing_key: item.name.as_bytes(),
            envelope: b"",
            body: &vec![b'x'; item.body_bytes],
            traits: item.traits,
        });
    }
    builder.finish(&Gauge::default())
}

pub(super) fn name_of(block: &Block, index: u32) -> String {
    String::from_utf8_lossy(block.message(index).routing_key).into_owned()
}

#[derive(Debug, Default)]
pub(super) struct SimulatedLog {
    pub(super) kept: BTreeMap<u64, Item>,
    /// How often messages came back.
    pub(super) returns: BTreeMap<u64, u32>,
}

impl SimulatedLog {
    /// Writes what the queue wants kept, and says the names.
    pub(super) fn write(&mut self, queue: &mut Queue) -> Vec<String> {
        let mut names = Vec::new();
        queue.take_unwritten(
            |message| message.traits.persistent,
            |offset, message| {
                let name = String::from_utf8_lossy(message.routing_key).into_owned();
                names.push(name.clone());
                let body_bytes = message.body.len();
                let traits = message.traits;
                let item = Item { name, body_bytes, traits };
                assert!(self.kept.insert(offset, item).is_none(), "written twice");
            },
        );
        names
    }

    /// Reads at most so many messages from an offset on for the queue.
    pub(super) fn answer(&self, from: u64, most: usize, queue: &mut Queue, now_ms: i64, out: &mut Effects) {
        let read: Vec<_> = self.kept.range(from..).take(most).collect();
        let upto = match read.last() {
            Some((last, _)) if read.len() == most => *last + 1,
            _ => queue.next_offset(),
        };
        let offsets: Vec<u64> = read.iter().map(|(offset, _)| **offset).collect();
        let block = block_of(read.iter().map(|(_, item)| *item));
        queue.loaded(from..upto, &block, &offsets, now_ms, out);
    }

    pub(super) fn note_returns(&mut self, out: &mut Effects) {
        self.returns.extend(out.drain_returned());
    }

    /// What a restarted queue is told, after a clean stop (`certain`) or any other end.
    pub(super) fn kept_beyond(&self, queue: &Queue, certain: bool) -> (Vec<Kept>, Past) {
        let mut given_out = queue.given_out();
        if !certain {
            given_out.insert_range(0..queue.next_offset());
        }
        let mut past = Past { given_out, ..Past::default() };
        let mut kept = Vec::new();
        for (&offset, item) in &self.kept {
            if queue.settled().contains(offset) || !item.traits.persistent {
                continue;
            }
            let returns = self.returns.get(&offset).copied().unwrap_or(0);
            if returns > 0 {
                past.returns.insert(offset, returns);
            }
            if queue.rules().is_past_delivery_limit(returns) {
                past.leaving.insert(offset, Reason::DeliveryLimit);
                continue;
            }
            kept.push(Kept {
                offsets: offset..offset + 1,
                priority: item.traits.priority,
                body_bytes: item.body_bytes as u64,
                due_ms: item.traits.due_ms(),
            });
        }
        (kept, past)
    }
}
