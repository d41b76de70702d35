//! AlterConfigs (33): replaces all configuration of a resource.

use crate::define::messages;
use crate::text::Text;

messages! {
    AlterConfigsRequest {
        resources: Vec<AlterConfigsResource> [0..],
        validate_only: bool [0..],
    }

    AlterConfigsResource {
        resource_type: i8 [0..],
        resource_name: Text [0..],
        configs: Vec<AlterableConfig> [0..],
    }

    AlterableConfig {
        name: Text [0..],
        value: Option<Text> [0..] = Some(Default::default()),
    }

    AlterConfigsResponse {
        throttle_time_ms: i32 [0..],
        responses: Vec<AlterConfigsResourceResponse> [0..],
    }

    AlterConfigsResourceResponse {
        error_code: i16 [0..],
        error_message: Option<Text> [0..] = Some(Default::default()),
        resource_type: i8 [0..],
        resource_name: Text [0..],
    }
}
