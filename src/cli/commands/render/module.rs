//! The native module in a cluster: an image brings its file to the proxies.

use std::path::PathBuf;

use super::super::Context;
use super::super::push::{Filter, Shell};
use super::image::warn_if_unpinned;
use keystile_model::error::{Code, Result, refuse};
use keystile_render::ecds::module_name;

/// The file that Envoy loads, and the image with it.
pub struct Module {
    /// The file's name.
    pub file: String,
    /// Its name in Envoy.
    pub name: String,
    /// For Kubernetes, pinned if the user has done so.
    pub image: String,
}

/// Whether the proxies run the native module.
///
/// # Errors
/// `--wasm` without it: in WebAssembly the image has a file of a fixed name.
pub fn is_native(filter: &Filter) -> Result<bool> {
    match (filter.shell, &filter.wasm) {
        (Shell::Module, _) => filter.module().map(|_| true),
        (Shell::Wasm, None) => Ok(false),
        (Shell::Wasm, Some(_)) => Err(refuse(
            Code::FieldsConflict,
            "`--wasm` has no effect here",
            "leave it out: `--image` says where the filter is, or with `--discovery` the server does",
        )),
    }
}

impl Module {
    /// Of this image.
    ///
    /// # Errors
    /// An address that is no image's.
    pub fn new(cx: &Context, filter: &Filter, image: &str, sha256: Option<&str>) -> Result<Self> {
        let file = filter.module()?;
        let file = file.file_name().map(PathBuf::from).unwrap_or_default();
        let name = module_name(&file).unwrap_or_default().to_owned();
        let reference = image.strip_prefix("oci://").unwrap_or(image);
        if reference.contains("://") {
            return Err(refuse(
                Code::InvalidName,
                format_args!("`{image}` is not the address of an image"),
                "name an image that holds the module, `oci://…`: Envoy leaves out a module that it cannot download, and lets requests pass",
            ));
        }
        warn_if_unpinned(cx, image, sha256);
        let image = match sha256 {
            Some(digest) if !reference.contains('@') => format!("{reference}@sha256:{digest}"),
            _ => reference.to_owned(),
        };
        let file = file.display().to_string();
        Ok(Self { file, name, image })
    }
}
