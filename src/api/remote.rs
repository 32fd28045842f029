//! A server instead of a store: the same operations, over HTTP.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, Uri};
use serde::Deserialize;
use serde_json::Value;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use crate::{Endpoint, Operation, RequestParts, take_apart};
use keystile_model::error::{
    Act, Code, Error, Fault, Kind, Next, Result, defect, refuse, refuse_all, told,
};
use keystile_system::file;

/// The environment variable that holds the admin token.
pub const TOKEN: &str = "KEYSTILE_TOKEN";
/// How long one operation may take; the largest imports need this.
const PATIENCE: Duration = Duration::from_secs(300);
const CONNECT: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
const ANSWER: u64 = 256 << 20;

/// A server, and the token for it.
pub struct Remote {
    base: String,
    token: Zeroizing<String>,
    agent: ureq::Agent,
}

/// What a refusal looks like on the wire (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
    #[serde(default)]
    errors: Vec<Part>,
    #[serde(default)]
    more: usize,
}

/// One of the things that are wrong.
#[derive(Deserialize)]
struct Part {
    code: String,
    field: Option<String>,
    #[serde(default)]
    place: String,
    #[serde(default)]
    line: Option<u64>,
    #[serde(default)]
    leans: bool,
    /// Without the place, the field and the next step.
    fact: String,
    /// Left out by servers that word it with operations which this version does not know.
    #[serde(default)]
    next: Value,
    /// All of it, in the words of the API.
    detail: String,
}

impl From<Part> for Fault {
    /// The same again, so that the command line can word the next step for its own readers; or
    /// what the server says, if it leads to what this version does not know.
    fn from(part: Part) -> Self {
        let known = serde_json::from_value(part.next).ok();
        let (fact, next, place, leans) = match known {
            Some(next) => (part.fact, next, part.place, part.leans),
            None => (part.detail, Next::NONE, String::new(), false),
        };
        Self {
            code: Code::of_word(&part.code),
            field: part.field.map(Into::into),
            leans,
            place,
            line: part.line,
            fact,
            next,
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let kind = Kind::of_word(&problem.code).unwrap_or_default();
        let error = match problem.errors.is_empty() {
            true => told(Code::Unknown, problem.detail),
            false => refuse_all(problem.errors.into_iter().map(Fault::from).collect()),
        };
        error.and_more(problem.more).with_kind(kind)
    }
}

impl Remote {
    /// A server by its URL; `ca` is a file of certificates to trust in place of the public
    /// authorities.
    ///
    /// # Errors
    /// If the URL is invalid, if the token would be sent in the clear, or if there is no token.
    pub fn new(url: &str, ca: Option<&Path>, token: Option<Zeroizing<String>>) -> Result<Self> {
        let base = url.trim_end_matches('/');
        let wrong = || {
            refuse(
                Code::InvalidAddress,
                format_args!("`{url}` is not the address of a server"),
                "write `https://keystile.example.com` or `http://127.0.0.1:8080`",
            )
            .about("server")
        };
        let uri: Uri = base.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        if uri.path() != "/" || uri.query().is_some() || base.contains('@') {
            return Err(wrong());
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_loopback(host) => {}
            Some("http") => {
                return Err(refuse(
                    Code::NotEncrypted,
                    format_args!("the token would travel to `{host}` unencrypted"),
                    "use https://, or an address of this machine",
                )
                .about("server"));
            }
            _ => return Err(wrong()),
        }
        let token = token.ok_or_else(|| {
            refuse(
                Code::TokenMissing,
                format_args!("there is no token for `{base}`"),
                keystile_model::next![
                    format_args!("set {TOKEN} to one that "),
                    Act::TokenCreate,
                    " made"
                ],
            )
        })?;
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(refuse(
                Code::TokenInvalid,
                format_args!("{TOKEN} holds no token"),
                "copy it whole, without spaces and line breaks",
            ));
        }
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .timeout_connect(Some(CONNECT))
            .user_agent(concat!("keystilectl/", env!("CARGO_PKG_VERSION")));
        if is_loopback(host) {
            config = config.proxy(None);
        }
        if let Some(ca) = ca {
            let roots = RootCerts::Specific(Arc::new(certificates(ca)?));
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Self {
            base: base.to_owned(),
            token,
            agent: config.build().new_agent(),
        })
    }

    /// Performs an operation on the server.
    ///
    /// # Errors
    /// The server's own error, or why the server could not be reached.
    pub fn perform<O: Operation>(&self, operation: &O) -> Result<O::Output> {
        operation.check_size()?;
        let (status, text) = self.send(&O::ENDPOINT, take_apart(operation)?)?;
        serde_json::from_str(&text).map_err(|_| self.strange(status))
    }

