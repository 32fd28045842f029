//! Address ranges, and which addresses are in them.
//!
//! On a dual-stack socket, an IPv4 client has an IPv4-mapped IPv6 address (`::ffff:192.0.2.1`, RFC
//! 4291 section 2.5.5.2), which is the same address written in another way. Both addresses and
//! ranges of this form are read as IPv4. All other IPv6 addresses that contain an IPv4 one
//! (IPv4-compatible, 6to4, NAT64) stay as they are: the connection comes from the IPv6 address, and
//! whose the embedded IPv4 address is, is unknown.

use std::net::IpAddr;

/// An address range: the network and the length of its prefix in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// The network's address; bits after the prefix are ignored.
    pub address: IpAddr,
    /// At most 32 for IPv4, 128 for IPv6.
    pub prefix_len: u8,
}

/// Bits before the IPv4 address in a mapped one.
const MAPPED: u8 = 96;

impl Network {
    /// The same range as IPv4 if it holds IPv4-mapped addresses alone.
    #[must_use]
    pub fn canonical(self) -> Self {
        match (self.address, self.prefix_len.checked_sub(MAPPED)) {
            (IpAddr::V6(a), Some(prefix_len @ 0..=32)) => match a.to_ipv4_mapped() {
                Some(a) => Self {
                    address: IpAddr::V4(a),
                    prefix_len,
                },
                None => self,
            },
            _ => self,
        }
    }

    /// Whether an address is in an allowed range. An IPv6 range that is wider than the mapped
    /// addresses, such as `::/0`, contains no IPv4 address: IPv4 has to be allowed explicitly.
    pub fn allows(self, address: IpAddr) -> bool {
        match (self.canonical().address, address.to_canonical()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => self.holds(address),
            _ => false,
        }
    }

    /// Whether an address is in a denied range. An IPv6 range that is wider than the mapped
    /// addresses contains them, and with them IPv4.
    pub fn denies(self, address: IpAddr) -> bool {
        self.holds(address)
    }

    /// By the bits of both, IPv4 as mapped.
    fn holds(self, address: IpAddr) -> bool {
        let bits = |a: IpAddr| match a {
            IpAddr::V4(a) => a.to_ipv6_mapped().to_bits(),
            IpAddr::V6(a) => a.to_bits(),
        };
        let len = match self.address {
            IpAddr::V4(_) => self.prefix_len.saturating_add(MAPPED),
            IpAddr::V6(_) => self.prefix_len,
        };
        match 128u32.checked_sub(u32::from(len)) {
            // No bits are compared, and a shift by all of them would overflow.
            Some(128) => true,
            Some(shift) => (bits(self.address) ^ bits(address)) >> shift == 0,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Network {
        let (address, prefix_len) = text.split_once('/').unwrap();
        Network {
            address: address.parse().unwrap(),
            prefix_len: prefix_len.parse().unwrap(),
        }
    }

    #[test]
    fn a_mapped_range_is_the_ipv4_range_for_both_ways_to_write_an_address() {
        for (range, inside, outside) in [
            ("::ffff:127.0.0.0/104", "127.0.0.1", "128.0.0.1"),
            ("::ffff:0:0/96", "203.0.113.9", "::fffe:1.2.3.4"),
            ("::ffff:192.0.2.7/128", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
        ] {
            let (range, inside, outside) = (net(range), inside.parse().unwrap(), outside);
            let mapped = match inside {
                IpAddr::V4(a) => IpAddr::V6(a.to_ipv6_mapped()),
                IpAddr::V6(_) => inside,
            };
            for range in [range, range.canonical()] {
                assert!(range.allows(inside) && range.denies(inside), "{range:?}");
                assert!(range.allows(mapped) && range.denies(mapped), "{range:?}");
                let outside = outside.parse().unwrap();
                assert!(
                    !range.allows(outside) && !range.denies(outside),
                    "{range:?}"
                );
            }
        }
        assert_eq!(net("::ffff:127.0.0.0/104").canonical(), net("127.0.0.0/8"));
        assert_eq!(net("::ffff:0:0/95").canonical(), net("::ffff:0:0/95"));
    }

    #[test]
    fn a_wider_range_closes_to_ipv4_and_does_not_open_to_it() {
        for range in ["::/0", "::/64", "::ffff:0:0/90", "::ffff:0:0/95"] {
            for address in ["127.0.0.1", "::ffff:127.0.0.1"] {
                let address = address.parse().unwrap();
                assert!(net(range).denies(address), "{range} {address}");
                assert!(!net(range).allows(address), "{range} {address}");
            }
        }
        let wide = net("2000::/3");
        assert!(!wide.denies("127.0.0.1".parse().unwrap()));
        assert!(net("::/0").allows("2001:db8::1".parse().unwrap()));
        assert!(!net("0.0.0.0/0").denies("2001:db8::1".parse().unwrap()));
        // Lengths that no address has hold nothing.
        assert!(!net("192.0.2.0/33").allows("192.0.2.0".parse().unwrap()));
        assert!(!net("2001:db8::/129").denies("2001:db8::".parse().unwrap()));
    }

    #[test]
    fn other_addresses_that_hold_an_ipv4_one_are_ipv6() {
        for (range, address) in [
            ("::127.0.0.0/104", "127.0.0.1"),
            ("2002:7f00::/24", "127.0.0.1"),
            ("64:ff9b::7f00:0/104", "127.0.0.1"),
            ("127.0.0.0/8", "::127.0.0.1"),
            ("127.0.0.0/8", "2002:7f00:1::"),
            ("127.0.0.0/8", "64:ff9b::7f00:1"),
        ] {
            let address = address.parse().unwrap();
            assert!(!net(range).allows(address), "{range} {address}");
            assert!(!net(range).denies(address), "{range} {address}");
        }
    }
}
