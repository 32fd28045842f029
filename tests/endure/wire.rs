//! HTTP with a deadline for every step: a peer may stand still in the middle of an answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use keystile_tests::proxy::{Client, request};
use serde_json::Value;

/// The API of a server, as seen by an owner.
#[derive(Clone)]
pub struct Api {
    pub address: SocketAddr,
    pub token: String,
    pub patience: Duration,
}

impl Api {
    /// Status and body; null if there is none.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> io::Result<(u16, Value)> {
        let mut asked = request(method, path).bearer(&self.token);
        if !body.is_null() {
            asked = asked
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = self.connect()?.try_send(&asked)?;
        let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        Ok((answer.status, body))
    }

    pub fn get(&self, path: &str) -> io::Result<(u16, Value)> {
        self.call("GET", path, &Value::Null)
    }

    fn connect(&self) -> io::Result<Client> {
        Client::within(self.address, self.patience)
    }
}
