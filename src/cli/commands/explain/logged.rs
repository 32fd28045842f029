//! A request that is in a log, explained: by what the log says, and by asking the store again.

use keystile_api::explain::{Explain, Explanation};
use keystile_model::error::Result;
use keystile_model::wire::{Secret, TimeWords};
use serde_json::json;

use super::super::Context;
use super::cause::{Cause, cause};
use super::line::LogLine;
use super::table;
use crate::output;

/// Codes that the store can be asked about without a key.
const WITHOUT_A_KEY: [&str; 4] = [
    "missing_api_key",
    "route_denied",
    "ambiguous_host",
    "ambiguous_path",
];

/// Explains it.
pub fn explain(cx: &Context, line: &LogLine) -> Result<()> {
    let mut found = cause(line);
    // What the log says does not depend on a store, which may be on another machine.
    let asked = again(cx, line).and_then(|again| Ok((again, claimed(cx, line)?)));
    let (again, more) = asked.unwrap_or_else(|e| {
        cx.out
            .warn(format_args!("the store could not be asked the same: {e}"));
        (None, None)
    });
    if let Some(more) = more {
        found.what = format!("{}. {more}", found.what);
    }
    let report = json!({
        "log": line,
        "what": found.what,
        "next": found.next,
        "again": again,
    });
    cx.out.show(&report, || words(line, &found, again.as_ref()))
}

fn words(line: &LogLine, cause: &Cause, again: Option<&Explanation>) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let from = line.address.as_ref().map(|a| format!(" from {a}"));
    let method = line.method.as_ref().map(|m| format!("{m} "));
    let request = format!(
        "{}{}{}{}",
        method.unwrap_or_default(),
        text(&line.host),
        text(&line.path),
        from.unwrap_or_default()
    );
    let reason = line.reason.as_ref().or(line.flags.as_ref());
    let status = line.status.map(|s| s.to_string()).unwrap_or_default();
    let key = match (&line.key, &line.client) {
        (Some(key), Some(client)) => format!("{key} of client `{client}`"),
        (key, client) => text(if key.is_some() { key } else { client }),
    };
    let rows = [
        ("request", request),
        ("id", text(&line.request_id)),
        ("time", text(&line.time)),
        ("answer", format!("{status} {}", text(&reason.cloned()))),
        ("key", key),
        ("route", text(&line.route)),
        ("limit", limit(line)),
        ("what", cause.what.clone()),
        ("next", cause.next.clone()),
    ];
    let known = rows.into_iter().filter(|(_, text)| !text.is_empty());
    let mut out = output::fields(known);
    let Some(again) = again else {
        return out;
    };
    out.push_str("\nasked again, of the store as it is:\n");
    out.push_str(&table::words(again));
    if let Some(note) = differs(line, again) {
        out.push_str(note);
        out.push('\n');
    }
    out
}

/// What it means that the store gives another answer.
fn differs(line: &LogLine, again: &Explanation) -> Option<&'static str> {
    let (code, _) = line.refusal()?;
    // Buckets and quotas are not seen from here.
    let is_unseen = matches!(code, "rate_limited" | "quota_exceeded") && again.code == "ok";
    (again.code != code && !is_unseen).then_some(
        "the log has another answer: the store was changed since then, or this Envoy has another keyset (push, and see `keystilectl fleet`); headers, TLS and certificates of the request are not in the log",
    )
}

/// The decision about the same request, if enough of it is known.
fn again(cx: &Context, line: &LogLine) -> Result<Option<Explanation>> {
    let (Some((code, _)), Some(path)) = (line.refusal(), &line.path) else {
        return Ok(None);
    };
    let key = line.known_key();
    if key.is_none() && !WITHOUT_A_KEY.contains(&code) {
        return Ok(None);
    }
    let key = key.map(|id| id.to_string());
    let answer = ask(cx, line, path, key.as_deref())?;
    // A key that the store does not have is taken for the text of one.
    let is_known = key.is_none() || answer.key.is_some();
    Ok(is_known.then_some(answer))
}

fn ask(cx: &Context, line: &LogLine, path: &str, key: Option<&str>) -> Result<Explanation> {
    let code = line.refusal().map(|(code, _)| code);
    cx.perform(Explain {
        key: key.map(Secret::new),
        method: line.method.clone().unwrap_or_else(|| "GET".to_owned()),
        path: path.to_owned(),
        host: line.host.clone().unwrap_or_default(),
        virtual_host: None,
        ip: line
            .address
            .clone()
            .filter(|a| a.parse::<std::net::IpAddr>().is_ok()),
        certificates: Vec::new(),
        headers: Vec::new(),
        tls: code != Some("tls_required"),
        at: line.at().map(TimeWords),
    })
}

/// Whether the store has a key with the id that an unknown one claims.
fn claimed(cx: &Context, line: &LogLine) -> Result<Option<&'static str>> {
    let Some(id) = line.claimed_key() else {
        return Ok(None);
    };
    let id = id.to_string();
    let answer = ask(cx, line, line.path.as_deref().unwrap_or("/"), Some(&id))?;
    Ok(Some(match answer.key {
        Some(_) => {
            "This store has a key with the id that it claims: its keyset is not in force there yet, or the secret is another one"
        }
        None => {
            "This store has no key with the id that it claims: it is one of another store, or was removed"
        }
    }))
}
/// The limit that was used up. A filter in shadow mode may have left one in a request that another
/// refused for something else.
fn limit(line: &LogLine) -> String {
    let is_of_limit = |code| matches!(code, "rate_limited" | "quota_exceeded");
    match line.refusal() {
        Some((code, _)) if !is_of_limit(code) => String::new(),
        _ => line.limit.clone().unwrap_or_default(),
    }
}
