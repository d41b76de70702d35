//! A client as good ones are: it joins, syncs, beats, and believes what it is told.

use std::sync::Arc;

use crate::group::*;
use crate::message::Gauge;

pub(super) const PARTITIONS: i32 = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doing {
    Nothing,
    Joining(Token),
    /// With whom to give shares to, if it leads.
    Joined(Vec<MemberId>),
    Syncing(Token),
    Owning(Vec<i32>),
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) instance: Option<InstanceId>,
    /// Old clients neither ask for an id first nor skip assignments.
    pub(super) modern: bool,
    pub(super) session_timeout_ms: i64,
    pub(super) protocols: Vec<&'static str>,
    pub(super) says: u8,
    pub(super) member: Option<MemberId>,
    pub(super) generation: i32,
    pub(super) doing: Doing,
}

impl Client {
    pub(super) fn identity(&self) -> Identity {
        Identity { member: self.member.clone(), instance: self.instance.clone() }
    }

    /// Who owns what it owns, whatever it is called at the time.
    pub(super) fn owner(&self) -> Arc<str> {
        self.instance.clone().or(self.member.clone()).expect("an owner is a member")
    }

    pub(super) fn reset(&mut self) {
        self.member = None;
        self.doing = Doing::Nothing;
    }

    pub(super) fn join(&self, fresh_id: MemberId) -> Join {
        let protocol = |name: &&str| Protocol {
            name: (*name).into(),
            metadata: Arc::from([self.says]),
            topics: Some(vec!["t".into()]),
        };
        Join {
            identity: self.identity(),
            fresh_id,
            needs_id: self.modern,
            skips_assignment: self.modern,
            client_id: "client".into(),
            client_host: "host".into(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: 2 * self.session_timeout_ms,
            protocol_type: CONSUMER_PROTOCOL_TYPE.into(),
            protocols: self.protocols.iter().map(protocol).collect(),
            charge: Arc::new(Gauge::default().charge(0)),
        }
    }

    /// A leader deals the partitions out like cards.
    pub(super) fn sync(&self, members: &[MemberId]) -> Sync {
        let mut hands = vec![Vec::new(); members.len()];
        for partition in (0..PARTITIONS).filter(|_| !members.is_empty()) {
            hands[partition as usize % members.len()].push(partition as u8);
        }
        let hands = hands.into_iter().map(Arc::from);
        Sync {
            identity: self.identity(),
            generation: self.generation,
            protocol_type: None,
            protocol: None,
            assignments: members.iter().cloned().zip(hands).collect(),
        }
    }

    pub(super) fn joined(&mut self, token: Token, answer: JoinAnswer) {
        if self.doing != Doing::Joining(token) {
            return; // It crashed since, or asked again.
        }
        match answer {
            JoinAnswer::Joined(membership) => {
                self.generation = membership.generation;
                self.doing = match membership.skip_assignment || membership.leader != membership.member {
                    true => Doing::Joined(Vec::new()),
                    false => Doing::Joined(membership.members.into_iter().map(|other| other.id).collect()),
                };
                self.member = Some(membership.member);
            }
            JoinAnswer::IdRequired(id) => {
                self.member = Some(id);
                self.doing = Doing::Nothing;
            }
            JoinAnswer::Refused(refusal) => self.refused(refusal),
        }
    }

    pub(super) fn synced(&mut self, token: Token, answer: Result<Share, Refusal>) {
        if self.doing != Doing::Syncing(token) {
            return;
        }
        match answer {
            Ok(share) => self.doing = Doing::Owning(share.assignment.iter().map(|&n| n.into()).collect()),
            Err(refusal) => self.refused(refusal),
        }
    }

    pub(super) fn refused(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Rebalancing | Refusal::InconsistentProtocol => self.doing = Doing::Nothing,
            _ => self.reset(),
        }
    }
}