    /// Sends a request and gives status and body.
    fn send(&self, route: &Endpoint, parts: RequestParts) -> Result<(u16, Zeroizing<String>)> {
        let authorization = Zeroizing::new(format!("Bearer {}", self.token.as_str()));
        let request = Request::builder()
            .method(route.method.as_str())
            .uri(format!("{}{}", self.base, parts.target))
            .header("authorization", authorization.as_str())
            .header("accept", "application/json");
        let body = parts.body.map(|b| Zeroizing::new(b.to_string()));
        let answer = match &body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                self.agent
                    .run(request.body(body.as_str()).map_err(|_| self.unasked())?)
            }
            None => self
                .agent
                .run(request.body(()).map_err(|_| self.unasked())?),
        };
        let mut answer = answer.map_err(|e| self.unreached(&e, route.writes))?;
        let status = answer.status().as_u16();
        let text = answer
            .body_mut()
            .with_config()
            .limit(ANSWER)
            .read_to_string()
            .map(Zeroizing::new)
            .map_err(|e| self.unreached(&e, route.writes))?;
        if status == route.status {
            return Ok((status, text));
        }
        Err(match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => problem.into(),
            Err(_) => self.strange(status),
        })
    }

    fn unasked(&self) -> Error {
        defect(format_args!("`{}` cannot be asked for that", self.base))
    }

    fn unreached(&self, e: &ureq::Error, writes: bool) -> Error {
        let next: Next = if writes {
            keystile_model::next![
                "check the address, and with ",
                Act::AuditList,
                " whether it was done"
            ]
        } else {
            keystile_model::next!["check the address, and that ", Act::Serve, " runs there"]
        };
        refuse(
            Code::Unreachable,
            format_args!("`{}` does not answer ({e})", self.base),
            next,
        )
    }

    fn strange(&self, status: u16) -> Error {
        refuse(
            Code::StrangeAnswer,
            format_args!(
                "`{}` answered {status}, but not as a Keystile server would",
                self.base
            ),
            "check the address, and that both are of the same version",
        )
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address
        .parse::<IpAddr>()
        .map_or(host == "localhost", |a| a.is_loopback())
}

/// The certificates in a file, PEM.
///
/// # Errors
/// If the file cannot be read, or contains no certificate.
pub fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let bytes = file::read(path)?;
    let found: Vec<_> = ureq::tls::parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(c)) => Some(c),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(refuse(
            Code::FileInvalid,
            format_args!("`{}` holds no certificate", path.display()),
            "name a PEM file with that of the authority",
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_model::error::Surface;
    use serde_json::json;

    fn words(url: &str) -> String {
        match Remote::new(url, None, Some(Zeroizing::new("kst_x".to_owned()))) {
            Ok(_) => "taken".to_owned(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn a_token_is_sent_in_clear_to_this_machine_only() {
        for good in [
            "https://keystile.example.com",
            "https://keystile.example.com:8443/",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://localhost:8080",
        ] {
            assert_eq!(words(good), "taken", "{good}");
        }
        for bad in [
            "http://keystile.example.com",
            "http://10.0.0.1:8080",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
        ] {
            assert!(words(bad).contains("unencrypted"), "{bad}");
        }
        for bad in ["keystile", "ftp://127.0.0.1", "https://a@b", "https://a/b"] {
            assert!(words(bad).contains("is not the address"), "{bad}");
        }
    }

    #[test]
    fn what_a_server_refuses_is_told_in_the_words_of_the_command_line() {
        let told = |errors: Value| -> Error {
            let problem = json!({"code": "not_found", "detail": "d", "errors": errors, "more": 3});
            serde_json::from_value::<Problem>(problem).unwrap().into()
        };
        let part = json!({
            "code": "key_not_found",
            "field": "id",
            "detail": "there is no key `k`; see `GET /v1/keys`",
            "fact": "there is no key `k`",
            "leans": false,
            "next": [{"say": "see "}, {"do": "key.list"}],
        });
        let e = told(json!([part]));
        assert_eq!(
            (e.kind(), e.code()),
            (Kind::NotFound, Some(Code::KeyNotFound))
        );
        assert_eq!(e.faults()[0].base_field(), Some("id"));
        assert_eq!(
            e.to_string(),
            "there is no key `k`; see `keystilectl key list`\n… and 3 more"
        );
        // Of a newer server: a code and an operation that this version does not know.
        let part = json!({
            "code": "key_lent",
            "detail": "key `k` is lent; see `GET /v2/loans`",
            "fact": "key `k` is lent",
            "next": [{"do": "loan.list"}],
        });
        let e = told(json!([part])).and_more(0);
        assert_eq!(e.code(), Some(Code::Unknown));
        assert_eq!(e.faults()[0].words(Surface::CommandLine), part["detail"]);
    }

    #[test]
    fn nothing_is_asked_without_a_token() {
        let e = Remote::new("https://keystile.example.com", None, None).err();
        assert!(e.unwrap().to_string().contains("KEYSTILE_TOKEN"));
    }
}
