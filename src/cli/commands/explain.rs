//! `keystilectl explain`

mod cause;
mod line;
mod logged;
mod table;

use std::io::{BufReader, Read as _};
use std::net::IpAddr;

use clap::Args;
use keystile_core::request::certificate;

use super::Context;
use keystile_api::explain;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::when::When;
use keystile_model::wire::{Secret, TimeWords};

/// Explain why a request is let in or refused, rule by rule
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl explain --key 0Ab3dEfGh1 --method GET --path /v1/users/7
  keystilectl explain --key - --path /v1/users/7 --ip 10.1.2.3 < key.txt
  keystilectl explain --path /healthz                     # without a key
  grep b4b3c1f0 access.log | keystilectl explain --log -
  keystilectl explain --log - --request-id b4b3c1f0-6a0c-9f3d-8a52-1f7e5d0c9a11 < access.log

Give the id of a key, or the key itself on stdin with `-`: everybody on the machine can read what is on
a command line. The answer is for the store as it is now, pushed or not, and assumes that all buckets
are full; it says so. Nothing is counted.

With --log it reads a line of Envoy's access log in JSON, as `keystilectl render` configures it (or
Istio), says what happened and what to do, and asks the same of the store as it is.")]
pub struct Explain {
    /// The key: its id, `-` to read it from stdin, or the whole key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The method of the request
    #[arg(long, default_value = "GET")]
    method: String,
    /// The path, as the caller sends it
    #[arg(long, required_unless_present = "log")]
    path: Option<String>,
    /// A request that is in an access log, by its line; `-` to read the line from stdin
    #[arg(
        long,
        value_name = "LINE",
        conflicts_with_all = ["key", "method", "path", "host", "virtual_host", "ip", "origin", "certificate", "header", "tls", "at"]
    )]
    log: Option<String>,
    /// Which line of the log: that of the request with this id, as its answer says it
    /// [default: the first]
    #[arg(long, value_name = "ID", requires = "log")]
    request_id: Option<String>,
    /// The host, with its port if the request names one [default: the request names no host]
    #[arg(long, default_value = "", hide_default_value = true)]
    host: String,
    /// The virtual host that Envoy would choose, if a route of the policy names one
    #[arg(long, value_name = "NAME")]
    virtual_host: Option<String>,
    /// The address that the request comes from
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// The web origin that the request comes from
    #[arg(long)]
    origin: Option<String>,
    /// An identity in the client certificate, spiffe://example.org/billing or
    /// dns:api.example.com; at most one of each kind
    #[arg(long, value_name = "IDENTITY", value_parser = certificate::identity)]
    certificate: Vec<String>,
    /// A request header; can be repeated
    #[arg(long, short = 'H', value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The request comes over TLS
    #[arg(long)]
    tls: bool,
    /// When the request comes [default: now]
    #[arg(long, value_name = "WHEN")]
    at: Option<When>,
}

fn header(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("`{text}` is not a header; write `name: value`"))?;
    if name.trim().is_empty() {
        return Err(format!("`{text}` is not a header; write `name: value`"));
    }
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl Explain {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        if let Some(log) = &self.log {
            let id = self.request_id.as_deref();
            let line = match log.as_str() {
                "-" => line::LogLine::find(BufReader::new(std::io::stdin()), id),
                text => line::LogLine::find(text.as_bytes(), id),
            };
            return logged::explain(cx, &line?);
        }
        let key = match self.key.as_deref() {
            None => None,
            Some("-") => Some(from_stdin()?),
            Some(text) => Some(Secret::new(text)),
        };
        let mut headers = self.header;
        headers.extend(self.origin.map(|o| ("origin".to_owned(), o)));
        let answer = cx.perform(explain::Explain {
            key,
            method: self.method,
            // Required without a log.
            path: self.path.unwrap_or_default(),
            host: self.host,
            virtual_host: self.virtual_host,
            ip: self.ip.map(|ip| ip.to_string()),
            certificates: self.certificate,
            headers,
            tls: self.tls,
            at: self.at.map(TimeWords),
        })?;
        cx.out.show(&answer, || table::words(&answer))
    }
}

fn from_stdin() -> Result<Secret> {
    let mut text = zeroize::Zeroizing::new(String::new());
    std::io::stdin()
        .take(64 << 10)
        .read_to_string(&mut text)
        .map_err(|e| {
            refuse(
                Code::FileUnreadable,
                format_args!("the key cannot be read from stdin ({e})"),
                "pipe it in: `… --key - < key.txt`",
            )
        })?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

#[cfg(test)]
mod tests;
