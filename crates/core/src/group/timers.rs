//! Time: rounds that take too long, members that fall silent, offsets that nobody needs any more.

use super::{Effects, Group, Phase};

impl Group {
    /// When [`on_timeout`](Group::on_timeout) must be called next. Nothing is late if that is done after
    /// each call that makes it due.
    pub fn next_timeout(&self) -> Option<i64> {
        let round_ms = match &self.phase {
            Phase::Preparing(wait) => Some(wait.until_ms()),
            Phase::Dead => return None,
            _ => None,
        };
        [round_ms, self.sync_by_ms, self.session_check_ms, self.sweep_ms].into_iter().flatten().min()
    }

    pub fn on_timeout(&mut self, now_ms: i64, out: &mut Effects) {
        if self.phase == Phase::Dead {
            return;
        }
        let due = |at_ms: Option<i64>| at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        if due(self.session_check_ms) {
            self.expire_members(now_ms, out);
        }
        if due(self.sync_by_ms) {
            self.sync_time_is_over(now_ms, out);
        }
        if matches!(&self.phase, Phase::Preparing(wait) if wait.until_ms() <= now_ms) {
            self.wait_is_over(now_ms, out);
        }
        if due(self.sweep_ms) {
            self.sweep(now_ms, out);
        }
        self.check_sessions();
        self.plan_sweep();
    }

    fn expire_members(&mut self, now_ms: i64, out: &mut Effects) {
        let silent = self.members.ids(|member| member.expires_ms().is_some_and(|at_ms| at_ms <= now_ms));
        let strayed = self.members.pending_due(now_ms);
        for id in &silent {
            self.drop_member(id, out);
        }
        for id in &strayed {
            self.members.remove_pending(id);
        }
        match silent.is_empty() {
            false => self.after_removal(now_ms, out),
            true if !strayed.is_empty() => self.end_round_if_complete(now_ms, out),
            true => {}
        }
    }

    /// Some member may expire then.
    pub(super) fn check_sessions_by(&mut self, at_ms: i64) {
        self.session_check_ms = Some(self.session_check_ms.map_or(at_ms, |planned_ms| planned_ms.min(at_ms)));
    }

    pub(super) fn check_sessions(&mut self) {
        self.session_check_ms = self.members.next_expiry_ms();
    }
}
