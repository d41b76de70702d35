//! Committed offsets, and those of open transactions.

use std::collections::{BTreeMap, BTreeSet};

use super::{CommittedOffset, WriteId};
use crate::partition::TopicPartition;
use crate::producer::ProducerId;

#[derive(Debug)]
struct Entry {
    value: CommittedOffset,
    /// The write it came with. Of two the later holds, whenever their transactions end.
    write: WriteId,
}

type Offsets = BTreeMap<TopicPartition, Entry>;

/// What an offset takes: every commit brings names of its own.
fn bytes_of(at: &TopicPartition, entry: &Entry) -> usize {
    size_of::<(TopicPartition, Entry)>() + at.topic.len() + entry.value.metadata.len()
}

/// `bytes` are those of all offsets.
fn insert(offsets: &mut Offsets, bytes: &mut usize, at: TopicPartition, entry: Entry) {
    *bytes += bytes_of(&at, &entry);
    let before = offsets.insert(at.clone(), entry);
    *bytes -= before.map_or(0, |before| bytes_of(&at, &before));
}

#[derive(Debug, Default)]
pub(super) struct OffsetsTable {
    committed: Offsets,
    pending: BTreeMap<ProducerId, Offsets>,
    bytes: usize,
}

impl OffsetsTable {
    pub(super) fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty()
    }

    /// What all of them take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn committed_count(&self) -> usize {
        self.committed.len()
    }

    pub(super) fn none_pending(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn get(&self, at: &TopicPartition) -> Option<&CommittedOffset> {
        self.committed.get(at).map(|entry| &entry.value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &CommittedOffset)> {
        self.committed.iter().map(|(at, entry)| (at, &entry.value))
    }

    pub(super) fn is_pending(&self, at: &TopicPartition) -> bool {
        self.pending.values().any(|offsets| offsets.contains_key(at))
    }

    /// Everything that was committed or may come to be.
    pub(super) fn partitions(&self) -> BTreeSet<TopicPartition> {
        let pending = self.pending.values().flat_map(BTreeMap::keys);
        self.committed.keys().chain(pending).cloned().collect()
    }

    pub(super) fn put(&mut self, at: TopicPartition, value: CommittedOffset, write: WriteId) {
        if self.committed.get(&at).is_none_or(|entry| entry.write < write) {
            insert(&mut self.committed, &mut self.bytes, at, Entry { value, write });
        }
    }

    pub(super) fn put_pending(
        &mut self,
        producer: ProducerId,
        at: TopicPartition,
        value: CommittedOffset,
        write: WriteId,
    ) {
        let offsets = self.pending.entry(producer).or_default();
        insert(offsets, &mut self.bytes, at, Entry { value, write });
    }

    /// Says which partitions it was about.
    pub(super) fn end_transaction(&mut self, producer: ProducerId, committed: bool) -> Vec<TopicPartition> {
        let ended = self.pending.remove(&producer).unwrap_or_default();
        let partitions = ended.keys().cloned().collect();
        self.bytes -= ended.iter().map(|(at, entry)| bytes_of(at, entry)).sum::<usize>();
        for (at, entry) in ended.into_iter().filter(|_| committed) {
            self.put(at, entry.value, entry.write);
        }
        partitions
    }

    /// Forgets what earlier writes said.
    pub(super) fn remove(&mut self, at: &TopicPartition, write: WriteId) {
        for offsets in self.pending.values_mut().chain([&mut self.committed]) {
            if let Some(entry) = offsets.get(at).filter(|entry| entry.write < write) {
                self.bytes -= bytes_of(at, entry);
                offsets.remove(at);
            }
        }
        self.pending.retain(|_, offsets| !offsets.is_empty());
    }
}
