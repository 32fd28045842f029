//! `WWW-Authenticate` (RFC 9110 section 11.6.1, RFC 6750 section 3).

use std::borrow::Cow;

use crate::decide::{Denial, Lacking};
use crate::policy::{Credential, Policy};

type Fields = Vec<(&'static str, Cow<'static, str>)>;

/// What a caller without a valid key is told: one challenge for each scheme, and one for keys in a
/// header of their own, query or cookie.
pub(super) fn unauthenticated(policy: &Policy, denial: &Denial, headers: &mut Fields) {
    for credential in &policy.credentials {
        let scheme = match credential {
            Credential::Header {
                scheme: Some(scheme),
                ..
            } => scheme.as_str(),
            Credential::Basic(_) => "Basic",
            _ => "ApiKey",
        };
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        let error = match *denial != Denial::MissingKey && is_bearer {
            true => ", error=\"invalid_token\"",
            false => "",
        };
        add(
            [scheme, " realm=\"", &policy.realm, "\"", error].concat(),
            headers,
        );
    }
}

/// The longest list of scopes in a header field: clients and proxies limit all fields together to some
/// kilobytes.
const SCOPES_MAX: usize = 1024;

/// What a caller is told whose key lacks a scope, if the policy reads bearer tokens: RFC 6750 says
/// how for these alone. Names are in the form of RFC 6749, which needs no escaping.
pub(super) fn insufficient(policy: &Policy, lacking: Lacking<'_>, headers: &mut Fields) {
    for credential in &policy.credentials {
        if let Credential::Header {
            scheme: Some(scheme),
            ..
        } = credential
            && scheme.eq_ignore_ascii_case("bearer")
        {
            let error = "\", error=\"insufficient_scope\"";
            let mut value = [scheme, " realm=\"", &policy.realm, error].concat();
            let mut scopes = String::new();
            // One of several is enough, and a list would ask for all of them.
            for name in lacking.all().chain(lacking.any().take(1)) {
                scopes.push_str(if scopes.is_empty() { "" } else { " " });
                scopes.push_str(name);
            }
            // The body names all of them.
            if scopes.len() <= SCOPES_MAX {
                value.extend([", scope=\"", &scopes, "\""]);
            }
            add(value, headers);
        }
    }
}

fn add(value: String, headers: &mut Fields) {
    // No other field has such a value.
    if !headers.iter().any(|(_, other)| *other == value) {
        headers.push(("www-authenticate", Cow::Owned(value)));
    }
}
