//! A log in memory, and a reader of what is committed: it leaves aborted records out as clients do.

use std::collections::BTreeSet;

use crate::producer::{Ending, ProducerId};
use crate::stream::{Batch, Isolation, Marker, Stream};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Batch(Batch),
    Marker(Marker),
}

impl Entry {
    pub(crate) fn offsets(&self) -> u64 {
        match self {
            Entry::Batch(batch) => batch.records.into(),
            Entry::Marker(_) => 1,
        }
    }

    pub(crate) fn replay(&self, offset: u64, stream: &mut Stream, now_ms: i64) {
        match self {
            Entry::Batch(batch) => stream.replay(offset, batch, now_ms),
            Entry::Marker(marker) => stream.replay_marker(offset, marker, now_ms),
        }
    }

    fn transaction_of(&self) -> Option<ProducerId> {
        match self {
            Entry::Batch(Batch { sender: Some(sender), .. }) if sender.transactional => {
                Some(sender.producer.id)
            }
            _ => None,
        }
    }
}

/// The offsets of the batches that a reader sees who fetches about `step` offsets at a time.
pub(crate) fn committed(stream: &Stream, log: &[(u64, Entry)], step: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    let mut from = stream.log_start();
    while let Some(batches) = fetch(stream, log, from, step) {
        let upto = batches.last().map(|(offset, entry)| offset + entry.offsets()).unwrap();
        let mut aborted = stream.aborted_between(from, upto);
        aborted.sort_unstable_by_key(|aborted| std::cmp::Reverse(aborted.first_offset));
        let mut left_out = BTreeSet::new();
        for (offset, entry) in batches {
            let last = offset + entry.offsets() - 1;
            while let Some(begun) = aborted.pop_if(|aborted| aborted.first_offset <= last) {
                left_out.insert(begun.producer);
            }
            match entry {
                Entry::Marker(marker) if marker.ending == Ending::Abort => {
                    left_out.remove(&marker.producer.id);
                }
                Entry::Batch(_) if entry.transaction_of().is_none_or(|id| !left_out.contains(&id)) => {
                    seen.push(*offset);
                }
                _ => {}
            }
        }
        from = upto;
    }
    seen
}

/// Whole batches, one at least, as long as there are any to see.
fn fetch<'a>(stream: &Stream, log: &'a [(u64, Entry)], from: u64, step: u64) -> Option<&'a [(u64, Entry)]> {
    let end = stream.readable(from, Isolation::Committed).unwrap().end;
    if end == from {
        return None;
    }
    let start = log.partition_point(|(offset, entry)| offset + entry.offsets() <= from);
    let visible = log[start..].iter().take_while(|(offset, _)| *offset < end);
    let count = visible.enumerate().take_while(|(n, (offset, _))| *n == 0 || *offset < from + step).count();
    (count > 0).then(|| &log[start..start + count])
}

/// The offsets a reader should see below `upto`, by what the whole log says, and none undecided.
pub(crate) fn truth(log: &[(u64, Entry)], from: u64, upto: u64) -> Vec<u64> {
    let mut visible = Vec::new();
    if from == upto {
        return visible;
    }
    for (n, (offset, entry)) in log.iter().enumerate() {
        if !matches!(entry, Entry::Batch(_)) || offset + entry.offsets() <= from || *offset >= upto {
            continue;
        }
        let ending = entry.transaction_of().map(|id| {
            let end = log[n..].iter().find_map(|(_, later)| match later {
                Entry::Marker(marker) if marker.producer.id == id => Some(marker.ending),
                _ => None,
            });
            end.unwrap_or_else(|| panic!("offset {offset} is visible below {upto} and undecided"))
        });
        if ending != Some(Ending::Abort) {
            visible.push(*offset);
        }
    }
    visible
}
