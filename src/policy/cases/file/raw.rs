//! The file as written, and its check.

use keystile_model::error::{Code, Result, refuse};
use keystile_model::nearest::nearest;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::super::case::{Case, CaseRequest, Expect, Holder, codes};
use super::super::key::CaseKey;
use crate::explain::ClientCertificate;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCases {
    #[serde(default)]
    pub(super) policy: Option<String>,
    #[serde(default)]
    pub(super) keys: BTreeMap<String, CaseKey>,
    pub(super) cases: Vec<RawCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCase {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    key: Option<RawHolder>,
    request: RawRequest,
    #[serde(default)]
    times: Option<u32>,
    expect: RawExpect,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "this is not a key: neither the name of one of `keys`, nor `none`, `unknown` or `malformed`, nor a mapping of a key's fields"
)]
enum RawHolder {
    Name(String),
    Key(Box<CaseKey>),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "this is not a request: neither a line such as `GET /v1/users/7`, nor a mapping of method, path, host, virtual_host, ip, origin, certificates, headers and tls"
)]
enum RawRequest {
    Line(String),
    Fields(Fields),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    pub(super) method: Option<String>,
    pub(super) path: String,
    #[serde(default)]
    pub(super) host: Option<String>,
    #[serde(default)]
    pub(super) virtual_host: Option<String>,
    #[serde(default)]
    ip: Option<String>,
    #[serde(default)]
    pub(super) origin: Option<String>,
    #[serde(default)]
    pub(super) certificates: Vec<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) tls: Option<bool>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "this is not an answer: neither `ok`, nor a code such as `insufficient_scope`, nor a mapping of code and route"
)]
enum RawExpect {
    Code(String),
    Fields(RawAnswer),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAnswer {
    pub(super) code: String,
    #[serde(default)]
    pub(super) route: Option<String>,
}

impl RawCase {
    pub(super) fn checked(self, line: u64, keys: &BTreeMap<String, CaseKey>) -> Result<Case> {
        let request = match self.request {
            RawRequest::Line(line) => sent_line(&line)?,
            RawRequest::Fields(fields) => fields.checked()?,
        };
        let expect = match self.expect {
            RawExpect::Code(code) => Expect { code, route: None },
            RawExpect::Fields(RawAnswer { code, route }) => Expect { code, route },
        };
        if !codes().any(|c| c == expect.code) {
            let next = nearest(&expect.code, codes()).map_or_else(
                || format!("known are {}", codes().collect::<Vec<_>>().join(", ")),
                |n| format!("did you mean `{n}`?"),
            );
            return Err(refuse(
                Code::CasesInvalid,
                format_args!("`{}` is not a code", expect.code),
                next,
            ));
        }
        let times = self.times.unwrap_or(1);
        if !(1..=1_000_000).contains(&times) {
            return Err(refuse(
                Code::OutOfRange,
                format_args!("{times} is not in 1..=1000000"),
                "write how often the request is sent; the last answer counts",
            )
            .field("times"));
        }
        Ok(Case {
            line,
            name: self
                .name
                .unwrap_or_else(|| format!("{} {}", request.method, request.path)),
            holder: holder(self.key, keys)?,
            request,
            times,
            expect,
        })
    }
}

fn holder(key: Option<RawHolder>, keys: &BTreeMap<String, CaseKey>) -> Result<Holder> {
    match key {
        None => Ok(Holder::Nobody),
        Some(RawHolder::Key(key)) => Ok(Holder::Key(key)),
        Some(RawHolder::Name(name)) => match name.as_str() {
            "none" => Ok(Holder::Nobody),
            "unknown" => Ok(Holder::Stranger),
            "malformed" => Ok(Holder::Typist),
            name => match keys.get(name) {
                Some(key) => Ok(Holder::Key(Box::new(key.clone()))),
                None => {
                    let next = nearest(name, keys.keys().map(String::as_str)).map_or_else(
                        || "describe it under `keys`".to_owned(),
                        |n| format!("did you mean `{n}`?"),
                    );
                    Err(refuse(
                        Code::CasesInvalid,
                        format_args!("there is no key `{name}`"),
                        next,
                    ))
                }
            },
        },
    }
}

/// Reads `GET /v1/users/7` or `GET https://api.example.com/v1/users/7`.
fn sent_line(line: &str) -> Result<CaseRequest> {
    let wrong = || {
        refuse(
            Code::CasesInvalid,
            format_args!("`{line}` is not a request"),
            "write `GET /v1/users/7`, or `GET https://api.example.com/v1/users/7`",
        )
    };
    let (method, target) = line.trim().split_once(' ').ok_or_else(wrong)?;
    let target = target.trim();
    let (tls, rest) = match (
        target.strip_prefix("https://"),
        target.strip_prefix("http://"),
    ) {
        (Some(rest), _) => (true, Some(rest)),
        (_, Some(rest)) => (false, Some(rest)),
        _ => (false, None),
    };
    let (host, path) = match rest {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        // A request that names no host.
        None => ("", target),
    };
    let path = if path.is_empty() { "/" } else { path };
    if !path.starts_with('/') || (rest.is_some() && host.is_empty()) || method.is_empty() {
        return Err(wrong());
    }
    Ok(CaseRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        host: host.to_owned(),
        virtual_host: None,
        address: None,
        certificate: None,
        headers: Vec::new(),
        tls,
    })
}

impl Fields {
    pub(super) fn checked(self) -> Result<CaseRequest> {
        let method = self.method.unwrap_or_else(|| "GET".to_owned());
        let mut sent = sent_line(&format!("{method} {}", self.path))?;
        if let Some(host) = self.host {
            sent.host = host;
        }
        sent.virtual_host = self.virtual_host;
        if let Some(tls) = self.tls {
            sent.tls = tls;
        }
        sent.address = self
            .ip
            .map(|ip| {
                ip.parse().map_err(|_| {
                    refuse(
                        Code::InvalidAddress,
                        format_args!("`{ip}` is not an address"),
                        "write `192.0.2.1` or `2001:db8::1`",
                    )
                })
            })
            .transpose()?;
        sent.certificate = ClientCertificate::from_identities(&self.certificates)?;
        // As Envoy passes them: names in lower case.
        sent.headers = self
            .headers
            .into_iter()
            .map(|(n, v)| (n.to_ascii_lowercase(), v))
            .collect();
        sent.headers
            .extend(self.origin.map(|o| ("origin".to_owned(), o)));
        Ok(sent)
    }
}
