//! How address ranges, origins, limits, digests and labels are typed.

use ipnet::IpNet;
use keystile_core::advice::Advice;
use keystile_core::hex;
use keystile_core::key::Digest;
use keystile_core::keyset::Network;
use keystile_core::policy::{By, RawLimit, seconds};

use crate::record;

/// Reads an address range: `10.0.0.0/8`, `2001:db8::/32`, or one address. A range of IPv4-mapped
/// addresses (`::ffff:10.0.0.0/104`) becomes the IPv4 range.
pub fn cidr(text: &str) -> std::result::Result<IpNet, Advice> {
    let canonical = |net: IpNet| {
        let Network {
            address,
            prefix_len,
        } = record::network(net);
        IpNet::new(address, prefix_len).unwrap_or(net)
    };
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(canonical(IpNet::from(address)));
    }
    let net: IpNet = text.parse().map_err(|_| {
        Advice::new(
            format!("`{text}` is no address range"),
            "write `10.0.0.0/8`, `2001:db8::/32` or one address",
        )
    })?;
    if net.trunc() != net {
        return Err(Advice::new(
            format!("`{text}` names an address inside a range"),
            format!("write the range `{}`", canonical(net.trunc())),
        ));
    }
    Ok(canonical(net))
}

/// Reads a web origin as browsers send it: `https://www.example.com`, in lower case, without the
/// default port.
pub fn origin(text: &str) -> std::result::Result<String, Advice> {
    let wrong = |next: &str| Advice::new(format!("`{text}` is not an origin"), next);
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) = lower
        .split_once("://")
        .ok_or_else(|| wrong("write scheme and host, such as `https://www.example.com`"))?;
    let fine = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b));
    if !fine {
        return Err(wrong(
            "write scheme and host, such as `https://www.example.com`",
        ));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    if let Some((head, _)) = rest.split_once(['/', '?', '#']) {
        return Err(wrong(&format!("leave the path out: `{scheme}://{head}`")));
    }
    if host.contains('*') {
        return Err(wrong("list each host by its full name"));
    }
    let host = &origin_host(host).map_err(wrong)?;
    let port = match port {
        None => None,
        Some(p) => Some(
            Some(p)
                .filter(|p| p.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|p| p.parse::<u16>().ok())
                .filter(|p| *p > 0)
                .ok_or_else(|| wrong("a port is 1 to 65535"))?,
        ),
    };
    Ok(match (scheme, port) {
        (_, None) | ("https", Some(443)) | ("http", Some(80)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    })
}

/// The host of an origin as browsers write it (WHATWG URL, host serializing), or the next
/// step.
fn origin_host(host: &str) -> std::result::Result<String, &'static str> {
    let ascii = "write the host in ASCII (punycode), such as `https://xn--bcher-kva.example`";
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        let address: std::net::Ipv6Addr = address.parse().map_err(|_| ascii)?;
        // Browsers write mapped addresses in hexadecimal.
        return Ok(match (address.to_ipv4_mapped(), address.segments()) {
            (Some(_), [.., a, b]) => format!("[::ffff:{a:x}:{b:x}]"),
            (None, _) => format!("[{address}]"),
        });
    }
    let fine = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    if host.is_empty() || !fine {
        return Err(ascii);
    }
    // Browsers read a host that ends in a number as an IPv4 address, and write it in full.
    let last = host
        .trim_end_matches('.')
        .rsplit('.')
        .next()
        .unwrap_or_default();
    let is_number = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
    if is_number && host.parse::<std::net::Ipv4Addr>().is_err() {
        return Err("write an IPv4 address in full, such as `http://127.0.0.1`");
    }
    Ok(host.to_owned())
}

/// Reads a limit: `100/1m`, `100/1m:20` with a burst, `100/1m@client` for all keys of a
/// client together.
pub fn limit(text: &str) -> std::result::Result<RawLimit, Advice> {
    let wrong = || {
        Advice::new(
            format!("`{text}` is not a limit"),
            "write `100/1m`, or `100/1m:20` with a burst, or `100/1m@client`",
        )
    };
    let (rest, by) = match text.split_once('@') {
        Some((rest, "client")) => (rest, By::Client),
        Some((rest, "key")) => (rest, By::Key),
        Some(_) => return Err(wrong()),
        None => (text, By::Key),
    };
    let (requests, rest) = rest.split_once('/').ok_or_else(wrong)?;
    let (per, burst) = match rest.split_once(':') {
        Some((per, burst)) => (per, Some(burst.parse().map_err(|_| wrong())?)),
        None => (rest, None),
    };
    if seconds(per).is_none() {
        return Err(wrong());
    }
    Ok(RawLimit {
        requests: requests.parse().map_err(|_| wrong())?,
        per: per.to_owned(),
        burst,
        by,
    })
}

/// The limit as it is read.
pub fn limit_word(l: &RawLimit) -> String {
    let burst = l.burst.map(|b| format!(":{b}")).unwrap_or_default();
    let by = match l.by {
        By::Client => "@client",
        By::Key => "",
    };
    format!("{}/{}{burst}{by}", l.requests, l.per)
}

/// Reads 64 hexadecimal digits.
pub fn hex_digest(text: &str) -> Option<Digest> {
    hex::read(text).map(Digest)
}

/// Reads `name=value`.
pub fn label(text: &str) -> std::result::Result<(String, String), Advice> {
    let wrong = || Advice::new(format!("`{text}` is not a label"), "write `team=payments`");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let fine = (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
        && value.len() <= 200
        && !value.chars().any(char::is_control);
    if fine {
        Ok((name.to_owned(), value.to_owned()))
    } else {
        Err(wrong())
    }
}
