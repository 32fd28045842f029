//! Sends requests as bytes, many on a connection: HTTP/1.1 one behind the other, HTTP/2 side by side
//! in frames written here, because every client refuses to send some of these.

use super::corpus::Case;
use super::recorder::NUMBER;
use crate::support::{Client, PATIENCE};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// How a request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http1,
    Http2,
}

/// What became of a request, in a word: `in`, the code of a refusal, or what Envoy did to it.
pub type Answers = HashMap<usize, String>;

impl Protocol {
    /// Requests on one connection at a time. Behind a refusal Envoy reads no pipelined ones.
    fn batch(self) -> usize {
        match self {
            Self::Http1 => 1,
            Self::Http2 => 24,
        }
    }
}

/// Sends each under its number.
pub fn send(to: SocketAddr, protocol: Protocol, cases: &[(usize, &Case)]) -> Answers {
    let mut answers = Answers::new();
    let mut rest = cases;
    let mut batch = protocol.batch();
    let mut open: Option<Connection> = None;
    while !rest.is_empty() {
        let fresh = open.is_none();
        let mut connection = open
            .take()
            .unwrap_or_else(|| Connection::open(to, protocol));
        let now = &rest[..batch.min(rest.len())];
        let (answered, alive) = connection.exchange(now);
        let count = answered.len();
        answers.extend(answered);
        rest = &rest[count..];
        if alive {
            open = Some(connection);
            batch = protocol.batch();
        } else if count == 0 && fresh {
            // Nothing came back: find out which of them it is that ends connections.
            if batch == 1 {
                answers.insert(rest[0].0, "connection closed".into());
                rest = &rest[1..];
            }
            batch = 1;
        }
    }
    answers
}

enum Connection {
    Http1(Client),
    Http2(Frames),
}

impl Connection {
    fn open(to: SocketAddr, protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http1 => Self::Http1(Client::connect(to)),
            Protocol::Http2 => Self::Http2(Frames::connect(to)),
        }
    }

    /// The answers to the first so many, and whether the connection can take more.
    fn exchange(&mut self, cases: &[(usize, &Case)]) -> (Vec<(usize, String)>, bool) {
        match self {
            Self::Http1(client) => in_turn(client, cases),
            Self::Http2(frames) => frames.exchange(cases),
        }
    }
}

fn in_turn(client: &mut Client, cases: &[(usize, &Case)]) -> (Vec<(usize, String)>, bool) {
    let bytes: Vec<u8> = cases
        .iter()
        .flat_map(|(number, case)| case.http1(*number))
        .collect();
    // A connection that was closed shows when its answers are read.
    let _ = client.write(&bytes);
    let mut answers = Vec::new();
    for (number, case) in cases {
        let Ok(response) = client.read(case.method) else {
            return (answers, false);
        };
        let closes = response.header("connection") == Some("close");
        let word = match response.status {
            200 => "in".to_owned(),
            status => word(&response.body).unwrap_or_else(|| format!("{status} without a code")),
        };
        answers.push((*number, word));
        if closes {
            return (answers, false);
        }
    }
    (answers, true)
}

/// The code of a refusal, or what the upstream says.
fn word(body: &[u8]) -> Option<String> {
    if body == b"in" {
        return Some("in".into());
    }
    let problem: Value = serde_json::from_slice(body).ok()?;
    Some(problem["code"].as_str()?.to_owned())
}

impl Case {
    pub fn http1(&self, number: usize) -> Vec<u8> {
        let mut bytes = [self.method.as_bytes(), b" ", &self.target, b" HTTP/1.1\r\n"].concat();
        for host in [Some(&self.authority), self.host.as_ref()]
            .into_iter()
            .flatten()
        {
            bytes.extend(b"host: ");
            bytes.extend(host);
            bytes.extend(b"\r\n");
        }
        if matches!(self.method, "POST" | "PUT" | "PATCH") {
            bytes.extend(b"content-length: 0\r\n");
        }
        if let Some(key) = &self.key {
            bytes.extend(format!("x-api-key: {key}\r\n").as_bytes());
            bytes.extend(format!("authorization: Bearer {key}\r\n").as_bytes());
        }
        bytes.extend(format!("{NUMBER}: {number}\r\n\r\n").as_bytes());
        bytes
    }

    /// A header block (RFC 7541) of literals that neither side has to remember.
    fn http2(&self, number: usize) -> Vec<u8> {
        let number = number.to_string();
        let mut fields: Vec<(&str, &[u8])> = vec![
            (":method", self.method.as_bytes()),
            (":scheme", b"http"),
            (":authority", &self.authority),
            (":path", &self.target),
        ];
        if let Some(host) = &self.host {
            fields.push(("host", host));
        }
        let bearer = self.key.as_ref().map(|key| format!("Bearer {key}"));
        if let (Some(key), Some(bearer)) = (&self.key, &bearer) {
            fields.push(("x-api-key", key.as_bytes()));
            fields.push(("authorization", bearer.as_bytes()));
        }
        fields.push((NUMBER, number.as_bytes()));
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            literal(&mut block, name.as_bytes());
            literal(&mut block, value);
        }
        block
    }
}

fn literal(block: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        short @ 0..127 => block.push(short as u8),
        long => {
            block.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                block.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.extend(text);
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// HTTP/2 as far as it takes to ask and to be answered. Header blocks of answers are not read:
/// who was let in is known from the upstream, and refusals say their code in the body.
struct Frames {
    stream: TcpStream,
    next: u32,
}

impl Frames {
    fn connect(to: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[]));
        // Answers are small; together they may take what they like.
        hello.extend(frame(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes()));
        stream.write_all(&hello).unwrap();
        Self { stream, next: 1 }
    }

    fn exchange(&mut self, cases: &[(usize, &Case)]) -> (Vec<(usize, String)>, bool) {
        let mut streams = HashMap::new();
        let mut bytes = Vec::new();
        for (n, (number, case)) in cases.iter().enumerate() {
            streams.insert(self.next, n);
            let block = case.http2(*number);
            bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, self.next, &block));
            self.next += 2;
        }
        let _ = self.stream.write_all(&bytes);
        let mut bodies: Vec<Vec<u8>> = vec![Vec::new(); cases.len()];
        let mut words: Vec<Option<String>> = vec![None; cases.len()];
        let mut alive = true;
        while alive && words.iter().any(Option::is_none) {
            alive = match self.read() {
                Err(_) | Ok((GOAWAY, ..)) => false,
                Ok((kind, flags, id, payload)) => {
                    if let Some(n) = streams.get(&id).copied() {
                        if kind == DATA {
                            bodies[n].extend(payload);
                        }
                        let ended = matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
                        if ended {
                            let word = word(&bodies[n]);
                            words[n] = Some(word.unwrap_or_else(|| "no body".into()));
                        } else if kind == RST_STREAM && words[n].is_none() {
                            words[n] = Some("stream reset".into());
                        }
                    }
                    true
                }
            };
        }
        // Counted from the front; what was answered behind a gap is asked again.
        let numbers = cases.iter().map(|(number, _)| *number);
        let answers = numbers
            .zip(words)
            .map_while(|(number, word)| Some((number, word?)));
        (answers.collect(), alive)
    }

    /// Kind, flags, stream and payload of the next frame; settings and pings are answered here.
    fn read(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, i, d, e, f] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        if kind == SETTINGS && flags & ACK == 0 {
            self.stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?;
        }
        if kind == PING && flags & ACK == 0 {
            self.stream.write_all(&frame(PING, ACK, 0, &payload))?;
        }
        Ok((kind, flags, u32::from_be_bytes([i & 127, d, e, f]), payload))
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}
