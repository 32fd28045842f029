//! The id of a request, by which a caller's answer and the operator's access log are brought
//! together.

use crate::request::headers::Headers;

/// Envoy's header. Envoy makes the id, or takes a caller's where its configuration says so.
pub(super) const HEADER: &str = "x-request-id";

const MAX_BYTES: usize = 128;

/// The id of a request with these headers; none if it has none that may be shown.
#[inline(never)]
pub(super) fn from_headers(headers: Headers<'_>) -> Option<String> {
    headers.get(HEADER).and_then(shown)
}

/// An id that may be shown to whoever reads the answer: of bounded length, and without anything
/// that could end a JSON string, a header or an attribute of HTML. An id with anything else is
/// left out as a whole, because a part of it would match nothing.
#[inline(never)]
pub fn shown(id: &[u8]) -> Option<String> {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~:/+=@#|,".contains(b);
    let fits = (1..=MAX_BYTES).contains(&id.len()) && id.iter().all(is_plain);
    let text = core::str::from_utf8(id).ok().filter(|_| fits)?;
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_whole_or_not_at_all() {
        for id in [
            "b4b3c1f0-6a0c-9f3d-8a52-1f7e5d0c9a11",
            "Root=1-67891233-abcdef012345678912345678",
            "a",
            &"x".repeat(MAX_BYTES),
        ] {
            assert_eq!(shown(id.as_bytes()).as_deref(), Some(id));
        }
        for id in [
            "",
            "\"",
            "a\",\"code\":\"ok",
            "a\\",
            "a b",
            "<script>",
            "a\r\nset-cookie: x=1",
            "é",
            &"x".repeat(MAX_BYTES + 1),
        ] {
            assert_eq!(shown(id.as_bytes()), None, "{id}");
        }
        assert_eq!(shown(b"a\xff"), None);
    }
}
