//! ListConfigResources (74): resources that can have configuration.

use crate::define::messages;
use crate::text::Text;

messages! {
    ListConfigResourcesRequest {
        resource_types: Vec<i8> [1..],
    }

    ListConfigResourcesResponse {
        throttle_time_ms: i32 [0..],
        error_code: i16 [0..],
        config_resources: Vec<ConfigResource> [0..],
    }

    ConfigResource {
        resource_name: Text [0..],
        resource_type: i8 [1..] = 16,
    }
}
