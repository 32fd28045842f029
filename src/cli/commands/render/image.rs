//! Images, and that they are pinned.

use super::super::Context;

/// Reads a SHA-256 digest in hexadecimal.
pub fn sha256(text: &str) -> std::result::Result<String, String> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a digest is 64 hexadecimal digits, as `sha256sum` prints them".to_owned())
}

/// Warns of an image that is not pinned by digest.
pub fn warn_if_unpinned(cx: &Context, image: &str, sha256: Option<&str>) {
    if sha256.is_none() && !image.contains("@sha256:") {
        cx.out.warn(format_args!(
            "`{image}` names no digest: whoever can write to the registry chooses what runs in front of your services; add `@sha256:…` or --sha256"
        ));
    }
}
