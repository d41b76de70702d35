//! EndTxn (26): commit or abort.

use crate::define::messages;
use crate::text::Text;

messages! {
    EndTxnRequest {
        transactional_id: Text [0..],
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        committed: bool [0..],
    }

    EndTxnResponse {
        throttle_time_ms: i32 [0..],
        error_code: i16 [0..],
        producer_id: i64 [5..] = -1,
        producer_epoch: i16 [5..] = -1,
    }
}
