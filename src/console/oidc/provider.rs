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
use keystile_api::encoded;
use keystile_api::remote;
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::wire::Secret;
use keystile_system as system;

/// How long the provider may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon its documents are fetched again. A key that it dropped is believed for no longer,
/// unless it cannot be asked.
const FRESH: Duration = Duration::from_secs(60);
/// How soon keys may be fetched again because none of them verifies a token.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a document is good while the provider cannot be asked, if it does not say so
/// itself; and at most.
const GOOD: Duration = Duration::from_secs(3600);
const GOOD_MOST: Duration = Duration::from_secs(86_400);
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
    metadata: Option<Document<Metadata>>,
    keys: Option<Document<Keys>>,
    /// When keys were last fetched because none of them verified a token.
    missed: Option<Instant>,
}

/// A document of the provider.
struct Document<T> {
    content: Arc<T>,
    /// When it was fetched.
    at: Instant,
    /// Until when it may be used while the provider cannot be asked.
    good: Instant,
}

impl<T> Document<T> {
    fn new(content: T, at: Instant, good: Duration) -> Self {
        Self {
            content: Arc::new(content),
            at,
            good: at + good,
        }
    }
}

impl<T> Clone for Document<T> {
    fn clone(&self) -> Self {
        Self {
            content: Arc::clone(&self.content),
            ..*self
        }
    }
}

/// What is at hand of a document.
enum AtHand<T> {
    /// It need not be fetched.
    Fresh(Arc<T>),
    /// It is to be fetched; if that fails, this may do.
    Old(Option<Arc<T>>),
}

