//! ApiVersions (18): what is served, in which versions.

use crate::define::messages;
use crate::text::Text;

messages! {
    ApiVersionsRequest {
        client_software_name: Text [3..],
        client_software_version: Text [3..],
    }

    ApiVersionsResponse {
        error_code: i16 [0..],
        api_keys: Vec<ApiVersion> [0..],
        throttle_time_ms: i32 [1..],
        supported_features: Vec<SupportedFeatureKey> [3..] tag 0,
        finalized_features_epoch: i64 [3..] tag 1 = -1,
        finalized_features: Vec<FinalizedFeatureKey> [3..] tag 2,
        zk_migration_ready: bool [3..] tag 3,
    }

    ApiVersion {
        api_key: i16 [0..],
        min_version: i16 [0..],
        max_version: i16 [0..],
    }

    SupportedFeatureKey {
        name: Text [3..],
        min_version: i16 [3..],
        max_version: i16 [3..],
    }

    FinalizedFeatureKey {
        name: Text [3..],
        max_version_level: i16 [3..],
        min_version_level: i16 [3..],
    }
}
