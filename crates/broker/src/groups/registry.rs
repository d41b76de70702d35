//! The groups there are, and when each wants to be called again.

use std::collections::{BTreeMap, BTreeSet};

use cauce_core::group::Group;
use cauce_core::message::{Charge, Gauge};

use super::GroupId;

/// What a group takes in all maps, beside its name, its members and its offsets.
const GROUP_BYTES: usize = 2 * size_of::<Entry>();

#[derive(Debug)]
pub(super) struct Registry {
    gauge: Gauge,
    groups: BTreeMap<GroupId, Entry>,
    deadlines: BTreeSet<(i64, GroupId)>,
}

#[derive(Debug)]
struct Entry {
    group: Group,
    /// As it stands in the deadlines.
    wakes_ms: Option<i64>,
    /// As it was when the group was reviewed last.
    charge: Charge,
}

impl Entry {
    fn new(group: Group, gauge: &Gauge) -> Entry {
        Entry { group, wakes_ms: None, charge: gauge.charge(0) }
    }
}

impl Registry {
    pub(super) fn new(gauge: Gauge) -> Registry {
        Registry { gauge, groups: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Group> {
        self.groups.get(id).map(|entry| &entry.group)
    }

    pub(super) fn get_or_insert(&mut self, id: &GroupId, make: impl FnOnce() -> Group) -> &mut Group {
        let entry = self.groups.entry(id.clone());
        &mut entry.or_insert_with(|| Entry::new(make(), &self.gauge)).group
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&GroupId, &Group)> {
        self.groups.iter().map(|(id, entry)| (id, &entry.group))
    }

    pub(super) fn ids(&self) -> Vec<GroupId> {
        self.groups.keys().cloned().collect()
    }

    pub(super) fn insert(&mut self, id: GroupId, group: Group) {
        self.groups.insert(id, Entry::new(group, &self.gauge));
    }

    /// To be called after each call to a group: it is charged, and forgotten if there is nothing to remember, or called
    /// again when it wants to be.
    pub(super) fn review(&mut self, id: &GroupId) {
        let Some(entry) = self.groups.get_mut(id) else { return };
        if entry.group.is_blank() {
            return self.remove(id);
        }
        entry.charge.set(GROUP_BYTES + id.len() + entry.group.offsets_bytes());
        let wakes_ms = entry.group.next_timeout();
        let before_ms = std::mem::replace(&mut entry.wakes_ms, wakes_ms);
        if before_ms == wakes_ms {
            return;
        }
        if let Some(at_ms) = before_ms {
            self.deadlines.remove(&(at_ms, id.clone()));
        }
        self.deadlines.extend(wakes_ms.map(|at_ms| (at_ms, id.clone())));
    }

    pub(super) fn remove(&mut self, id: &GroupId) {
        let entry = self.groups.remove(id);
        if let Some(at_ms) = entry.and_then(|entry| entry.wakes_ms) {
            self.deadlines.remove(&(at_ms, id.clone()));
        }
    }

    pub(super) fn next_deadline_ms(&self) -> Option<i64> {
        self.deadlines.first().map(|(at_ms, _)| *at_ms)
    }

    /// Groups whose time has come.
    pub(super) fn due(&self, now_ms: i64) -> Vec<GroupId> {
        let due = self.deadlines.iter().take_while(|(at_ms, _)| *at_ms <= now_ms);
        due.map(|(_, id)| id.clone()).collect()
    }
}
