//! The transactional ids there are, and where the transaction of each stands.

use cauce_broker::clock::now_ms;
use cauce_broker::transactional_ids::Listed;
use cauce_core::access::Pattern;
use cauce_kafka::internal::transactions::TransactionStatus;
use cauce_kafka::messages::list_transactions::*;
use cauce_kafka::{ErrorCode, Text};

use super::describe_transactions::state_name;
use super::{Call, Right, text};
use crate::kafka::error::Coded;

/// Bytes of a pattern that is looked at.
const PATTERN_BYTES_MAX: usize = 4096;

pub(super) async fn answer(call: &Call, request: ListTransactionsRequest) -> ListTransactionsResponse {
    let refused =
        |code: ErrorCode| ListTransactionsResponse { error_code: code.code(), ..Default::default() };
    let pattern = match request.transactional_id_pattern.as_ref().filter(|pattern| !pattern.is_empty()) {
        None => None,
        Some(pattern) => match whole(pattern) {
            Some(pattern) => Some(pattern),
            None => return refused(ErrorCode::InvalidRegularExpression),
        },
    };
    let listed = match call.transactional_ids().list().await {
        Ok(listed) => listed,
        Err(error) => return refused(error.code()),
    };
    let filter = Filter { now_ms: now_ms(), request: &request, pattern };
    let is_shown = |listed: &&Listed| filter.takes(listed) && call.may(Right::Describe, &listed.id);
    let states = listed.iter().filter(is_shown).map(shown).collect();
    let unknown = |state: &&Text| TransactionStatus::from_name(state).is_none();
    ListTransactionsResponse {
        unknown_state_filters: request.state_filters.iter().filter(unknown).cloned().collect(),
        transaction_states: states,
        ..ListTransactionsResponse::default()
    }
}

/// A pattern that a name matches from end to end.
fn whole(pattern: &str) -> Option<Pattern> {
    let short = Some(pattern).filter(|pattern| pattern.len() <= PATTERN_BYTES_MAX)?;
    Pattern::parse(&format!("^(?:{short})$")).ok()
}

struct Filter<'r> {
    now_ms: i64,
    request: &'r ListTransactionsRequest,
    pattern: Option<Pattern>,
}

impl Filter<'_> {
    fn takes(&self, listed: &Listed) -> bool {
        let ListTransactionsRequest { state_filters, producer_id_filters, duration_filter, .. } =
            self.request;
        let state = state_name(listed.state);
        let runs_ms = listed.started_ms.map(|started_ms| self.now_ms.saturating_sub(started_ms));
        (state_filters.is_empty() || state_filters.iter().any(|wanted| &**wanted == state))
            && (producer_id_filters.is_empty() || producer_id_filters.contains(&listed.producer.id.0))
            && (*duration_filter < 0 || runs_ms.is_some_and(|runs_ms| runs_ms > *duration_filter))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(&listed.id))
    }
}

fn shown(listed: &Listed) -> TransactionState {
    TransactionState {
        transactional_id: text(&listed.id),
        producer_id: listed.producer.id.0,
        transaction_state: Text::from(state_name(listed.state)),
    }
}
