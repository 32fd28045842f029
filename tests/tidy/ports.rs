//! What a policy with `host_ports: ignore` relies on.

use crate::*;
use serde_json::Value;

/// `keystilectl init` writes `host_ports: ignore`. Under an Envoy that picks its virtual host by
/// the port as well, the filter would decide about another host.
#[test]
fn every_configuration_for_envoy_ignores_ports_in_hosts() {
    let mut configurations = 0;
    for (name, text) in envoy_configurations() {
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        let mut routes = 0;
        each_object(&value, &mut |object| {
            if object.contains_key("virtual_hosts") {
                routes += 1;
                let says = object.get("ignore_port_in_host_matching");
                assert_eq!(says, Some(&Value::Bool(true)), "{name}: {object:?}");
            }
        });
        assert!(routes > 0, "{name} has no routes");
        configurations += 1;
    }
    assert!(configurations >= 10);
}

fn each_object(value: &Value, look: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            look(object);
            object.values().for_each(|value| each_object(value, look));
        }
        Value::Array(values) => values.iter().for_each(|value| each_object(value, look)),
        _ => {}
    }
}
