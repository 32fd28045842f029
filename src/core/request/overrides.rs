//! Headers by which a caller asks a server for another method or path than the request has.
//!
//! Frameworks honour them, but a request is judged by its own method and path: `GET /a` with
//! `X-HTTP-Method-Override: DELETE` would be let in as one and carried out as the other.
//!
//! Headers that are only used to build links are left alone: `X-Forwarded-Proto`, which Envoy sets
//! itself, `X-Auth-Request-Redirect` (where a browser goes after a sign-in) and
//! `X-Envoy-Original-Path` (set by Envoy, for logs, when it rewrites a path).
//!
//! Every proxy in front may name another host, or a prefix that it cut off the path, and usually
//! honestly: `X-Forwarded-Host` and the like count only if what they name has another rule
//! ([`hosts`], [`prefixes`]).

use crate::request::credential::percent_decoded;
use crate::request::headers::Headers;
use crate::request::name::same_name;

/// The first three: the method overrides of Rails and Rack, Symfony and Laravel, Express and
/// ASP.NET, of OData and Google's APIs. Then what servers that authorise for a proxy decide by,
/// Traefik's and Caddy's forward authentication and nginx's `auth_request` among it: Authelia,
/// authentik, oauth2-proxy.
const METHOD: [&str; 5] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-forwarded-method",
    "x-original-method",
];
/// The first two: URL rewriting for IIS, which older releases of Symfony and Zend honour, and Yii
/// and CakePHP. Then servers that authorise for a proxy, as above: oauth2-proxy's
/// `skip_auth_routes` could be bypassed with `X-Forwarded-Uri` (CVE-2026-40575). `X-Forwarded-Path`
/// is what Kong calls the requested path.
///
/// Azure tells functions and apps behind its routers the URL that was asked for, which adapters of
/// Nuxt and SvelteKit route by; Vercel likewise, for Next.js (`minimalMode`) and Astro
/// (CVE-2026-33768), and so do apps that are made for either. gunicorn takes `PATH_INFO` for a
/// variable of a proxy in front (`forwarder_headers`). The rest: Traefik (`X-Replaced-Path`),
/// Next.js (`X-Middleware-Rewrite`), and rewriting of other proxies and frameworks.
const TARGET: [&str; 19] = [
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
    "x-forwarded-uri",
    "x-forwarded-path",
    "x-forwarded-url",
    "x-ms-original-url",
    "x-waws-unencoded-url",
    "x-matched-path",
    "x-invoke-path",
    "x-astro-path",
    "path-info",
    "x-original-path",
    "x-replaced-path",
    "x-override-url",
    "x-request-uri",
    "x-proxy-url",
    "x-http-destinationurl",
    "x-middleware-rewrite",
];

/// Express (`trust proxy`), Rails, Django (`USE_X_FORWARDED_HOST`), Symfony, Spring, Play and
/// ASP.NET take the first or the second for the host; the others are Azure's, Yii's and some
/// frameworks'. The last is a port, and no host unless it says more than that: Astro put it into a
/// URL as it was (CVE-2025-64525), and Remix the first (CVE-2025-31137), so that `80/admin` was read
/// as a path.
const HOST: [&str; 7] = [
    "x-forwarded-host",
    "forwarded",
    "x-original-host",
    "x-host",
    "x-forwarded-server",
    "x-http-host-override",
    PORT,
];
const PORT: &str = "x-forwarded-port";

/// gunicorn takes the first from a proxy in front and cuts it off the path; the second is that of
/// much copied middleware for Flask, which cuts likewise, and some takes the third for the same.
/// Spring, Symfony and werkzeug put that one before the path of links and nothing else.
const PREFIX: [&str; 3] = ["script-name", "x-script-name", "x-forwarded-prefix"];

/// Every host that a request asks to be taken for, in each spelling.
pub fn hosts<'a>(headers: Headers<'a>) -> impl Iterator<Item = &'a [u8]> {
    let named = headers.iter().filter(|(name, _)| is_one_of(name, &HOST));
    named.flat_map(|(name, value)| {
        let is_forwarded = same_name(HOST[1], name);
        let is_port = same_name(PORT, name);
        let is_list = !is_forwarded && !is_port;
        let listed = is_list.then(|| value.split(|b| *b == b',').map(<[u8]>::trim_ascii));
        let forwarded = is_forwarded.then(|| forwarded(value));
        // What is not a port either is not a host that could be resolved.
        let is_number = |b: &u8| matches!(b, b'0'..=b'9' | b',' | b' ');
        let is_odd = is_port && !value.iter().all(is_number);
        let listed = listed.into_iter().flatten();
        let odd = is_odd.then_some(&b""[..]);
        listed.chain(forwarded.into_iter().flatten()).chain(odd)
    })
}

/// Every header name that is searched for here.
pub fn names() -> impl Iterator<Item = &'static str> {
    METHOD.into_iter().chain(TARGET).chain(HOST).chain(PREFIX)
}

/// Every prefix that a server may cut off the path, without slashes at its end.
pub fn prefixes<'a>(headers: Headers<'a>) -> impl Iterator<Item = &'a [u8]> {
    let named = headers.iter().filter(|(name, _)| is_one_of(name, &PREFIX));
    let all = named.map(|(_, value)| without_slashes(value));
    all.filter(|prefix| !prefix.is_empty())
}

/// A prefix without blanks around it and slashes at its end.
pub fn without_slashes(prefix: &[u8]) -> &[u8] {
    let mut prefix = prefix.trim_ascii();
    while let [rest @ .., b'/'] = prefix {
        prefix = rest;
    }
    prefix
}

