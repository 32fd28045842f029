//! A light upstream in a process of its own: answers every request without a body with 200.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const END: &[u8] = b"\r\n\r\n";

/// Serves until it is killed.
pub async fn serve(address: SocketAddr) {
    let listener = TcpListener::bind(address).await.expect("the port");
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(answer(stream));
        }
    }
}

async fn answer(mut stream: TcpStream) {
    let mut buffer = Vec::with_capacity(4096);
    loop {
        match stream.read_buf(&mut buffer).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        while let Some(at) = buffer.windows(END.len()).position(|w| w == END) {
            buffer.drain(..at + END.len());
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }
}
