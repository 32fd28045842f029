//! The guide: pages that were made before and are passed in, so that a change of a page does not
//! compile the server again.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::http::nowhere;

/// A page, or what a page needs.
#[derive(Clone, Copy, Debug)]
pub struct ServedFile {
    /// For `Content-Type`.
    pub kind: &'static str,
    /// For `ETag`: changes with its content.
    pub tag: &'static str,
    /// Whether its name changes with its content, so that browsers need not ask again.
    pub lasts: bool,
    /// What is in it.
    pub bytes: &'static [u8],
}

/// Finds a file by its name below `/docs/guide/`; the first page, if that is empty.
pub type FindFile = fn(&str) -> Option<ServedFile>;

/// The page for a name that there is not.
const NOWHERE: &str = "404.html";

/// The policy of the pages: nothing from elsewhere, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The policy of a picture, whose styles are its own.
const PICTURE: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox";

/// The routes, for these files.
pub fn routes(find: FindFile) -> Router {
    let first = async move |headers: HeaderMap| answer(find, "", &headers).await;
    let file = async move |Path(name): Path<String>, headers: HeaderMap| {
        answer(find, &name, &headers).await
    };
    Router::new()
        .route("/docs/guide", get(enter))
        .route("/docs/guide/", get(first))
        .route("/docs/guide/{*name}", get(file))
}

/// To the folder, so that relative links work: relative itself, because a proxy may have put
/// something in front of the path.
async fn enter() -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, "guide/")]).into_response()
}

async fn answer(find: FindFile, name: &str, headers: &HeaderMap) -> Response {
    if let Some(file) = find(name) {
        return found(file, headers);
    }
    // Its links are those of a page directly in the folder.
    match find(NOWHERE).filter(|_| !name.contains('/')) {
        Some(page) => (StatusCode::NOT_FOUND, described(page), page.bytes).into_response(),
        None => nowhere().await.into_response(),
    }
}

fn found(file: ServedFile, headers: &HeaderMap) -> Response {
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|v| v.to_str().ok());
    let current = known.any(|list| {
        let mut tags = list.split(',').map(str::trim);
        tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == file.tag)
    });
    let caching = match file.lasts {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let lasting = [(header::ETAG, file.tag), (header::CACHE_CONTROL, caching)];
    match current {
        true => (StatusCode::NOT_MODIFIED, lasting).into_response(),
        false => (lasting, described(file), file.bytes).into_response(),
    }
}

fn described(file: ServedFile) -> [(HeaderName, &'static str); 3] {
    let policy = match file.kind {
        "image/svg+xml" => PICTURE,
        _ => POLICY,
    };
    [
        (header::CONTENT_TYPE, file.kind),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
    ]
}