/// Whether a header of this name asks for another host, or for a part of the path.
pub fn is_host(name: &[u8]) -> bool {
    is_one_of(name, &HOST) || is_one_of(name, &PREFIX)
}

/// Every host in the value of a `Forwarded` header (RFC 7239 section 4: `host=example.com`, perhaps
/// quoted), as the most lenient reader finds it. Rack takes blanks around `=`; Spring looks for
/// `host=` anywhere, even within another word or in quotes. What cannot be read as one host for
/// certain yields something that is not a host.
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

/// Also strips characters that do not occur in text, but that some readers treat as blanks.
fn trim_blanks_start(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|b| **b <= b' ').count();
    text.get(blanks..).unwrap_or_default()
}

fn trim_blanks(text: &[u8]) -> &[u8] {
    let mut text = trim_blanks_start(text);
    while let Some((last, rest)) = text.split_last()
        && *last <= b' '
    {
        text = rest;
    }
    text
}

/// What a header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override<'a> {
    /// Another method.
    Method(&'a [u8]),
    /// Another path, perhaps with a query, perhaps a whole URL.
    Target(&'a [u8]),
}

/// Every override in a request, in each spelling that a server with CGI-like variables would read
/// as one (`x_http_method_override`).
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

/// Every method that a query asks for, in upper case: `_method`, which Symfony and Laravel, Spring's
/// `HiddenHttpMethodFilter` and Express' `method-override` take for that of a `POST`, and WordPress
/// for that of any request; and the headers' names, which some look for in queries as well.
pub fn methods_in_query(query: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let parameters = query.split(|b| matches!(b, b'&' | b';'));
    let values = parameters.filter_map(|parameter| {
        let at = parameter.iter().position(|b| *b == b'=')?;
        let (name, value) = parameter.split_at_checked(at)?;
        let is_one = may_be_method(name) && is_method_parameter(&decoded_form(name));
        is_one.then(|| value.get(1..).map(decoded_form))?
    });
    values.flat_map(|value| {
        // Of a list, servers take one.
        let all = value.split(|b| *b == b',').map(trim_blanks);
        let all = all.filter(|one| !one.is_empty() && one.iter().all(u8::is_ascii_alphabetic));
        all.map(<[u8]>::to_ascii_uppercase).collect::<Vec<_>>()
    })
}

/// Costs next to nothing, because it is called for each request with a query.
fn may_be_method(name: &[u8]) -> bool {
    let mut parts = name.windows(6);
    name.contains(&b'%') || parts.any(|part| part.eq_ignore_ascii_case(b"method"))
}

/// Whether some readers take a name for `_method`. PHP drops leading blanks, ends a name at a NUL
/// or a bracket, and reads blanks and dots as `_`; Express reads brackets as lists.
fn is_method_parameter(name: &[u8]) -> bool {
    let begins = trim_blanks_start(name);
    let had_blanks = begins.len() < name.len();
    let end = begins.iter().position(|b| matches!(b, 0 | b'['));
    let name = begins.get(..end.unwrap_or(begins.len()));
    match name.unwrap_or_default() {
        name if METHOD.iter().any(|method| same_name(method, name)) => true,
        [b'_' | b'.', rest @ ..] => rest == b"method" || rest.eq_ignore_ascii_case(b"httpmethod"),
        rest => had_blanks && rest == b"method",
    }
}

/// Decodes form encoding, in which `+` is a blank.
fn decoded_form(text: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = text
        .iter()
        .map(|b| if *b == b'+' { b' ' } else { *b })
        .collect();
    percent_decoded(&text).into_owned()
}

/// Whether a header of this name is an override.
pub fn is_override(name: &[u8]) -> bool {
    is_one_of(name, &METHOD) || is_one_of(name, &TARGET)
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    // Most headers do not begin like this, and this is called for each header of every request.
    matches!(
        name,
        [b'x' | b'X' | b'f' | b'F' | b's' | b'S' | b'p' | b'P', ..]
    ) && names.iter().any(|n| same_name(n, name))
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
            ("X-Forwarded-Url", "/e"),
            ("path_info", "/f"),
            ("script_name", "kept"),
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
                Override::Target(b"/e"),
                Override::Target(b"/f"),
            ]
        );
        for (name, value) in headers.iter() {
            assert_eq!(is_override(name), value != b"kept");
        }
    }

    /// What a quoted host holds belongs to it, also what would end one.
    #[test]
    fn the_end_of_a_quoted_host_is_its_quote() {
        for (value, host) in [
            (r#"host="a""#, "a"),
            (r#"host="""#, ""),
            (r#"host="a,";for=b"#, "a,"),
            (r#"host="a;", host=b"#, "a;"),
            ("host=a;for=b", "a"),
        ] {
            let bytes = Headers::encode(&[("forwarded", value)]);
            let first = hosts(Headers::new(&bytes)).next();
            assert_eq!(first, Some(host.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_name_is_a_method_parameter_as_some_server_reads_it_and_else_not() {
        let first = |query: &str| methods_in_query(query.as_bytes()).next();
        for query in ["_method=PUT", ".method=PUT", "+method=PUT", "%20method=PUT"] {
            assert_eq!(first(query).as_deref(), Some(&b"PUT"[..]), "{query}");
        }
        for query in ["method=PUT", "+methods=PUT", "a_method=PUT", "__method=PUT"] {
            assert_eq!(first(query), None, "{query}");
        }
    }

    #[test]
    fn every_name_is_among_those_that_are_looked_for() {
        let all = [&METHOD[..], &TARGET[..], &HOST[..], &PREFIX[..]].concat();
        assert!(names().eq(all));
        for name in names() {
            assert_ne!(is_override(name.as_bytes()), is_host(name.as_bytes()));
        }
    }
}
