//! `keystilectl explain`

use std::io::Read as _;
use std::net::IpAddr;

use clap::Args;
use comfy_table::Color;
use keystile_core::request::certificate;

use super::Context;
use crate::output::{self, cell};
use keystile_api::explain::{self, Explanation};
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

Give the id of a key, or the key itself on stdin with `-`: everybody on the machine can read what is on
a command line. The answer is for the store as it is now, pushed or not, and assumes that all buckets
are full; it says so. Nothing is counted.")]
pub struct Explain {
    /// The key: its id, `-` to read it from stdin, or the whole key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The method of the request
    #[arg(long, default_value = "GET")]
    method: String,
    /// The path, as the caller sends it
    #[arg(long)]
    path: String,
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
            path: self.path,
            host: self.host,
            virtual_host: self.virtual_host,
            ip: self.ip.map(|ip| ip.to_string()),
            certificates: self.certificate,
            headers,
            tls: self.tls,
            at: self.at.map(TimeWords),
        })?;
        cx.out.show(&answer, || words(&answer))
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

fn words(a: &Explanation) -> String {
    let rows = a.rules.iter().map(|n| {
        let (word, color) = if n.held {
            ("yes", Color::Green)
        } else {
            ("no", Color::Red)
        };
        [cell(&n.rule), cell(word).fg(color), cell(&n.text)]
    });
    let mut out = output::table(["rule", "held", "because"], rows);
    out.push('\n');
    if a.shadow && a.code != "ok" {
        out.push_str("shadow mode: counted, but let through\n");
    }
    if let Some(hint) = &a.hint {
        out.push_str(hint);
        out.push('\n');
    }
    out.push_str(&output::fields([
        ("code", a.code.clone()),
        ("status", a.status.to_string()),
        ("detail", a.detail.clone()),
    ]));
    out
}
