//! Headers by which a caller asks a server for another method or path than the request has.
//!
//! Frameworks honour them, and a request is judged by what it says itself: `GET /a` with
//! `X-HTTP-Method-Override: DELETE` would be let in as one and carried out as the other.
//!
//! Those that only name what links are built from are left alone: `X-Forwarded-Prefix`
//! (Spring's `ForwardedHeaderFilter`, Symfony, werkzeug's `ProxyFix`: put before the path of
//! links, while the request is routed by what follows), `X-Forwarded-Proto` and `-Port`,
//! `X-Auth-Request-Redirect` (where a browser goes after a sign-in) and
//! `X-Envoy-Original-Path` (Envoy writes it where it rewrites a path, for logs).
//!
//! Another host is told by every proxy in front, and mostly honestly: `X-Forwarded-Host` counts
//! only where rules name hosts, and the host that it names has another rule ([`hosts`]).

use crate::credential::same_name;
use crate::headers::Headers;

/// The first three: Rails, Express' and ASP.NET's method overrides, OData, Google's APIs. Then
/// what servers that authorise for a proxy decide by, Traefik's and Caddy's forward
/// authentication and nginx's `auth_request` among it: Authelia, authentik, oauth2-proxy.
const METHOD: [&str; 5] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-forwarded-method",
    "x-original-method",
];
/// The first two: URL rewriting for IIS, which older releases of Symfony and Zend honour. Then
/// servers that authorise for a proxy, as above: oauth2-proxy's `skip_auth_routes` were passed
/// by with `X-Forwarded-Uri` (CVE-2026-40575). `X-Forwarded-Path` is what Kong calls the path
/// that was asked for.
const TARGET: [&str; 5] = [
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
    "x-forwarded-uri",
    "x-forwarded-path",
];

/// Express (`trust proxy`), Rails, Django (`USE_X_FORWARDED_HOST`), Symfony and Spring take the
/// first or the second for the host; the others are Azure's and some frameworks'.
const HOST: [&str; 5] = [
    "x-forwarded-host",
    "forwarded",
    "x-original-host",
    "x-host",
    "x-forwarded-server",
];

/// Every host that a request asks to be taken for, in each spelling.
pub fn hosts<'a>(headers: Headers<'a>) -> impl Iterator<Item = &'a [u8]> {
    let named = headers.iter().filter(|(name, _)| is_host(name));
    named.flat_map(|(name, value)| {
        let is_forwarded = same_name(HOST[1], name);
        let listed = (!is_forwarded).then(|| value.split(|b| *b == b',').map(<[u8]>::trim_ascii));
        let forwarded = is_forwarded.then(|| forwarded(value));
        let listed = listed.into_iter().flatten();
        listed.chain(forwarded.into_iter().flatten())
    })
}

/// Whether a header of this name asks for another host.
pub fn is_host(name: &[u8]) -> bool {
    is_one_of(name, &HOST[..1]) || is_one_of(name, &HOST[2..]) || same_name(HOST[1], name)
}

/// Every host in the value of a `Forwarded` header (RFC 7239 section 4: `host=example.com`, perhaps
/// quoted), as the most lenient reader finds it. Rack takes blanks around `=`; Spring looks for
/// `host=` anywhere, even within another word or in quotes. What nobody can be sure to read as one
/// host comes out as something that is none.
fn forwarded(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..value.len()).filter_map(|at| {
        let (word, rest) = value.get(at..)?.split_at_checked(4)?;
        if !word.eq_ignore_ascii_case(b"host") {
            return None;
        }
        let rest = trim_blanks_start(rest).strip_prefix(b"=")?;
        let rest = trim_blanks_start(rest);
        let is_end = |b: &u8| matches!(b, b',' | b';');
        let quoted = match rest {
            [b'"', within @ ..] => within.iter().take_while(|b| **b != b'"').count() + 1,
            _ => 0,
        };
        let after = rest.get(quoted..).unwrap_or_default();
        let end = quoted + after.iter().position(is_end).unwrap_or(after.len());
        let host = rest.get(..end).unwrap_or_default().trim_ascii();
        let host = host.strip_prefix(b"\"").unwrap_or(host);
        Some(host.strip_suffix(b"\"").unwrap_or(host).trim_ascii())
    })
}

/// Also without what no text holds, but some readers take for blank.
fn trim_blanks_start(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|b| **b <= b' ').count();
    text.get(blanks..).unwrap_or_default()
}

/// What a header asks for instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override<'a> {
    /// Another method.
    Method(&'a [u8]),
    /// Another path, perhaps with a query, perhaps a whole URL.
    Target(&'a [u8]),
}

/// Every override that a request carries, in each spelling that a server behind CGI-like
/// variables would read as one (`x_http_method_override`).
pub fn find<'a>(headers: Headers<'a>) -> impl Iterator<Item = Override<'a>> {
    headers.iter().filter_map(|(name, value)| {
        if is_one_of(name, &METHOD) {
            Some(Override::Method(value))
        } else if is_one_of(name, &TARGET) {
            Some(Override::Target(value))
        } else {
            None
        }
    })
}

/// Whether a header of this name is an override.
pub fn is_override(name: &[u8]) -> bool {
    is_one_of(name, &METHOD) || is_one_of(name, &TARGET)
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    // Most headers do not begin so, and every request asks this of each.
    matches!(name, [b'x' | b'X', ..]) && names.iter().any(|n| same_name(n, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_found_and_removed_in_every_spelling() {
        let bytes = Headers::encode(&[
            ("x-http-method-override", "DELETE"),
            ("X_HTTP_Method", "PUT"),
            ("x-method_override", "PATCH"),
            ("x-original-url", "/admin"),
            ("x_rewrite_url", "/root?x"),
            ("X-Forwarded-Method", "HEAD"),
            ("x-original-method", "TRACE"),
            ("x-original-uri", "/b"),
            ("x-forwarded_uri", "/c"),
            ("x-forwarded-path", "/d"),
            ("forwarded", "kept"),
            ("x-forwarded-for", "kept"),
            ("x-forwarded-host", "kept"),
            ("x-forwarded-prefix", "kept"),
            ("x-http-method-overrides", "kept"),
            ("http-method", "kept"),
        ]);
        let headers = Headers::new(&bytes);
        let found: Vec<_> = find(headers).collect();
        assert_eq!(
            found,
            [
                Override::Method(b"DELETE"),
                Override::Method(b"PUT"),
                Override::Method(b"PATCH"),
                Override::Target(b"/admin"),
                Override::Target(b"/root?x"),
                Override::Method(b"HEAD"),
                Override::Method(b"TRACE"),
                Override::Target(b"/b"),
                Override::Target(b"/c"),
                Override::Target(b"/d"),
            ]
        );
        for (name, value) in headers.iter() {
            assert_eq!(is_override(name), value != b"kept");
        }
    }
}
