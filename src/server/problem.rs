//! The answer when something is not done: RFC 9457, in the words of the API.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::limits::TooOften;
use keystile_api::Endpoint;
use keystile_model::error::{Code, Error, Fault, Kind, Next, Surface, Trouble, refuse};
use keystile_model::refusal::Piece;

/// The most mistakes that are listed: for a file with one on every line, nobody reads more.
const MOST: usize = 100;
/// Seconds until a temporary failure is worth another attempt.
const RETRY_AFTER: u32 = 5;

/// A problem (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:keystile:problem:` and `code`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What kind of problem it is, for people.
    pub title: &'static str,
    /// Of the answer.
    pub status: u16,
    /// What is wrong, and the next step.
    pub detail: String,
    /// What kind of problem it is, for programs; `errors` say more.
    pub code: &'static str,
    /// Each thing that is wrong.
    pub errors: Vec<ProblemPart>,
    /// How many more things are wrong that are not in `errors`.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: u32,
    /// Seconds until it may be tried again.
    #[serde(skip)]
    pub retry_after: Option<u32>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Part)]
pub struct ProblemPart {
    /// What happened, for programs. A code never changes its meaning; new codes may be added.
    pub code: Code,
    /// The field that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong, and the next step.
    pub detail: String,
    /// The same in its parts, for a program with readers of its own: what is wrong.
    pub fact: String,
    /// Where, such as the line of a file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// The line of a text that was sent, from 1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Whether the field's name belongs in front of the fact.
    pub leans: bool,
    /// The next step: words, operations and fields in turn.
    pub next: Vec<Piece>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Status of each kind.
fn status(kind: Kind) -> u16 {
    match kind {
        Kind::Malformed => 400,
        Kind::Unauthenticated => 401,
        Kind::Forbidden => 403,
        Kind::NotFound => 404,
        Kind::Method => 405,
        Kind::Slow => 408,
        Kind::Conflict => 409,
        Kind::Stale => 412,
        Kind::TooLarge => 413,
        Kind::MediaType => 415,
        Kind::Invalid => 422,
        Kind::TooMany => 429,
        Kind::Store(Trouble::Full) => 507,
        Kind::Unavailable | Kind::Store(_) => 503,
    }
}

/// The problems that a route may answer with: status and title.
pub fn possible_at(route: &Endpoint) -> Vec<(u16, &'static str)> {
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
    if route.method.has_body() {
        kinds.extend([Kind::Slow, Kind::TooLarge, Kind::MediaType]);
    }
    let all = kinds.into_iter().map(|kind| (status(kind), kind.title()));
    let mut all: Vec<(u16, &'static str)> = all.collect();
    all.sort_unstable();
    all
}

impl ProblemPart {
    fn from_fault(fault: &Fault) -> Self {
        Self {
            code: fault.code,
            field: fault.field.as_deref().map(str::to_owned),
            detail: fault.words(Surface::Rest),
            fact: fault.fact.clone(),
            place: fault.place.clone(),
            line: fault.line,
            leans: fault.leans,
            next: fault.next.pieces().to_vec(),
        }
    }

    /// The error as it was before it was worded for the API.
    pub fn fault(&self) -> Fault {
        Fault {
            code: self.code,
            field: self.field.clone().map(Into::into),
            leans: self.leans,
            place: self.place.clone(),
            line: self.line,
            fact: self.fact.clone(),
            next: self.next.clone().into(),
        }
    }
}

impl Problem {
    /// What is wrong, one thing a line, in the words of a surface.
    pub fn words(&self, surface: Surface) -> Vec<String> {
        let all = self.errors.iter().map(|p| p.fault().words(surface));
        let more = (self.more > 0).then(|| more(self.more));
        all.chain(more).collect()
    }

    /// The same with another next step.
    #[must_use]
    pub fn advising(mut self, next: impl Into<Next>) -> Self {
        let next = next.into();
        for part in &mut self.errors {
            part.next = next.pieces().to_vec();
            part.detail = part.fault().words(Surface::Rest);
        }
        self.detail = self.words(Surface::Rest).join("\n");
        self
    }

    /// The same, to be tried again after so many seconds.
    #[must_use]
    pub fn after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

fn more(n: u32) -> String {
    format!("and {n} more like these")
}

impl From<Error> for Problem {
    fn from(e: Error) -> Self {
        let kind = e.kind();
        let faults = e.faults();
        let mut problem = Self {
            kind: format!("urn:keystile:problem:{}", kind.as_str()),
            title: kind.title(),
            status: status(kind),
            detail: String::new(),
            code: kind.as_str(),
            errors: faults
                .iter()
                .take(MOST)
                .map(ProblemPart::from_fault)
                .collect(),
            more: u32::try_from(e.more() + faults.len().saturating_sub(MOST)).unwrap_or(u32::MAX),
            retry_after: (kind == Kind::Unavailable).then_some(RETRY_AFTER),
        };
        problem.detail = problem.words(Surface::Rest).join("\n");
        problem
    }
}

impl From<TooOften> for Problem {
    fn from(e: TooOften) -> Self {
        let seconds = u32::try_from(e.retry_after).unwrap_or(u32::MAX);
        let next = format_args!("try again in {} s", e.retry_after);
        Self::from(refuse(
            Code::TooManyRequests,
            "there were too many requests",
            next,
        ))
        .after(seconds)
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
    use keystile_model::error::{Act, refuse_all};

    #[test]
    fn a_problem_says_what_happened_to_which_field_and_what_to_ask_next() {
        let next = keystile_model::next!["see ", Act::ClientList];
        let e = refuse(Code::ClientNotFound, "there is no client `x`", next).about("client");
        let p = Problem::from(e);
        assert_eq!((p.status, p.code), (404, "not_found"));
        assert_eq!(p.detail, "there is no client `x`; see `GET /v1/clients`");
        let json = serde_json::to_value(&p).unwrap();
        assert_eq!(
            json["errors"],
            serde_json::json!([{
                "code": "client_not_found",
                "field": "client",
                "detail": p.detail,
                "fact": "there is no client `x`",
                "leans": false,
                "next": [{"say": "see "}, {"do": "client.list"}],
            }])
        );
        assert_eq!(
            p.words(Surface::CommandLine),
            ["there is no client `x`; see `keystilectl client list`"]
        );
    }

    #[test]
    fn of_very_many_things_that_are_wrong_the_first_are_told_and_the_others_counted() {
        let bad = |n| vec![refuse(Code::InvalidValue, "a", "b").into_faults().remove(0); n];
        let p = Problem::from(refuse_all(bad(2)));
        assert_eq!((p.status, p.errors.len(), p.more), (422, 2, 0));
        let p = Problem::from(refuse_all(bad(1000)));
        assert_eq!((p.errors.len(), p.more), (MOST, 900));
        assert_eq!(p.detail.lines().last().unwrap(), "and 900 more like these");
    }

    #[test]
    fn the_description_of_the_api_lists_every_code() {
        let schemas = &crate::openapi::document()["components"]["schemas"];
        let words: Vec<&str> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(schemas["ErrorCode"]["enum"], serde_json::json!(words));
        let part = &schemas["Part"]["properties"];
        assert_eq!(part["code"]["$ref"], "#/components/schemas/ErrorCode");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "to write the page anew")]
    fn the_page_of_errors_lists_every_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../book/pages/errors.md");
        let text = std::fs::read_to_string(path).unwrap();
        let head = "## The codes\n\n";
        let (before, _) = text.split_once(head).unwrap();
        let rows = Code::ALL.iter().filter(|c| **c != Code::Unknown).map(|c| {
            let kind = c.kind();
            format!(
                "| `{c}` | {} | `{}` | {} |\n",
                c.title(),
                kind.as_str(),
                status(kind)
            )
        });
        let table: String = rows.collect();
        let wanted = format!(
            "{before}{head}In a file or a list of several, each error keeps its own code, and the problem is `invalid`, 422.\n\n\
             | code | what happened | usual kind | status |\n| --- | --- | --- | --- |\n{table}"
        );
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, wanted).unwrap();
        } else {
            assert!(text == wanted, "`BLESS=1` writes the table anew");
        }
    }

    #[test]
    fn every_kind_has_a_status() {
        for kind in Kind::ALL {
            assert!(StatusCode::from_u16(status(kind)).is_ok_and(|s| !s.is_success()));
        }
    }
}
