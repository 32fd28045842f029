//! A line of an access log, as the configurations write it that `keystilectl render` prints, or Istio.

use std::io::{BufRead, Read as _};

use keystile_core::key::KeyId;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::when::When;
use keystile_model::words;
use serde::Serialize;
use serde_json::{Map, Value};

/// What it says.
#[derive(Default, Serialize)]
pub struct LogLine {
    /// When the request began.
    pub time: Option<String>,
    /// Its id.
    pub request_id: Option<String>,
    /// Where it came from.
    pub address: Option<String>,
    /// Its method.
    pub method: Option<String>,
    /// Its host.
    pub host: Option<String>,
    /// Its path, without the query.
    pub path: Option<String>,
    /// Envoy's answer.
    pub status: Option<u16>,
    /// `keystile:CODE:DETAIL`, or a word of Envoy's.
    pub reason: Option<String>,
    /// Envoy's flags.
    pub flags: Option<String>,
    /// The client.
    pub client: Option<String>,
    /// The id of the key; or, of an unknown one, what it claims as id.
    pub key: Option<String>,
    /// The route on which a known key was refused.
    pub route: Option<String>,
    /// The limit that was used up.
    pub limit: Option<String>,
}

/// Before what an unknown key claims as id.
const UNVERIFIED: &str = "unverified:";
/// Longer lines are none of ours, and are not read to their end.
const MAX_LINE: usize = 64 << 10;

impl LogLine {
    /// The line of the request with this id or, without one, the first. Whatever is not JSON is
    /// passed over, and so is what a collector has written before it.
    ///
    /// # Errors
    /// If there is none, or if a line before it is too long.
    pub fn find(mut lines: impl BufRead, id: Option<&str>) -> Result<Self> {
        let mut line = Vec::new();
        for n in 1.. {
            line.clear();
            let mut some = lines.by_ref().take(MAX_LINE as u64 + 1);
            some.read_until(b'\n', &mut line).map_err(|e| {
                refuse(
                    Code::FileUnreadable,
                    format_args!("the log cannot be read ({e})"),
                    "pipe it in: `… --log - < access.log`",
                )
            })?;
            if line.is_empty() {
                break;
            }
            if line.len() > MAX_LINE && !line.ends_with(b"\n") {
                return Err(refuse(
                    Code::TooLong,
                    format_args!("line {n} of the log has more than {MAX_LINE} bytes"),
                    "leave it out: `grep REQUEST_ID access.log | …`",
                ));
            }
            let found = Self::from_bytes(&line);
            let fits = |line: &Self| id.is_none() || line.request_id.as_deref() == id;
            if let Some(line) = found.filter(fits) {
                return Ok(line);
            }
        }
        let fact = match id {
            Some(id) => format!("no line of the log has the request id `{id}`"),
            None => "there is no line of an access log in JSON".to_owned(),
        };
        Err(refuse(
            Code::InvalidValue,
            fact,
            "give a line as the configurations write it that `keystilectl render` prints: with `method`, `path`, `status` and `reason`",
        ))
    }

    fn from_bytes(line: &[u8]) -> Option<Self> {
        let start = line.iter().position(|b| *b == b'{')?;
        let json = line.get(start..)?;
        let all: Map<String, Value> = serde_json::from_slice(json).ok()?;
        // Istio's names come second.
        let text = |names: &[&str]| names.iter().find_map(|name| text(all.get(*name)?));
        let line = Self {
            time: text(&["time", "start_time"]),
            request_id: text(&["request_id"]),
            address: text(&["address", "downstream_remote_address"]).map(without_port),
            method: text(&["method"]),
            host: text(&["host", "authority"]),
            // Callers put keys there, too.
            path: text(&["path"]).map(|path| words::redacted(&without_query(path))),
            status: text(&["status", "response_code"]).and_then(|s| s.parse().ok()),
            reason: text(&["reason", "response_code_details"]),
            flags: text(&["flags", "response_flags"]),
            client: text(&["client"]),
            key: text(&["key"]).filter(|key| is_id(key)),
            route: text(&["route"]),
            limit: text(&["limit"]),
        };
        let is_one = line.status.is_some() && (line.reason.is_some() || line.flags.is_some());
        is_one.then_some(line)
    }

    /// The code and the detail of a refusal of ours.
    pub fn refusal(&self) -> Option<(&str, &str)> {
        let words = self.reason.as_deref()?.strip_prefix("keystile:")?;
        Some(words.split_once(':').unwrap_or((words, "")))
    }

    /// The id of a key that was found.
    pub fn known_key(&self) -> Option<KeyId> {
        self.key.as_deref()?.parse().ok()
    }

    /// The id that an unknown key claims.
    pub fn claimed_key(&self) -> Option<KeyId> {
        self.key.as_deref()?.strip_prefix(UNVERIFIED)?.parse().ok()
    }

