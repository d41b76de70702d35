//! Replaces all that topics say themselves.

use std::collections::HashSet;

use cauce_broker::Saved;
use cauce_core::topic::Overrides;
use cauce_kafka::messages::alter_configs::*;

use super::configs::{BROKER, Refused, TOPIC, invalid};
use super::{Call, ClusterRight, Right, text};

pub(super) async fn answer(call: &Call, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut seen = HashSet::new();
    let mut response = AlterConfigsResponse::default();
    let mut unsaved = Vec::new();
    for resource in request.resources {
        let is_new = seen.insert((resource.resource_type, resource.resource_name.clone()));
        let altered = match is_new {
            true => alter(call, &resource, request.validate_only),
            false => Err(invalid("the resource is named twice")),
        };
        let mut answer = AlterConfigsResourceResponse {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            error_message: None,
            ..AlterConfigsResourceResponse::default()
        };
        match altered {
            Ok(saved) => unsaved.push(saved),
            Err(Refused(code, reason)) => {
                (answer.error_code, answer.error_message) = (code.code(), Some(text(reason)));
            }
        }
        response.responses.push(answer);
    }
    unsaved.into_iter().collect::<Saved>().wait().await;
    response
}

fn alter(call: &Call, resource: &AlterConfigsResource, validate_only: bool) -> Result<Saved, Refused> {
    check_resource(call, resource.resource_type, &resource.resource_name)?;
    let mut overrides = Overrides::default();
    for AlterableConfig { name, value } in &resource.configs {
        let value = value.as_deref().ok_or_else(|| invalid(format!("setting '{name}' has no value")))?;
        overrides = overrides.with(name, Some(value));
    }
    Ok(call.service.node.alter_topic(&resource.resource_name, |_, _| Ok(overrides), validate_only)?)
}

/// Whether this is something that can be changed at all.
pub(super) fn check_resource(call: &Call, kind: i8, name: &str) -> Result<(), Refused> {
    match kind {
        TOPIC => call.authorize(Right::Configure, name),
        BROKER => {
            call.authorize_cluster(ClusterRight::Alter)?;
            call.check_broker(name)?;
            Err(invalid("what is set for the broker comes from its file or --set, and stays while it runs"))
        }
        other => Err(invalid(format!("resources of type {other} have no configuration here"))),
    }
}
