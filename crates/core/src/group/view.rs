//! What administrators see.

use std::sync::Arc;

use super::{Commit, Group, InstanceId, MemberId, OffsetToCommit, State};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub state: State,
    pub generation: i32,
    pub protocol_type: Option<Arc<str>>,
    /// Known while the group is stable.
    pub protocol: Option<Arc<str>>,
    pub leader: Option<MemberId>,
    pub members: Vec<MemberView>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    pub id: MemberId,
    pub instance: Option<InstanceId>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// Empty unless the group is stable.
    pub metadata: Arc<[u8]>,
    /// Empty unless the group is stable.
    pub assignment: Arc<[u8]>,
}

impl Group {
    /// What it remembers takes, but for its members, who are charged by themselves.
    pub fn offsets_bytes(&self) -> usize {
        self.offsets.bytes()
    }

    /// Whether the commit would make it remember more than it does.
    pub fn would_grow(&self, commit: &Commit) -> bool {
        let is_known = |offset: &OffsetToCommit| {
            self.offsets.get(&offset.at).is_some_and(|before| before.metadata.len() >= offset.metadata.len())
        };
        !commit.offsets.iter().all(is_known)
    }

    pub fn describe(&self) -> Description {
        let stable = self.state() == State::Stable;
        let members = self.members.iter().map(|(id, member)| MemberView {
            id: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable { member.metadata(self.protocol.as_ref()) } else { Arc::default() },
            assignment: if stable { member.assignment.clone() } else { Arc::default() },
        });
        Description {
            state: self.state(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone().filter(|_| stable),
            leader: self.members.leader().cloned(),
            members: members.collect(),
        }
    }
}
