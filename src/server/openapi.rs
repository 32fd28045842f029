//! The OpenAPI document, generated from the table of operations.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::problem::{self, Problem};
use keystile_api::{Endpoint, Operation};

/// The document: OpenAPI 3.1.
pub fn document() -> Value {
    let mut d = Document::default();
    d.component::<Problem>();
    macro_rules! all {
        ($($operation:ty,)*) => { $(d.operation::<$operation>();)* };
    }
    keystile_api::for_each_operation!(all);
    let tags: Vec<Value> = d.tags.keys().map(|t| json!({"name": t})).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Keystile",
            "summary": "API keys for Envoy and Istio: issue, revoke, publish, explain",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": d.paths,
        "components": {
            "schemas": d.schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An admin token, created with `keystilectl token create`.",
                },
            },
        },
        "security": [{"token": []}],
    })
}

#[derive(Default)]
struct Document {
    paths: BTreeMap<&'static str, Map<String, Value>>,
    schemas: BTreeMap<String, Value>,
    tags: BTreeMap<&'static str, ()>,
}

impl Document {
    /// Adds a type and all that it refers to.
    fn component<T: ToSchema>(&mut self) {
        let mut all: Vec<(String, RefOr<Schema>)> = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut all);
        for (name, schema) in all {
            self.schemas
                .entry(name)
                .or_insert_with(|| serde_json::to_value(schema).unwrap_or_default());
        }
    }

    fn operation<O: Operation>(&mut self) {
        let mut nested: Vec<(String, RefOr<Schema>)> = Vec::new();
        O::schemas(&mut nested);
        self.component::<O::Output>();
        let schema = serde_json::to_value(O::schema()).unwrap_or_default();
        self.describe(&O::ENDPOINT, nested, schema, &O::name(), &O::Output::name());
    }

    fn describe(
        &mut self,
        route: &Endpoint,
        nested: Vec<(String, RefOr<Schema>)>,
        schema: Value,
        name: &str,
        output: &str,
    ) {
        self.tags.insert(route.tag(), ());
        for (name, schema) in nested {
            self.schemas
                .entry(name)
                .or_insert_with(|| serde_json::to_value(schema).unwrap_or_default());
        }
        let (parameters, body) = self.fields(route, schema, name);
        let output = reference(output);
        let mut operation = json!({
            "operationId": route.name,
            "summary": route.summary,
            "description": description(route),
            "tags": [route.tag()],
            "parameters": parameters,
            "responses": responses(route, &output),
        });
        if let (Some(map), Some(body)) = (operation.as_object_mut(), body) {
            map.insert("requestBody".to_owned(), body);
        }
        self.paths
            .entry(route.path)
            .or_default()
            .insert(route.method.as_str().to_ascii_lowercase(), operation);
    }

    /// The fields of an operation, distributed over path, query and body.
    fn fields(
        &mut self,
        route: &Endpoint,
        mut schema: Value,
        name: &str,
    ) -> (Vec<Value>, Option<Value>) {
        let mut properties = match schema.get_mut("properties").map(Value::take) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let mut required: Vec<Value> = match schema.get_mut("required").map(Value::take) {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        let mut parameters = Vec::new();
        for name in route.path_fields() {
            let schema = properties.remove(name).unwrap_or_default();
            parameters.push(parameter("path", name, schema, true));
            required.retain(|r| r != name);
        }
        parameters.extend(headers(route));
        if !route.method.has_body() {
            for (name, schema) in properties {
                let needed = required.iter().any(|r| *r == name.as_str());
                parameters.push(parameter("query", &name, schema, needed));
            }
            return (parameters, None);
        }
        if properties.is_empty() {
            return (parameters, None);
        }
        let needed = !required.is_empty();
        if let Some(map) = schema.as_object_mut() {
            map.insert("properties".to_owned(), Value::Object(properties));
            if needed {
                map.insert("required".to_owned(), Value::Array(required));
            } else {
                map.remove("required");
            }
        }
        self.schemas.insert(name.to_owned(), schema);
        let body = json!({
            "required": needed,
            "content": {"application/json": {"schema": reference(name)}},
        });
        (parameters, Some(body))
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn parameter(place: &str, name: &str, schema: Value, required: bool) -> Value {
    let description = description_of(&schema);
    json!({
        "name": name,
        "in": place,
        "required": required,
        "description": description,
        "schema": schema,
    })
}

/// What a field is: of one that may be null, the words stand beside the type that it otherwise has.
fn description_of(schema: &Value) -> Value {
    let any = schema.get("oneOf").and_then(Value::as_array);
    let mut parts = std::iter::once(schema).chain(any.into_iter().flatten());
    let words = parts.find_map(|part| part.get("description"));
    words.cloned().unwrap_or_default()
}

fn headers(route: &Endpoint) -> Vec<Value> {
    let header = |name: &str, description: &str| {
        json!({
            "name": name,
            "in": "header",
            "required": false,
            "description": description,
            "schema": {"type": "string"},
        })
    };
    let mut out = Vec::new();
    if route.creates {
        out.push(header(
            "Idempotency-Key",
            "If the request is repeated with the same key within 24 hours, the answer is the same, but without secrets, and nothing is created twice.",
        ));
    }
    if route.etag && route.writes {
        out.push(header(
            "If-Match",
            "The `ETag` of what was read: the request is refused with 412 if it has changed since.",
        ));
    }
    if route.etag && !route.writes {
        out.push(header(
            "If-None-Match",
            "The `ETag` of a known answer: the answer is 304 if it is still the same.",
        ));
    }
    out
}

fn description(route: &Endpoint) -> String {
    let roles: Vec<&str> = route.roles.iter().map(|r| r.as_str()).collect();
    format!("Roles: {}.", roles.join(", "))
}

fn responses(route: &Endpoint, output: &Value) -> Value {
    let mut good = json!({
        "description": "Done.",
        "content": {"application/json": {"schema": output}},
    });
    if let Some(map) = good.as_object_mut()
        && route.etag
        && !route.writes
    {
        map.insert(
            "headers".to_owned(),
            json!({"ETag": {"schema": {"type": "string"}}}),
        );
    }
    let mut all = Map::new();
    all.insert(route.status.to_string(), good);
    if route.etag && !route.writes {
        let same = json!({"description": "Not modified: the caller's copy is current."});
        all.insert("304".to_owned(), same);
    }
    let schema = reference("Problem");
    for (status, title) in problem::possible_at(route) {
        let problem = json!({
            "description": format!("Refused: {title} (RFC 9457)."),
            "content": {"application/problem+json": {"schema": schema}},
        });
        all.insert(status.to_string(), problem);
    }
    Value::Object(all)
}
