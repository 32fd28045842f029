//! A stand-in for an identity provider: a real one is not at hand. It speaks the parts of
//! OpenID Connect that are spoken here, keeps to its rules as strictly as the specification
//! lets it, signs with real keys, and says what a test has it say.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Our client id at the provider.
pub const CLIENT: &str = "keystile-console";
/// Our secret there, with what has to be encoded in it.
pub const SECRET: &str = "s3cret:/+of the console";

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// With the published RSA key.
    Rs256,
    /// With the published key on P-256.
    Es256,
    /// With an RSA key of somebody else, under the published one's name.
    OtherRsa,
    /// Not at all.
    None,
    /// With an HMAC whose secret is what everybody knows: the public key.
    Hs256,
}

/// What a test has it say: changes the claims, and says how they are signed.
type Saying = dyn Fn(&mut Value) -> Signer + Send + Sync;

/// One on a port of its own; its threads end with the process.
pub struct Idp {
    inner: Arc<Inner>,
}

struct Inner {
    issuer: String,
    redirect: String,
    saying: Mutex<Box<Saying>>,
    /// What was asked for each code that was not exchanged yet.
    codes: Mutex<HashMap<String, HashMap<String, String>>>,
    exchanges: Mutex<Vec<u16>>,
    tokens: Mutex<Vec<String>>,
    /// How often its keys were asked for.
    fetches: Mutex<usize>,
    /// What its keys are called, if they have names.
    key_id: Mutex<Option<&'static str>>,
    /// The other RSA key is published in the first one's place, under the same name.
    swapped: Mutex<bool>,
    rsa: RsaKeyPair,
    other: RsaKeyPair,
    ec: EcdsaKeyPair,
    random: SystemRandom,
}

impl Idp {
    /// Starts one at which this address is registered.
    pub fn start(redirect: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let random = SystemRandom::new();
        let ec = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(ec, &random).unwrap();
        let inner = Arc::new(Inner {
            // Another site than 127.0.0.1 to a browser, and yet this machine.
            issuer: format!("http://localhost:{}/realms/test", address.port()),
            redirect: redirect.to_owned(),
            saying: Mutex::new(Box::new(|_| Signer::Rs256)),
            codes: Mutex::default(),
            exchanges: Mutex::default(),
            tokens: Mutex::default(),
            fetches: Mutex::default(),
            key_id: Mutex::new(Some("first")),
            swapped: Mutex::new(false),
            rsa: rsa(),
            other: rsa(),
            ec: EcdsaKeyPair::from_pkcs8(ec, pkcs8.as_ref(), &random).unwrap(),
            random,
        });
        let served = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                thread::spawn(move || served.answer(stream));
            }
        });
        Self { inner }
    }

    /// What it calls itself.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// From here on, tokens say this.
    pub fn say(&self, saying: impl Fn(&mut Value) -> Signer + Send + Sync + 'static) {
        *self.inner.saying.lock().unwrap() = Box::new(saying);
    }

    /// Publishes its keys under another name, and signs with that.
    pub fn rename_keys(&self, id: &'static str) {
        *self.inner.key_id.lock().unwrap() = Some(id);
    }

    /// Publishes its keys without names, and names none in its tokens.
    pub fn name_no_keys(&self) {
        *self.inner.key_id.lock().unwrap() = None;
    }

    /// How often its keys were asked for.
    pub fn fetches(&self) -> usize {
        *self.inner.fetches.lock().unwrap()
    }

    /// Publishes the other RSA key in the place of the first, under the same name.
    pub fn swap_keys(&self) {
        *self.inner.swapped.lock().unwrap() = true;
    }

    /// Statuses of the answers to codes so far.
    pub fn exchanges(&self) -> Vec<u16> {
        self.inner.exchanges.lock().unwrap().clone()
    }

    /// Tokens that it gave.
    pub fn tokens(&self) -> Vec<String> {
        self.inner.tokens.lock().unwrap().clone()
    }
}

impl Inner {
    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut first = String::new();
        let mut headers = HashMap::new();
        lines.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                break;
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers
            .get("content-length")
            .map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        lines.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let target = first.split(' ').nth(1).unwrap_or("/");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (status, kind, text) = match path.strip_prefix("/realms/test") {
            Some("/.well-known/openid-configuration") => {
                (200, "application/json", self.discovery())
            }
            Some("/keys") => {
                *self.fetches.lock().unwrap() += 1;
                (200, "application/json", self.keys())
            }
            Some("/authorize") => self.authorize(&fields(query)),
            Some("/token") => {
                let (status, json) = self.exchange(&headers, &fields(&body));
                self.exchanges.lock().unwrap().push(status);
                (status, "application/json", json.to_string())
            }
            _ => (404, "text/plain", "nothing here".to_owned()),
        };
        let _ = write!(
            stream,
            "HTTP/1.1 {status} So\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        );
    }

