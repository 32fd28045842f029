//! Error answers: RFC 9457, in the words of the command line.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::limits::TooOften;
use keystile_api::Route;
use keystile_model::error::{Error, Kind, Trouble};

/// For a file with a mistake on every line, nobody reads more.
const MOST: usize = 100;
/// Seconds until a temporary failure is worth another attempt.
const RETRY_AFTER: u32 = 5;

/// A problem (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:keystile:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem.
    pub title: &'static str,
    /// Of the answer.
    pub status: u16,
    /// What is wrong, and the next step.
    pub detail: String,
    /// The kind of problem, for programs.
    pub code: &'static str,
    /// The individual problems, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// Seconds until it may be tried again.
    #[serde(skip)]
    pub retry_after: Option<u32>,
}

/// Status, code and title of each kind, in one table.
fn words(kind: Kind) -> (u16, &'static str, &'static str) {
    match kind {
        Kind::Malformed => (400, "malformed_request", "Malformed request"),
        Kind::Unauthenticated => (401, "unauthenticated", "Token missing or not good"),
        Kind::Forbidden => (403, "forbidden", "Not allowed"),
        Kind::NotFound => (404, "not_found", "Not found"),
        Kind::Conflict => (409, "conflict", "In conflict with what is there"),
        Kind::Stale => (412, "stale", "Changed meanwhile"),
        Kind::Invalid => (422, "invalid", "Refused"),
        Kind::TooMany => (429, "too_many_requests", "Too many requests"),
        Kind::Unavailable => (503, "unavailable", "Not possible at the moment"),
        Kind::Store(Trouble::Full) => (507, "storage_full", "No space left for the store"),
        Kind::Store(_) => (503, "store_trouble", "The store is failing"),
    }
}

/// The problems that a route may answer with: status and title.
pub fn of(route: &Route) -> Vec<(u16, &'static str)> {
    let mut kinds = vec![
        Kind::Malformed,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::NotFound,
        Kind::Invalid,
        Kind::TooMany,
        Kind::Unavailable,
        Kind::Store(Trouble::Full),
    ];
    if route.writes {
        kinds.extend([Kind::Conflict, Kind::Stale]);
    }
    let mut all: Vec<(u16, &'static str)> = kinds
        .into_iter()
        .map(words)
        .map(|(status, _, title)| (status, title))
        .collect();
    if route.method.has_body() {
        all.extend([
            (408, "Request timeout"),
            (413, "Too large"),
            (415, "Unsupported media type"),
        ]);
    }
    all.sort_unstable();
    all
}

impl Problem {
    /// A problem of its own.
    pub fn new(
        status: u16,
        code: &'static str,
        title: &'static str,
        detail: impl ToString,
    ) -> Self {
        Self {
            kind: format!("urn:keystile:problem:{code}"),
            title,
            status,
            detail: detail.to_string(),
            code,
            errors: Vec::new(),
            retry_after: None,
        }
    }
}

impl From<Error> for Problem {
    fn from(e: Error) -> Self {
        let (status, code, title) = words(e.kind());
        let all = e.messages();
        let mut errors: Vec<String> = all.iter().take(MOST).cloned().collect();
        if let Some(more) = all.len().checked_sub(MOST).filter(|n| *n > 0) {
            errors.push(format!("and {more} more like these"));
        }
        let mut problem = Self::new(status, code, title, errors.join("\n"));
        problem.retry_after = (e.kind() == Kind::Unavailable).then_some(RETRY_AFTER);
        if errors.len() > 1 {
            problem.errors = errors;
        }
        problem
    }
}

impl From<TooOften> for Problem {
    fn from(e: TooOften) -> Self {
        let (status, code, title) = words(Kind::TooMany);
        let detail = format!("asked for too often; try again in {} s", e.retry_after);
        Self {
            retry_after: Some(u32::try_from(e.retry_after).unwrap_or(u32::MAX)),
            ..Self::new(status, code, title, detail)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"keystile\""),
            );
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_model::error::{refuse, refuse_all};

    #[test]
    fn a_problem_says_what_the_command_line_says() {
        let e = refuse("there is no client `x`", "make it").of(Kind::NotFound);
        let p = Problem::from(e);
        assert_eq!((p.status, p.code), (404, "not_found"));
        assert_eq!(p.detail, "there is no client `x`; make it");
        assert!(p.errors.is_empty());
        let p = Problem::from(refuse_all(vec!["a; b".to_owned(), "c; d".to_owned()]));
        assert_eq!(p.status, 422);
        assert_eq!(p.errors, ["a; b", "c; d"]);
        let p = Problem::from(refuse_all(vec!["a; b".to_owned(); 1000]));
        assert_eq!(p.errors.len(), MOST + 1);
        assert_eq!(p.errors.last().unwrap(), "and 900 more like these");
    }
}
