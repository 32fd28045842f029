//! Hosts as a route names them.

use core::fmt;

use crate::request::host::Host;

/// The hosts that a route applies to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// `api.example.com`.
    Exact(String),
    /// `*.example.com`, kept as `.example.com`: one label or more before it.
    Suffix(String),
}

impl HostPattern {
    /// Reads `api.example.com`, `*.example.com`, or either with a port; case does not count.
    pub fn parse(text: &str) -> Option<Self> {
        let (wild, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let host = Host::parse(rest.as_bytes()).ok()?;
        let port = host.port().map(|p| format!(":{p}")).unwrap_or_default();
        let text = format!("{}{port}", host.name());
        match (text.is_empty(), wild) {
            (true, _) => None,
            (false, false) => Some(Self::Exact(text)),
            (false, true) => Some(Self::Suffix(format!(".{text}"))),
        }
    }

    /// Whether it names a port.
    pub fn has_port(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Exact(text) | Self::Suffix(text) => text
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(h) => f.write_str(h),
            Self::Suffix(s) => write!(f, "*{s}"),
        }
    }
}
