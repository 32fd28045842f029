//! The few fields of an OpenAPI document from which a policy is made. Everything else is skipped
//! while reading, so that a document of tens of megabytes takes little memory.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::Deserialize;

use super::extensible::{EntryForm, NamedEntries, Requirement};
use super::path_item::shared;
pub use super::path_item::{Parameter, PathItem, PathOperation, Server};
use super::reference::DocumentFiles;
use keystile_model::error::Result;

/// The document.
#[derive(Deserialize)]
pub struct Document {
    #[serde(default)]
    openapi: String,
    #[serde(default)]
    pub(super) swagger: Option<String>,
    #[serde(default)]
    info: Info,
    #[serde(default)]
    pub servers: Vec<Server>,
    #[serde(default, deserialize_with = "shared")]
    pub paths: BTreeMap<String, Rc<PathItem>>,
    /// What every operation requires by default.
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
    security_schemes: NamedEntries<Scheme>,
    #[serde(default, deserialize_with = "shared")]
    path_items: BTreeMap<String, Rc<PathItem>>,
    #[serde(default)]
    parameters: NamedEntries<Parameter>,
}

/// A way to authenticate callers.
#[derive(Clone, Default, Deserialize)]
pub struct Scheme {
    #[serde(default, rename = "$ref")]
    pub reference: Option<String>,
    #[serde(default, rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub scheme: String,
    #[serde(default, rename = "in")]
    pub place: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub description: String,
}

/// An operation, and where it is.
pub struct LocatedOperation {
    /// None for all methods that have no operation of their own.
    pub method: Option<String>,
    pub operation: Rc<PathOperation>,
    /// The path item that it is in, and those that refer to it.
    pub items: Vec<Rc<PathItem>>,
    /// The file of the operation.
    file: String,
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

    /// The operations of a path, and unknown fields beside them. References are followed: if a path
    /// item with operations of its own refers to another, those of both count.
    ///
    /// # Errors
    /// A reference that leads nowhere.
    pub fn operations(
        &self,
        path: &str,
        item: &Rc<PathItem>,
        files: &DocumentFiles<'_>,
    ) -> Result<(Vec<LocatedOperation>, Vec<String>)> {
        let mut items = vec![(item.clone(), String::new())];
        while let Some((last, file)) = items.last()
            && let Some(reference) = &last.reference
        {
            let place = format!("`paths.{path}`");
            files.check_depth(items.len(), &place)?;
            let found = match self.own_path_item(reference).filter(|_| file.is_empty()) {
                Some(own) => (own.clone(), String::new()),
                None => {
                    let (item, file) = files.resolve::<PathItem>(reference, file, &place)?;
                    (Rc::new(item), file)
                }
            };
            items.push(found);
        }
        let all: Vec<Rc<PathItem>> = items.iter().map(|(item, _)| item.clone()).collect();
        let mut out = Vec::new();
        let mut unknown = Vec::new();
        for (n, (item, file)) in items.iter().enumerate() {
            unknown.extend(item.unknown.iter().cloned());
            // What the item itself says comes before what items that refer to it say.
            let from: Vec<_> = all
                .iter()
                .skip(n)
                .chain(all.iter().take(n))
                .cloned()
                .collect();
            for (method, operation) in &item.operations {
                let place = format!("`paths.{path}`");
                for (operation, file) in self.referred(operation, file, &place, files)? {
                    out.push(LocatedOperation {
                        method: method.clone(),
                        operation,
                        items: from.clone(),
                        file,
                    });
                }
            }
        }
        Ok((out, unknown))
    }

    /// An operation, or those that it refers to. One with requirements of its own counts as well.
    fn referred(
        &self,
        operation: &Rc<PathOperation>,
        file: &str,
        place: &str,
        files: &DocumentFiles<'_>,
    ) -> Result<Vec<(Rc<PathOperation>, String)>> {
        let mut chain = vec![(operation.clone(), file.to_owned())];
        while let Some((last, file)) = chain.last()
            && let Some(reference) = &last.reference
        {
            files.check_depth(chain.len(), place)?;
            let (found, file) = files.resolve::<PathOperation>(reference, file, place)?;
            chain.push((Rc::new(found), file));
        }
        chain.retain(|(o, _)| o.reference.is_none() || o.security.is_some());
        Ok(chain)
    }

    fn own_path_item(&self, reference: &str) -> Option<&Rc<PathItem>> {
        let name = reference.strip_prefix("#/components/pathItems/")?;
        self.components.path_items.get(name)
    }

    /// Whether there is a security scheme of this name.
    pub fn has_scheme(&self, name: &str) -> bool {
        self.components.security_schemes.contains_key(name)
    }

    /// A security scheme, by its name or, since OpenAPI 3.2, by a reference to it.
    ///
    /// # Errors
    /// A reference that leads nowhere.
    pub fn scheme(&self, name: &str, files: &DocumentFiles<'_>) -> Result<Option<Scheme>> {
        let place = format!("security scheme `{name}`");
        let own = self.components.security_schemes.get(name).cloned();
        let (mut scheme, mut file) = match own {
            Some(scheme) => (scheme, String::new()),
            None if name.contains(['#', '/']) => files.resolve::<Scheme>(name, "", &place)?,
            None => return Ok(None),
        };
        let mut depth = 1;
        while let Some(reference) = scheme.reference.take() {
            files.check_depth(depth, &place)?;
            depth += 1;
            let own = reference.strip_prefix("#/components/securitySchemes/");
            let own = own.filter(|_| file.is_empty());
            scheme = match own.and_then(|name| self.components.security_schemes.get(name)) {
                Some(own) => own.clone(),
                None => {
                    let (found, at) = files.resolve::<Scheme>(&reference, &file, &place)?;
                    file = at;
                    found
                }
            };
        }
        Ok(Some(scheme))
    }

    /// Names of parameters that take several segments.
    pub fn multi_segment(
        &self,
        found: &LocatedOperation,
        files: &DocumentFiles<'_>,
    ) -> BTreeSet<String> {
        let of_items = found.items.iter().flat_map(|item| &item.parameters);
        of_items
            .chain(&found.operation.parameters)
            .filter_map(|p| match &p.reference {
                None => Some(p.clone()),
                Some(r) => {
                    let own = r.strip_prefix("#/components/parameters/");
                    let own = own.filter(|_| found.file.is_empty());
                    match own.and_then(|name| self.components.parameters.get(name)) {
                        Some(own) => Some(own.clone()),
                        // Without it, one segment is taken.
                        None => Some(files.resolve::<Parameter>(r, &found.file, "").ok()?.0),
                    }
                }
            })
            .filter(|p| p.multi_segment)
            .map(|p| p.name.clone())
            .collect()
    }
}

impl EntryForm for Scheme {
    const IS_OBJECT: bool = true;
}
