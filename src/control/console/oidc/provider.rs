//! The identity provider: its discovery document, its keys, and what it gives for a code.
//!
//! Everything here waits for a network, and runs where waiting is allowed.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::time::Instant;
use ureq::tls::{RootCerts, TlsConfig};
use zeroize::{Zeroize as _, Zeroizing};

use super::Settings;
use super::flow::Flow;
use super::id_token::{self, Expected, Keys, Untrusted};
use super::roles::Claims;
use crate::error::{Error, Kind, Result, refuse};
use crate::operation::encoded;
use crate::operation::wire::Secret;
use crate::{remote, world};

/// How long the provider may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How old its documents grow before they are fetched again.
const FRESH: Duration = Duration::from_secs(3600);
/// How soon keys are fetched again because of one that is not among them.
const AGAIN: Duration = Duration::from_secs(60);
/// The largest answer, in bytes.
const ANSWER: u64 = 1 << 20;

/// Speaks to the provider.
pub struct Provider {
    settings: Settings,
    agent: ureq::Agent,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    metadata: Option<(Instant, Arc<Metadata>)>,
    keys: Option<(Instant, Arc<Keys>)>,
    /// When a key that is not among them was last asked for.
    missed: Option<Instant>,
}

/// What of the discovery document is used.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Given {
    id_token: Option<Secret>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl Provider {
    /// Of these settings. Nothing is asked for before somebody signs in.
    ///
    /// # Errors
    /// If the file of authorities holds none.
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            agent: agent(settings.ca.as_deref())?,
            settings,
            held: Mutex::default(),
        })
    }

    /// How it is set up.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where to send somebody who sets out.
    ///
    /// # Errors
    /// The provider cannot be asked, or gives no sense.
    pub fn address(&self, flow: &Flow) -> Result<String> {
        let metadata = self.metadata()?;
        let (redirect, scopes) = (self.settings.redirect(), self.settings.scopes());
        let challenge = flow.challenge();
        let asked = [
            ("response_type", "code"),
            ("client_id", &self.settings.client),
            ("redirect_uri", &redirect),
            ("scope", &scopes),
            ("state", &flow.state),
            ("nonce", &flow.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let at = &metadata.authorization_endpoint;
        let mark = if at.contains('?') { '&' } else { '?' };
        Ok(format!("{at}{mark}{}", *form(&asked)))
    }

    /// Exchanges a code, and gives what the provider says of who brought it; `now` is in
    /// seconds.
    ///
    /// # Errors
    /// The provider cannot be asked, does not take the code, or says what is not to be
    /// believed.
    pub fn exchange(&self, code: &str, flow: &Flow, now: u64) -> Result<Claims> {
        let metadata = self.metadata()?;
        let token = self.token(&metadata, code, flow)?;
        let expected = Expected {
            issuer: &self.settings.issuer,
            client: &self.settings.client,
            nonce: &flow.nonce,
            now,
        };
        let judged = |keys: &Keys| id_token::verify(token.expose_secret(), keys, &expected);
        let judged = match judged(&*self.keys(&metadata, false)?) {
            // It may be newer than the keys that are held.
            Err(Untrusted::UnknownKey) => judged(&*self.keys(&metadata, true)?),
            judged => judged,
        };
        judged.map_err(|why| {
            refuse(
                format_args!("what the identity provider says of you is not believed: {why}"),
                "begin again; if it happens again, tell who runs this server",
            )
            .of(Kind::Unauthenticated)
        })
    }

    /// The identity token that a code is good for.
    fn token(&self, metadata: &Metadata, code: &str, flow: &Flow) -> Result<Secret> {
        let redirect = self.settings.redirect();
        let mut asked = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect),
            ("code_verifier", &flow.verifier),
        ];
        let client = self.settings.client.as_str();
        let mut request = self
            .agent
            .post(&metadata.token_endpoint)
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded");
        match &self.settings.secret {
            None => asked.push(("client_id", client)),
            Some(secret) if metadata.wants_basic() => {
                let pair = Zeroizing::new(format!(
                    "{}:{}",
                    encoded(client),
                    *Zeroizing::new(encoded(secret.expose_secret()))
                ));
                let pair = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
                request = request.header("authorization", format!("Basic {}", *pair));
            }
            Some(secret) => {
                asked.push(("client_id", client));
                asked.push(("client_secret", secret.expose_secret()));
            }
        }
        let place = &metadata.token_endpoint;
        let mut answer = request
            .send(form(&asked).as_bytes())
            .map_err(|e| silent(place, &e))?;
        let status = answer.status();
        let mut body = body(place, &mut answer)?;
        let given = match status.as_u16() {
            200 => serde_json::from_slice::<Given>(&body).ok(),
            _ => None,
        };
        let refused = serde_json::from_slice::<Refused>(&body).ok();
        body.zeroize();
        if let Some(token) = given.and_then(|given| given.id_token) {
            return Ok(token);
        }
        let word = refused.map(|r| r.error).filter(|word| is_word(word));
        Err(match word {
            Some(word) => not_taken(&word),
            None => senseless(
                place,
                format_args!("status {status}, and no identity token"),
            ),
        })
    }

    fn metadata(&self) -> Result<Arc<Metadata>> {
        let now = world::instant();
        if let Some((at, metadata)) = &self.held().metadata
            && now.duration_since(*at) < FRESH
        {
            return Ok(Arc::clone(metadata));
        }
        let issuer = &self.settings.issuer;
        let place = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let json = self.fetch(&place)?;
        let found: Metadata = serde_json::from_slice(&json).map_err(|e| senseless(&place, e))?;
        if found.issuer != *issuer {
            return Err(senseless(
                &place,
                format_args!("it is of the issuer `{}`, not `{issuer}`", found.issuer),
            ));
        }
        for address in [
            &found.authorization_endpoint,
            &found.token_endpoint,
            &found.jwks_uri,
        ] {
            super::checked(address).map_err(|e| senseless(&place, e))?;
        }
        let metadata = Arc::new(found);
        self.held().metadata = Some((now, Arc::clone(&metadata)));
        Ok(metadata)
    }

    /// Its keys; `missed` if one is not among them.
    fn keys(&self, metadata: &Metadata, missed: bool) -> Result<Arc<Keys>> {
        let now = world::instant();
        {
            let mut held = self.held();
            let recently =
                |at: Option<Instant>, span| at.is_some_and(|at| now.duration_since(at) < span);
            let asked = missed && !recently(held.missed, AGAIN);
            if asked {
                held.missed = Some(now);
            }
            if let Some((at, keys)) = &held.keys
                && recently(Some(*at), FRESH)
                && !asked
            {
                return Ok(Arc::clone(keys));
            }
        }
        let place = &metadata.jwks_uri;
        let keys = Keys::parse(&self.fetch(place)?).map_err(|e| senseless(place, e))?;
        let keys = Arc::new(keys);
        self.held().keys = Some((now, Arc::clone(&keys)));
        Ok(keys)
    }

    fn fetch(&self, place: &str) -> Result<Vec<u8>> {
        let request = self.agent.get(place).header("accept", "application/json");
        let mut answer = request.call().map_err(|e| silent(place, &e))?;
        let status = answer.status();
        if status.as_u16() != 200 {
            return Err(senseless(place, format_args!("status {status}")));
        }
        body(place, &mut answer)
    }

    /// A panic while it was held left it whole.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metadata {
    /// The usual way to show our secret, which the specification has every provider take
    /// who does not say otherwise.
    fn wants_basic(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_ref();
        methods.is_none_or(|all| {
            let has = |name: &str| all.iter().any(|m| m == name);
            has("client_secret_basic") || !has("client_secret_post")
        })
    }
}

