//! Shows what is set, and where that comes from.

use cauce_broker::stream::TopicError;
use cauce_kafka::Text;
use cauce_kafka::messages::describe_configs::*;

use super::configs::{self, BROKER, Described, GROUP, RESOURCES_MAX, Refused, TOPIC, Value, invalid};
use super::{Call, ClusterRight, Right, distinct, text};

pub(super) fn answer(call: &Call, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let include_synonyms = request.include_synonyms;
    let resources =
        distinct(request.resources, |resource| (resource.resource_type, resource.resource_name.clone()));
    let results = resources.enumerate().map(|(index, resource)| {
        let described = match index < RESOURCES_MAX {
            true => describe(call, &resource),
            false => Err(invalid(format!("more than {RESOURCES_MAX} resources in a request"))),
        };
        let plain = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            error_message: None,
            ..DescribeConfigsResult::default()
        };
        match described {
            Ok(settings) => {
                let wanted = settings.into_iter().filter(|setting| is_wanted(&resource, setting));
                let configs = wanted.map(|setting| shown(setting, include_synonyms)).collect();
                DescribeConfigsResult { configs, ..plain }
            }
            Err(Refused(code, reason)) => {
                DescribeConfigsResult { error_code: code.code(), error_message: Some(text(reason)), ..plain }
            }
        }
    });
    DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() }
}

fn describe(call: &Call, resource: &DescribeConfigsResource) -> Result<Vec<Described>, Refused> {
    let (node, name) = (&call.service.node, &*resource.resource_name);
    match resource.resource_type {
        TOPIC => {
            call.authorize(Right::Describe, name)?;
            let topic = node.topics().get(name).ok_or_else(|| TopicError::Unknown(name.to_owned()))?;
            Ok(configs::of_topic(node.settings(), &topic))
        }
        BROKER => {
            call.authorize_cluster(ClusterRight::Describe)?;
            call.check_broker(name)?;
            // Without a name: what was changed for all brokers while they ran. Nothing can be.
            Ok(if name.is_empty() { Vec::new() } else { configs::of_node(node.settings()) })
        }
        // What can be set for a group concerns those of KIP-848, which are not served.
        GROUP => Ok(Vec::new()),
        other => Err(invalid(format!("resources of type {other} have no configuration here"))),
    }
}

fn is_wanted(resource: &DescribeConfigsResource, setting: &Described) -> bool {
    let keys = resource.configuration_keys.as_deref().unwrap_or_default();
    keys.is_empty() || keys.iter().any(|key| **key == *setting.name)
}

fn shown(setting: Described, include_synonyms: bool) -> DescribeConfigsResourceResult {
    let Described { name, kind, read_only, values } = setting;
    let (value, source) = match values.first() {
        Some(Value { value, source, .. }) => (Some(text(value)), *source),
        None => (None, configs::FROM_DEFAULT),
    };
    let synonym = |Value { name, value, source }: Value| DescribeConfigsSynonym {
        name: Text::from(name),
        value: Some(text(value)),
        source,
    };
    DescribeConfigsResourceResult {
        name: Text::from(name),
        value,
        read_only,
        config_source: source,
        synonyms: if include_synonyms { values.into_iter().map(synonym).collect() } else { Vec::new() },
        config_type: kind,
        documentation: None,
        ..DescribeConfigsResourceResult::default()
    }
}
