//! Members that leave, or are sent away by an administrator.

use super::{Effects, Group, Identity, Phase, Refusal};

impl Group {
    /// Takes members out, and says for each whether it was there (KIP-345: several at once, static ones by
    /// their instance alone).
    pub fn leave(
        &mut self,
        leaving: &[Identity],
        now_ms: i64,
        out: &mut Effects,
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        if self.phase == Phase::Dead {
            return Err(Refusal::Gone);
        }
        let members_before = self.members.len();
        let left: Vec<_> = leaving.iter().map(|identity| self.take_out(identity, out)).collect();
        match self.members.len() < members_before {
            true => self.after_removal(now_ms, out),
            false => self.end_round_if_complete(now_ms, out), // It may have waited for a pending one.
        }
        self.plan_sweep();
        Ok(left)
    }

    fn take_out(&mut self, identity: &Identity, out: &mut Effects) -> Result<(), Refusal> {
        let id = match (&identity.member, &identity.instance) {
            (None, None) => return Err(Refusal::UnknownMember),
            (None, Some(instance)) => self.members.with_instance(instance).cloned(),
            (Some(id), _) if self.members.remove_pending(id) => return Ok(()),
            (Some(_), _) => Some(self.members.identify(identity)?),
        };
        self.drop_member(&id.ok_or(Refusal::UnknownMember)?, out);
        Ok(())
    }
}
