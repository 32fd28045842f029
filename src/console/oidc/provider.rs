//! The identity provider: its discovery document, its keys, and what it gives for a code.
//!
//! Everything here waits for the network, so it runs on threads that may block.

mod document;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::time::Instant;
use ureq::tls::{RootCerts, TlsConfig};
use zeroize::{Zeroize as _, Zeroizing};

use super::SignInSettings;
use super::flow::Flow;
use super::id_token::{self, Expected, ProviderKeys, UntrustedToken};
use super::roles::Claims;
use document::{AtHand, Document, at_hand, good_for, outlasted};
use keystile_api::encoded;
use keystile_api::remote;
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::wire::Secret;

/// How long the provider may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon keys may be fetched again because none of them verifies a token.
const AGAIN: Duration = Duration::from_secs(10);
/// The largest answer, in bytes.
const ANSWER: u64 = 1 << 20;

/// Calls the provider.
pub struct Provider {
    settings: SignInSettings,
    agent: ureq::Agent,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    metadata: Option<Document<Metadata>>,
    keys: Option<Document<ProviderKeys>>,
    /// When keys were last fetched because none of them verified a token.
    missed: Option<Instant>,
}

/// The fields of the discovery document that are used.
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
    /// With these settings. Nothing is fetched before somebody signs in.
    ///
    /// # Errors
    /// If the file of authorities holds none.
    pub fn new(settings: SignInSettings) -> Result<Self> {
        Ok(Self {
            agent: agent(settings.ca.as_deref())?,
            settings,
            held: Mutex::default(),
        })
    }

    /// How it is set up.
    pub fn settings(&self) -> &SignInSettings {
        &self.settings
    }

    /// The URL to which a person is sent to sign in; `at` is the present.
    ///
    /// # Errors
    /// If the provider is unreachable, or its answer is invalid.
    pub fn address(&self, flow: &Flow, at: Instant) -> Result<String> {
        let metadata = self.metadata(at)?;
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

    /// Exchanges a code, and gives the provider's claims about the person. `now` is in seconds, `at`
    /// the same moment on the monotonic clock.
    ///
    /// # Errors
    /// If the provider is unreachable, does not accept the code, or its answer is not authentic.
    pub fn exchange(&self, code: &str, flow: &Flow, now: u64, at: Instant) -> Result<Claims> {
        let metadata = self.metadata(at)?;
        let token = self.token(&metadata, code, flow)?;
        let expected = Expected {
            issuer: &self.settings.issuer,
            client: &self.settings.client,
            nonce: &flow.nonce,
            now,
        };
        let judged = |keys: &ProviderKeys| id_token::verify(token.expose_secret(), keys, &expected);
        let judged = match judged(&*self.keys(&metadata, at)?) {
            // The token may be newer than the cached keys: a provider may publish another key under
            // the same name, or under none.
            Err(why @ (UntrustedToken::UnknownKey | UntrustedToken::Signature)) => {
                match self.keys_anew(&metadata, at)? {
                    Some(keys) => judged(&keys),
                    None => Err(why),
                }
            }
            judged => judged,
        };
        judged.map_err(|why| {
            refuse(
                Code::SignInFailed,
                format_args!("the identity token of the provider is rejected: {why}"),
                "start again; if it happens again, tell the operator of this server",
            )
        })
    }

    /// The identity token for a code.
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

    fn metadata(&self, now: Instant) -> Result<Arc<Metadata>> {
        let old = match at_hand(self.held().metadata.as_ref(), now) {
            AtHand::Fresh(metadata) => return Ok(metadata),
            AtHand::Old(old) => old,
        };
        match self.fetch_metadata() {
            Ok((metadata, good)) => {
                let document = Document::new(metadata, now, good);
                let metadata = Arc::clone(&document.content);
                self.held().metadata = Some(document);
                Ok(metadata)
            }
            Err(e) => outlasted(old, e),
        }
    }

    fn fetch_metadata(&self) -> Result<(Metadata, Duration)> {
        let issuer = &self.settings.issuer;
        let place = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let (json, good) = self.fetch(&place)?;
        let found: Metadata = serde_json::from_slice(&json).map_err(|e| senseless(&place, e))?;
        if found.issuer != *issuer {
            return Err(senseless(
                &place,
                format_args!(
                    "it belongs to the issuer `{}`, not to `{issuer}`",
                    found.issuer
                ),
            ));
        }
        for (field, address) in [
            ("authorization_endpoint", &found.authorization_endpoint),
            ("token_endpoint", &found.token_endpoint),
            ("jwks_uri", &found.jwks_uri),
        ] {
            self.settings
                .checked_endpoint(field, address)
                .map_err(|e| senseless(&place, e))?;
        }
        Ok((found, good))
    }

    /// Its keys.
    fn keys(&self, metadata: &Metadata, now: Instant) -> Result<Arc<ProviderKeys>> {
        let old = match at_hand(self.held().keys.as_ref(), now) {
            AtHand::Fresh(keys) => return Ok(keys),
            AtHand::Old(old) => old,
        };
        match self.fetch_keys(metadata, now) {
            Ok(keys) => Ok(keys),
            Err(e) => outlasted(old, e),
        }
    }

    /// Its keys, fetched because the cached ones do not verify a token; `None` if that was done a
    /// moment ago.
    fn keys_anew(&self, metadata: &Metadata, now: Instant) -> Result<Option<Arc<ProviderKeys>>> {
        {
            let mut held = self.held();
            let recently = held.missed.is_some_and(|at| now.duration_since(at) < AGAIN);
            if recently {
                return Ok(None);
            }
            held.missed = Some(now);
        }
        self.fetch_keys(metadata, now).map(Some)
    }

    fn fetch_keys(&self, metadata: &Metadata, now: Instant) -> Result<Arc<ProviderKeys>> {
        let place = &metadata.jwks_uri;
        let (json, good) = self.fetch(place)?;
        let keys = ProviderKeys::parse(&json).map_err(|e| senseless(place, e))?;
        // Keys that the provider no longer publishes are thereby dropped.
        let document = Document::new(keys, now, good);
        let keys = Arc::clone(&document.content);
        self.held().keys = Some(document);
        Ok(keys)
    }

    /// Fetches a document, with the time for which it may be used while the provider is
    /// unreachable.
    fn fetch(&self, place: &str) -> Result<(Vec<u8>, Duration)> {
        let request = self.agent.get(place).header("accept", "application/json");
        let mut answer = request.call().map_err(|e| silent(place, &e))?;
        let status = answer.status();
        if status.as_u16() != 200 {
            return Err(senseless(place, format_args!("status {status}")));
        }
        let lines = answer.headers().get_all("cache-control").iter();
        let lines: Vec<&str> = lines.filter_map(|v| v.to_str().ok()).collect();
        let good = good_for(&lines.join(","));
        Ok((body(place, &mut answer)?, good))
    }

    /// A panic while it was held left it consistent.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metadata {
    /// Whether to send our secret with HTTP Basic, which every provider has to accept unless its
    /// document says otherwise.
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
        // Codes and our secret are sent only where the discovery document says.
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

/// Whether it is a word such as `access_denied` that is safe to show; anything else could be
/// arbitrary.
pub fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// The error that the provider did not accept a code, or did not let somebody in, with its error
/// word.
pub fn not_taken(word: &str) -> Error {
    let next = match word {
        "access_denied" => "ask the administrator of the identity provider for access",
        "invalid_client" | "unauthorized_client" => {
            "tell the operator of this server: the provider rejects its client id or secret"
        }
        _ => "start again; if it happens again, tell the operator of this server",
    };
    refuse(
        Code::SignInFailed,
        format_args!("the identity provider refused (`{word}`)"),
        next,
    )
}

fn silent(place: &str, e: &ureq::Error) -> Error {
    refuse(
        Code::Unreachable,
        format_args!("the identity provider cannot be reached at `{place}` ({e})"),
        "try again, or sign in with a token",
    )
}

fn senseless(place: &str, why: impl std::fmt::Display) -> Error {
    refuse(
        Code::StrangeAnswer,
        format_args!("the identity provider's answer at `{place}` is not valid ({why})"),
        "tell the operator of this server, or sign in with a token",
    )
}

#[cfg(test)]
mod tests;
