//! An operation as an HTTP request: written by a client, read by the server.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{Endpoint, Operation, text};
use keystile_model::error::{Code, Error, Result, defect, refuse};
use keystile_model::reading::{self, GivenJson, Wrong};

/// The request for an operation.
pub struct RequestParts {
    /// Path and query, encoded.
    pub target: String,
    /// The body, for methods that have one.
    pub body: Option<Value>,
}

/// Makes the request for an operation.
///
/// # Errors
/// If it cannot be written as JSON, which is a bug of ours.
pub fn take_apart<O: Operation>(operation: &O) -> Result<RequestParts> {
    let Ok(Value::Object(fields)) = serde_json::to_value(operation) else {
        return Err(defect(format_args!(
            "`{}` cannot be written as JSON",
            O::ENDPOINT.name
        )));
    };
    Ok(apart(&O::ENDPOINT, fields))
}

fn apart(route: &Endpoint, mut fields: Map<String, Value>) -> RequestParts {
    let mut target = String::new();
    for segment in route.path.split('/').skip(1) {
        target.push('/');
        match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            Some(name) => keystile_model::url::encode(
                &text::unquoted(&fields.remove(name).unwrap_or_default()),
                &mut target,
            ),
            None => target.push_str(segment),
        }
    }
    if route.method.has_body() {
        return RequestParts {
            target,
            body: Some(Value::Object(fields)),
        };
    }
    let mut mark = '?';
    for (name, value) in fields {
        let values = match value {
            Value::Null => Vec::new(),
            Value::Array(list) => list,
            one => vec![one],
        };
        for value in values {
            target.push(mark);
            mark = '&';
            keystile_model::url::encode(&name, &mut target);
            target.push('=');
            keystile_model::url::encode(&text::unquoted(&value), &mut target);
        }
    }
    RequestParts { target, body: None }
}

/// Reads an operation from the fields of its path, query and body.
///
/// # Errors
/// [`Kind::Malformed`] if the body is not JSON or the query is malformed, [`Kind::Invalid`] for
/// fields that do not exist or have invalid values.
pub fn put_together<O: Operation>(
    path: &BTreeMap<String, String>,
    query: &str,
    body: &[u8],
) -> Result<O> {
    if !O::ENDPOINT.method.has_body() {
        let mut pairs = text::pairs(query)?;
        for (name, value) in path {
            if pairs.insert(name.clone(), vec![value.clone()]).is_some() {
                return Err(twice(name));
            }
        }
        return read(text::Fields::new(pairs));
    }
    if !query.is_empty() {
        return Err(refuse(
            Code::MalformedQuery,
            format_args!("`{}` takes no query", O::ENDPOINT.name),
            "put its fields into the body, as JSON",
        ));
    }
    let mut fields: Map<String, Value> = if body.trim_ascii().is_empty() {
        Map::new()
    } else {
        let object = |e: &dyn std::fmt::Display| {
            refuse(
                Code::MalformedBody,
                format_args!("the body is not a JSON object ({e})"),
                "send one, with `content-type: application/json`",
            )
        };
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(object(&"it is JSON of another type")),
            // Not its own words: they repeat what was sent, which may be a secret.
            Err(e) => {
                let place = format!("line {}, column {}", e.line(), e.column());
                return Err(object(&format_args!("there is a mistake in {place}")));
            }
        }
    };
    for (name, value) in path {
        if fields
            .insert(name.clone(), Value::String(value.clone()))
            .is_some()
        {
            return Err(twice(name));
        }
    }
    read(GivenJson(Value::Object(fields)))
}

fn twice(name: &str) -> Error {
    refuse(
        Code::FieldsConflict,
        format_args!("`{name}` is already in the path"),
        "leave it out of the query and the body",
    )
    .about(name.to_owned())
}

/// An operation as JSON, for [`read_again`].
pub fn written<O: Operation>(operation: &O) -> Value {
    serde_json::to_value(operation).unwrap_or_default()
}

/// Reads an operation from what [`written`] gave.
///
/// # Errors
/// Those of [`put_together`].
pub fn read_again<O: Operation>(written: &Value) -> Result<O> {
    read(GivenJson(written.clone()))
}

/// The pairs of a query, or of a form.
///
/// # Errors
/// [`Kind::Malformed`] if something in it is not encoded as it should be.
pub fn words(query: &str) -> Result<BTreeMap<String, Vec<String>>> {
    text::pairs(query)
}

/// Reads an operation from the fields of a form, which are all text.
///
/// # Errors
/// Those of [`put_together`].
pub fn from_words<O: Operation>(fields: BTreeMap<String, Vec<String>>) -> Result<O> {
    read(text::Fields::new(fields))
}

/// One word of a path or a query, encoded.
pub fn encoded(word: &str) -> String {
    let mut out = String::new();
    keystile_model::url::encode(word, &mut out);
    out
}

fn read<'de, O: Operation, D>(fields: D) -> Result<O>
where
    D: serde::Deserializer<'de, Error = Wrong>,
{
    reading::located(fields).map_err(|(path, wrong)| wrong.refused(&path))
}
