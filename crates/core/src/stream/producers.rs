//! All producers of a partition, as many as it may remember.

use std::collections::HashMap;

use super::producer::{ProducerState, RECENT_MAX, Recent};
use crate::producer::{Producer, ProducerId};

/// When there is no room, this part of the producers goes at once, so that looking for the longest silent is rare.
const EVICTED_PART: usize = 8;

/// Of one, with the batches it is remembered by.
const PRODUCER_BYTES: usize = size_of::<(ProducerId, ProducerState)>() + RECENT_MAX * size_of::<Recent>();

#[derive(Debug, Default)]
pub(super) struct Producers {
    by_id: HashMap<ProducerId, ProducerState, foldhash::fast::RandomState>,
}

impl Producers {
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.by_id.len() * PRODUCER_BYTES
    }

    pub(super) fn get(&self, id: ProducerId) -> Option<&ProducerState> {
        self.by_id.get(&id)
    }

    pub(super) fn entry(&mut self, producer: Producer, now_ms: i64) -> &mut ProducerState {
        self.by_id.entry(producer.id).or_insert_with(|| ProducerState::new(producer.epoch, now_ms))
    }

    pub(super) fn insert(&mut self, id: ProducerId, state: ProducerState) {
        self.by_id.insert(id, state);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerState)> {
        self.by_id.iter().map(|(&id, state)| (id, state))
    }

    /// Forgets the longest silent if one more would be too many. False if none can be forgotten: all
    /// have transactions open.
    pub(super) fn make_room_for(&mut self, id: ProducerId, most: usize) -> bool {
        if self.by_id.len() < most || self.by_id.contains_key(&id) {
            return true;
        }
        let idle = self.iter().filter(|(_, state)| state.open_from.is_none());
        let mut idle: Vec<(i64, ProducerId)> = idle.map(|(id, state)| (state.used_ms, id)).collect();
        idle.sort_unstable();
        idle.truncate((most / EVICTED_PART).max(1));
        idle.iter().for_each(|(_, id)| drop(self.by_id.remove(id)));
        !idle.is_empty()
    }

    /// Forgets who was not heard of since, and has no transaction open.
    pub(super) fn expire(&mut self, since_ms: i64) {
        self.by_id.retain(|_, state| state.open_from.is_some() || state.used_ms > since_ms);
    }
}