fn at_hand<T>(held: Option<&Document<T>>, now: Instant, anew: bool) -> AtHand<T> {
    match held {
        Some(d) if !anew && now.duration_since(d.at) < FRESH => {
            AtHand::Fresh(Arc::clone(&d.content))
        }
        Some(d) if now < d.good => AtHand::Old(Some(Arc::clone(&d.content))),
        _ => AtHand::Old(None),
    }
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
        let judged = match judged(&*self.keys(&metadata)?) {
            // It may be newer than the keys that are held: a provider may put another key under
            // the same name, or under none.
            Err(why @ (Untrusted::UnknownKey | Untrusted::Signature)) => {
                match self.keys_anew(&metadata)? {
                    Some(keys) => judged(&keys),
                    None => Err(why),
                }
            }
            judged => judged,
        };
        judged.map_err(|why| {
            refuse(
                Code::SignInFailed,
                format_args!("what the identity provider says of you is not believed: {why}"),
                "begin again; if it happens again, tell who runs this server",
            )
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
        let now = system::instant();
        let old = match at_hand(self.held().metadata.as_ref(), now, false) {
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
                format_args!("it is of the issuer `{}`, not `{issuer}`", found.issuer),
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
    fn keys(&self, metadata: &Metadata) -> Result<Arc<Keys>> {
        let now = system::instant();
        let old = match at_hand(self.held().keys.as_ref(), now, false) {
            AtHand::Fresh(keys) => return Ok(keys),
            AtHand::Old(old) => old,
        };
        match self.fetch_keys(metadata, now) {
            Ok(keys) => Ok(keys),
            Err(e) => outlasted(old, e),
        }
    }

    /// Its keys, fetched because those at hand do not verify a token; `None` if that was done
    /// a moment ago.
    fn keys_anew(&self, metadata: &Metadata) -> Result<Option<Arc<Keys>>> {
        let now = system::instant();
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

    fn fetch_keys(&self, metadata: &Metadata, now: Instant) -> Result<Arc<Keys>> {
        let place = &metadata.jwks_uri;
        let (json, good) = self.fetch(place)?;
        let keys = Keys::parse(&json).map_err(|e| senseless(place, e))?;
        // Those that the provider no longer publishes are forgotten with that.
        let document = Document::new(keys, now, good);
        let keys = Arc::clone(&document.content);
        self.held().keys = Some(document);
        Ok(keys)
    }

    /// A document, and how long it is good while the provider cannot be asked.
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

/// How long a document is good by its `Cache-Control` (RFC 9111, and `stale-if-error` of
/// RFC 5861).
fn good_for(cache_control: &str) -> Duration {
    let (mut age, mut beyond) = (None, 0);
    for directive in cache_control.split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let seconds = value.trim().trim_matches('"').parse::<u64>().ok();
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Duration::ZERO,
            "max-age" => age = seconds,
            "stale-if-error" => beyond = seconds.unwrap_or(0),
            _ => {}
        }
    }
    let age = age.map_or(GOOD, Duration::from_secs);
    age.saturating_add(Duration::from_secs(beyond))
        .min(GOOD_MOST)
}

/// What is at hand, in place of what cannot be had.
fn outlasted<T>(old: Option<Arc<T>>, e: Error) -> Result<Arc<T>> {
    let Some(old) = old else { return Err(e) };
    tracing::warn!(
        error = %e,
        "the identity provider gave no usable answer; its previous one is used until it expires"
    );
    Ok(old)
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
        format_args!("the identity provider's answer at `{place}` makes no sense ({why})"),
        "tell who runs this server, or sign in with a token",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use crate::oidc::flow::Flows;

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
            hosts: vec!["id.example.com".to_owned()],
        })?;
        let entropy = system::at(1).entropy;
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
        let changes: [(&str, Change); 7] = [
            ("`--oidc-host 127.0.0.2`", |issuer| {
                let mut here = document(issuer);
                here["token_endpoint"] = "https://127.0.0.2:1/token".into();
                here
            }),
            ("`--oidc-host keys.example.net`", |issuer| {
                let mut elsewhere = document(issuer);
                elsewhere["jwks_uri"] = "https://keys.example.net/keys".into();
                elsewhere
            }),
            ("`--oidc-host id.example.com.evil.example`", |issuer| {
                let mut elsewhere = document(issuer);
                elsewhere["authorization_endpoint"] =
                    "https://id.example.com.evil.example/authorize".into();
                elsewhere
            }),
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
            assert_eq!(e.kind(), keystile_model::error::Kind::Unavailable);
        }
    }

    #[test]
    fn a_provider_of_the_public_cannot_name_an_address_on_this_machine_and_one_in_house_can() {
        let at = |issuer: &str, hosts: &[&str]| Settings {
            issuer: issuer.to_owned(),
            client: "a".to_owned(),
            secret: None,
            console: "https://keystile.example.com".to_owned(),
            scopes: Vec::new(),
            rules: Vec::new(),
            ca: None,
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
        };
        let takes = |settings: &Settings, address: &str| {
            settings.checked_endpoint("token_endpoint", address).is_ok()
        };
        let public = at("https://id.example.com/tenant", &[]);
        assert!(takes(&public, "https://id.example.com/token"));
        assert!(takes(&public, "https://ID.example.com:8443/token"));
        for bad in [
            "http://127.0.0.1:9/token",
            "http://localhost/token",
            "https://localhost/token",
            "https://[::1]/token",
            "https://10.0.0.1/token",
            "https://token.example.com/",
        ] {
            assert!(!takes(&public, bad), "{bad}");
        }
        let listed = at(
            "https://id.example.com",
            &["oauth2.example.net", "localhost"],
        );
        assert!(takes(&listed, "https://oauth2.example.net/token"));
        assert!(!takes(&listed, "http://localhost/token"), "never in clear");
        let in_house = at("https://10.1.2.3", &[]);
        assert!(takes(&in_house, "https://10.1.2.3/token"));
        let here = at("http://127.0.0.1:5556/dex", &[]);
        assert!(takes(&here, "http://127.0.0.1:5556/dex/token"));
    }

    #[test]
    fn a_document_is_good_for_as_long_as_its_provider_says() {
        for (header, seconds) in [
            ("", 3600),
            ("public", 3600),
            ("max-age=600", 600),
            ("public, MAX-AGE=\"600\", must-revalidate", 600),
            ("max-age=600, stale-if-error=3600", 4200),
            ("no-store", 0),
            ("max-age=0", 0),
            ("max-age=99999999999", 86_400),
            ("max-age=junk", 3600),
        ] {
            assert_eq!(good_for(header), Duration::from_secs(seconds), "{header}");
        }
    }

    #[test]
    fn an_old_document_does_while_it_is_good_and_a_fresh_one_is_not_fetched() {
        let now = system::instant();
        let made = |good| Document::new((), now, Duration::from_secs(good));
        let later = |s| now + Duration::from_secs(s);
        let is = |held: &Document<()>, at, anew| match at_hand(Some(held), at, anew) {
            AtHand::Fresh(_) => "fresh",
            AtHand::Old(Some(_)) => "good",
            AtHand::Old(None) => "gone",
        };
        let held = made(600);
        assert_eq!(is(&held, later(59), false), "fresh");
        assert_eq!(is(&held, later(59), true), "good");
        assert_eq!(is(&held, later(61), false), "good");
        assert_eq!(is(&held, later(601), false), "gone");
        assert_eq!(is(&made(0), later(61), false), "gone");
        assert!(matches!(at_hand::<()>(None, now, false), AtHand::Old(None)));
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