fn agent(ca: Option<&Path>) -> Result<ureq::Agent> {
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        // Codes and our secret go where the discovery document says, and nowhere else.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent("keystile");
    if let Some(ca) = ca {
        let roots = RootCerts::Specific(Arc::new(remote::certificates(ca)?));
        config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    Ok(config.build().new_agent())
}

fn body(place: &str, answer: &mut ureq::http::Response<ureq::Body>) -> Result<Vec<u8>> {
    let limited = answer.body_mut().with_config().limit(ANSWER);
    limited.read_to_vec().map_err(|e| silent(place, &e))
}

/// A form, encoded.
fn form(fields: &[(&str, &str)]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    for (name, value) in fields {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(&Zeroizing::new(encoded(value)));
    }
    out
}

/// A word such as `access_denied`, fit to be shown: others could be anything.
pub fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// The provider did not take a code, or did not let somebody in; it says so in a word.
pub fn not_taken(word: &str) -> Error {
    let next = match word {
        "access_denied" => "ask who runs the identity provider to let you in",
        "invalid_client" | "unauthorized_client" => {
            "tell who runs this server: the provider does not take its client id or secret"
        }
        _ => "begin again; if it happens again, tell who runs this server",
    };
    refuse(
        format_args!("the identity provider refused (`{word}`)"),
        next,
    )
    .of(Kind::Unauthenticated)
}

fn silent(place: &str, e: &ureq::Error) -> Error {
    refuse(
        format_args!("the identity provider cannot be reached at `{place}` ({e})"),
        "try again, or sign in with a token",
    )
    .of(Kind::Unavailable)
}

fn senseless(place: &str, why: impl std::fmt::Display) -> Error {
    refuse(
        format_args!("the identity provider's answer at `{place}` makes no sense ({why})"),
        "tell who runs this server, or sign in with a token",
    )
    .of(Kind::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use crate::console::oidc::flow::Flows;
    use crate::world::World;

    /// A provider whose discovery document is made of its own address.
    fn discovered(document: fn(&str) -> serde_json::Value) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let body = document(&issuer).to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            lines
                .take_while(|l| l.as_ref().is_ok_and(|l| !l.is_empty()))
                .for_each(drop);
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}",
                body.len()
            );
            write!(stream, "{head}\r\n\r\n{body}").unwrap();
        });
        let provider = Provider::new(Settings {
            issuer,
            client: "a b".to_owned(),
            secret: None,
            console: "https://keystile.example.com".to_owned(),
            scopes: vec!["groups".to_owned(), "openid".to_owned()],
            rules: Vec::new(),
            ca: None,
        })?;
        let entropy = World::at(1).entropy;
        let flow = Flows::new(entropy)?.begin("/console", 1, entropy)?;
        provider.address(&flow)
    }

    fn document(issuer: &str) -> serde_json::Value {
        serde_json::json!({
            "issuer": issuer,
            "authorization_endpoint": "https://id.example.com/authorize?tenant=1",
            "token_endpoint": "https://id.example.com/token",
            "jwks_uri": "https://id.example.com/keys",
        })
    }

    #[test]
    fn somebody_is_sent_where_the_document_says_with_all_that_binds_the_answer() {
        let address = discovered(document).unwrap();
        let (place, query) = address.split_once("&response_type=code&").unwrap();
        assert_eq!(place, "https://id.example.com/authorize?tenant=1");
        for part in [
            "client_id=a%20b",
            "redirect_uri=https%3A%2F%2Fkeystile.example.com%2Fconsole%2Foidc%2Fcallback",
            "scope=openid%20groups",
            "code_challenge_method=S256",
        ] {
            assert!(query.split('&').any(|p| p == part), "{part}: {query}");
        }
        for name in ["state=", "nonce=", "code_challenge="] {
            let mut all = query.split('&').filter_map(|p| p.strip_prefix(name));
            assert_eq!(all.next().map(str::len), Some(43), "{name}: {query}");
        }
    }

    #[test]
    fn a_document_of_somebody_else_or_that_leads_into_the_open_is_refused() {
        type Change = fn(&str) -> serde_json::Value;
        let changes: [(&str, Change); 4] = [
            ("it is of the issuer", |issuer| {
                let mut other = document(issuer);
                other["issuer"] = format!("{issuer}/").into();
                other
            }),
            ("is no address over TLS", |issuer| {
                let mut open = document(issuer);
                open["token_endpoint"] = "http://id.example.com/token".into();
                open
            }),
            ("is no address over TLS", |issuer| {
                let mut script = document(issuer);
                script["authorization_endpoint"] = "javascript:alert(1)".into();
                script
            }),
            ("makes no sense", |_| "no document".into()),
        ];
        for (words, change) in changes {
            let e = discovered(change).unwrap_err();
            assert!(e.to_string().contains(words), "{words}: {e}");
            assert_eq!(e.kind(), Kind::Unavailable);
        }
    }

    #[test]
    fn our_secret_is_shown_as_the_provider_wants_it() {
        let wants = |methods: Option<&[&str]>| {
            let mut json = document("https://id.example.com");
            if let Some(methods) = methods {
                json["token_endpoint_auth_methods_supported"] = serde_json::json!(methods);
            }
            serde_json::from_value::<Metadata>(json)
                .unwrap()
                .wants_basic()
        };
        assert!(wants(None));
        assert!(wants(Some(&["client_secret_post", "client_secret_basic"])));
        assert!(wants(Some(&["private_key_jwt"])));
        assert!(!wants(Some(&["client_secret_post"])));
    }
}
