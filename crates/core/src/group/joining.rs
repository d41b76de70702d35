//! Members that join, for the first time or again.

use super::member::Member;
use super::rebalance::Wait;
use super::writes::{Purpose, Replacement};
use super::{
    Effect, Effects, Group, Identity, Join, JoinAnswer, MemberId, Membership, Phase, Refusal, Token,
};

/// Members know a handful. Choosing one takes time by their square.
const PROTOCOLS_MAX: usize = 64;

impl Group {
    /// A member wants to be part of the next generation. The answer is [`Effect::Joined`].
    pub fn join(&mut self, token: Token, join: Join, now_ms: i64, out: &mut Effects) {
        match self.try_join(token, join, now_ms, out) {
            Ok(None) => {}
            Ok(Some(answer)) => out.push(Effect::Joined { token, answer }),
            Err(refusal) => refuse_join(token, refusal, out),
        }
    }

    /// `None`: the answer comes later.
    fn try_join(
        &mut self,
        token: Token,
        join: Join,
        now_ms: i64,
        out: &mut Effects,
    ) -> Result<Option<JoinAnswer>, Refusal> {
        let session_timeouts = self.rules.session_timeout_min_ms..=self.rules.session_timeout_max_ms;
        if !session_timeouts.contains(&join.session_timeout_ms) {
            return Err(Refusal::SessionTimeout);
        }
        if self.phase == Phase::Dead {
            return Err(Refusal::Gone);
        }
        if !self.has_room(&join.identity) {
            self.turn_away(join.identity.member.as_ref(), now_ms, out);
            return Err(Refusal::Full);
        }
        if !self.goes_with(&join) {
            return Err(Refusal::InconsistentProtocol);
        }
        let Some(id) = join.identity.member.clone() else {
            return self.join_nameless(token, join, now_ms, out);
        };
        if self.members.is_pending(&id) {
            if join.identity.instance.is_some() {
                return Err(Refusal::UnknownMember);
            }
            self.add_member(id, token, join, now_ms, out);
            return Ok(None);
        }
        let id = self.members.identify(&join.identity)?;
        Ok(self.join_again(id, token, join, now_ms, out))
    }

    /// KIP-389. While members join anew it counts who did, so that after a restart with a lower limit the
    /// last ones stay out. A static member that is back takes its own place.
    fn has_room(&self, identity: &Identity) -> bool {
        let by_instance =
            identity.instance.as_ref().and_then(|instance| self.members.with_instance(instance));
        let member = identity.member.as_ref().or(by_instance).and_then(|id| self.members.get(id));
        let members_max = self.rules.members_max;
        match (&self.phase, member) {
            (Phase::Empty | Phase::Dead, _) => true,
            (Phase::Preparing(_), Some(member)) => {
                member.joining.is_some() || self.members.joining_count() < members_max
            }
            // Static members who miss the round stay, and must not add up over many rounds.
            (Phase::Preparing(_), None) => {
                self.members.joining_count() < members_max && self.members.len() < 2 * members_max
            }
            (Phase::Completing | Phase::Stable, Some(_)) => true,
            (Phase::Completing | Phase::Stable, None) => self.members.len() < members_max,
        }
    }

    fn turn_away(&mut self, id: Option<&MemberId>, now_ms: i64, out: &mut Effects) {
        let Some(id) = id else { return };
        self.drop_member(id, out);
        self.end_round_if_complete(now_ms, out);
    }

    fn goes_with(&self, join: &Join) -> bool {
        if join.protocols.len() > PROTOCOLS_MAX {
            return false;
        }
        if self.phase == Phase::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        self.protocol_type.as_ref() == Some(&join.protocol_type) && self.members.share_one_of(&join.protocols)
    }

    /// A member without an id gets one.
    fn join_nameless(
        &mut self,
        token: Token,
        join: Join,
        now_ms: i64,
        out: &mut Effects,
    ) -> Result<Option<JoinAnswer>, Refusal> {
        let id = join.fresh_id.clone();
        if let Some(instance) = join.identity.instance.clone() {
            match self.members.with_instance(&instance).cloned() {
                Some(old) => self.replace_member(old, id, token, join, now_ms, out),
                None => self.add_member(id, token, join, now_ms, out),
            }
            return Ok(None);
        }
        if !join.needs_id {
            self.add_member(id, token, join, now_ms, out);
            return Ok(None);
        }
        if self.members.pending_count() >= self.rules.members_max {
            return Err(Refusal::Full);
        }
        let until_ms = now_ms + join.session_timeout_ms;
        self.members.add_pending(id.clone(), until_ms);
        self.check_sessions_by(until_ms);
        Ok(Some(JoinAnswer::IdRequired(id)))
    }

