//! Many large bodies of strangers at once: few are held in memory, the others are refused.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::load::{MEMORY, ask, files};
use crate::pages::memory;
use crate::server::{Server, token};
use crate::support::{Home, word};

const CONNECTIONS: usize = 1_200;
/// 127.0.0.2 and those after it.
const ADDRESSES: usize = 8;
/// All but the last byte of the largest body that strangers may send.
const SENT: usize = (1 << 20) - 1;
/// As many of them as fit into the memory that strangers may use, 32 MiB.
const HELD: usize = 32;
/// Shorter than such a body may take to arrive (74 s).
const PATIENCE: Duration = Duration::from_secs(50);

#[derive(Default)]
struct Ended {
    all: AtomicUsize,
    told_to_come_again: AtomicUsize,
}

/// Sends all but the last byte, and waits for what the server does.
async fn send(to: SocketAddr, number: usize, body: Arc<[u8]>, ended: Arc<Ended>) {
    let exchange = async {
        let socket = TcpSocket::new_v4()?;
        let last = u8::try_from(2 + number % ADDRESSES).unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
        let mut stream = socket.connect(to).await?;
        let length = SENT + 1;
        let head =
            format!("POST /v1/usage HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let (mut reading, mut writing) = stream.split();
        let mut answer = Vec::new();
        // The answer may come before the body has left, and ends it.
        tokio::select! {
            read = reading.read_to_end(&mut answer) => { read?; }
            _ = async { writing.write_all(&body).await?; std::future::pending::<std::io::Result<()>>().await } => {}
        }
        std::io::Result::Ok(String::from_utf8_lossy(&answer).to_ascii_lowercase())
    };
    // Whoever is refused in mid-sentence may see a reset instead of the answer.
    let answer = exchange.await.unwrap_or_default();
    if answer.starts_with("http/1.1 503 ") && answer.contains("\r\nretry-after: ") {
        ended.told_to_come_again.fetch_add(1, Ordering::Relaxed);
    }
    ended.all.fetch_add(1, Ordering::Relaxed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_strangers_take_no_more_memory_than_is_theirs() {
    assert!(files() > 3_000, "raise `ulimit -Hn`");
    let home = Home::new();
    let owner = token(&home, "owner");
    let key = home.json(&["key", "issue", "acme"]);
    let server = Server::start(&home, &[]);
    let body: Arc<[u8]> = vec![b'x'; SENT].into();
    let ended = Arc::new(Ended::default());
    let mut all = JoinSet::new();
    let to = server.address.parse().unwrap();
    for number in 0..CONNECTIONS {
        all.spawn(send(to, number, Arc::clone(&body), Arc::clone(&ended)));
    }
    let began = Instant::now();
    while ended.all.load(Ordering::Relaxed) < CONNECTIONS - HELD {
        let left = CONNECTIONS - ended.all.load(Ordering::Relaxed);
        let memory = memory(server.pid());
        assert!(began.elapsed() < PATIENCE, "{left} are held; {memory} KiB");
        sleep(Duration::from_millis(20)).await;
    }
    // The rest is held, and nobody else waits for it.
    let revoke = format!(
        "POST /v1/keys/{}/revoke HTTP/1.1\r\nauthorization: Bearer {owner}\r\ncontent-length: 0",
        word(&key, "id")
    );
    let (_, answer) = ask(&server, &revoke).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        ended.all.load(Ordering::Relaxed) < CONNECTIONS,
        "some were still held"
    );
    let again = ended.told_to_come_again.load(Ordering::Relaxed);
    assert!(again > 0, "nobody was told to come again");
    let memory = memory(server.pid());
    assert!(memory < MEMORY, "{memory} KiB");
    drop(all);
    assert!(server.stop());
}
