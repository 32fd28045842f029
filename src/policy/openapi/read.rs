//! Text as a document, in YAML or JSON.

use super::document::Document;
use super::syntax::either;
use keystile_model::error::{Code, Result, refuse};

/// Reads a document.
///
/// # Errors
/// Text that is neither, and documents of another version.
pub fn read(name: &str, text: &str) -> Result<Document> {
    let document: Document = either(name, text)?;
    if document.swagger.is_some() {
        return Err(refuse(
            Code::OpenapiInvalid,
            format_args!("{name}: is a Swagger 2.0 document"),
            "convert it to OpenAPI 3 first, as `swagger2openapi` does",
        ));
    }
    let version = document.openapi();
    let known = ["3.0", "3.1", "3.2"]
        .iter()
        .any(|v| version == *v || version.starts_with(&format!("{v}.")));
    if !known {
        let found: String = version.chars().take(20).collect();
        return Err(refuse(
            Code::OpenapiInvalid,
            format_args!("{name}: `openapi`: `{found}` is not 3.0, 3.1 or 3.2"),
            "name an OpenAPI document of one of these versions",
        ));
    }
    Ok(document)
}