    /// When the request began.
    pub fn at(&self) -> Option<When> {
        let at = self.time.as_deref()?.parse().ok();
        at.filter(|at| matches!(at, When::At(_)))
    }
}

/// Whether a text is the id of a key, or what one claims as id: and not a whole key.
fn is_id(text: &str) -> bool {
    let id = text.strip_prefix(UNVERIFIED).unwrap_or(text);
    id.parse::<KeyId>().is_ok()
}

/// A value as text; `-` is how text formats write that there is none.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty() && text != "-").then_some(text)
}

fn without_port(address: String) -> String {
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) => address,
    }
}

/// A query may hold a key.
fn without_query(path: String) -> String {
    match path.split_once('?') {
        Some((path, _)) => path.to_owned(),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> LogLine {
        LogLine::find(text.as_bytes(), None).ok().unwrap()
    }

    #[test]
    fn a_line_is_read_whoever_wrote_it_and_never_its_query() {
        let ours = read(
            r#"2026-01-01T00:00:00Z stdout F {"status":401,"reason":"keystile:expired_api_key:rotated","path":"/a?api_key=x","key":"unverified:0123456789","client":null,"address":"192.0.2.1"}"#,
        );
        assert_eq!(ours.refusal(), Some(("expired_api_key", "rotated")));
        assert_eq!(ours.path.as_deref(), Some("/a"));
        assert_eq!((ours.client.clone(), ours.known_key()), (None, None));
        assert!(ours.claimed_key().is_some());
        let istio = read(
            r#"{"response_code":"403","response_code_details":"keystile:route_denied","authority":"h","response_flags":"-","downstream_remote_address":"[2001:db8::1]:4711","start_time":"2026-01-01T00:00:00.000Z"}"#,
        );
        assert_eq!(istio.refusal(), Some(("route_denied", "")));
        assert_eq!(istio.status, Some(403));
        assert_eq!(istio.host.as_deref(), Some("h"));
        assert_eq!(istio.address.as_deref(), Some("2001:db8::1"));
        assert_eq!(
            (istio.flags.clone(), istio.at()),
            (None, Some(When::At(1_767_225_600)))
        );
    }

    #[test]
    fn a_line_that_never_ends_is_refused_before_it_is_read_whole() {
        let mut endless = std::io::BufReader::new(std::io::repeat(b'x'));
        let refused = LogLine::find(&mut endless, None).err().unwrap();
        assert!(refused.is(Code::TooLong), "{refused}");
        let whole = r#"{"status":200,"reason":"via_upstream","path":""#;
        let whole = format!("{whole}{}\"}}\n", "a".repeat(MAX_LINE - whole.len() - 2));
        assert_eq!(whole.len(), MAX_LINE + 1);
        assert!(LogLine::find(whole.as_bytes(), None).is_ok());
        let longer = whole.replace("aa\"", "aaa\"");
        let refused = LogLine::find(longer.as_bytes(), None).err().unwrap();
        assert!(refused.is(Code::TooLong), "{refused}");
    }

    #[test]
    fn no_key_that_somebody_has_put_into_a_line_is_taken_over() {
        let name = |n: &str| n.parse().unwrap();
        let entropy = |b: &mut [u8]| {
            b.iter_mut().zip(7..).for_each(|(to, byte)| *to = byte);
            Ok::<(), ()>(())
        };
        let key = keystile_core::key::generate(&name("ks"), &name("live"), entropy);
        let key = key.unwrap().text.expose_secret().to_owned();
        let line = read(&format!(
            r#"{{"status":401,"reason":"keystile:x","path":"/v1/{key}/a","key":"{key}"}}"#
        ));
        assert_eq!(line.key, None);
        let path = line.path.unwrap();
        assert!(path.starts_with("/v1/") && path.ends_with("/a"), "{path}");
        assert!(!path.contains(&key[20..]));
    }

    #[test]
    fn the_line_with_the_id_is_found_among_others_and_nothing_else_is_taken_for_one() {
        let line =
            |id: &str| format!(r#"{{"status":200,"reason":"via_upstream","request_id":"{id}"}}"#);
        let log = format!("x\n{{\"a\":1}}\n{}\n{}\n", line("a"), line("b"));
        let find = |id| {
            LogLine::find(log.as_bytes(), id)
                .ok()
                .and_then(|l| l.request_id)
        };
        assert_eq!(find(Some("b")).as_deref(), Some("b"));
        assert_eq!(find(None).as_deref(), Some("a"));
        assert_eq!(find(Some("c")), None);
        for text in ["", "x", "{}", "{\"status\":200}", "[1]", "{"] {
            assert!(LogLine::find(text.as_bytes(), None).is_err(), "{text}");
        }
    }
}
