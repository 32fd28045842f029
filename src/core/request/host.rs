//! The host of a request, and the ways in which readers may interpret it.
//!
//! Envoy chooses a virtual host by the authority as it arrived, with its port and final dot unless
//! configured to ignore them. Upstreams mostly ignore them. So a rule about hosts applies only if
//! each reading of a [`Host`] leads to it; an invalid host is refused, because it is unknown how
//! readers interpret it.
//!
//! Sources: RFC 3986 section 3.2.2, RFC 9110 section 7.2, Envoy's
//! `config.route.v3.VirtualHost.domains` and `ignore_port_in_host_matching`.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Why a host was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmbiguousHost {
    /// It is not `name[:digits]` or `[IPv6 address][:digits]`.
    Malformed,
    /// The request names several.
    Several,
    /// It has a port, and different rules apply with and without it.
    Port,
    /// It ends with a dot, and different rules apply with and without it.
    FinalDot,
    /// It is an IPv6 address, and different rules apply to its canonical form than to the form in
    /// which it is written.
    Address,
    /// A rule names Envoy's virtual hosts, but Envoy does not say which one it chose.
    VirtualHost,
}

impl AmbiguousHost {
    /// What is wrong, for the `detail` of the reply.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Malformed => "The host is not a name or an address with an optional port.",
            Self::Several => "The request names several hosts.",
            Self::Port => {
                "The host has a port, and different rules apply with and without it. Leave the port out; or, where Envoy ignores ports (`ignore_port_in_host_matching`), the policy can say so: `host_ports: ignore`."
            }
            Self::FinalDot => {
                "The host ends with a dot, and different rules apply with and without it. Leave the dot out."
            }
            Self::Address => {
                "The host is an IPv6 address that can be written in other ways, for which different rules apply."
            }
            Self::VirtualHost => "Envoy chose no virtual host for this request.",
        }
    }
}

/// A valid host, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    /// Without port and final dot. An IPv6 address in its brackets, as it was written.
    name: Cow<'a, str>,
    /// With its colon, or empty.
    port: &'a str,
    has_final_dot: bool,
}

/// The longest name, final dot left out (RFC 1035 section 2.3.4).
const MOST_BYTES: usize = 253;

impl<'a> Host<'a> {
    /// The host of a request that names none: it belongs to rules for every host.
    pub const NONE: Host<'static> = Host {
        name: Cow::Borrowed(""),
        port: "",
        has_final_dot: false,
    };

    /// Reads an authority.
    ///
    /// # Errors
    /// [`AmbiguousHost::Malformed`].
    pub fn parse(authority: &'a [u8]) -> Result<Self, AmbiguousHost> {
        if let Some(name) = plain(authority) {
            return Ok(Self {
                name: Cow::Borrowed(name),
                port: "",
                has_final_dot: false,
            });
        }
        Self::parse_any(authority)
    }

    /// The same for any authority. A separate function, because few requests come here.
    #[inline(never)]
    fn parse_any(authority: &'a [u8]) -> Result<Self, AmbiguousHost> {
        let malformed = AmbiguousHost::Malformed;
        let text = core::str::from_utf8(authority).map_err(|_| malformed)?;
        let (host, port) = split_port(text).ok_or(malformed)?;
        let is_address = host.starts_with('[');
        let (bare, has_final_dot) = match host.strip_suffix('.') {
            Some(bare) => (bare, true),
            None => (host, false),
        };
        let fits = match is_address {
            true => address(host).is_some(),
            false => is_name(bare),
        };
        if !fits {
            return Err(malformed);
        }
        let name = match bare.bytes().any(|b| b.is_ascii_uppercase()) {
            true => Cow::Owned(bare.to_ascii_lowercase()),
            false => Cow::Borrowed(bare),
        };
        Ok(Self {
            name,
            port,
            has_final_dot,
        })
    }

    /// Without port and final dot, lower case: the only reading of most hosts.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every other way to read it, with the cause of the difference. `ports_count`: Envoy may
    /// distinguish hosts by their ports.
    pub fn others(&self, ports_count: bool) -> Vec<(String, AmbiguousHost)> {
        let port = if ports_count { self.port } else { "" };
        let mut out = Vec::new();
        if self.has_final_dot {
            out.push((format!("{}.", self.name), AmbiguousHost::FinalDot));
        }
        if !port.is_empty() {
            out.push((format!("{}{port}", self.name), AmbiguousHost::Port));
        }
        if self.has_final_dot && !port.is_empty() {
            out.push((format!("{}.{port}", self.name), AmbiguousHost::Port));
        }
        if let Some(address) = address(&self.name) {
            let canonical = format!("[{address}]");
            if canonical != self.name {
                if !port.is_empty() {
                    out.push((format!("{canonical}{port}"), AmbiguousHost::Address));
                }
                out.push((canonical, AmbiguousHost::Address));
            }
        }
        out
    }

    /// Whether [`Host::name`] is its only reading.
    pub fn is_plain(&self) -> bool {
        self.port.is_empty() && !self.has_final_dot && !self.name.starts_with('[')
    }

    /// The port as it was written.
    pub fn port(&self) -> Option<&str> {
        self.port.strip_prefix(':')
    }
}

/// The common case: a name in lower case, without port and final dot, whose last label does not
/// begin with a digit, so that it cannot be taken for an address. Checked in one pass.
fn plain(authority: &[u8]) -> Option<&str> {
    let (mut before, mut first) = (b'.', b'0');
    for &b in authority {
        match b {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' if before == b'.' => first = b,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'.' if before != b'.' => {}
            _ => return None,
        }
        before = b;
    }
    let is_name = before != b'.' && !first.is_ascii_digit() && authority.len() <= MOST_BYTES;
    core::str::from_utf8(authority).ok().filter(|_| is_name)
}

/// The host, and the port with its colon. `None` if what follows the last colon is no port.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let start = text.rfind(']').unwrap_or(0);
    let Some(colon) = text.get(start..)?.find(':') else {
        return Some((text, ""));
    };
    let (host, port) = text.split_at_checked(start + colon)?;
    let digits = port.get(1..)?;
    let is_port = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_port.then_some((host, port))
}

fn address(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Letters, digits, `-` and `_` in labels that are not empty.
fn is_name(name: &str) -> bool {
    let mut before = b'.';
    for b in name.bytes() {
        let fits = match b {
            b'.' => before != b'.',
            b => b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'),
        };
        if !fits {
            return false;
        }
        before = b;
    }
    before != b'.' && name.len() <= MOST_BYTES && (!ends_in_a_number(name) || is_ipv4(name))
}

/// The URL Standard reads every such name as an IPv4 address: `127.1`, `0x7f.1` and `2130706433`
/// are all `127.0.0.1`.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    match last.strip_prefix("0x").or_else(|| last.strip_prefix("0X")) {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => last.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// In the one form that all readers agree on: four numbers without leading zeros.
fn is_ipv4(name: &str) -> bool {
    name.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests;
