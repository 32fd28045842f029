//! Identities of client certificates: how a key names those that it is bound to, and what a
//! connection shows about its peer's.
//!
//! A key is bound to subject alternative names: a URI such as a SPIFFE id, written as it is and
//! compared byte by byte, or a DNS name, written `dns:api.example.com` and compared without case.
//! The subject's common name is ignored (RFC 9525 section 2).

use crate::advice::Advice;
/// The prefix of DNS names among identities; anything else is a URI.
const DNS: &str = "dns:";

/// SPIFFE ids may have 2048 bytes, and no other URI needs more.
const URI_MAX: usize = 2048;

/// What is known about the certificate that the peer of a connection presented. Only the first name
/// of each kind: Envoy shows filters no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer<'a> {
    /// It presented none.
    #[default]
    Anonymous,
    /// It presented one, but whether it was validated is not known.
    Unproven,
    /// It presented one that was validated against the listener's authorities.
    Proven {
        /// The first URI among its subject alternative names.
        uri: Option<&'a [u8]>,
        /// The first DNS name among them.
        dns: Option<&'a [u8]>,
    },
}

/// Why a peer's certificate is not one that a key is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It presented none.
    Anonymous,
    /// It presented one, but whether it was validated is not known.
    Unproven,
    /// It was validated, but has another name.
    Other,
}

impl Peer<'_> {
    /// Whether it is one of these identities, as [`identity`] reads them.
    ///
    /// # Errors
    /// [`Stranger`] if it is none of them.
    pub fn is_one_of<'i>(
        &self,
        mut identities: impl Iterator<Item = &'i [u8]>,
    ) -> Result<(), Stranger> {
        let (uri, dns) = match self {
            Self::Anonymous => return Err(Stranger::Anonymous),
            Self::Unproven => return Err(Stranger::Unproven),
            Self::Proven { uri, dns } => (*uri, *dns),
        };
        let is_peer = |identity: &[u8]| match identity.strip_prefix(DNS.as_bytes()) {
            Some(name) => dns.is_some_and(|d| d.eq_ignore_ascii_case(name)),
            None => uri == Some(identity),
        };
        if identities.any(is_peer) {
            Ok(())
        } else {
            Err(Stranger::Other)
        }
    }
}

/// Reads an identity as a person types it: `spiffe://example.org/billing`, another URI with
/// an authority or a `urn:`, or `dns:api.example.com`, which is kept in lower case.
///
/// # Errors
/// The fact and the next step.
pub fn identity(text: &str) -> Result<String, Advice> {
    let wrong = |next: &str| {
        Err(Advice::new(
            format!("`{text}` is no identity of a certificate"),
            next,
        ))
    };
    if let Some(name) = text.strip_prefix(DNS) {
        if name.contains('*') {
            return wrong("list each DNS name in full, without `*`");
        }
        if !is_dns_name(name) {
            return wrong("write a DNS name in ASCII (punycode), such as `dns:api.example.com`");
        }
        return Ok(text.to_ascii_lowercase());
    }
    if let Some(id) = text.strip_prefix("spiffe://") {
        return match is_spiffe_id(id) {
            true => Ok(text.to_owned()),
            false => wrong(
                "write a SPIFFE id as `spiffe://example.org/billing`: a trust domain in lower case, and a path without empty parts",
            ),
        };
    }
    match is_uri(text) {
        true => Ok(text.to_owned()),
        false => wrong("write `spiffe://example.org/billing` or `dns:api.example.com`"),
    }
}

fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Trust domain and path according to the SPIFFE ID standard (sections 2.1 and 2.2).
fn is_spiffe_id(id: &str) -> bool {
    let mut parts = id.split('/');
    let domain = parts.next().unwrap_or_default();
    let is_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    let is_segment = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
    };
    id.len() <= URI_MAX
        && (1..=255).contains(&domain.len())
        && domain.bytes().all(is_domain)
        && parts.all(is_segment)
}

