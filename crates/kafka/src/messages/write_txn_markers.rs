//! WriteTxnMarkers (27): how transactions ended, for the partitions they wrote to.

use crate::define::messages;
use crate::text::Text;

messages! {
    WriteTxnMarkersRequest {
        markers: Vec<WritableTxnMarker> [0..],
    }

    WritableTxnMarker {
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        transaction_result: bool [0..],
        topics: Vec<WritableTxnMarkerTopic> [0..],
        coordinator_epoch: i32 [0..],
    }

    WritableTxnMarkerTopic {
        name: Text [0..],
        partition_indexes: Vec<i32> [0..],
    }

    WriteTxnMarkersResponse {
        markers: Vec<WritableTxnMarkerResult> [0..],
    }

    WritableTxnMarkerResult {
        producer_id: i64 [0..],
        topics: Vec<WritableTxnMarkerTopicResult> [0..],
    }

    WritableTxnMarkerTopicResult {
        name: Text [0..],
        partitions: Vec<WritableTxnMarkerPartitionResult> [0..],
    }

    WritableTxnMarkerPartitionResult {
        partition_index: i32 [0..],
        error_code: i16 [0..],
    }
}
