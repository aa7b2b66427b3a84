//! Who exports: the resource and the scope of everything.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
};
use prost::Message;

/// An attribute.
pub(super) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// An attribute with a text.
pub(super) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// A random id of this process, which tells it from others (RFC 9562, version 4).
pub(super) fn random_instance_id() -> String {
    let random: u128 = rand::random();
    // The bits of the version, and of the variant.
    let id = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{id:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| &digits[part]).join("-")
}

/// The resource with the user's attributes over the daemon's own, encoded.
pub(super) fn encode_resource(instance_id: &str, users: &BTreeMap<String, String>) -> Vec<u8> {
    let own = [
        ("service.name", "monitoringdaemon"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", instance_id),
    ];
    let own = own.into_iter();
    let own = own.filter(|(key, _)| !users.contains_key(*key));
    let users = users.iter().map(|(key, value)| (&**key, &**value));
    let resource = Resource {
        attributes: own
            .chain(users)
            .map(|(key, value)| text(key, value))
            .collect(),
        ..Resource::default()
    };
    resource.encode_to_vec()
}

/// The scope, encoded.
pub(super) fn encode_scope() -> Vec<u8> {
    let scope = InstrumentationScope {
        name: "monitoringdaemon".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    scope.encode_to_vec()
}
