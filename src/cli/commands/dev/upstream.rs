//! An upstream for those that have none yet: it says who was let in.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use keystile_model::error::{Code, Error, Result, refuse};
use keystile_render::envoy::HostPort;

/// The largest head of a request that is read, in bytes.
const HEAD: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts it on a free port.
pub(super) fn start() -> Result<HostPort> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| cannot(&e))?;
    let address = listener.local_addr().map_err(|e| cannot(&e))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A caller that leaves is no concern of the others.
            thread::spawn(move || answer(stream));
        }
    });
    HostPort::parse(&address.to_string()).map_err(keystile_model::error::defect)
}

fn cannot(e: &io::Error) -> Error {
    refuse(
        Code::SystemFailed,
        format_args!("no upstream can be started ({e})"),
        "name one with `--upstream`",
    )
}

/// Answers one request, and closes the connection.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new((&stream).take(HEAD));
    let (mut who, mut length, mut line) = (String::new(), 0, String::new());
    while reader.read_line(&mut line)? > 2 {
        let (name, value) = line.split_once(':').unwrap_or_default();
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "x-keystile-client" => who = format!(", {value}"),
            "content-length" => length = value.parse().unwrap_or(0),
            _ => {}
        }
        line.clear();
    }
    // Otherwise closing would reset the connection before the answer is read.
    io::copy(&mut reader.take(length), &mut io::sink())?;
    let body = format!("hello{who}\n");
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