    fn discovery(&self) -> String {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/keys"),
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "code_challenge_methods_supported": ["S256"],
        })
        .to_string()
    }

    fn keys(&self) -> String {
        let rsa = match *self.swapped.lock().unwrap() {
            true => &self.other,
            false => &self.rsa,
        };
        let public = PublicKeyComponents::<Vec<u8>>::from(rsa.public());
        let point = self.ec.public_key().as_ref();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "keys": [
            { "kty": "oct", "kid": "for somebody else", "k": "AAAA" },
            { "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.key_id("rsa"),
              "n": text(&public.n), "e": text(&public.e) },
            { "kty": "EC", "crv": "P-256", "use": "sig", "kid": self.key_id("ec"),
              "x": text(&point[1..33]), "y": text(&point[33..]) },
        ] })
        .to_string()
    }

    /// The name of a key; null, which is as good as none, if its keys have no names.
    fn key_id(&self, key: &str) -> Option<String> {
        let id = *self.key_id.lock().unwrap();
        id.map(|id| format!("{id} {key}"))
    }

    /// A page on which somebody clicks to be let in, or not to be.
    fn authorize(&self, asked: &HashMap<String, String>) -> (u16, &'static str, String) {
        let has = |name: &str, value: &str| asked.get(name).is_some_and(|v| v == value);
        let good = has("client_id", CLIENT)
            && has("redirect_uri", &self.redirect)
            && has("response_type", "code")
            && has("code_challenge_method", "S256")
            && asked["scope"].split(' ').any(|s| s == "openid")
            && asked["code_challenge"].len() == 43;
        if !good {
            return (400, "text/plain", format!("not registered: {asked:?}"));
        }
        let mut word = [0; 16];
        ring::rand::SecureRandom::fill(&self.random, &mut word).unwrap();
        let code = format!("code-{}", URL_SAFE_NO_PAD.encode(word));
        let link = |with: &str| {
            let state = &asked["state"];
            format!(
                "{}?{with}&amp;state={state}&amp;iss={}",
                self.redirect, self.issuer
            )
        };
        let page = format!(
            "<!doctype html><title>Provider</title><h1>Who are you?</h1>\
             <a id=\"in\" href=\"{}\">Ana</a> <a id=\"out\" href=\"{}\">Nobody</a>",
            link(&format!("code={code}")),
            link("error=access_denied&amp;error_description=no"),
        );
        self.codes.lock().unwrap().insert(code, asked.clone());
        (200, "text/html", page)
    }

    fn exchange(
        &self,
        headers: &HashMap<String, String>,
        asked: &HashMap<String, String>,
    ) -> (u16, Value) {
        let encoded = |text: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            let all = text.bytes().map(|b| match plain(b) {
                true => char::from(b).to_string(),
                false => format!("%{b:02X}"),
            });
            all.collect::<String>()
        };
        let pair = STANDARD.encode(format!("{}:{}", encoded(CLIENT), encoded(SECRET)));
        if headers.get("authorization") != Some(&format!("Basic {pair}")) {
            return (401, json!({ "error": "invalid_client" }));
        }
        let found = self.codes.lock().unwrap().remove(&asked["code"]);
        let Some(begun) = found else {
            return (400, json!({ "error": "invalid_grant" }));
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&asked["code_verifier"]));
        if begun["code_challenge"] != challenge
            || begun["redirect_uri"] != asked["redirect_uri"]
            || asked["grant_type"] != "authorization_code"
        {
            return (400, json!({ "error": "invalid_grant" }));
        }
        let token = self.token(&begun["nonce"]);
        self.tokens.lock().unwrap().push(token.clone());
        let given = json!({
            "access_token": "of no use here", "token_type": "Bearer", "expires_in": 300, "id_token": token,
        });
        (200, given)
    }

    fn token(&self, nonce: &str) -> String {
        let mut claims = json!({
            "iss": self.issuer, "aud": CLIENT, "sub": "u-4711", "nonce": nonce,
            "iat": now(), "exp": now() + 300,
            "email": "ana@example.com", "email_verified": true, "groups": ["everybody", "platform"],
        });
        let signer = (self.saying.lock().unwrap())(&mut claims);
        let (alg, key) = match signer {
            Signer::Rs256 | Signer::OtherRsa => ("RS256", "rsa"),
            Signer::Es256 => ("ES256", "ec"),
            Signer::None => ("none", "rsa"),
            Signer::Hs256 => ("HS256", "rsa"),
        };
        let header = json!({ "alg": alg, "typ": "JWT", "kid": self.key_id(key) });
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.signature(signer, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn signature(&self, signer: Signer, signed: &[u8]) -> Vec<u8> {
        let rsa = |pair: &RsaKeyPair| {
            let mut out = vec![0; pair.public().modulus_len()];
            let random = &self.random;
            pair.sign(&RSA_PKCS1_SHA256, random, signed, &mut out)
                .unwrap();
            out
        };
        match signer {
            Signer::Rs256 => rsa(&self.rsa),
            Signer::OtherRsa => rsa(&self.other),
            Signer::Es256 => self
                .ec
                .sign(&self.random, signed)
                .unwrap()
                .as_ref()
                .to_vec(),
            Signer::None => Vec::new(),
            Signer::Hs256 => {
                let public = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
                let mut mac = Hmac::<Sha256>::new_from_slice(&public.n).unwrap();
                mac.update(signed);
                mac.finalize().into_bytes().to_vec()
            }
        }
    }
}

/// Seconds.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// `ring` signs with RSA keys, and makes none.
fn rsa() -> RsaKeyPair {
    let mut make = Command::new("openssl");
    make.args(["genpkey", "-algorithm", "RSA", "-pkeyopt"]);
    make.args(["rsa_keygen_bits:2048", "-outform", "DER"]);
    let made = make.output().unwrap();
    assert!(made.status.success(), "openssl genpkey");
    // A PKCS #8 document with or without its key's attributes.
    RsaKeyPair::from_pkcs8(&made.stdout)
        .or_else(|_| RsaKeyPair::from_der(&made.stdout))
        .unwrap()
}

fn fields(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(n, v)| (n.to_owned(), decoded(v))).collect()
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [a, b, after @ ..]) => {
                let digits = [*a, *b];
                let digits = std::str::from_utf8(&digits).unwrap();
                (u8::from_str_radix(digits, 16).unwrap(), after)
            }
            (b'+', after) => (b' ', after),
            (byte, after) => (*byte, after),
        };
        out.push(byte);
        rest = after;
    }
    String::from_utf8(out).unwrap()
}
