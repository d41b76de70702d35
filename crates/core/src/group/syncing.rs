//! A generation has begun: the leader hands in who gets what, and everybody fetches its share.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::writes::{Assignments, Purpose};
use super::{Effect, Effects, Group, Identity, MemberId, Phase, Refusal, Share, Sync, Token};

impl Group {
    /// A member wants its share. The answer is [`Effect::Synced`].
    pub fn sync(&mut self, token: Token, sync: Sync, out: &mut Effects) {
        match self.try_sync(token, sync, out) {
            Ok(None) => {}
            Ok(Some(share)) => out.push(Effect::Synced { token, answer: Ok(share) }),
            Err(refusal) => out.push(Effect::Synced { token, answer: Err(refusal) }),
        }
    }

    /// `None`: the answer comes later.
    fn try_sync(&mut self, token: Token, sync: Sync, out: &mut Effects) -> Result<Option<Share>, Refusal> {
        let id = self.identify(&sync.identity, sync.generation)?;
        let differs = |said: &Option<Arc<str>>, ours: &Option<Arc<str>>| said.is_some() && said != ours;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(Refusal::InconsistentProtocol);
        }
        match self.phase {
            Phase::Completing => {
                self.await_assignment(id, token, sync.assignments, out);
                Ok(None)
            }
            Phase::Stable => {
                self.has_synced(&id);
                Ok(Some(self.share(&id)))
            }
            Phase::Preparing(_) => Err(Refusal::Rebalancing),
            Phase::Empty | Phase::Dead => unreachable!("the group has a member"),
        }
    }

    fn await_assignment(
        &mut self,
        id: MemberId,
        token: Token,
        shares: Vec<(MemberId, Arc<[u8]>)>,
        out: &mut Effects,
    ) {
        self.has_synced(&id);
        let member = self.members.get_mut(&id).expect("it was identified");
        if let Some(token) = member.syncing.replace(token) {
            out.push(Effect::Synced { token, answer: Err(Refusal::Rebalancing) });
        }
        // A leader that asks again waits for what it said first: that is being written.
        if self.members.is_leader(&id) && !self.writes.assigns(self.generation) {
            self.assign(shares, out);
        }
    }

    fn has_synced(&mut self, id: &MemberId) {
        self.members.get_mut(id).expect("it was identified").synced = true;
        if self.members.all_synced() {
            self.sync_by_ms = None;
        }
    }

    /// Whom the leader forgot gets nothing.
    fn assign(&mut self, shares: Vec<(MemberId, Arc<[u8]>)>, out: &mut Effects) {
        let mut shares: BTreeMap<MemberId, Arc<[u8]>> = shares.into_iter().collect();
        let shares = self.members.iter().map(|(id, _)| (id.clone(), shares.remove(id).unwrap_or_default()));
        let assignments = Assignments { generation: self.generation, shares: shares.collect() };
        self.write_snapshot(Purpose::Assignments(assignments), out);
    }

    /// The assignment is on disk, unless it failed.
    pub(super) fn assigned(&mut self, mut done: Assignments, stored: bool, now_ms: i64, out: &mut Effects) {
        if self.phase != Phase::Completing || self.generation != done.generation {
            return; // Another round has begun, and all who waited were told.
        }
        if !stored {
            self.recall_syncs(Refusal::NotStored, now_ms, out);
            return self.rebalance(now_ms, out);
        }
        self.enter(Phase::Stable, now_ms);
        let mut waiting = Vec::new();
        for (id, member) in self.members.iter_mut() {
            member.assignment = done.shares.remove(id).unwrap_or_default();
            if let Some(token) = member.syncing.take() {
                member.heard(now_ms);
                waiting.push((id.clone(), token));
            }
        }
        for (id, token) in waiting {
            out.push(Effect::Synced { token, answer: Ok(self.share(&id)) });
        }
        self.check_sessions();
        self.plan_sweep();
    }

    /// Nobody gets what they wait for.
    pub(super) fn recall_syncs(&mut self, refusal: Refusal, now_ms: i64, out: &mut Effects) {
        for (_, member) in self.members.iter_mut() {
            if let Some(token) = member.syncing.take() {
                member.heard(now_ms);
                out.push(Effect::Synced { token, answer: Err(refusal) });
            }
        }
        self.check_sessions();
    }

    /// Those who joined and did not sync in time are out.
    pub(super) fn sync_time_is_over(&mut self, now_ms: i64, out: &mut Effects) {
        self.sync_by_ms = None;
        for id in self.members.ids(|member| !member.synced) {
            self.drop_member(&id, out);
        }
        self.after_removal(now_ms, out);
    }

    /// A member is alive. [`Refusal::Rebalancing`] tells it to join again.
    pub fn heartbeat(&mut self, identity: &Identity, generation: i32, now_ms: i64) -> Result<(), Refusal> {
        let id = self.identify(identity, generation)?;
        self.heard(&id, now_ms);
        match self.phase {
            Phase::Preparing(_) => Err(Refusal::Rebalancing),
            _ => Ok(()),
        }
    }

    /// The member of this generation that a request comes from.
    pub(super) fn identify(&self, identity: &Identity, generation: i32) -> Result<MemberId, Refusal> {
        if self.phase == Phase::Dead {
            return Err(Refusal::Gone);
        }
        let id = self.members.identify(identity)?;
        match generation == self.generation {
            true => Ok(id),
            false => Err(Refusal::IllegalGeneration),
        }
    }

    pub(super) fn heard(&mut self, id: &MemberId, now_ms: i64) {
        let member = self.members.get_mut(id).expect("it was identified");
        member.heard(now_ms);
        member.expires_ms().into_iter().for_each(|at_ms| self.check_sessions_by(at_ms));
    }

    fn share(&self, id: &MemberId) -> Share {
        Share {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment: self.members.get(id).map_or_else(Arc::default, |member| member.assignment.clone()),
        }
    }
}
