//! The addresses to which messages may be sent: public ones, and the networks that the operator
//! allows. Otherwise anybody who may create a webhook could make the server connect to this
//! machine, to a cloud's metadata service, or to anything else behind the firewall.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 addresses that are not public (IANA's special-purpose registry, and multicast).
const CLOSED_4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// The only IPv6 range that is assigned to the public.
const OPEN_6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Exceptions in that range: protocol assignments (Teredo, ORCHID and others), and documentation.
const CLOSED_6: [(Ipv6Addr, u8); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// The addresses that may be contacted.
#[derive(Clone, Debug, Default)]
pub struct Reach(Arc<[IpNet]>);

impl Reach {
    /// Public addresses, and these networks.
    pub fn with(allowed: Vec<IpNet>) -> Self {
        Self(allowed.into())
    }

    /// Whether an address may be contacted.
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.0.iter().any(|n| n.contains(&address))
    }

    /// Whether the host of a URL may be contacted, as far as that is known without resolving it:
    /// names are resolved and checked when something is sent.
    pub fn admits_host(&self, host: &str) -> bool {
        if let Some(address) = literal(host) {
            return self.admits(address);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") {
            return self.admits(Ipv4Addr::LOCALHOST.into())
                || self.admits(Ipv6Addr::LOCALHOST.into());
        }
        // `127.1`, `2130706433` and `0x7f.1` are addresses to the system's resolver.
        let last = name.rsplit('.').next().unwrap_or_default();
        !last.bytes().all(|b| b.is_ascii_digit()) && !last.starts_with("0x")
    }
}

/// An address as it is written in a URL.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => is_public_4(a),
        IpAddr::V6(a) => match embedded(a) {
            Some(inner) => is_public_4(inner),
            None => within_6(a, OPEN_6) && !CLOSED_6.iter().any(|net| within_6(a, *net)),
        },
    }
}

fn is_public_4(a: Ipv4Addr) -> bool {
    let within = |(net, len)| Ipv4Net::new(net, len).is_ok_and(|n| n.contains(&a));
    !CLOSED_4.into_iter().any(within)
}

fn within_6(a: Ipv6Addr, (net, len): (Ipv6Addr, u8)) -> bool {
    Ipv6Net::new(net, len).is_ok_and(|n| n.contains(&a))
}

/// The IPv4 address to which a gateway would forward a packet: 6to4, and NAT64 with its well-known
/// prefix. Mapped addresses have already been read as IPv4.
fn embedded(a: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match a.segments() {
        [0x2002, high, low, ..] => Some(of(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_not_public_is_closed_however_it_is_written() {
        let reach = Reach::default();
        for closed in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!reach.admits(ip(closed)), "{closed}");
        }
        for open in [
            "1.1.1.1",
            "100.63.255.255",
            "172.32.0.1",
            "8.8.8.8",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2606:4700::1111",
            "2a00:1450:4001::200e",
        ] {
            assert!(reach.admits(ip(open)), "{open}");
        }
    }

    #[test]
    fn what_the_operator_allows_is_open_and_nothing_beside_it() {
        let reach = Reach::with(vec![
            "127.0.0.0/8".parse().unwrap(),
            "fd00:1::/32".parse().unwrap(),
        ]);
        for open in ["127.0.0.1", "::ffff:127.0.0.1", "fd00:1::7"] {
            assert!(reach.admits(ip(open)), "{open}");
        }
        for closed in ["::1", "10.0.0.1", "fd00:2::7", "64:ff9b::7f00:1"] {
            assert!(!reach.admits(ip(closed)), "{closed}");
        }
        assert!(reach.admits_host("localhost") && reach.admits_host("127.0.0.1"));
        assert!(!Reach::default().admits_host("localhost"));
    }

    #[test]
    fn hosts_that_are_addresses_in_disguise_are_closed() {
        let reach = Reach::default();
        for closed in [
            "127.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "LOCALHOST.",
            "a.localhost",
            "[::1]",
            "[::ffff:10.0.0.1]",
        ] {
            assert!(!reach.admits_host(closed), "{closed}");
        }
        for open in [
            "hooks.example.com",
            "xn--bcher-kva.example",
            "8.8.8.8",
            "[2606:4700::1111]",
        ] {
            assert!(reach.admits_host(open), "{open}");
        }
    }
}
