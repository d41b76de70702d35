//! What a server says about itself in `connection.start`.

use cauce_core::{Table, Value};

/// What clients look for before they use an extension of RabbitMQ's.
const CAPABILITIES: [&str; 9] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
];

pub fn server_properties(version: &str) -> Table {
    let capabilities = CAPABILITIES.map(|name| (name, Value::Bool(true)));
    Table::from_iter([
        ("capabilities", Value::Table(Table::from_iter(capabilities))),
        ("copyright", Value::text("Copyright (c) the Cauce authors")),
        ("information", Value::text("Licensed under Apache-2.0 or MIT")),
        ("platform", Value::text("Rust")),
        ("product", Value::text("Cauce")),
        ("version", Value::text(version)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_is_there_and_true() {
        let properties = server_properties("1.2.3");
        let Some(Value::Table(capabilities)) = properties.get("capabilities") else { panic!("no table") };
        assert_eq!(capabilities.len(), 9);
        assert!(capabilities.iter().all(|(_, value)| value.as_bool() == Some(true)));
        assert_eq!(properties.get("version").unwrap().as_str(), Some("1.2.3"));
    }
}
