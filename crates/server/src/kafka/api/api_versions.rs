//! What is served, in which versions.

use cauce_kafka::messages::api_versions::*;
use cauce_kafka::{ErrorCode, Text};

use super::SERVED;

/// Clients use the newer rules of transactions where this feature has that level (KIP-890).
const TRANSACTION_VERSION: &str = "transaction.version";
const EPOCH_PER_TRANSACTION: i16 = 2;

pub(super) fn answer() -> ApiVersionsResponse {
    let api_keys = SERVED.iter().map(|api| {
        let versions = api.advertised();
        ApiVersion { api_key: api.key(), min_version: *versions.start(), max_version: *versions.end() }
    });
    ApiVersionsResponse {
        api_keys: api_keys.collect(),
        supported_features: vec![SupportedFeatureKey {
            name: Text::from(TRANSACTION_VERSION),
            min_version: 0,
            max_version: EPOCH_PER_TRANSACTION,
        }],
        finalized_features: vec![FinalizedFeatureKey {
            name: Text::from(TRANSACTION_VERSION),
            min_version_level: EPOCH_PER_TRANSACTION,
            max_version_level: EPOCH_PER_TRANSACTION,
        }],
        finalized_features_epoch: 0,
        ..ApiVersionsResponse::default()
    }
}

/// To a client that asked in a version that is not served.
pub(in crate::kafka) fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse { error_code: ErrorCode::UnsupportedVersion.code(), ..answer() }
}
