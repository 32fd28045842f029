//! The few fields of an OpenAPI document that a policy is made of. Everything else is
//! skipped while it is read, so that a document of tens of megabytes takes little memory.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Notes;
use keystile_model::error::{Error, Result, refuse};

/// What an operation asks for: all of these schemes, each with scopes.
pub type Requirement = BTreeMap<String, Vec<String>>;

/// The document.
#[derive(Deserialize)]
pub struct Document {
    #[serde(default)]
    openapi: String,
    #[serde(default)]
    swagger: Option<String>,
    #[serde(default)]
    info: Info,
    #[serde(default)]
    pub servers: Vec<Server>,
    #[serde(default)]
    pub paths: BTreeMap<String, PathItem>,
    /// What every operation asks for that does not say otherwise.
    #[serde(default)]
    pub security: Option<Vec<Requirement>>,
    #[serde(default)]
    components: Components,
}

#[derive(Default, Deserialize)]
struct Info {
    #[serde(default)]
    title: String,
    #[serde(default)]
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Components {
    #[serde(default)]
    security_schemes: BTreeMap<String, Scheme>,
    #[serde(default)]
    path_items: BTreeMap<String, PathItem>,
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
}

#[derive(Deserialize)]
pub struct Server {
    #[serde(default)]
    pub url: String,
    #[serde(default)]
    pub variables: BTreeMap<String, Variable>,
}

#[derive(Default, Deserialize)]
pub struct Variable {
    #[serde(default)]
    pub default: String,
    #[serde(default, rename = "enum")]
    pub values: Vec<String>,
}

#[derive(Default, Deserialize)]
pub struct PathItem {
    #[serde(default, rename = "$ref")]
    reference: Option<String>,
    #[serde(default)]
    pub servers: Vec<Server>,
    #[serde(default)]
    parameters: Vec<Parameter>,
    get: Option<Operation>,
    put: Option<Operation>,
    post: Option<Operation>,
    delete: Option<Operation>,
    options: Option<Operation>,
    head: Option<Operation>,
    patch: Option<Operation>,
    trace: Option<Operation>,
}

#[derive(Deserialize)]
pub struct Operation {
    pub security: Option<Vec<Requirement>>,
    #[serde(default)]
    pub servers: Vec<Server>,
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Default, Deserialize)]
struct Parameter {
    #[serde(default, rename = "$ref")]
    reference: Option<String>,
    #[serde(default)]
    name: String,
    /// GitHub's way to say that a parameter takes several segments.
    #[serde(default, rename = "x-multi-segment")]
    multi_segment: bool,
}

/// A way to prove who calls.
#[derive(Clone, Default, Deserialize)]
pub struct Scheme {
    #[serde(default, rename = "$ref")]
    reference: Option<String>,
    #[serde(default, rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub scheme: String,
    #[serde(default, rename = "in")]
    pub place: String,
    #[serde(default)]
    pub name: String,
}

impl Document {
    /// Title and version, on one line.
    pub fn title(&self) -> String {
        format!("{} {}", self.info.title, self.info.version)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(120)
            .collect::<String>()
            .trim()
            .to_owned()
    }

    /// Its version of OpenAPI.
    pub fn openapi(&self) -> &str {
        &self.openapi
    }

    /// A path item, or the one that it refers to.
    pub fn path_item<'d>(
        &'d self,
        item: &'d PathItem,
        path: &str,
        notes: &mut Notes,
    ) -> &'d PathItem {
        let Some(reference) = &item.reference else {
            return item;
        };
        let found = reference
            .strip_prefix("#/components/pathItems/")
            .and_then(|name| self.components.path_items.get(name));
        if found.is_none() {
            notes.add(
                path,
                "refers to another document; its operations are refused",
            );
        }
        found.unwrap_or(item)
    }

    /// A security scheme.
    pub fn scheme(&self, name: &str) -> Option<&Scheme> {
        let schemes = &self.components.security_schemes;
        let found = schemes.get(name)?;
        match &found.reference {
            None => Some(found),
            Some(r) => schemes.get(r.strip_prefix("#/components/securitySchemes/")?),
        }
    }

    /// Names of parameters that take several segments.
    pub fn multi_segment(&self, item: &PathItem, operation: &Operation) -> BTreeSet<String> {
        item.parameters
            .iter()
            .chain(&operation.parameters)
            .filter_map(|p| match &p.reference {
                None => Some(p),
                Some(r) => self
                    .components
                    .parameters
                    .get(r.strip_prefix("#/components/parameters/")?),
            })
            .filter(|p| p.multi_segment)
            .map(|p| p.name.clone())
            .collect()
    }
}

impl PathItem {
    /// Its operations with their methods.
    pub fn operations(&self) -> impl Iterator<Item = (&'static str, &Operation)> {
        [
            ("DELETE", &self.delete),
            ("GET", &self.get),
            ("HEAD", &self.head),
            ("OPTIONS", &self.options),
            ("PATCH", &self.patch),
            ("POST", &self.post),
            ("PUT", &self.put),
            ("TRACE", &self.trace),
        ]
        .into_iter()
        .filter_map(|(method, o)| Some((method, o.as_ref()?)))
    }
}

/// Reads YAML or JSON.
///
/// # Errors
/// Text that is neither, and documents of another version.
pub fn read(name: &str, text: &str) -> Result<Document> {
    let text = text.trim_start_matches('\u{feff}');
    let document: Document = if text.trim_start().starts_with('{') {
        json(name, text)?
    } else {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            // A description of many megabytes is no bomb; aliases stay bounded.
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
        })?
    };
    if document.swagger.is_some() {
        return Err(refuse(
            format_args!("{name}: is a Swagger 2.0 document"),
            "convert it to OpenAPI 3 first, as `swagger2openapi` does",
        ));
    }
    let known = ["3.0", "3.1"]
        .iter()
        .any(|v| document.openapi == *v || document.openapi.starts_with(&format!("{v}.")));
    if !known {
        let found: String = document.openapi.chars().take(20).collect();
        return Err(refuse(
            format_args!("{name}: `openapi`: `{found}` is not 3.0 or 3.1"),
            "name an OpenAPI document of one of these versions",
        ));
    }
    Ok(document)
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
        format_args!("{name}: {problem}"),
        "name an OpenAPI 3.0 or 3.1 document, in YAML or JSON",
    )
}
