//! ListTransactions (66).

use crate::define::messages;
use crate::text::Text;

messages! {
    ListTransactionsRequest {
        state_filters: Vec<Text> [0..],
        producer_id_filters: Vec<i64> [0..],
        duration_filter: i64 [1..] = -1,
        transactional_id_pattern: Option<Text> [2..],
    }

    ListTransactionsResponse {
        throttle_time_ms: i32 [0..],
        error_code: i16 [0..],
        unknown_state_filters: Vec<Text> [0..],
        transaction_states: Vec<TransactionState> [0..],
    }

    TransactionState {
        transactional_id: Text [0..],
        producer_id: i64 [0..],
        transaction_state: Text [0..],
    }
}
