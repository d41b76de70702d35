//! What is served, in which versions.

use cauce_kafka::ErrorCode;
use cauce_kafka::messages::api_versions::{ApiVersion, ApiVersionsResponse};

use super::SERVED;

pub(super) fn answer() -> ApiVersionsResponse {
    let api_keys = SERVED.iter().map(|api| {
        let versions = api.advertised();
        ApiVersion { api_key: api.key(), min_version: *versions.start(), max_version: *versions.end() }
    });
    ApiVersionsResponse { api_keys: api_keys.collect(), ..ApiVersionsResponse::default() }
}

/// To a client that asked in a version that is not served.
pub(in crate::kafka) fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse { error_code: ErrorCode::UnsupportedVersion.code(), ..answer() }
}