    fn add_member(&mut self, id: MemberId, token: Token, join: Join, now_ms: i64, out: &mut Effects) {
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Phase::Preparing(Wait::ForFirst { newcomers, .. }) = &mut self.phase {
            *newcomers = true;
        }
        let member = Member::new(join, token, now_ms);
        member.expires_ms().into_iter().for_each(|at_ms| self.check_sessions_by(at_ms));
        self.members.add(id, member);
        self.rebalance(now_ms, out);
    }

    /// A member joins that has its id already.
    fn join_again(
        &mut self,
        id: MemberId,
        token: Token,
        join: Join,
        now_ms: i64,
        out: &mut Effects,
    ) -> Option<JoinAnswer> {
        let member = self.members.get(&id).expect("it was identified");
        let changed = member.protocols != join.protocols;
        // The leader joins again to have what its members cannot see taken into account, as new partitions.
        let rebalance = match self.phase {
            Phase::Preparing(_) => true,
            Phase::Completing => changed,
            Phase::Stable => changed || self.members.is_leader(&id) || member.joining.is_some(),
            Phase::Empty | Phase::Dead => unreachable!("the group has a member"),
        };
        if !rebalance {
            // It may not have seen the answer to its first join.
            return Some(JoinAnswer::Joined(self.membership(&id)));
        }
        let member = self.members.get_mut(&id).expect("it was identified");
        member.update(join);
        if let Some(earlier) = member.joining.replace(token) {
            refuse_join(earlier, Refusal::Rebalancing, out);
        }
        self.rebalance(now_ms, out);
        None
    }

    /// A static member is back after a restart, under a new id (KIP-345). If the group is stable and goes on
    /// with the same protocol, nobody else notices.
    fn replace_member(
        &mut self,
        old: MemberId,
        id: MemberId,
        token: Token,
        join: Join,
        now_ms: i64,
        out: &mut Effects,
    ) {
        let leader_before = self.members.leader().cloned();
        let skips_assignment = join.skips_assignment;
        let member = self.members.rename(&old, id.clone());
        if let Some(token) = member.joining.replace(token) {
            refuse_join(token, Refusal::Fenced, out);
        }
        if let Some(token) = member.syncing.take() {
            out.push(Effect::Synced { token, answer: Err(Refusal::Fenced) });
        }
        member.update(join);
        member.heard(now_ms);
        self.check_sessions();
        if self.phase != Phase::Stable || self.members.choose_protocol() != self.protocol {
            return self.rebalance(now_ms, out);
        }
        self.update_subscribed();
        let replacement =
            Replacement { member: id, token, generation: self.generation, skips_assignment, leader_before };
        self.write_snapshot(Purpose::Replacement(replacement), out);
    }

    /// The new id of a static member is on disk.
    pub(super) fn replaced(&mut self, done: Replacement, stored: bool, now_ms: i64, out: &mut Effects) {
        let waits = |member: &Member| member.joining == Some(done.token);
        let undisturbed = self.phase == Phase::Stable && self.generation == done.generation;
        if !undisturbed || !self.members.get(&done.member).is_some_and(waits) {
            return; // The next generation answers or has answered, or the member is gone.
        }
        let mut membership = self.membership(&done.member);
        let leads = self.members.is_leader(&done.member);
        match done.skips_assignment {
            true => membership.skip_assignment = leads,
            // A leader that cannot skip the assignment must not learn that it leads: its assignment would go
            // to nobody.
            false => {
                membership.members.clear();
                membership.leader = done.leader_before.unwrap_or(membership.leader);
            }
        }
        let member = self.members.get_mut(&done.member).expect("it was just seen");
        member.joining = None;
        member.heard(now_ms);
        self.check_sessions();
        if stored {
            return out.push(Effect::Joined { token: done.token, answer: JoinAnswer::Joined(membership) });
        }
        refuse_join(done.token, Refusal::NotStored, out);
        self.rebalance(now_ms, out);
    }

    /// What a member of this generation is told.
    pub(super) fn membership(&self, id: &MemberId) -> Membership {
        Membership {
            member: id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            leader: self.members.leader().cloned().unwrap_or_default(),
            skip_assignment: false,
            members: match self.members.is_leader(id) {
                true => self.members.participants(self.protocol.as_ref()),
                false => Vec::new(),
            },
        }
    }
}

pub(super) fn refuse_join(token: Token, refusal: Refusal, out: &mut Effects) {
    out.push(Effect::Joined { token, answer: JoinAnswer::Refused(refusal) });
}
