//! `$ref`: inside the document, and in files beside it.

use core::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::syntax::either;
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::url;

/// The longest chain of references.
const DEEPEST: usize = 32;

/// Reads a file by its path from the folder of the document; what went wrong, if it cannot.
pub type Beside<'f> = &'f dyn Fn(&str) -> std::result::Result<String, String>;

/// The document and the files beside it, each read when it is first referred to.
pub struct DocumentFiles<'f> {
    name: &'f str,
    text: &'f str,
    beside: Option<Beside<'f>>,
    /// By path; the document itself has none.
    read: RefCell<BTreeMap<String, Rc<Value>>>,
}

impl<'f> DocumentFiles<'f> {
    /// Those of a document, which messages call `name`.
    pub fn new(name: &'f str, text: &'f str, beside: Option<Beside<'f>>) -> Self {
        Self {
            name,
            text,
            beside,
            read: RefCell::default(),
        }
    }

    /// What a reference in a file leads to, and the file that contains it. `place` is named in the
    /// message.
    ///
    /// # Errors
    /// If a file or a part of a file does not exist, or is something else.
    pub fn resolve<T: DeserializeOwned>(
        &self,
        reference: &str,
        from: &str,
        place: &str,
    ) -> Result<(T, String)> {
        let shown: String = reference
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect();
        let refused = |what: &str, next: &str| {
            refuse(
                Code::OpenapiInvalid,
                format_args!("{}: {place}: `$ref: {shown}` {what}", self.name),
                next,
            )
        };
        let (file, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let file = match file {
            "" => from.to_owned(),
            file => joined(from, file).ok_or_else(|| {
                refused(
                    "leads out of the folder of the document",
                    "bundle the document into one file, as `redocly bundle` does",
                )
            })?,
        };
        let whole = self.whole(&file, &refused)?;
        let found = at(&whole, pointer).ok_or_else(|| {
            refused(
                "leads to nothing",
                "correct the reference, or add what it names",
            )
        })?;
        let read = serde_path_to_error::deserialize(found);
        let value = read.map_err(|e| {
            refused(
                &format!("leads to something else: {e}"),
                "correct the reference, or what it names",
            )
        })?;
        Ok((value, file))
    }

    /// Refuses circular references.
    ///
    /// # Errors
    /// If there are more in a row than any reasonable document has.
    pub fn check_depth(&self, depth: usize, place: &str) -> Result<()> {
        match depth < DEEPEST {
            true => Ok(()),
            false => Err(refuse(
                Code::OpenapiInvalid,
                format_args!("{}: {place}: its `$ref`s form a cycle", self.name),
                "correct the references",
            )),
        }
    }

    fn whole(&self, file: &str, refused: &dyn Fn(&str, &str) -> Error) -> Result<Rc<Value>> {
        if let Some(known) = self.read.borrow().get(file) {
            return Ok(known.clone());
        }
        let value: Value = match (file, self.beside) {
            ("", _) => either(self.name, self.text)?,
            (file, Some(beside)) => {
                let text = beside(file).map_err(|why| {
                    refused(
                        &format!("cannot be followed: {why}"),
                        "put the file beside the document, or bundle both into one, as `redocly bundle` does",
                    )
                })?;
                either(file, &text)?
            }
            (_, None) => {
                return Err(refused(
                    "names another file",
                    "bundle the document into one file, as `redocly bundle` does",
                ));
            }
        };
        let value = Rc::new(value);
        self.read
            .borrow_mut()
            .insert(file.to_owned(), value.clone());
        Ok(value)
    }
}

/// A path relative to another file's folder. None if it is not a file in the document's folder.
fn joined(from: &str, file: &str) -> Option<String> {
    let file = url::decode(file)?;
    let is_foreign = file.starts_with(['/', '\\']) || file.contains([':', '?', '\\']);
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|s| !s.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!is_foreign && !parts.is_empty()).then(|| parts.join("/"))
}

/// What a JSON pointer in fragment form names.
fn at<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    value.pointer(&url::decode(pointer)?)
}
