//! The service behind Envoy: it keeps each request line and host as they came.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request that was let in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arrived {
    pub method: String,
    /// Between the first and the last space of the request line; each byte is the character of
    /// its number, here and below.
    pub target: String,
    pub host: String,
    /// The domain of the virtual host that Envoy chose.
    pub domain: String,
}

/// Listens until the process ends.
pub struct Recorder {
    pub address: SocketAddr,
    seen: Arc<Mutex<HashMap<usize, Arrived>>>,
}

/// The header that numbers a request.
pub const NUMBER: &str = "x-corpus";
/// The header by which a virtual host tells its domain.
pub const DOMAIN: &str = "x-corpus-domain";

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let of_thread = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&of_thread);
                thread::spawn(move || serve(stream, &seen));
            }
        });
        Self { address, seen }
    }

    /// What came, by its number.
    pub fn seen(&self) -> HashMap<usize, Arrived> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<HashMap<usize, Arrived>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let (number, arrived) = head(&mut stream)?;
        let body = if arrived.method == "HEAD" { "" } else { "in" };
        seen.lock().unwrap().insert(number, arrived);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}");
        stream.get_mut().write_all(answer.as_bytes())?;
    }
}

/// None of the requests has a body.
fn head(stream: &mut impl BufRead) -> io::Result<(usize, Arrived)> {
    let start = line(stream)?;
    let (method, rest) = start.split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
    let (target, _) = rest.rsplit_once(' ').ok_or(io::ErrorKind::InvalidData)?;
    let mut arrived = Arrived {
        method: method.to_owned(),
        target: target.to_owned(),
        host: String::new(),
        domain: String::new(),
    };
    let mut number = 0;
    loop {
        let line = line(stream)?;
        let Some((name, value)) = line.split_once(':') else {
            return Ok((number, arrived));
        };
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name.to_ascii_lowercase().as_str() {
            "host" => arrived.host = value.to_owned(),
            DOMAIN => arrived.domain = value.to_owned(),
            NUMBER => number = value.parse().map_err(io::Error::other)?,
            _ => {}
        }
    }
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let end = line.iter().rposition(|b| !matches!(b, b'\r' | b'\n'));
    line.truncate(end.map_or(0, |end| end + 1));
    Ok(line.into_iter().map(char::from).collect())
}
