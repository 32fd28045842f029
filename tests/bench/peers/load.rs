//! Closed-loop load over a few connections, and what it got back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The version of HTTP between the client and the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

/// What requests carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// A key, known or unknown as the table has it.
    Keys,
    /// A key that nobody issued.
    Unknown,
    /// None.
    Nothing,
}

/// The keys that requests carry, in turn.
#[derive(Clone)]
pub struct Keys {
    /// The turn of the first request: what follows goes on where others stopped.
    pub turn: u64,
    pub known: Arc<Vec<String>>,
    pub unknown: Arc<Vec<String>>,
    /// How many of a hundred requests carry an unknown key.
    pub unknown_percent: u64,
}

impl Keys {
    fn pick(&self, sends: Sends, n: u64) -> Option<&str> {
        let n = self.turn + n;
        // A full cycle of the hundred, spread rather than in one run.
        let is_unknown = (n * 37) % 100 < self.unknown_percent;
        let list = match sends {
            Sends::Nothing => return None,
            Sends::Keys if !is_unknown => &self.known,
            Sends::Keys | Sends::Unknown => &self.unknown,
        };
        // A prime stride, so that neighbours in the table do not follow each other.
        Some(&list[(n as usize).wrapping_mul(7919) % list.len()])
    }
}

/// What came back in one slice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub requests: u64,
    pub ok: u64,
    pub refused: u64,
    pub other: u64,
    /// From the first byte sent to the last answered.
    pub took: Duration,
}

/// Where requests go, and how.
#[derive(Clone, Copy)]
pub struct Target {
    pub address: SocketAddr,
    pub path: &'static str,
    pub sends: Sends,
    pub http: Http,
    pub connections: u64,
}

/// The requests of one run, shared by its connections.
struct Plan {
    to: Target,
    keys: Keys,
    next: AtomicU64,
    count: u64,
}

impl Plan {
    /// What the next request carries, if there is to be one.
    fn next(&self) -> Option<Option<&str>> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        (n < self.count).then(|| self.keys.pick(self.to.sends, n))
    }
}

/// This many requests, as fast as the answers come.
pub async fn run(to: Target, keys: &Keys, count: u64) -> Tally {
    let from = Instant::now();
    let plan = Arc::new(Plan {
        to,
        keys: keys.clone(),
        next: AtomicU64::new(0),
        count,
    });
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..to.connections {
        let plan = Arc::clone(&plan);
        match to.http {
            Http::One => all.spawn(one(plan)),
            Http::Two => all.spawn(two(plan)),
        };
    }
    let mut sum = Tally::default();
    while let Some(tally) = all.join_next().await {
        let tally = tally.expect("a connection");
        sum.requests += tally.requests;
        sum.ok += tally.ok;
        sum.refused += tally.refused;
        sum.other += tally.other;
    }
    sum.took = from.elapsed();
    sum
}

impl Tally {
    fn count(&mut self, status: u16) {
        self.requests += 1;
        match status {
            200 => self.ok += 1,
            401 | 403 => self.refused += 1,
            _ => self.other += 1,
        }
    }
}

async fn one(plan: Arc<Plan>) -> Tally {
    let to = plan.to.address;
    let mut stream = connect(to).await;
    let mut tally = Tally::default();
    let mut buffer = Vec::with_capacity(4096);
    let mut request = String::new();
    while let Some(key) = plan.next() {
        request.clear();
        for part in [
            "GET ",
            plan.to.path,
            " HTTP/1.1\r\nhost: api.example.com\r\n",
        ] {
            request.push_str(part);
        }
        if let Some(key) = key {
            request.push_str("x-api-key: ");
            request.push_str(key);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        if stream.write_all(request.as_bytes()).await.is_err() {
            tally.count(0);
            stream = connect(to).await;
            continue;
        }
        buffer.clear();
        let (status, close) = answer(&mut stream, &mut buffer).await;
        tally.count(status);
        if close || status == 0 {
            stream = connect(to).await;
        }
    }
    tally
}

/// Reads one answer; its status, and whether the server will close. Status 0 if it broke.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> (u16, bool) {
    let head = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read_buf(buffer).await {
            Ok(n) if n > 0 => {}
            _ => return (0, true),
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let status = text.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0);
    let field = |name: &str| {
        text.lines()
            .find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let length: usize = field("content-length:")
        .and_then(|l| l.parse().ok())
        .unwrap_or(0);
    while buffer.len() < head + length {
        match stream.read_buf(buffer).await {
            Ok(n) if n > 0 => {}
            _ => return (0, true),
        }
    }
    (status, field("connection:").as_deref() == Some("close"))
}

async fn two(plan: Arc<Plan>) -> Tally {
    let (mut client, connection) = h2::client::handshake(connect(plan.to.address).await)
        .await
        .expect("HTTP/2");
    let driver = tokio::spawn(connection);
    let mut tally = Tally::default();
    let url = format!("http://api.example.com{}", plan.to.path);
    while let Some(key) = plan.next() {
        let mut request = http::Request::get(url.as_str());
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let request = request.body(()).expect("a request");
        let status = async {
            let mut ready = client.clone().ready().await?;
            let (response, _) = ready.send_request(request, true)?;
            let (head, mut body) = response.await?.into_parts();
            while let Some(piece) = body.data().await {
                let piece: Bytes = piece?;
                body.flow_control().release_capacity(piece.len())?;
            }
            Ok::<u16, h2::Error>(head.status.as_u16())
        };
        tally.count(status.await.unwrap_or(0));
        client = client.clone();
    }
    driver.abort();
    tally
}

async fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket option");
    stream
}
