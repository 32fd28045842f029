//! A rate-limit service: gRPC in front, a real Redis behind, as Envoy's own has it.

use crate::support::eventually;
use crate::support::proto::ratelimit::{
    Code, RateLimitRequest, RateLimitResponse, SHOULD_RATE_LIMIT,
};
use crate::support::proto::server;
use std::future::ready;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::{Server, server::TcpIncoming};

/// Redis on a socket in a folder of its own: the path of a socket has 107 bytes at most
/// (unix(7)). Dropped, it is killed.
pub struct Redis {
    process: Child,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Redis {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("redis.sock");
        let process = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--unixsocket",
            ])
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing: run scripts/setup first");
        let redis = Self {
            process,
            socket,
            _folder: folder,
        };
        eventually("Redis to answer", || {
            let mut stream = UnixStream::connect(&redis.socket).ok()?;
            stream.write_all(b"PING\r\n").ok()?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).ok()?;
            (line == "+PONG\r\n").then_some(())
        });
        redis
    }

    pub fn counter(&self) -> Counter {
        Counter(self.socket.clone())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub struct Counter(PathBuf);

impl Counter {
    /// One more of these; how many that makes.
    pub fn count(&self, name: &str) -> std::io::Result<u64> {
        let mut stream = UnixStream::connect(&self.0)?;
        write!(stream, "*2\r\n$4\r\nINCR\r\n${}\r\n{name}\r\n", name.len())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let number = line.trim().trim_start_matches(':').parse();
        number.map_err(std::io::Error::other)
    }
}

/// Allows each descriptor so many requests for ever.
pub struct Limits {
    _runtime: Runtime,
    port: u16,
}

impl Limits {
    pub fn start(counter: Counter, most: u64) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = Arc::new(Service { counter, most });
        let service = server::unary(SHOULD_RATE_LIMIT, move |request| {
            ready(service.answer(&request))
        });
        let server = Server::builder().add_routes(service);
        runtime.spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Self {
            _runtime: runtime,
            port,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

struct Service {
    counter: Counter,
    most: u64,
}

impl Service {
    fn answer(&self, request: &RateLimitRequest) -> Result<RateLimitResponse, Status> {
        let mut code = Code::Ok;
        for descriptor in &request.descriptors {
            let entries = descriptor.entries.iter();
            let name: Vec<_> = entries.map(|e| format!("{}={}", e.key, e.value)).collect();
            let name = format!("{}:{}", request.domain, name.join(","));
            if self.counter.count(&name)? > self.most {
                code = Code::OverLimit;
            }
        }
        Ok(RateLimitResponse {
            overall_code: code.into(),
        })
    }
}
