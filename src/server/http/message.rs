//! Bodies and headers, read and written.

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use keystile_api as operation;
use keystile_api::Endpoint;
use keystile_model::error::{Code, Kind, Result, refuse};
use serde_json::Value;

use super::super::body::whole;
use super::super::problem::Problem;
use super::condition::listed;
use axum::response::IntoResponse;

pub(super) fn json<T: serde::Serialize>(output: T) -> Result<Value> {
    serde_json::to_value(output).map_err(|e| {
        refuse(
            Code::OutputFailed,
            format_args!("it was done, but the answer cannot be written ({e})"),
            "please report this: it is a bug in Keystile",
        )
        .with_kind(Kind::Unavailable)
    })
}

pub(super) fn respond(route: &Endpoint, head: &Parts, done: Done) -> Response {
    let (status, body, tag) = match done {
        Done::Now(value) => {
            let tag = (route.etag && !route.writes).then(|| operation::tag(&value));
            (route.status, value.to_string().into_bytes(), tag)
        }
        Done::Before { status, body } => {
            let mut response = plain(status, body);
            response.headers_mut().insert(
                HeaderName::from_static("idempotency-replayed"),
                HeaderValue::from_static("true"),
            );
            return response;
        }
    };
    let Some(tag) = tag else {
        return plain(status, body);
    };
    let known = header(&head.headers, header::IF_NONE_MATCH).ok().flatten();
    let same = known.is_some_and(|known| listed(&known, &tag));
    let mut response = if same {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        plain(status, body)
    };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

fn plain(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let json = [(header::CONTENT_TYPE, "application/json")];
    (status, json, body).into_response()
}

/// Reads a body of the size and the type that the route takes.
pub(super) async fn read(
    route: &Endpoint,
    headers: &HeaderMap,
    body: Body,
) -> Result<Bytes, Problem> {
    if !route.method.has_body() {
        return Ok(Bytes::new());
    }
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|n| n > route.body) {
        return Err(super::super::body::too_large(route.body));
    }
    let body = whole(body, route.body).await?;
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next())
        .map(|v| v.trim().to_ascii_lowercase());
    let taken = ["application/json", "application/merge-patch+json"];
    if !body.is_empty() && !kind.as_deref().is_some_and(|k| taken.contains(&k)) {
        return Err(refuse(
            Code::MediaTypeUnsupported,
            "the body is not declared as JSON",
            "send `content-type: application/json`",
        )
        .into());
    }
    Ok(body)
}

/// A header that may occur once.
pub(super) fn header(headers: &HeaderMap, name: HeaderName) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all(&name).iter();
    let wrong = || -> Problem {
        refuse(
            Code::MalformedHeader,
            format_args!("the header `{name}` is given twice, or is not ASCII"),
            "send it once",
        )
        .into()
    };
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(|v| Some(v.trim().to_owned()))
            .map_err(|_| wrong()),
        (Some(_), Some(_)) => Err(wrong()),
    }
}

/// The result of a change: done now, or before.
pub(super) enum Done {
    Now(Value),
    Before { status: u16, body: Vec<u8> },
}
