//! One member, and what it waits for.

use std::sync::Arc;

use super::{InstanceId, Join, MemberRecord, Protocol, Token};
use crate::message::Charge;

/// A newcomer that joins cannot send heartbeats yet. If the group takes longer than this it has to ask again,
/// so that those who gave up do not count for ever.
const NEWCOMER_WAITS_MS: i64 = 5 * 60 * 1_000;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<InstanceId>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout_ms: i64,
    pub(super) rebalance_timeout_ms: i64,
    pub(super) protocols: Vec<Protocol>,
    /// For the protocols; what comes back after a restart has none until the member joins again.
    _charge: Option<Arc<Charge>>,
    pub(super) assignment: Arc<[u8]>,
    /// Its join waits for the others.
    pub(super) joining: Option<Token>,
    /// Its sync waits for the leader's.
    pub(super) syncing: Option<Token>,
    /// It has synced in this generation.
    pub(super) synced: bool,
    /// It has not seen a generation begin.
    newcomer: bool,
    deadline_ms: i64,
}

impl Member {
    pub(super) fn new(join: Join, token: Token, now_ms: i64) -> Member {
        Member {
            instance: join.identity.instance,
            client_id: join.client_id,
            client_host: join.client_host,
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms.max(0),
            protocols: join.protocols,
            _charge: Some(join.charge),
            assignment: Arc::default(),
            joining: Some(token),
            syncing: None,
            synced: false,
            newcomer: true,
            deadline_ms: now_ms + NEWCOMER_WAITS_MS,
        }
    }

    /// A member from before the restart, with a fresh session.
    pub(super) fn restored(record: MemberRecord, protocol: Arc<str>, now_ms: i64) -> Member {
        Member {
            instance: record.instance,
            client_id: record.client_id,
            client_host: record.client_host,
            session_timeout_ms: record.session_timeout_ms,
            rebalance_timeout_ms: record.rebalance_timeout_ms,
            protocols: vec![Protocol { name: protocol, metadata: record.metadata, topics: record.topics }],
            _charge: None,
            assignment: record.assignment,
            joining: None,
            syncing: None,
            synced: true,
            newcomer: false,
            deadline_ms: now_ms + record.session_timeout_ms,
        }
    }

    /// Takes over what the member says now.
    pub(super) fn update(&mut self, join: Join) {
        self.client_id = join.client_id;
        self.client_host = join.client_host;
        self.session_timeout_ms = join.session_timeout_ms;
        self.rebalance_timeout_ms = join.rebalance_timeout_ms.max(0);
        self.protocols = join.protocols;
        self._charge = Some(join.charge);
    }

    /// A generation begins for it.
    pub(super) fn begin_generation(&mut self, now_ms: i64) {
        self.newcomer = false;
        self.synced = false;
        self.heard(now_ms);
    }

    /// A sign of life.
    pub(super) fn heard(&mut self, now_ms: i64) {
        self.deadline_ms = now_ms + self.session_timeout_ms;
    }

    /// Who waits for an answer is not expected to say anything, unless it is new.
    pub(super) fn expires_ms(&self) -> Option<i64> {
        let silent = self.joining.is_none() && self.syncing.is_none();
        (silent || self.newcomer).then_some(self.deadline_ms)
    }

    pub(super) fn is_static(&self) -> bool {
        self.instance.is_some()
    }

    pub(super) fn protocol(&self, name: Option<&Arc<str>>) -> Option<&Protocol> {
        self.protocols.iter().find(|protocol| Some(&protocol.name) == name)
    }

    /// What it says for that protocol.
    pub(super) fn metadata(&self, protocol: Option<&Arc<str>>) -> Arc<[u8]> {
        self.protocol(protocol).map_or_else(Arc::default, |protocol| protocol.metadata.clone())
    }
}
