//! A server instead of a store: the same operations, over HTTP.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, Uri};
use serde::Deserialize;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use crate::{Operation, Parts, Route, take_apart};
use keystile_model::error::{Error, Kind, Result, refuse, refuse_all};
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
    detail: Option<String>,
    #[serde(default)]
    errors: Vec<String>,
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
                format_args!("`{url}` is no address of a server"),
                "write `https://keystile.example.com` or `http://127.0.0.1:8080`",
            )
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
                    format_args!("the token would travel to `{host}` in clear"),
                    "use https://, or an address of this machine",
                ));
            }
            _ => return Err(wrong()),
        }
        let token = token.ok_or_else(|| {
            refuse(
                format_args!("there is no token for `{base}`"),
                format_args!("set {TOKEN} to one that `keystilectl token create` made"),
            )
        })?;
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(refuse(
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
        let (status, text) = self.send(&O::ROUTE, take_apart(operation)?)?;
        serde_json::from_str(&text).map_err(|_| self.strange(status))
    }

    /// Sends a request and gives status and body.
    fn send(&self, route: &Route, parts: Parts) -> Result<(u16, Zeroizing<String>)> {
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
            Ok(problem) if !problem.errors.is_empty() => refuse_all(problem.errors),
            Ok(Problem {
                detail: Some(detail),
                ..
            }) => refuse_all(vec![detail]),
            _ => self.strange(status),
        })
    }

    fn unasked(&self) -> Error {
        refuse(
            format_args!("`{}` cannot be asked for that", self.base),
            "report this as a mistake of keystilectl",
        )
    }

    fn unreached(&self, e: &ureq::Error, writes: bool) -> Error {
        let next = if writes {
            "check the address, and with `keystilectl audit list` whether it was done"
        } else {
            "check the address, and that `keystilectl serve` runs there"
        };
        refuse(format_args!("`{}` does not answer ({e})", self.base), next).of(Kind::Unavailable)
    }

    fn strange(&self, status: u16) -> Error {
        refuse(
            format_args!(
                "`{}` answered {status}, and not as a Keystile server would",
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
            format_args!("`{}` holds no certificate", path.display()),
            "name a PEM file with that of the authority",
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(words(bad).contains("in clear"), "{bad}");
        }
        for bad in ["keystile", "ftp://127.0.0.1", "https://a@b", "https://a/b"] {
            assert!(words(bad).contains("is no address"), "{bad}");
        }
    }

    #[test]
    fn nothing_is_asked_without_a_token() {
        let e = Remote::new("https://keystile.example.com", None, None).err();
        assert!(e.unwrap().to_string().contains("KEYSTILE_TOKEN"));
    }
}
