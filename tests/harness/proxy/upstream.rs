use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The service behind Envoy: it tells what reached it, and counts.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A request as it reached the upstream.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    /// Every value of this header, given in lower case.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(other, _)| other == name);
        same.map(|(_, value)| value.as_str()).collect()
    }
}

/// What the upstream answers.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// `{"method": …, "path": …, "headers": [[name, value], …]}`.
    pub fn echo(seen: &Seen) -> Self {
        let body = json!({"method": seen.method, "path": seen.path, "headers": seen.headers});
        Self {
            status: 200,
            headers: vec![("content-type", "application/json".into())],
            body: body.to_string().into_bytes(),
        }
    }

    /// Sends the caller on, or Envoy itself where it follows redirects.
    pub fn redirect(location: &str) -> Self {
        Self {
            status: 302,
            headers: vec![("location", location.to_owned())],
            body: Vec::new(),
        }
    }
}

impl Upstream {
    pub fn start() -> Self {
        Self::answering(Reply::echo)
    }

    pub fn answering(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::listening(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// On a port that the test has chosen.
    pub fn listening(
        listener: TcpListener,
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            requests: AtomicUsize::new(0),
            answer: Box::new(answer),
        });
        let of_thread = Arc::clone(&shared);
        // The threads end with the process: nobody waits for a test's upstream.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let shared = Arc::clone(&of_thread);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests came through.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

struct Shared {
    requests: AtomicUsize,
    answer: Box<dyn Fn(&Seen) -> Reply + Send + Sync>,
}

impl Shared {
    /// One connection of Envoy's pool, until it closes.
    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut stream = BufReader::new(stream);
        while let Ok(seen) = read(&mut stream) {
            self.requests.fetch_add(1, Ordering::SeqCst);
            let reply = (self.answer)(&seen);
            if write(stream.get_mut(), &reply).is_err() {
                return;
            }
        }
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Seen> {
    let start = line(stream)?;
    let mut words = start.split(' ');
    let mut seen = Seen {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let line = line(stream)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        seen.headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    // Envoy sends a body with its length or in chunks.
    if seen.header("transfer-encoding") == ["chunked"] {
        loop {
            let size = usize::from_str_radix(&line(stream)?, 16).map_err(io::Error::other)?;
            let chunk = take(stream, size + 2)?;
            seen.body.extend(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let [length] = seen.header("content-length")[..] {
        seen.body = take(stream, length.parse().map_err(io::Error::other)?)?;
    }
    Ok(seen)
}

fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    while matches!(line.last(), Some(b'\r' | b'\n')) {
        line.pop();
    }
    Ok(line.into_iter().map(char::from).collect())
}

fn take(stream: &mut BufReader<TcpStream>, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write(stream: &mut TcpStream, reply: &Reply) -> io::Result<()> {
    let mut bytes = format!("HTTP/1.1 {} upstream\r\n", reply.status).into_bytes();
    for (name, value) in &reply.headers {
        bytes.extend(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend(format!("content-length: {}\r\n\r\n", reply.body.len()).as_bytes());
    bytes.extend(&reply.body);
    stream.write_all(&bytes)
}

/// The echo of [`Reply::echo`], read back from an answer that came through Envoy.
pub fn echoed(body: &Value) -> Seen {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let headers = body["headers"].as_array().into_iter().flatten();
    Seen {
        method: text(&body["method"]),
        path: text(&body["path"]),
        headers: headers
            .map(|pair| (text(&pair[0]), text(&pair[1])))
            .collect(),
        body: Vec::new(),
    }
}
