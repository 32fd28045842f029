//! Hostile connections of four kinds, from several addresses of this machine, do what they
//! can; health checks, revocations and discovery do not wait for them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::Request;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::pages::memory;
use crate::server::{Server, token};
use crate::support::{Home, word};

/// Hostile addresses: 127.0.0.2 and those after it.
const ADDRESSES: usize = 8;
/// What nobody may wait longer for, at the 99th percentile.
const P99: Duration = Duration::from_millis(500);
/// KiB of the server's memory.
pub const MEMORY: u64 = 300 << 10;
const PATIENCE: Duration = Duration::from_secs(30);
/// A closed connection is opened again after this: hostile, and on the same two cores.
const AGAIN: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
enum Kind {
    SlowBody,
    SlowReader,
    IdleHttp2,
    Flood,
}

const KINDS: [Kind; 4] = [
    Kind::SlowBody,
    Kind::SlowReader,
    Kind::IdleHttp2,
    Kind::Flood,
];

/// One that goes on until it is aborted.
struct Hostile {
    kind: Kind,
    number: usize,
    api: SocketAddr,
    discovery: SocketAddr,
    connected: Arc<AtomicUsize>,
}

impl Hostile {
    async fn go_on(self) {
        let mut counted = false;
        loop {
            if let Ok(stream) = self.connect().await {
                if !std::mem::replace(&mut counted, true) {
                    self.connected.fetch_add(1, Ordering::Relaxed);
                }
                // Whatever becomes of it, another one follows.
                let _ = self.annoy(stream).await;
            }
            sleep(AGAIN).await;
        }
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        let last = u8::try_from(2 + self.number % ADDRESSES).unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
        // Idle connections lie in wait for Envoys.
        let to = match self.kind {
            Kind::IdleHttp2 if self.number.is_multiple_of(3) => self.api,
            Kind::IdleHttp2 => self.discovery,
            _ => self.api,
        };
        socket.connect(to).await
    }

    async fn annoy(&self, mut stream: TcpStream) -> std::io::Result<()> {
        match self.kind {
            Kind::SlowBody => {
                let path = ["/v1/usage", "/v1/reports", "/console/sign-in"][self.number % 3];
                let head = format!(
                    "POST {path} HTTP/1.1\r\nhost: a\r\norigin: http://a\r\ncontent-length: 1000\r\n\r\nx"
                );
                stream.write_all(head.as_bytes()).await?;
                stream.read_u8().await?;
            }
            Kind::SlowReader => {
                let many = "GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20);
                stream.write_all(many.as_bytes()).await?;
                loop {
                    sleep(Duration::from_secs(1)).await;
                    stream.read_u8().await?;
                }
            }
            Kind::IdleHttp2 => {
                let handshake = h2::client::handshake(stream).await;
                let (_client, connection) = handshake.map_err(std::io::Error::other)?;
                connection.await.map_err(std::io::Error::other)?;
            }
            Kind::Flood => {
                let path = ["/healthz", "/readyz", "/docs", "/v1/clients"][self.number % 4];
                let request = format!(
                    "GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer kst_owner_{}\r\n\r\n",
                    self.number
                );
                let mut answer = [0; 16 << 10];
                loop {
                    stream.write_all(request.as_bytes()).await?;
                    if stream.read(&mut answer).await? == 0 {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Starts them all, and waits until each was connected once or a few seconds have passed:
/// where they are refused, nothing else would come of it.
async fn attack(server: &Server, connections: usize) -> JoinSet<()> {
    let connected = Arc::new(AtomicUsize::new(0));
    let mut all = JoinSet::new();
    for number in 0..connections {
        let hostile = Hostile {
            kind: KINDS[number % 4],
            number: number / 4,
            api: address(&server.address),
            discovery: address(&server.discovery),
            connected: Arc::clone(&connected),
        };
        all.spawn(hostile.go_on());
    }
    let _ = timeout(PATIENCE, async {
        while connected.load(Ordering::Relaxed) < connections {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    all
}

/// A request over a connection of its own, as a prober or a script makes it; how long it took.
pub async fn ask(server: &Server, head: &str) -> (Duration, String) {
    let began = Instant::now();
    let asked = timeout(Duration::from_secs(10), async {
        let mut stream = TcpStream::connect(&server.address).await?;
        let request = format!("{head}\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    });
    let answer = match asked.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(e)) => e.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    (began.elapsed(), answer)
}

/// How long an Envoy waits for the discovery service to speak with it.
async fn discover(server: &Server) -> Result<Duration, String> {
    let began = Instant::now();
    let spoken = timeout(Duration::from_secs(10), async {
        let stream = TcpStream::connect(&server.discovery).await?;
        let handshake = h2::client::handshake(stream).await;
        let (mut client, connection) = handshake.map_err(std::io::Error::other)?;
        let driven = tokio::spawn(connection);
        let request = Request::post("http://a/nothing").body(()).unwrap();
        let sent = client.send_request(request, true);
        let (response, _) = sent.map_err(std::io::Error::other)?;
        let answered = response.await.map_err(std::io::Error::other)?;
        driven.abort();
        std::io::Result::Ok(answered.status().as_u16())
    });
    match spoken.await {
        Ok(Ok(_)) => Ok(began.elapsed()),
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

fn p99(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[(all.len() * 99).div_ceil(100) - 1]
}

async fn under_attack(connections: usize, samples: usize, args: &[&str]) {
    let home = Home::new();
    let owner = token(&home, "owner");
    let count = samples.to_string();
    let keys = home.json(&["key", "issue", "acme", "--count", &count]);
    let server = Server::start(&home, args);
    let hostile = attack(&server, connections).await;
    let (mut health, mut revocation, mut discovery) = (Vec::new(), Vec::new(), Vec::new());
    for key in keys.as_array().unwrap() {
        let (took, answer) = ask(&server, "GET /healthz HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        health.push(took);
        let revoke = format!(
            "POST /v1/keys/{}/revoke HTTP/1.1\r\nauthorization: Bearer {owner}\r\ncontent-length: 0",
            word(key, "id")
        );
        let (took, answer) = ask(&server, &revoke).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        revocation.push(took);
        discovery.push(discover(&server).await.unwrap());
    }
    let (ready, answer) = ask(&server, "GET /readyz HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (health, revocation, discovery) = (p99(health), p99(revocation), p99(discovery));
    let memory = memory(server.pid());
    println!(
        "{connections} connections: p99 of health {health:?}, revocation {revocation:?}, discovery {discovery:?}; ready {ready:?}; {memory} KiB"
    );
    drop(hostile);
    assert!(health < P99 && revocation < P99 && discovery < P99);
    assert!(memory < MEMORY, "{memory} KiB");
    assert!(server.stop());
}

/// As many files as the system lets this process open.
pub fn files() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    usize::try_from(hard).unwrap_or(usize::MAX)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_hostile_connections_hold_up_nobody_else() {
    let files = files();
    assert!(files > 10_500, "`ulimit -Hn` is {files}: raise it");
    under_attack(5_000, 100, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_hundreds_where_seats_are_few() {
    under_attack(600, 50, &["--max-connections", "400"]).await;
}
