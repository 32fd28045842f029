//! A receiver of webhooks: it speaks HTTP, keeps what it was sent, and answers as it is told.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, ServerConnection};

/// Longer than the first repetition takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it came.
#[derive(Clone)]
pub struct Seen {
    /// When it was whole.
    pub at: Instant,
    headers: Vec<(String, String)>,
    /// As it was signed.
    pub body: Vec<u8>,
}

impl Seen {
    /// The one value of a header, given in lower case.
    pub fn header(&self, name: &str) -> &str {
        let mut all = self.headers.iter().filter(|(n, _)| n == name);
        let (_, value) = all.next().unwrap_or_else(|| panic!("no {name}"));
        assert!(all.next().is_none(), "{name} twice");
        value
    }

    /// What is told.
    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// The status of the answer to the n-th request; `None` hangs up without one.
type Answer = Box<dyn Fn(usize, &Seen) -> Option<u16> + Send + Sync>;

/// A receiver on a port of its own. Its threads end with the process.
pub struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    /// In clear, on a free port.
    pub fn start(answer: impl Fn(usize, &Seen) -> Option<u16> + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", answer)
    }

    /// In clear, here.
    pub fn at(
        address: &str,
        answer: impl Fn(usize, &Seen) -> Option<u16> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(address, None, Box::new(answer))
    }

    /// Over TLS, with this certificate.
    pub fn secure(certificate: &str, key: &str) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate).unwrap();
        let chain = chain.collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::serve(
            "127.0.0.1:0",
            Some(Arc::new(config)),
            Box::new(|_, _| Some(204)),
        )
    }

    fn serve(address: &str, tls: Option<Arc<ServerConfig>>, answer: Answer) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (of_threads, answer) = (Arc::clone(&seen), Arc::new(answer));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                count.fetch_add(1, Ordering::Relaxed);
                let (seen, answer) = (Arc::clone(&of_threads), Arc::clone(&answer));
                let tls = tls.clone();
                thread::spawn(move || match tls {
                    None => exchange(stream, &seen, &answer),
                    Some(config) => {
                        let session = ServerConnection::new(config).unwrap();
                        exchange(rustls::StreamOwned::new(session, stream), &seen, &answer);
                    }
                });
            }
        });
        Self {
            address,
            seen,
            connections,
        }
    }

    /// How many connections were made to it, whatever was said on them.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Its path.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until so many came.
    pub fn wait(&self, count: usize) -> Vec<Seen> {
        let began = Instant::now();
        loop {
            let seen = self.seen();
            if seen.len() >= count {
                return seen;
            }
            let so_far = seen.len();
            assert!(began.elapsed() < PATIENCE, "{so_far} of {count} came");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// One request a connection.
fn exchange(stream: impl Read + Write, seen: &Mutex<Vec<Seen>>, answer: &Answer) {
    let mut stream = BufReader::new(stream);
    let Some(request) = read(&mut stream) else {
        return;
    };
    let n = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    if let Some(status) = answer(n, &request) {
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n");
        let _ = write!(stream.get_mut(), "{head}location: /elsewhere\r\n\r\n");
        let _ = stream.get_mut().flush();
    }
}

/// `None` where the other end gave up.
fn read(stream: &mut BufReader<impl Read>) -> Option<Seen> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    assert!(line.is_empty() || line.starts_with("POST /hook "), "{line}");
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(n, _)| n == "content-length")?;
    let mut body = vec![0; length.1.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    let at = Instant::now();
    Some(Seen { at, headers, body })
}
