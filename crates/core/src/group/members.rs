//! The members of a group, who leads them, and what they have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::member::Member;
use super::{Identity, InstanceId, MemberId, Participant, Protocol, Refusal};

#[derive(Debug, Default)]
pub(super) struct Members {
    by_id: BTreeMap<MemberId, Member>,
    statics: BTreeMap<InstanceId, MemberId>,
    /// They were told their ids, and until when to come back.
    pending: BTreeMap<MemberId, i64>,
    leader: Option<MemberId>,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&MemberId, &Member)> {
        self.by_id.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&MemberId, &mut Member)> {
        self.by_id.iter_mut()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Member> {
        self.by_id.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.by_id.get_mut(id)
    }

    pub(super) fn with_instance(&self, instance: &str) -> Option<&MemberId> {
        self.statics.get(instance)
    }

    pub(super) fn leader(&self) -> Option<&MemberId> {
        self.leader.as_ref()
    }

    pub(super) fn set_leader(&mut self, leader: Option<MemberId>) {
        self.leader = leader;
    }

    pub(super) fn is_leader(&self, id: &MemberId) -> bool {
        self.leader.as_ref() == Some(id)
    }

    /// The member a request comes from. A static one must not have been replaced (KIP-345).
    pub(super) fn identify(&self, identity: &Identity) -> Result<MemberId, Refusal> {
        let member = identity.member.as_ref().ok_or(Refusal::UnknownMember)?;
        if let Some(instance) = &identity.instance {
            let current = self.statics.get(instance).ok_or(Refusal::UnknownMember)?;
            if current != member {
                return Err(Refusal::Fenced);
            }
        }
        let (id, _) = self.by_id.get_key_value(member).ok_or(Refusal::UnknownMember)?;
        Ok(id.clone())
    }

    pub(super) fn add(&mut self, id: MemberId, member: Member) {
        self.pending.remove(&id);
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.by_id.insert(id, member);
    }

    /// Somebody else leads if it did.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        self.pending.remove(id);
        let member = self.by_id.remove(id)?;
        if let Some(instance) = &member.instance {
            self.statics.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.by_id.keys().next().cloned();
        }
        Some(member)
    }

    /// A static member goes on under another id. It keeps its share, and the lead if it had it.
    pub(super) fn rename(&mut self, old: &str, new: MemberId) -> &mut Member {
        let member = self.by_id.remove(old).expect("the caller found it by its instance");
        let instance = member.instance.clone().expect("only static members are renamed");
        self.statics.insert(instance, new.clone());
        if self.leader.as_deref() == Some(old) {
            self.leader = Some(new.clone());
        }
        self.by_id.entry(new).or_insert(member)
    }

    pub(super) fn add_pending(&mut self, id: MemberId, until_ms: i64) {
        self.pending.insert(id, until_ms);
    }

    pub(super) fn remove_pending(&mut self, id: &str) -> bool {
        self.pending.remove(id).is_some()
    }

    pub(super) fn is_pending(&self, id: &str) -> bool {
        self.pending.contains_key(id)
    }

    pub(super) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn none_pending(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn joining_count(&self) -> usize {
        self.by_id.values().filter(|member| member.joining.is_some()).count()
    }

    /// Nobody else is expected in this round.
    pub(super) fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.joining_count() == self.by_id.len()
    }

    pub(super) fn all_synced(&self) -> bool {
        self.by_id.values().all(|member| member.synced)
    }

    pub(super) fn ids(&self, which: impl Fn(&Member) -> bool) -> Vec<MemberId> {
        self.by_id.iter().filter(|(_, member)| which(member)).map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn pending_due(&self, now_ms: i64) -> Vec<MemberId> {
        let due = self.pending.iter().filter(|(_, until_ms)| **until_ms <= now_ms);
        due.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn next_expiry_ms(&self) -> Option<i64> {
        let members = self.by_id.values().filter_map(Member::expires_ms);
        members.chain(self.pending.values().copied()).min()
    }

    /// The slowest member counts.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        self.by_id.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// The leader stays if it has joined. Otherwise another that has takes over; `false` if nobody has.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let joined = |id: &MemberId| self.by_id.get(id).is_some_and(|member| member.joining.is_some());
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let next = self.by_id.iter().find(|(_, member)| member.joining.is_some());
        let Some((next, _)) = next else { return false };
        self.leader = Some(next.clone());
        true
    }

    /// Everybody knows at least one of these.
    pub(super) fn share_one_of(&self, protocols: &[Protocol]) -> bool {
        protocols.iter().any(|protocol| self.all_know(&protocol.name))
    }

    fn all_know(&self, protocol: &Arc<str>) -> bool {
        self.by_id.values().all(|member| member.protocol(Some(protocol)).is_some())
    }

    /// Among the protocols that all know, each member votes for the one it likes best.
    pub(super) fn choose_protocol(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        let candidates: BTreeSet<&Arc<str>> = {
            let first = self.by_id.values().next()?;
            let names = first.protocols.iter().map(|protocol| &protocol.name);
            names.filter(|name| self.all_know(name)).collect()
        };
        for member in self.by_id.values() {
            let mut names = member.protocols.iter().map(|protocol| &protocol.name);
            if let Some(choice) = names.find(|name| candidates.contains(name)) {
                *votes.entry(choice).or_default() += 1;
            }
        }
        let most = votes.values().max()?;
        votes.iter().find(|(_, count)| *count == most).map(|(name, _)| (*name).clone())
    }

    /// The topics all of them read, or `None` if one did not say.
    pub(super) fn subscribed(&self, protocol: Option<&Arc<str>>) -> Option<BTreeSet<Arc<str>>> {
        let mut all = BTreeSet::new();
        for member in self.by_id.values() {
            all.extend(member.protocol(protocol)?.topics.as_ref()?.iter().cloned());
        }
        Some(all)
    }

    pub(super) fn participants(&self, protocol: Option<&Arc<str>>) -> Vec<Participant> {
        let participant = |(id, member): (&MemberId, &Member)| Participant {
            id: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol),
        };
        self.by_id.iter().map(participant).collect()
    }
}
