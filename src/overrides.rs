//! Headers by which a caller asks a server for another method or path than the request has.
//!
//! Frameworks honour them, and a request is judged by what it says itself: `GET /a` with
//! `X-HTTP-Method-Override: DELETE` would be let in as one and carried out as the other.

use crate::credential::same_name;
use crate::headers::Headers;

const METHOD: [&str; 3] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];
const TARGET: [&str; 2] = ["x-original-url", "x-rewrite-url"];

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
            ]
        );
        for (name, _) in headers.iter() {
            assert_eq!(
                is_override(name),
                name.starts_with(b"x") && !name.ends_with(b"s")
            );
        }
    }
}
