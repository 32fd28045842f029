//! Proxies that the operator trusts to name their clients: `X-Forwarded-For`, read from the right,
//! and the PROXY protocol (versions 1 and 2).
//!
//! From anybody else, these are ignored. If a trusted proxy sends something unreadable, the request
//! is refused: a wrong address could open what is bound to networks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::problem::Problem;
use keystile_model::error::{Code, Result, refuse};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The most addresses in the header, over all its lines. Nobody is behind that many proxies.
const MOST: usize = 2048;
/// The longest line of version 1, with its end.
const LINE: usize = 107;
/// Version 2 carries addresses, and fields that are ignored here.
const FIELDS: usize = 4096;
/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The trusted proxies, and how they name their clients.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Where they are.
    pub trusted: Vec<IpNet>,
    /// Their connections begin with the PROXY protocol.
    pub protocol: bool,
}

impl Proxies {
    /// Whether one of them is at an address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|n| n.contains(&address))
    }

    /// The origin of a request that arrives from `peer`, if it was forwarded: the last address that
    /// is not a trusted proxy's.
    ///
    /// # Errors
    /// 400, if a trusted proxy sends something that is not an address.
    pub fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Option<IpAddr>, Problem> {
        if !self.trusts(peer) {
            return Ok(None);
        }
        let lines: Vec<&[u8]> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .map(|v| v.as_bytes())
            .collect();
        if lines.iter().map(|l| l.len() + 1).sum::<usize>() > MOST {
            return Err(unreadable("is too long"));
        }
        let mut origin = None;
        for word in lines
            .iter()
            .rev()
            .flat_map(|line| line.rsplit(|b| *b == b','))
        {
            let word = std::str::from_utf8(word).unwrap_or_default().trim();
            let address = address(word)
                .ok_or_else(|| unreadable("holds something that is not an address"))?;
            origin = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        Ok(origin)
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` and `[2001:db8::1]:80`, as proxies write them.
fn address(word: &str) -> Option<IpAddr> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = word.parse::<SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let bare = word.strip_prefix('[')?.strip_suffix(']')?;
    let address: Ipv6Addr = bare.parse().ok()?;
    Some(IpAddr::V6(address).to_canonical())
}

fn unreadable(what: &str) -> Problem {
    refuse(
        Code::MalformedHeader,
        format_args!("the header `{FORWARDED_FOR}` of a trusted proxy {what}"),
        "have the proxy append the address of its peer, and drop what it was sent",
    )
    .into()
}

/// Reads the PROXY protocol's header from a connection, and not a byte more. `None` if the proxy
/// connects for itself, as for a health check.
///
/// # Errors
/// It is none.
pub async fn header<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        second(stream).await
    } else {
        first(stream, &start).await
    }
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n`.
async fn first<S: AsyncRead + Unpin>(
    stream: &mut S,
    start: &[u8],
) -> io::Result<Option<SocketAddr>> {
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE || !line.starts_with(b"PROXY ") {
            return Err(wrong("no header of the PROXY protocol"));
        }
        line.push(stream.read_u8().await?);
    }
    let line = std::str::from_utf8(&line).map_err(|_| wrong("a header that is not ASCII"))?;
    let mut words = line.trim_end_matches("\r\n").split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let mut next = || words.next().unwrap_or_default();
    let (source, target, port, target_port) = (next(), next(), next(), next());
    if words.next().is_some() {
        return Err(wrong("a header with a word too many"));
    }
    let parsed = match family {
        "TCP4" => {
            let of = |text: &str| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
            of(source).zip(of(target))
        }
        "TCP6" => {
            let of = |text: &str| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
            of(source).zip(of(target))
        }
        _ => None,
    };
    let ports = port
        .parse::<u16>()
        .ok()
        .zip(target_port.parse::<u16>().ok());
    match parsed.zip(ports) {
        Some(((source, _), (port, _))) => Ok(Some(SocketAddr::new(source, port))),
        None => Err(wrong("a header without addresses")),
    }
}

/// Version 2: after its signature, command and family, a length, addresses and fields.
async fn second<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let command = stream.read_u8().await?;
    let family = stream.read_u8().await?;
    let length = usize::from(stream.read_u16().await?);
    if length > FIELDS {
        return Err(wrong("a header that is too long"));
    }
    let mut fields = vec![0; length];
    stream.read_exact(&mut fields).await?;
    match command {
        // The proxy connects for itself.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(wrong("a header of an unknown version or command")),
    }
    let mut fields = fields.as_slice();
    let source = match family {
        0x11 if length >= 12 => {
            let source = Ipv4Addr::from(fields.read_u32().await?);
            fields.read_u32().await?;
            IpAddr::V4(source)
        }
        0x21 if length >= 36 => {
            let source = Ipv6Addr::from(fields.read_u128().await?);
            fields.read_u128().await?;
            IpAddr::V6(source)
        }
        _ => return Err(wrong("a header without addresses of TCP")),
    };
    Ok(Some(SocketAddr::new(source, fields.read_u16().await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Proxies {
        Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            protocol: true,
        }
    }

    fn origin(peer: &str, lines: &[&str]) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let origin = proxies().origin(peer.parse().unwrap(), &headers);
        origin
            .map(|o| o.map(|a| a.to_string()))
            .map_err(|p| p.status)
    }

    #[test]
    fn the_last_address_that_is_no_trusted_proxy_is_the_callers() {
        for (peer, lines, expected) in [
            ("192.0.2.9", vec!["127.0.0.1"], None),
            ("10.0.0.1", vec![], None),
            ("10.0.0.1", vec!["192.0.2.1"], Some("192.0.2.1")),
            ("::ffff:10.0.0.1", vec!["192.0.2.1"], Some("192.0.2.1")),
            ("10.0.0.1", vec!["127.0.0.1, 192.0.2.1"], Some("192.0.2.1")),
            (
                "10.0.0.1",
                vec!["127.0.0.1", "192.0.2.1, 10.9.9.9"],
                Some("192.0.2.1"),
            ),
            // What stands left of it may be anything: its sender chose it.
            ("10.0.0.1", vec!["garbage,,, 192.0.2.1"], Some("192.0.2.1")),
            ("10.0.0.1", vec!["10.0.0.3, 10.0.0.2"], Some("10.0.0.3")),
            ("::1", vec!["192.0.2.1:4711"], Some("192.0.2.1")),
            ("::1", vec!["2001:db8::1"], Some("2001:db8::1")),
            ("::1", vec!["[2001:db8::1]:4711"], Some("2001:db8::1")),
            ("::1", vec!["[2001:db8::1]"], Some("2001:db8::1")),
            ("::1", vec!["::ffff:192.0.2.1"], Some("192.0.2.1")),
        ] {
            let expected = expected.map(str::to_owned);
            assert_eq!(origin(peer, &lines), Ok(expected), "{peer} {lines:?}");
        }
    }

    #[test]
    fn what_a_trusted_proxy_says_and_nobody_understands_is_refused() {
        for line in [
            "",
            "unknown",
            "192.0.2.1,",
            "192.0.2.1, _hidden",
            "1.2.3",
            "a b",
        ] {
            assert_eq!(origin("10.0.0.1", &[line]), Err(400), "{line:?}");
        }
        let long = "10.0.0.1, ".repeat(300);
        assert_eq!(origin("10.0.0.1", &[&long]), Err(400));
        assert_eq!(
            origin("192.0.2.1", &[&long]),
            Ok(None),
            "and nobody else's is read"
        );
    }

    async fn read(bytes: &[u8]) -> Result<(Option<String>, usize), io::ErrorKind> {
        let mut left = bytes;
        let source = header(&mut left).await.map_err(|e| e.kind())?;
        Ok((source.map(|a| a.to_string()), left.len()))
    }

    #[tokio::test]
    async fn version_1_is_read_to_its_end_and_no_further() {
        let of = |s: &str| Some(s.to_owned());
        for (line, source) in [
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n",
                of("192.0.2.1:4711"),
            ),
            (
                "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n",
                of("[2001:db8::1]:1"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN a b c d\r\n", None),
        ] {
            let bytes = format!("{line}GET /");
            assert_eq!(read(bytes.as_bytes()).await, Ok((source, 5)), "{line}");
        }
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 4711\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 4711 443 x\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 99999 443\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 4711 443\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            assert_eq!(
                read(bad.as_bytes()).await,
                Err(io::ErrorKind::InvalidData),
                "{bad}"
            );
        }
        let endless = format!("PROXY TCP4 {}", "1".repeat(200));
        assert_eq!(
            read(endless.as_bytes()).await,
            Err(io::ErrorKind::InvalidData)
        );
        assert_eq!(
            read(b"PROXY TCP4 1.2").await,
            Err(io::ErrorKind::UnexpectedEof)
        );
    }

    fn v2(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let length = u16::try_from(fields.len()).unwrap().to_be_bytes();
        [
            &SIGNATURE[..],
            &[command, family],
            &length,
            fields,
            b"GET /",
        ]
        .concat()
    }

    #[tokio::test]
    async fn version_2_is_read_to_its_end_and_no_further() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x67, 1, 187];
        let with_fields = [&four[..], &[4, 0, 1, 0]].concat();
        let six = [
            &"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets()[..],
            &[0; 16],
            &[0, 1, 0, 2],
        ]
        .concat();
        for (command, family, fields, source) in [
            (0x21, 0x11, &four[..], Some("192.0.2.1:4711")),
            (0x21, 0x11, &with_fields, Some("192.0.2.1:4711")),
            (0x21, 0x21, &six, Some("[2001:db8::1]:1")),
            (0x20, 0x00, &[], None),
        ] {
            let read = read(&v2(command, family, fields)).await;
            assert_eq!(read, Ok((source.map(str::to_owned), 5)));
        }
        let long = vec![0; FIELDS + 1];
        for (command, family, fields) in [
            (0x21, 0x11, &four[..11]),
            (0x21, 0x21, &four),
            (0x21, 0x00, &four),
            (0x21, 0x12, &four),
            (0x31, 0x11, &four),
            (0x22, 0x11, &four),
            (0x21, 0x11, &long),
        ] {
            let read = read(&v2(command, family, fields)).await;
            assert_eq!(read, Err(io::ErrorKind::InvalidData));
        }
    }
}
