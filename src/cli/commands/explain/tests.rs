//! The page of the guide about every refusal, generated from what the filter answers and what
//! `explain` says of it.

use std::fmt::Write as _;

use keystile_core::decide::{Denial, Unavailable};
use keystile_core::key::Malformed;
use keystile_core::request::certificate::Stranger;

use super::cause::cause;
use super::line::LogLine;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../book/pages/refusals.md");

const HEAD: &str = "# Refusals, code by code

What the filter answers, what the access log says of it in `reason`, and what to do. `keystilectl explain --log -` prints the same
from a line of the log, with the names of the key and the client in it
([From a status code to its cause](trouble.md#from-a-status-code-to-its-cause)).

";

/// All that the log tells apart under one code. The compiler asks for a new one here.
fn kinds(denial: Denial) -> Vec<Denial> {
    match denial {
        Denial::MalformedKey(Malformed::Length | Malformed::Shape | Malformed::Checksum) => {
            [Malformed::Length, Malformed::Shape, Malformed::Checksum]
                .map(Denial::MalformedKey)
                .into()
        }
        Denial::ExpiredKey { .. } => [false, true]
            .map(|rotated| Denial::ExpiredKey { rotated })
            .into(),
        Denial::CertificateDenied(Stranger::Anonymous | Stranger::Unproven | Stranger::Other) => {
            [Stranger::Anonymous, Stranger::Unproven, Stranger::Other]
                .map(Denial::CertificateDenied)
                .into()
        }
        Denial::KeysetUnavailable(
            Unavailable::None
            | Unavailable::OverlayWithoutBase
            | Unavailable::Stale
            | Unavailable::CorruptPage,
        ) => [
            Unavailable::None,
            Unavailable::OverlayWithoutBase,
            Unavailable::Stale,
            Unavailable::CorruptPage,
        ]
        .map(Denial::KeysetUnavailable)
        .into(),
        other => vec![other],
    }
}

/// What Envoy answers in place of the filter, or does not answer itself: a status, the reason and
/// the flags in the log.
const ENVOYS: [(u16, &str, &str); 6] = [
    (403, "rbac_access_denied_matched_policy[keystile]", ""),
    (404, "route_not_found", "NR"),
    (500, "", "NFCF"),
    (503, "keystile:internal_error", ""),
    (503, "wasm_fail_stream", ""),
    (
        503,
        "upstream_reset_before_response_started{connection_failure}",
        "UF",
    ),
];

fn row(reason: &str, status: u16, flags: &str) -> String {
    let line = LogLine {
        reason: Some(reason.to_owned()),
        status: Some(status),
        flags: Some(flags.to_owned()),
        // An unknown key that is whole claims an id.
        key: Some("unverified:KEY_ID".to_owned()),
        ..LogLine::default()
    };
    let cause = cause(&line);
    let shown = match (reason, flags) {
        (reason, "") => format!("`{reason}`"),
        ("", flags) => format!("empty, and `flags` is `{flags}`"),
        (reason, flags) => format!("`{reason}`, and `flags` is `{flags}`"),
    };
    let cell = |text: &str| text.replace('|', "\\|");
    format!(
        "| {shown} | {} | {} |\n",
        cell(&cause.what),
        cell(&cause.next)
    )
}

fn wanted() -> String {
    let mut page = HEAD.to_owned();
    let table = "| `reason` | what happened | what to do |\n| --- | --- | --- |\n";
    let mut status = 0;
    for denial in Denial::CODES {
        let answer = denial.answer();
        if answer.status != status {
            status = answer.status;
            write!(page, "## {status}\n\n").unwrap();
        }
        write!(
            page,
            "### `{}`\n\n**{}.** {} (gRPC status {})\n\n{table}",
            answer.code, answer.title, answer.detail, answer.grpc
        )
        .unwrap();
        let rows = kinds(denial).into_iter();
        page.extend(rows.map(|kind| row(&kind.log_details(), status, "")));
        page.push('\n');
    }
    page.push_str(
        "## Not the filter's decision\n\nThe callers get a status from Envoy, or from your service:\n\n| status | `reason` | what happened | what to do |\n| --- | --- | --- | --- |\n",
    );
    for (status, reason, flags) in ENVOYS {
        write!(page, "| {status} {}", row(reason, status, flags)).unwrap();
    }
    write!(page, "| any {}", row("via_upstream", 200, "")).unwrap();
    page
}

#[test]
#[expect(clippy::disallowed_methods, reason = "to write the page anew")]
fn the_page_of_refusals_has_every_code_and_every_reason() {
    let page = wanted();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap();
    assert!(written == page, "`BLESS=1` writes the page anew");
}
