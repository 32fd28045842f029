//! A case: what is sent, by whom, and what must come back.

use std::net::IpAddr;

use keystile_core::decide::Denial;

use super::key::CaseKey;
use crate::explain::ClientCertificate;

/// The codes that a request can be answered with, and `ok`.
pub(super) fn codes() -> impl Iterator<Item = &'static str> + Clone {
    std::iter::once("ok").chain(Denial::CODES.iter().map(Denial::code))
}

/// A file of cases.
pub struct Cases {
    /// Its name.
    pub file: String,
    /// The policy that it is for, relative to it.
    pub policy: Option<String>,
    /// In the order of the file.
    pub cases: Vec<Case>,
}

/// A request, who sends it, and the answer that it must get.
pub struct Case {
    /// Its line.
    pub line: u64,
    /// Its name; the request if it has none.
    pub name: String,
    /// Who sends it.
    pub holder: Holder,
    /// What is sent.
    pub request: CaseRequest,
    /// How many times, at the same time; the last answer counts.
    pub times: u32,
    /// The answer.
    pub expect: Expect,
}

/// Who sends a request.
#[derive(Clone)]
pub enum Holder {
    /// No key.
    Nobody,
    /// A key that was never issued.
    Stranger,
    /// A key with a typing error.
    Typist,
    /// A key with these properties.
    Key(Box<CaseKey>),
}

/// The parts of a request other than its key.
pub struct CaseRequest {
    /// Its method.
    pub method: String,
    /// Its path, with the query if any.
    pub path: String,
    /// Its host; empty for a request that names none.
    pub host: String,
    /// The virtual host that Envoy would choose; none if no rule names one.
    pub virtual_host: Option<String>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// The client certificate of its connection.
    pub certificate: Option<ClientCertificate>,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Whether the request comes over TLS.
    pub tls: bool,
}

/// The answer that a request must get.
#[derive(Clone)]
pub struct Expect {
    /// `ok`, or the code of a refusal.
    pub code: String,
    /// The route that it belongs to, as the policy writes it.
    pub route: Option<String>,
}
