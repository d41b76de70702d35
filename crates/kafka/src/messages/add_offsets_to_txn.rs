//! AddOffsetsToTxn (25): a group whose offsets a transaction will commit.

use crate::define::messages;
use crate::text::Text;

messages! {
    AddOffsetsToTxnRequest {
        transactional_id: Text [0..],
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        group_id: Text [0..],
    }

    AddOffsetsToTxnResponse {
        throttle_time_ms: i32 [0..],
        error_code: i16 [0..],
    }
}
