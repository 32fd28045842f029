//! `keystilectl token …`

use clap::{Args, Subcommand};
use ipnet::IpNet;
use keystile_core::key::KeyId;
use serde::Serialize;
use zeroize::Zeroizing;

use super::Context;
use super::pages::AllPages;
use super::serve;
use crate::output::{self, cell};
use keystile_api::token::{self, CreatedToken, TokenView};
use keystile_model::caller::Role;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::rules;
use keystile_model::when::{self, When};
use keystile_model::wire::{Id, PAGE, Range, Secret, Span, TimeWords};

/// Tokens: access to a server, in a role
#[derive(Subcommand)]
pub enum TokenCommand {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Create a token; it is shown only once
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl token create ci --role issuer --expires 30d --cidr 10.0.0.0/8
  keystilectl token create acme-self --role client --client acme --scope read --max-expiry 90d
  keystilectl token create ops --role owner --invite      # a link that signs in to the console, once

A token of the role `client` manages only the keys of that client, and issues none beyond the scopes,
plans, lifetime and number that are given here.")]
pub struct Create {
    /// The name of the token, for people and for the audit log
    name: String,
    /// The role, which says what the token may do
    #[arg(long)]
    role: Role,
    /// The client that the token is bound to (role `client`)
    #[arg(long)]
    client: Option<String>,
    /// A scope that its keys may hold; can be repeated
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// A plan that its keys may have; include the client's own plan if they may have it, too; can be repeated
    /// [default: the client's plan only]
    #[arg(long)]
    plan: Vec<String>,
    /// The longest lifetime of its keys
    #[arg(long, value_name = "SPAN", value_parser = when::span)]
    max_expiry: Option<u64>,
    /// How many keys may be valid at once
    #[arg(long, value_name = "N")]
    max_keys: Option<u32>,
    /// When the token expires [default: 90d; an invitation: 7d to the role `client`, 1h to others]. What an
    /// invitation is exchanged for lasts 90 days
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    /// Print a link instead, which works once: whoever opens it in a browser gets the token there, and
    /// is signed in to the console
    #[arg(long)]
    invite: bool,
    /// With --invite: the address at which browsers reach the server [default: the one that this
    /// command works through, or the server that works on this store]
    #[arg(long, value_name = "URL", requires = "invite", value_parser = console_address)]
    at: Option<String>,
    /// An address range from which the token may be used; can be repeated
    #[arg(long, value_name = "CIDR", value_parser = rules::cidr)]
    cidr: Vec<IpNet>,
}

/// The address of a server, as far as its pages.
fn console_address(text: &str) -> std::result::Result<String, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "`{text}` is not the address of a server; write `https://keystile.example.com:8443`"
        )
    };
    let address: ureq::http::Uri = text.parse().map_err(|_| wrong())?;
    let is_web = matches!(address.scheme_str(), Some("http" | "https"));
    let has_user = address
        .authority()
        .is_some_and(|a| a.as_str().contains('@'));
    let is_root = matches!(address.path(), "" | "/") && address.query().is_none();
    match is_web && is_root && !has_user && !text.contains('#') {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err(wrong()),
    }
}

/// List tokens
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl token list")]
pub struct List {
    /// List this many at most [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// Revoke a token permanently
#[derive(Args)]
#[command(after_help = "\
Example:
  keystilectl token revoke 0Ab3dEfGh1")]
pub struct Revoke {
    /// The id of the token
    #[arg(value_parser = token_id)]
    token: KeyId,
}

/// Reads a token's id; from a whole token, the id inside.
fn token_id(text: &str) -> std::result::Result<KeyId, String> {
    super::key_id(text)
        .map_err(|_| "a token's id is ten of `0-9A-Za-z`; see `keystilectl token list`".to_owned())
}

impl TokenCommand {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::Create(c) => c.run(cx),
            Self::List(c) => {
                let most = c.limit.map(|n| n as usize);
                let pages = AllPages::first(cx.out, most, |cursor| {
                    let found = cx.perform(token::List {
                        cursor,
                        limit: Some(PAGE),
                        ..token::List::default()
                    })?;
                    Ok((found.tokens, found.next))
                })?;
                let next = "`keystilectl token create NAME --role ROLE` creates a token";
                pages.end_or(next, |all| table(&all, cx.now()))
            }
            Self::Revoke(c) => {
                let token = cx.perform(token::Revoke { id: Id(c.token) })?;
                cx.out.show(&token, || {
                    format!("token {} ({}) revoked\n", token.name, token.id.0)
                })
            }
        }
    }
}

