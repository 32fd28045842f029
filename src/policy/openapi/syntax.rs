//! YAML or JSON.

use serde::de::DeserializeOwned;

use keystile_model::error::{Code, Error, Result, refuse};

/// Reads a document, or a part of one, in either format.
pub fn either<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    let text = text.trim_start_matches('\u{feff}');
    if !text.trim_start().starts_with('{') {
        return yaml(name, text);
    }
    // Numbers where texts belong, as in `default: 8443`, are texts in YAML, which JSON is as well.
    json(name, text).or_else(|error| yaml(name, text).map_err(|_| error))
}

fn yaml<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        // A description of many megabytes is not an attack; aliases are still limited.
        budget: serde_saphyr::budget! {
            max_events: 50_000_000,
            max_nodes: 50_000_000,
            max_depth: 200,
            max_total_scalar_bytes: 1 << 30,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| {
        let e = e.without_snippet();
        wrong(name, &e.to_string())
    })
}

fn json<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let path = e.path().to_string();
        wrong(name, &format!("`{path}`: {}", e.inner()))
    })?;
    reader.end().map_err(|e| wrong(name, &e.to_string()))?;
    Ok(value)
}

fn wrong(name: &str, problem: &str) -> Error {
    refuse(
        Code::OpenapiInvalid,
        format_args!("{name}: {problem}"),
        "name an OpenAPI 3.0, 3.1 or 3.2 document, in YAML or JSON",
    )
}
