//! From one generation to the next: all are asked to join, and those who do make up the new one.

use super::joining::refuse_join;
use super::writes::Purpose;
use super::{Effect, Effects, Group, JoinAnswer, MemberId, Phase, Refusal};

/// If nobody has joined when time is up, the next look is no sooner than this.
const NEXT_LOOK_MS_MIN: i64 = 1_000;

/// What ends a round of joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wait {
    /// The group was empty: it waits for others who start at the same time, a while longer for each
    /// that comes, but not for ever (KIP-134).
    ForFirst { until_ms: i64, delay_ms: i64, left_ms: i64, newcomers: bool },
    /// Until all have joined, or time is up.
    ForAll { until_ms: i64 },
}

impl Wait {
    pub(super) fn until_ms(&self) -> i64 {
        match self {
            Wait::ForFirst { until_ms, .. } | Wait::ForAll { until_ms } => *until_ms,
        }
    }
}

impl Group {
    /// Somebody joined, or something changed: begins a round, or ends it if that was all it waited for.
    pub(super) fn rebalance(&mut self, now_ms: i64, out: &mut Effects) {
        match self.phase {
            Phase::Empty => self.wait_for_first(now_ms),
            Phase::Completing | Phase::Stable => {
                self.recall_syncs(Refusal::Rebalancing, now_ms, out);
                self.sync_by_ms = None;
                let until_ms = now_ms + self.members.rebalance_timeout_ms();
                self.enter(Phase::Preparing(Wait::ForAll { until_ms }), now_ms);
                self.end_round_if_complete(now_ms, out);
            }
            Phase::Preparing(_) => self.end_round_if_complete(now_ms, out),
            Phase::Dead => {}
        }
    }

    fn wait_for_first(&mut self, now_ms: i64) {
        let delay_ms = self.rules.initial_delay_ms;
        let left_ms = (self.members.rebalance_timeout_ms() - delay_ms).max(0);
        let wait = Wait::ForFirst { until_ms: now_ms + delay_ms, delay_ms, left_ms, newcomers: false };
        self.enter(Phase::Preparing(wait), now_ms);
    }

    /// The first round of a group takes its time all the same.
    pub(super) fn end_round_if_complete(&mut self, now_ms: i64, out: &mut Effects) {
        if matches!(self.phase, Phase::Preparing(Wait::ForAll { .. })) && self.members.all_joined() {
            self.end_round(now_ms, out);
        }
    }

    /// Time is up.
    pub(super) fn wait_is_over(&mut self, now_ms: i64, out: &mut Effects) {
        let Phase::Preparing(wait) = &mut self.phase else { return };
        if let Wait::ForFirst { until_ms, delay_ms, left_ms, newcomers: newcomers @ true } = wait
            && *left_ms > 0
            && self.rules.initial_delay_ms > 0
        {
            *newcomers = false;
            let before_ms = *delay_ms;
            *delay_ms = self.rules.initial_delay_ms.min(*left_ms);
            *left_ms = (*left_ms - before_ms).max(0);
            *until_ms = now_ms + *delay_ms;
            return;
        }
        self.end_round(now_ms, out);
    }

    /// Those who did not join are out, but for static members: they may be back before their session ends.
    fn end_round(&mut self, now_ms: i64, out: &mut Effects) {
        for id in self.members.ids(|member| member.joining.is_none() && !member.is_static()) {
            self.drop_member(&id, out);
        }
        if self.members.is_empty() {
            return self.become_empty(now_ms, out);
        }
        if !self.members.elect_joined_leader() {
            let pause_ms = self.members.rebalance_timeout_ms().max(NEXT_LOOK_MS_MIN);
            self.phase = Phase::Preparing(Wait::ForAll { until_ms: now_ms + pause_ms });
            return;
        }
        self.begin_generation(now_ms, out);
    }

    fn begin_generation(&mut self, now_ms: i64, out: &mut Effects) {
        self.next_generation();
        self.protocol = self.members.choose_protocol();
        self.update_subscribed();
        self.enter(Phase::Completing, now_ms);
        self.sync_by_ms = Some(now_ms + self.members.rebalance_timeout_ms());
        let mut joined = Vec::new();
        for (id, member) in self.members.iter_mut() {
            member.begin_generation(now_ms);
            joined.extend(member.joining.take().map(|token| (id.clone(), token)));
        }
        for (id, token) in joined {
            let membership = self.membership(&id);
            out.push(Effect::Joined { token, answer: JoinAnswer::Joined(membership) });
        }
        self.check_sessions();
    }

    fn become_empty(&mut self, now_ms: i64, out: &mut Effects) {
        self.next_generation();
        self.protocol = None;
        self.members.set_leader(None);
        self.update_subscribed();
        self.enter(Phase::Empty, now_ms);
        self.write_snapshot(Purpose::Emptiness, out);
        self.plan_sweep();
    }

    /// Generations start over rather than overflow: a client only ever compares them.
    fn next_generation(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }

    /// Takes a member out and answers what it waited for.
    pub(super) fn drop_member(&mut self, id: &MemberId, out: &mut Effects) {
        let Some(member) = self.members.remove(id) else { return };
        if let Some(token) = member.joining {
            refuse_join(token, Refusal::UnknownMember, out);
        }
        if let Some(token) = member.syncing {
            out.push(Effect::Synced { token, answer: Err(Refusal::UnknownMember) });
        }
    }

    /// Members were taken out, or pending ones.
    pub(super) fn after_removal(&mut self, now_ms: i64, out: &mut Effects) {
        match self.phase {
            Phase::Preparing(_) => self.end_round_if_complete(now_ms, out),
            Phase::Completing | Phase::Stable => self.rebalance(now_ms, out),
            Phase::Empty | Phase::Dead => {}
        }
    }
}