/// A URI with an authority, or a `urn:`; anything else with a colon is more likely a host and a
/// port, or a mistake.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let names = match rest.strip_prefix("//") {
        Some(rest) => !rest.is_empty() && !rest.starts_with('/'),
        None => scheme.eq_ignore_ascii_case("urn") && !rest.is_empty(),
    };
    is_scheme && names && text.len() <= URI_MAX && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proven<'a>(uri: Option<&'a str>, dns: Option<&'a str>) -> Peer<'a> {
        Peer::Proven {
            uri: uri.map(str::as_bytes),
            dns: dns.map(str::as_bytes),
        }
    }

    fn is(peer: Peer<'_>, identities: &[&str]) -> Result<(), Stranger> {
        peer.is_one_of(identities.iter().map(|i| i.as_bytes()))
    }

    #[test]
    fn a_uri_is_compared_byte_by_byte_and_a_dns_name_without_case() {
        let billing = "spiffe://example.org/billing";
        let peer = proven(Some(billing), Some("API.example.com"));
        for identity in [billing, "dns:api.example.com", "dns:API.EXAMPLE.COM"] {
            assert_eq!(is(peer, &["urn:x:y", identity]), Ok(()), "{identity}");
        }
        for identity in [
            "spiffe://example.org/Billing",
            "spiffe://example.org/billing/",
            "spiffe://example.org/billin",
            "spiffe://example.org/billing2",
            "dns:example.com",
            "dns:v1.api.example.com",
            "dns:api.example.com.",
            "dns:",
            "api.example.com",
            "",
        ] {
            assert_eq!(is(peer, &[identity]), Err(Stranger::Other), "{identity}");
        }
        assert_eq!(is(peer, &[]), Err(Stranger::Other));
    }

    #[test]
    fn a_name_of_one_kind_does_not_pass_for_the_other() {
        // A URI that reads as the key's DNS identity, and a DNS name that reads as its URI.
        let peer = proven(Some("dns:api.example.com"), Some("spiffe://example.org/a"));
        let bound = ["dns:api.example.com", "spiffe://example.org/a"];
        assert_eq!(is(peer, &bound), Err(Stranger::Other));
        // A wildcard in the certificate covers nothing.
        let peer = proven(None, Some("*.example.com"));
        assert_eq!(is(peer, &["dns:api.example.com"]), Err(Stranger::Other));
    }

    #[test]
    fn who_proved_nothing_is_nobody() {
        let any = ["spiffe://example.org/a", "dns:a.example"];
        assert_eq!(is(Peer::default(), &any), Err(Stranger::Anonymous));
        assert_eq!(is(Peer::Unproven, &any), Err(Stranger::Unproven));
        assert_eq!(is(proven(None, None), &any), Err(Stranger::Other));
        let empty = proven(Some(""), Some(""));
        assert_eq!(is(empty, &any), Err(Stranger::Other));
    }

    #[test]
    fn identities_are_read_as_they_are_written_and_slips_are_named() {
        for (typed, kept) in [
            (
                "spiffe://example.org/ns/a/sa/b",
                "spiffe://example.org/ns/a/sa/b",
            ),
            ("spiffe://example.org", "spiffe://example.org"),
            ("dns:API.Example.com", "dns:api.example.com"),
            ("dns:localhost", "dns:localhost"),
            ("https://Example.com/app", "https://Example.com/app"),
            ("urn:uuid:1b4e28ba", "urn:uuid:1b4e28ba"),
        ] {
            assert_eq!(identity(typed), Ok(kept.to_owned()));
        }
        for (bad, next) in [
            ("", "write `spiffe:"),
            ("api.example.com", "or `dns:api"),
            ("api.example.com:443", "or `dns:api"),
            ("spiffe:/example.org/a", "write `spiffe:"),
            ("spiffe://Example.org/a", "in lower case"),
            ("spiffe://example.org/a//b", "empty parts"),
            ("spiffe://example.org/", "empty parts"),
            ("spiffe://example.org/../a", "empty parts"),
            ("spiffe://example.org:8080/a", "in lower case"),
            ("spiffe://", "in lower case"),
            ("dns:*.example.com", "without `*`"),
            ("dns:bücher.example", "punycode"),
            ("dns:a..b", "punycode"),
            ("dns:a.example.", "punycode"),
            ("dns:", "punycode"),
            ("https://a b", "or `dns:api"),
            ("http:///a", "or `dns:api"),
            ("urn:", "or `dns:api"),
            ("1a://b", "or `dns:api"),
            ("a_b://c", "or `dns:api"),
        ] {
            let why = identity(bad).unwrap_err();
            assert!(why.next.contains(next), "{bad}: {why}");
        }
        assert!(identity(&format!("urn:{}", "a".repeat(2045))).is_err());
        assert!(identity(&format!("dns:{}", "a.".repeat(127))).is_err());
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        /// The store keeps them in lists of words.
        #[test]
        fn what_is_read_is_one_word_and_reads_as_itself(text in "(dns:|spiffe://|[a-z]{1,6}://)?\\PC{0,40}") {
            if let Ok(kept) = identity(&text) {
                prop_assert!(kept.bytes().all(|b| b.is_ascii_graphic()));
                prop_assert_eq!(identity(&kept), Ok(kept));
            }
        }

        #[test]
        fn a_peer_is_whom_it_names_and_nobody_else(
            mine in "[a-z]{1,8}\\.example", other in "[a-z]{1,8}\\.example",
        ) {
            let peer = proven(None, Some(&mine));
            let bound = format!("dns:{other}");
            prop_assert_eq!(is(peer, &[&bound]).is_ok(), mine == other);
            let uri = format!("spiffe://{mine}/a");
            let bound = format!("spiffe://{other}/a");
            prop_assert_eq!(is(proven(Some(&uri), None), &[&bound]).is_ok(), mine == other);
        }
    }
}
