use super::{Setup, Upstream};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// An upstream that keeps the bytes of each request's head and trailers, and speaks
/// WebSocket with who asks for it: a frame comes back as it was sent.
pub struct Raw {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Raw {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let of_thread = Arc::clone(&seen);
        // The threads end with the process, as those of `Upstream`.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&of_thread);
                thread::spawn(move || serve(stream, &seen));
            }
        });
        Self { address, seen }
    }

    /// `ecds-file.yaml` in front of it, with trailers and upgrades let through.
    pub fn behind(&self) -> Setup {
        const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let unused = Upstream::start();
        Setup::ecds(&unused)
            .edit(
                &format!("port_value: {}", unused.address().port()),
                &format!("port_value: {}", self.address.port()),
            )
            .edit(
                "stat_prefix: public",
                "stat_prefix: public\n          \
                 http_protocol_options: {enable_trailers: true}\n          \
                 http2_protocol_options: {allow_connect: true}\n          \
                 upgrade_configs: [{upgrade_type: websocket}]",
            )
            .edit(
                "    type: STATIC",
                &format!(
                    "    type: STATIC\n    typed_extension_protocol_options:\n      {OPTIONS}:\n        \
                     \"@type\": type.googleapis.com/{OPTIONS}\n        \
                     explicit_http_config: {{http_protocol_options: {{enable_trailers: true}}}}"
                ),
            )
    }

    /// Heads and trailers so far, in lower case, in order.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    while let Some(head) = block(&mut stream) {
        seen.lock().unwrap().push(head.clone());
        if head.contains("\r\nupgrade: websocket") {
            let _ = stream.get_mut().write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            );
            return echo(&mut stream);
        }
        if head.contains("\r\ntransfer-encoding: chunked") {
            // Chunks of one line each, and then the trailers.
            while line(&mut stream).is_some_and(|size| size.trim() != "0") {
                line(&mut stream);
            }
            let Some(trailers) = block(&mut stream) else {
                return;
            };
            seen.lock()
                .unwrap()
                .push(format!("trailers:\r\n{trailers}"));
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        if stream.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

/// Frames of up to 125 bytes: masked as they come, plain as they go.
fn echo(stream: &mut BufReader<TcpStream>) {
    use std::io::Read as _;
    let mut head = [0; 6];
    while stream.read_exact(&mut head).is_ok() {
        let [kind, size, mask @ ..] = head;
        let mut text = vec![0; usize::from(size & 0x7f)];
        if stream.read_exact(&mut text).is_err() {
            return;
        }
        let plain = text.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m);
        let frame: Vec<u8> = [kind, size & 0x7f].into_iter().chain(plain).collect();
        if stream.get_mut().write_all(&frame).is_err() {
            return;
        }
    }
}

/// Lines up to an empty one.
fn block(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut all = String::new();
    loop {
        let line = line(stream)?;
        if line == "\r\n" {
            return Some(all.to_ascii_lowercase());
        }
        all.push_str(&line);
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    match stream.read_until(b'\n', &mut line) {
        Ok(n) if n > 0 => Some(String::from_utf8_lossy(&line).into_owned()),
        _ => None,
    }
}
