//! What can have configuration: the topics, and the broker.

use cauce_kafka::ErrorCode;
use cauce_kafka::messages::list_config_resources::*;

use super::configs::{BROKER, TOPIC};
use super::{Call, ClusterRight, text};

/// All that version 0 could ask for (KIP-714), and other kinds of which there never are any.
const CLIENT_METRICS: i8 = 16;
const BROKER_LOGGER: i8 = 8;
const GROUP: i8 = 32;

pub(super) fn answer(call: &Call, request: &ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    if let Err(code) = call.check_cluster(ClusterRight::Describe) {
        return ListConfigResourcesResponse {
            error_code: code.code(),
            ..ListConfigResourcesResponse::default()
        };
    }
    let mut kinds = match (call.version, &request.resource_types[..]) {
        (0, _) => vec![CLIENT_METRICS],
        (_, []) => vec![TOPIC, BROKER],
        (_, wanted) => wanted.to_vec(),
    };
    kinds.sort_unstable();
    kinds.dedup();
    let mut response = ListConfigResourcesResponse::default();
    for resource_type in kinds {
        let resource = |name: String| ConfigResource { resource_name: text(name), resource_type };
        match resource_type {
            TOPIC => {
                let topics = call.service.node.topics().all();
                response.config_resources.extend(topics.iter().map(|topic| resource(topic.name.to_string())));
            }
            BROKER => response.config_resources.push(resource(call.node_id().to_string())),
            CLIENT_METRICS | BROKER_LOGGER | GROUP => {}
            _ => {
                return ListConfigResourcesResponse {
                    error_code: ErrorCode::UnsupportedVersion.code(),
                    ..ListConfigResourcesResponse::default()
                };
            }
        }
    }
    response
}
