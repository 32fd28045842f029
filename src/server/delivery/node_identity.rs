//! Which node ids an Envoy may use, by its certificate: those that the certificate names (common
//! name, DNS names, URIs), and those that the operator configures.
//!
//! The certificate was validated before, including its form: what cannot be read here names no
//! node.

pub use super::rule::NameRule;
use super::settings::PeerLimits;

/// The names in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Papers(Vec<String>);

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    }
}

impl Papers {
    /// Of a certificate, DER.
    pub fn from_certificate(certificate: &[u8]) -> Self {
        Self(names(certificate).unwrap_or_default())
    }

    /// Whether an Envoy with this certificate may be that node.
    pub fn admit(&self, node: &str, limits: &PeerLimits) -> bool {
        let said = |name: &String| {
            let mut rules = limits.papers.iter();
            rules.any(|r| fits(&r.name, name) && fits(&r.node, node))
        };
        self.0.iter().any(|name| name == node || said(name))
    }

    /// The names, for a message.
    pub fn shown(&self) -> String {
        let names: Vec<String> = self
            .0
            .iter()
            .map(|n| n.escape_debug().to_string())
            .collect();
        match names.is_empty() {
            true => "nobody".to_owned(),
            false => names.join(", "),
        }
    }
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const OCTETS: u8 = 0x04;
const EXTENSIONS: u8 = 0xa3;
const VERSION: u8 = 0xa0;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
/// 2.5.4.3 and 2.5.29.17.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// One value and what follows it: tag, content, rest (X.690 section 8.1, lengths as DER has them).
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.is_empty() || bytes.len() > 4 {
            return None;
        }
        length = bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The values inside one.
fn values(mut der: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, content, rest) = value(der)?;
        der = rest;
        Some((tag, content))
    })
}

/// RFC 5280 section 4.1.
fn names(certificate: &[u8]) -> Option<Vec<String>> {
    let inside = |der, tag| value(der).filter(|v| v.0 == tag).map(|v| v.1);
    let signed = inside(inside(certificate, SEQUENCE)?, SEQUENCE)?;
    // Version, if it is there; serial number, algorithm, issuer, validity, subject.
    let mut fields = values(signed).skip_while(|(tag, _)| *tag == VERSION);
    let (_, subject) = fields.nth(4)?;
    let mut names = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    for (_, attributes) in values(subject).filter(|(tag, _)| *tag == SET) {
        for (_, attribute) in values(attributes) {
            let mut parts = values(attribute);
            if parts.next() == Some((OBJECT, COMMON_NAME)) {
                names.extend(parts.next().and_then(|(_, name)| text(name)));
            }
        }
    }
    let Some((_, extensions)) = fields.find(|(tag, _)| *tag == EXTENSIONS) else {
        return Some(names);
    };
    for (_, extension) in values(inside(extensions, SEQUENCE)?) {
        let mut parts = values(extension);
        if parts.next() != Some((OBJECT, ALTERNATIVE_NAMES)) {
            continue;
        }
        let held = parts
            .find(|(tag, _)| *tag == OCTETS)
            .map(|(_, held)| held)?;
        let of_a_node = values(inside(held, SEQUENCE)?).filter(|(tag, _)| [DNS, URI].contains(tag));
        names.extend(of_a_node.filter_map(|(_, name)| text(name)));
    }
    names.retain(|n| !n.is_empty());
    names.dedup();
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made by `openssl req -x509 -subj /O=o/CN=edge -addext
    /// subjectAltName=DNS:edge-1,IP:127.0.0.1,URI:spiffe://a/b`.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test has no secrets to inherit"
    )]
    fn certificate() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("openssl")
            .current_dir(folder.path())
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args(["-nodes", "-keyout", "key", "-subj", "/O=o/CN=edge"])
            .args([
                "-addext",
                "subjectAltName=DNS:edge-1,IP:127.0.0.1,URI:spiffe://a/b",
            ])
            .args(["-outform", "DER", "-out", "certificate"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        std::fs::read(folder.path().join("certificate")).unwrap()
    }

    fn limits(rules: &[&str]) -> PeerLimits {
        PeerLimits {
            papers: rules.iter().map(|r| r.parse().unwrap()).collect(),
            ..PeerLimits::default()
        }
    }

    #[test]
    fn a_certificate_is_good_for_the_nodes_that_it_names_and_those_that_are_said() {
        let papers = Papers::from_certificate(&certificate());
        assert_eq!(papers.0, ["edge", "edge-1", "spiffe://a/b"]);
        let none = limits(&[]);
        for node in ["edge", "edge-1", "spiffe://a/b"] {
            assert!(papers.admit(node, &none), "{node}");
        }
        for node in ["edge-2", "o", "127.0.0.1", "", "edge-", "edge-11"] {
            assert!(!papers.admit(node, &none), "{node}");
        }
        let said = limits(&["other=*", "spiffe://a/*=pod-*"]);
        assert!(papers.admit("pod-7", &said));
        assert!(!papers.admit("ingress", &said));
        assert!(papers.admit("ingress", &limits(&["*=*"])));
        assert!(!Papers::default().admit("ingress", &limits(&["*=*"])));
    }

    #[test]
    fn rules_that_say_nothing_are_refused() {
        for bad in ["", "edge", "=edge", "edge=", "e*e=edge", "edge=*-1", "a=**"] {
            assert!(bad.parse::<NameRule>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_name_somebody_or_nobody_without_a_panic(bytes: Vec<u8>, at in any::<prop::sample::Index>(), to: u8) {
            Papers::from_certificate(&bytes);
            let mut damaged = [0x30, 9, 0x30, 7, 2, 1, 1, 0x30, 0, 0x30, 0].to_vec();
            let at = at.index(damaged.len());
            damaged[at] = to;
            Papers::from_certificate(&damaged);
        }
    }
}
