//! Changes single settings of topics, and leaves the others as they are.

use std::collections::HashSet;

use cauce_broker::Saved;
use cauce_core::settings::{Kind, SettingError};
use cauce_core::topic::{Overrides, TopicConfig};
use cauce_kafka::messages::incremental_alter_configs::*;

use super::alter_configs::check_resource;
use super::configs::{Refused, invalid};
use super::{Call, text};

/// What is done with a setting, as the protocol counts.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(super) async fn answer(
    call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut seen = HashSet::new();
    let mut response = IncrementalAlterConfigsResponse::default();
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
    let mut named = HashSet::new();
    for AlterableConfig { name, config_operation, value } in &resource.configs {
        if !named.insert(name) {
            return Err(invalid(format!("setting '{name}' is named twice")));
        }
        match *config_operation {
            DELETE => {}
            SET | APPEND | SUBTRACT if value.is_some() => {}
            SET | APPEND | SUBTRACT => return Err(invalid(format!("setting '{name}' has no value"))),
            other => return Err(invalid(format!("operation {other} on setting '{name}' is not known"))),
        }
    }
    let change = |overrides: Overrides, config: &TopicConfig| {
        resource.configs.iter().try_fold(overrides, |overrides, change| apply(overrides, config, change))
    };
    Ok(call.service.node.alter_topic(&resource.resource_name, change, validate_only)?)
}

fn apply(
    overrides: Overrides,
    config: &TopicConfig,
    change: &AlterableConfig,
) -> Result<Overrides, SettingError> {
    let AlterableConfig { name, config_operation, value } = change;
    let Some((_, kind)) = TopicConfig::NAMES.iter().find(|(known, _)| **known == **name) else {
        return Err(SettingError::Unknown(name.to_string()));
    };
    let value = value.as_deref().unwrap_or_default();
    match *config_operation {
        SET => Ok(overrides.with(name, Some(value))),
        DELETE => Ok(overrides.with(name, None)),
        operation if *kind == Kind::List => {
            let has = config.get(name).unwrap_or_default();
            Ok(overrides.with(name, Some(&changed_list(&has, value, operation == APPEND))))
        }
        _ => Err(SettingError::invalid(name, value, "only lists can be added to and taken from")),
    }
}

fn changed_list(has: &str, value: &str, adds: bool) -> String {
    let words = |text: &str| -> Vec<String> {
        text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
    };
    let (mut list, named) = (words(has), words(value));
    list.retain(|word| !named.contains(word));
    if adds {
        list.extend(named);
    }
    list.join(",")
}
