//! A request that a policy lets in with a key that has every scope.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use keystile_core::policy::{Auth, BasicPart, Credential, RawRoute};
use keystile_policy::file::PolicyFile;

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The request, without its key.
pub(super) struct Sample {
    method: String,
    path: String,
    host: Option<String>,
    credential: Option<Credential>,
}

impl Sample {
    /// The first route that needs a key and can be called with `GET`, or with another method.
    pub(super) fn from_policy(file: &PolicyFile) -> Self {
        let routes = || {
            let all = file.raw.routes.iter();
            all.filter(|r| r.auth == Auth::Required && r.virtual_hosts.is_empty())
        };
        let gets = |r: &&RawRoute| r.methods.is_empty() || r.methods.iter().any(|m| m == "GET");
        let route = routes().find(gets).or_else(|| routes().next());
        let method = route.filter(|r| !gets(r)).and_then(|r| r.methods.first());
        let host = route.and_then(|r| r.hosts.first());
        Self {
            method: method.map_or("GET", String::as_str).to_owned(),
            path: route.map_or_else(|| "/".to_owned(), |r| path(&r.path)),
            host: host.map(|h| match h.strip_prefix('*') {
                Some(rest) => format!("www{rest}"),
                None => h.clone(),
            }),
            credential: file.policy.credentials.first().cloned(),
        }
    }

    fn url(&self, base: &str, key: &str) -> String {
        match &self.credential {
            Some(Credential::Query(name)) => format!("{base}{}?{name}={key}", self.path),
            _ => format!("{base}{}", self.path),
        }
    }

    /// As it is typed.
    pub(super) fn curl(&self, base: &str, key: &str) -> String {
        let mut words = vec!["curl".to_owned()];
        if self.method != "GET" {
            words.extend(["-X".to_owned(), self.method.clone()]);
        }
        let mut header = |line: &str| words.extend(["-H".to_owned(), quoted(line)]);
        if let Some(host) = &self.host {
            header(&format!("host: {host}"));
        }
        match &self.credential {
            Some(Credential::Basic(BasicPart::Username)) => {
                words.extend(["-u".to_owned(), quoted(&format!("{key}:"))]);
            }
            Some(Credential::Basic(BasicPart::Password)) => {
                words.extend(["-u".to_owned(), quoted(&format!("api:{key}"))]);
            }
            _ => {
                if let Some((name, value)) = self.key_header(key) {
                    header(&format!("{name}: {value}"));
                }
            }
        }
        words.push(quoted(&self.url(base, key)));
        words.join(" ")
    }

    /// The header that holds the key, unless it is in the query.
    fn key_header(&self, key: &str) -> Option<(String, String)> {
        let basic = |text: String| {
            let value = format!("Basic {}", STANDARD.encode(text));
            ("authorization".to_owned(), value)
        };
        Some(match self.credential.as_ref()? {
            Credential::Header { name, scheme } => {
                let scheme = scheme.as_ref().map(|s| format!("{s} ")).unwrap_or_default();
                (name.clone(), format!("{scheme}{key}"))
            }
            Credential::Cookie(name) => ("cookie".to_owned(), format!("{name}={key}")),
            Credential::Basic(BasicPart::Username) => basic(format!("{key}:")),
            Credential::Basic(BasicPart::Password) => basic(format!("api:{key}")),
            Credential::Query(_) => return None,
        })
    }

    /// Sends it: the status of the answer, if there is one.
    pub(super) fn asking(
        &self,
        envoy: SocketAddr,
        key: &str,
    ) -> impl Fn() -> Option<u16> + Send + use<> {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .max_redirects(0)
            .build()
            .new_agent();
        let (method, url) = (
            self.method.clone(),
            self.url(&format!("http://{envoy}"), key),
        );
        let host = self.host.clone().map(|host| ("host".to_owned(), host));
        let headers: Vec<_> = self.key_header(key).into_iter().chain(host).collect();
        move || {
            let mut request = ureq::http::Request::builder()
                .method(method.as_str())
                .uri(&url);
            for (name, value) in &headers {
                request = request.header(name, value);
            }
            let request = request.body(()).ok()?;
            let answer = agent.run(request).ok()?;
            Some(answer.status().as_u16())
        }
    }
}

/// A path that a template matches.
fn path(template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, inside)) = rest.split_once('{') {
        let (name, after) = inside.split_once('}').unwrap_or((inside, ""));
        out.push_str(before);
        out.push_str(if name.starts_with('*') || name.ends_with('+') {
            "hello"
        } else {
            "7"
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// One word of a shell.
pub(super) fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/:._-".contains(&b);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_policy::file;

    #[test]
    fn the_request_is_one_that_the_policy_lets_in() {
        let curl = |text: &str| {
            let policy = file::parse("p", format!("version: 1\n{text}"))
                .ok()
                .unwrap();
            Sample::from_policy(&policy).curl("http://e:1", "KEY")
        };
        for (policy, line) in [
            ("", "curl -H 'authorization: Bearer KEY' http://e:1/"),
            (
                "credentials: [{header: x-api-key}]\nroutes: [{path: /open, auth: none}, {path: \"/v1/{*rest}\"}]",
                "curl -H 'x-api-key: KEY' http://e:1/v1/hello",
            ),
            (
                "credentials: [{query: k}]\nroutes: [{path: \"/u/{id}.json\", methods: [PUT]}]",
                "curl -X PUT 'http://e:1/u/7.json?k=KEY'",
            ),
            (
                "credentials: [{basic: username}]\nroutes: [{path: /a, hosts: [\"*.example.com\"]}]",
                "curl -H 'host: www.example.com' -u KEY: http://e:1/a",
            ),
            (
                "credentials: [{cookie: k}]\nroutes: [{path: \"/it's\"}, {path: /b}]",
                "curl -H 'cookie: k=KEY' 'http://e:1/it'\\''s'",
            ),
        ] {
            assert_eq!(curl(policy), line, "{policy}");
        }
    }
}