impl Create {
    fn run(self, cx: &Context) -> Result<()> {
        let made = cx.make(token::Create {
            name: self.name,
            role: self.role,
            client: self.client,
            scopes: self.scope,
            plans: self.plan,
            max_expiry: self.max_expiry.filter(|s| *s > 0).map(Span),
            max_keys: self.max_keys,
            cidrs: self.cidr.into_iter().map(Range).collect(),
            expires: self.expires.map(TimeWords),
            invite: self.invite,
        })?;
        let server = match self.at {
            Some(url) => ConsoleAddress::Known(url),
            None => address(cx),
        };
        let link = self.invite.then(|| link(&server, &made)).flatten();
        let json = TokenOutput {
            made: &made,
            link: link.as_ref().map(|l| l.as_str()),
        };
        let shown = cx.out.show(&json, || {
            let text = made.token.as_ref().map_or("-", Secret::expose_secret);
            let secret = match &link {
                Some(link) => format!("link  {}", link.as_str()),
                None => format!("token  {text}"),
            };
            format!("{secret}\n\n{}", fields(&made.view, cx.now()))
        });
        shown.map_err(|e| {
            let id = made.view.id.0;
            refuse(
                Code::SecretNotShown,
                format_args!("token {id} was created but not shown: {e}"),
                format_args!("revoke it: `keystilectl token revoke {id}`"),
            )
        })?;
        if !cx.out.is_json() {
            cx.out.note(match (self.invite, &server) {
                (true, ConsoleAddress::Known(_)) => {
                    "pass the link on now: it is not shown again, and works once"
                }
                (true, ConsoleAddress::Usual) => {
                    "pass the link on now: it is not shown again, and works once, when `keystilectl serve` runs; if that listens elsewhere, give the address with `--at`"
                }
                (false, _) => {
                    "save it now: it is not shown again; give it to `keystilectl --server` as KEYSTILE_TOKEN"
                }
            });
        }
        Ok(())
    }
}

/// A new token for programs.
#[derive(Serialize)]
struct TokenOutput<'t> {
    #[serde(flatten)]
    made: &'t CreatedToken,
    /// With `--invite`.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'t str>,
}

/// Where browsers reach a server.
enum ConsoleAddress {
    /// A server that there is.
    Known(String),
    /// Where `serve` listens if it is not told otherwise.
    Usual,
}

impl ConsoleAddress {
    fn url(&self) -> &str {
        match self {
            Self::Known(url) => url.trim_end_matches('/'),
            Self::Usual => "http://127.0.0.1:8080",
        }
    }
}

fn address(cx: &Context) -> ConsoleAddress {
    let known = match &cx.server {
        Some(server) => Some(server.url().to_owned()),
        None => serve::address(cx),
    };
    known.map_or(ConsoleAddress::Usual, ConsoleAddress::Known)
}

/// The code stands behind `#`, which browsers do not send: it is in no log on the way.
fn link(server: &ConsoleAddress, made: &CreatedToken) -> Option<Zeroizing<String>> {
    let base = server.url();
    let code = made.token.as_ref()?.expose_secret();
    Some(Zeroizing::new(format!("{base}/console/invitation#{code}")))
}

fn fields(token: &TokenView, now: u64) -> String {
    let list = |l: &Option<Vec<String>>| l.as_ref().map(|l| l.join(" ")).unwrap_or_default();
    output::fields([
        ("id", token.id.0.to_string()),
        ("name", token.name.clone()),
        ("role", token.role.to_string()),
        ("client", token.client.clone().unwrap_or_default()),
        ("scopes", list(&token.scopes)),
        ("plans", list(&token.plans)),
        (
            "max expiry",
            token
                .max_expiry
                .as_ref()
                .map(|s| when::duration(s.0))
                .unwrap_or_default(),
        ),
        (
            "max keys",
            token.max_keys.map(|n| n.to_string()).unwrap_or_default(),
        ),
        ("from", token.cidrs.join(" ")),
        (
            "expires",
            format!(
                "{} ({})",
                when::short(token.expires.0),
                when::relative(token.expires.0, now)
            ),
        ),
    ])
}

fn table(all: &[TokenView], now: u64) -> String {
    output::table(
        [
            "id",
            "name",
            "role",
            "client",
            "status",
            "expires",
            "last used",
            "by",
        ],
        all.iter().map(|t| {
            [
                cell(t.id.0),
                cell(&t.name),
                cell(t.role),
                cell(t.client.as_deref().unwrap_or("-")),
                cell(&t.status),
                cell(when::relative(t.expires.0, now)),
                cell(
                    t.last_used
                        .as_ref()
                        .map_or_else(|| "never".to_owned(), |u| when::relative(u.0, now)),
                ),
                cell(&t.created_by),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokens_id_is_called_so() {
        assert!(token_id("0Ab3dEfGh1").is_ok());
        let refused = token_id("nonsense").unwrap_err();
        assert!(refused.starts_with("a token's id is ten of"), "{refused}");
    }

    #[test]
    fn a_link_leads_to_an_address_that_a_browser_can_open() {
        for (typed, address) in [
            (
                " https://ks.example.com:8443/ ",
                "https://ks.example.com:8443",
            ),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(console_address(typed).as_deref(), Ok(address));
        }
        for wrong in [
            "",
            "ks.example.com",
            "ks.example.com:8443",
            "ftp://ks.example.com",
            "https://",
            "https://me@ks.example.com",
            "https://ks.example.com/console",
            "https://ks.example.com/?a",
            "https://ks.example.com/#a",
        ] {
            assert!(console_address(wrong).is_err(), "{wrong}");
        }
    }
}
