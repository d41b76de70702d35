//! The cluster: one node.

use cauce_kafka::ErrorCode;
use cauce_kafka::messages::describe_cluster::*;

use super::{Call, text};

/// Brokers; 2 would be controllers, which have no address of their own here (KIP-919).
const BROKERS: i8 = 1;

pub(super) fn answer(call: &Call, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    let endpoint_type = request.endpoint_type;
    if endpoint_type != BROKERS {
        return DescribeClusterResponse {
            error_code: ErrorCode::UnsupportedEndpointType.code(),
            error_message: Some(text("only brokers can be described")),
            endpoint_type,
            ..DescribeClusterResponse::default()
        };
    }
    let mut response = DescribeClusterResponse {
        cluster_id: text(call.service.node.cluster()),
        controller_id: call.node_id(),
        brokers: vec![DescribeClusterBroker {
            broker_id: call.node_id(),
            host: text(&call.host),
            port: call.port.into(),
            ..DescribeClusterBroker::default()
        }],
        ..DescribeClusterResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = call.cluster_operations();
    }
    response
}
