//! Why a request is let in or refused: the filter's own decision, on the keyset of a store, with
//! every check recorded.

use std::net::IpAddr;

use keystile_core::decide::{Clocks, Note, Request, decide};
use keystile_core::key::{KeyId, KeyText};
use keystile_core::keyset::{Content, InForce, Keyset, SigningKey, SigningKeys, build};
use keystile_core::limit::bucket::MemoryBuckets;
use keystile_core::policy::{Credential, Mode, Policy, RawPolicy};
use keystile_core::request::certificate::{Peer, identity};
use keystile_core::request::credential::basic;
use keystile_core::request::headers::Headers;
use keystile_core::request::host::Host;
use keystile_core::request::path::{readings, split_query};
use zeroize::Zeroizing;

use crate::diff::classes::{self, Example};
use keystile_model::error::{Act, Code, Result, advised, refuse};

/// The key in the request.
pub enum PresentedKey {
    /// None.
    Nothing,
    /// A key of the store, by its id: what its holder would get.
    Id(KeyId),
    /// A key in full.
    Text(KeyText),
}

/// The client certificate of a connection, validated against the listener's authorities.
#[derive(Clone)]
pub struct ClientCertificate {
    uri: Option<String>,
    dns: Option<String>,
}

impl ClientCertificate {
    /// One with these identities; `None` for none.
    ///
    /// # Errors
    /// If one of them is invalid, or there are more than Envoy would show.
    pub fn from_identities(identities: &[String]) -> Result<Option<Self>> {
        let (mut uri, mut dns) = (None, None);
        for text in identities {
            let id =
                identity(text).map_err(|e| advised(Code::InvalidValue, &e).about("certificate"))?;
            let (place, id) = match id.strip_prefix("dns:") {
                Some(name) => (&mut dns, name.to_owned()),
                None => (&mut uri, id),
            };
            if place.replace(id).is_some() {
                return Err(refuse(
                    Code::InvalidValue,
                    "the certificate has several identities of one kind, and Envoy shows only the first",
                    "give at most one URI and one DNS name",
                )
                .about("certificate"));
            }
        }
        let any = uri.is_some() || dns.is_some();
        Ok(any.then_some(Self { uri, dns }))
    }

    fn peer(&self) -> Peer<'_> {
        Peer::Proven {
            uri: self.uri.as_deref().map(str::as_bytes),
            dns: self.dns.as_deref().map(str::as_bytes),
        }
    }
}

/// A request to explain.
pub struct Question {
    /// Its key.
    pub key: PresentedKey,
    /// Its method.
    pub method: String,
    /// Its path, with the query if any.
    pub path: String,
    /// Its host, with the port if any; empty for a request that names none.
    pub host: String,
    /// The virtual host that Envoy would choose; none if no rule names one.
    pub virtual_host: Option<String>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// The client certificate of its connection.
    pub certificate: Option<ClientCertificate>,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// It came over TLS, as every request with a certificate does.
    pub tls: bool,
    /// Wall clock, in seconds.
    pub at: u64,
}

impl Question {
    /// The client certificate of its connection.
    pub fn peer(&self) -> Peer<'_> {
        self.certificate
            .as_ref()
            .map(ClientCertificate::peer)
            .unwrap_or_default()
    }
}

/// What the filter would do.
pub struct FilterAnswer {
    /// The checks, one by one.
    pub notes: Vec<Note>,
    /// `ok`, or the code of the refusal.
    pub code: &'static str,
    /// The status of the refusal; 200 for `ok`.
    pub status: u16,
    /// What the caller is told or, if the request is let in, what that depends on.
    pub detail: String,
    /// False if it is let in only while buckets have tokens or a quota is not used up, which cannot
    /// be seen from here.
    pub limits_seen: bool,
    /// If no route matches: what would. If the key is none of the store's: what is wrong with it.
    pub hint: Option<String>,
    /// The route's template.
    pub route: Option<String>,
    /// The client and the id of the key.
    pub caller: Option<(String, String)>,
    /// The policy is in shadow mode, so the request is let in in any case.
    pub shadow: bool,
    /// Version of the keyset.
    pub version: u64,
}

impl FilterAnswer {
    /// Whether this is the key that was presented.
    pub fn is_about(&self, id: KeyId) -> bool {
        let caller = self.caller.as_ref();
        caller.is_some_and(|(_, key)| *key == id.to_string())
    }
}

/// Signs a temporary keyset, and loads it as the filter does.
///
/// # Errors
/// What keeps it from being built.
pub fn load(content: &Content, signer: SigningKey) -> Result<InForce> {
    let bad = |e: &dyn std::fmt::Display| {
        refuse(
            Code::PolicyBreaksKeys,
            e,
            keystile_model::next![
                "correct the policy (",
                Act::PolicyCheck,
                " names its mistakes), or the key with ",
                Act::KeyUpdate
            ],
        )
    };
    let built = build(content).map_err(|e| bad(&e))?;
    let sealed = built.seal(&signer, 0);
    Keyset::load(
        &mut sealed.as_bytes(),
        &SigningKeys::new(vec![signer]),
        |_| {},
    )
    .map(InForce::from)
    .map_err(|e| bad(&e))
}

/// What the filter would do on a keyset.
pub fn ask(keyset: &InForce, policy: &Policy, q: &Question) -> FilterAnswer {
    let encoded = encode(policy, q);
    let request = Request {
        headers: Headers::new(&encoded),
        address: q.address,
        peer: q.peer(),
        tls: q.tls || q.certificate.is_some(),
        virtual_host: q.virtual_host.as_deref(),
    };
    let clocks = Clocks {
        wall: q.at,
        // Any time will do, because all buckets are full.
        monotonic: q.at.saturating_mul(1_000_000_000),
    };
    let mut notes: Vec<Note> = Vec::new();
    let mut buckets = MemoryBuckets::default();
    let decision = decide(
        Ok(keyset),
        &request,
        clocks,
        || None,
        &mut buckets,
        &mut notes,
    );
    let unseen = unseen(&notes).filter(|_| decision.verdict.is_ok());
    let (status, detail) = match (&decision.verdict, &unseen) {
        (Ok(()), None) => (200, "The request goes on to the upstream.".to_owned()),
        (Ok(()), Some(unseen)) => (200, unseen.clone()),
        (Err(denial), _) => (denial.answer().status, denial.answer().detail.to_owned()),
    };
    FilterAnswer {
        code: decision.code(),
        status,
        detail,
        limits_seen: unseen.is_none(),
        hint: None,
        route: decision
            .route
            .and_then(|i| policy.routes.get(i))
            .map(|r| r.path.clone()),
        caller: decision
            .entry
            .map(|e| (e.client.to_owned(), e.id.to_string())),
        shadow: policy.mode == Mode::Shadow,
        version: keyset.version(),
        notes,
    }
}

/// What a request that is let in depends on but the store does not know: the buckets and the tally
/// of its key, taken from the filter's own notes.
fn unseen(notes: &[Note]) -> Option<String> {
    let of = |rule: &str| {
        let mut found = notes.iter().filter(|n| n.rule == rule);
        found.next().map(|n| n.text.as_str())
    };
    // A key without limits has a note that says so, and no cost.
    let limits = of("limit").and_then(|text| text.split_once("; "));
    match (limits, of("quota")) {
        (None, None) => None,
        (Some((cost, limits)), None) => Some(format!(
            "ok, if its buckets have tokens left ({cost}): {limits}; they are in each Envoy's memory and cannot be seen from here"
        )),
        (None, Some(quota)) => Some(format!(
            "ok, if its quota is not used up: {quota}; the count is in each Envoy's memory and cannot be seen from here"
        )),
        (Some((cost, limits)), Some(quota)) => Some(format!(
            "ok, if its buckets have tokens left ({cost}): {limits}, and its quota is not used up: {quota}; \
             both are in each Envoy's memory and cannot be seen from here"
        )),
    }
}

/// The methods and hosts that some route has for this path, if none matched.
pub fn hint(raw: &RawPolicy, policy: &Policy, q: &Question) -> Option<String> {
    let path = readings(split_query(q.path.as_bytes()).0).ok()?;
    let path = path.as_sent();
    let host = match q.host.is_empty() {
        true => Host::NONE,
        false => Host::parse(q.host.as_bytes()).ok()?,
    };
    let host = host.name();
    let words = |found: Vec<&Example>| -> Option<String> {
        let words: Vec<&str> = found
            .iter()
            .map(|e| match e.words.as_str() {
                "*" => "any other",
                words => words,
            })
            .collect();
        (!words.is_empty()).then(|| words.join(", "))
    };
    let methods = classes::methods(raw, raw);
    let fits = |e: &&Example| classes::route_of(policy, host, &e.text, path).is_some();
    if let Some(methods) = words(methods.iter().filter(fits).collect()) {
        return Some(format!("this path has a route for the methods {methods}"));
    }
    let hosts = classes::hosts(raw, raw);
    let fits = |e: &&Example| classes::route_of(policy, &e.text, &q.method, path).is_some();
    let hosts = words(hosts.iter().filter(fits).collect())?;
    let not = match q.host.is_empty() {
        true => ", and the request names no host",
        false => "",
    };
    Some(format!("this path has a route at the hosts {hosts}{not}"))
}

/// The headers of the request, with the key in the first place that the policy lists.
pub fn encode(policy: &Policy, q: &Question) -> Zeroizing<Vec<u8>> {
    let mut pairs: Vec<(String, Zeroizing<Vec<u8>>)> = Vec::new();
    let mut path = Zeroizing::new(q.path.clone().into_bytes());
    if let PresentedKey::Text(key) = &q.key {
        let key = key.expose_secret();
        match policy.credentials.first() {
            Some(Credential::Header { name, scheme }) => {
                // A list of protocols, as browsers send it.
                let behind = match name.as_str() {
                    "sec-websocket-protocol" => ", ",
                    _ => " ",
                };
                let scheme = scheme.as_ref().map(|s| format!("{s}{behind}"));
                let scheme = scheme.unwrap_or_default();
                pairs.push((
                    name.clone(),
                    Zeroizing::new(format!("{scheme}{key}").into_bytes()),
                ));
            }
            Some(Credential::Basic(part)) => {
                let value = Zeroizing::new(basic(*part, key).into_bytes());
                pairs.push(("authorization".to_owned(), value));
            }
            Some(Credential::Query(name)) => {
                path.push(if q.path.contains('?') { b'&' } else { b'?' });
                path.extend_from_slice(format!("{name}={key}").as_bytes());
            }
            Some(Credential::Cookie(name)) => {
                pairs.push((
                    "cookie".to_owned(),
                    Zeroizing::new(format!("{name}={key}").into_bytes()),
                ));
            }
            None => {}
        }
    }
    let plain =
        |name: &str, value: &str| (name.to_owned(), Zeroizing::new(value.as_bytes().to_vec()));
    pairs.push(plain(":method", &q.method));
    pairs.push((":path".to_owned(), path));
    if !q.host.is_empty() {
        pairs.push(plain(":authority", &q.host));
    }
    pairs.extend(q.headers.iter().map(|(n, v)| plain(n, v)));
    let pairs: Vec<(&str, &[u8])> = pairs
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_slice()))
        .collect();
    Zeroizing::new(Headers::encode(&pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that may still get a 429 is not shown as a plain `ok`.
    #[test]
    fn what_lies_with_each_envoy_is_named_as_a_condition() {
        let note = |rule, text: &str| Note {
            rule,
            held: true,
            text: text.to_owned(),
        };
        let limit = note("limit", "costs 5; 60 per 60 s (burst 10) of plan `free`");
        let quota = note("quota", "counts as 1 of the 9 per day of plan `free`");
        let none = note("limit", "none applies");
        let said = |notes: &[&Note]| {
            let notes: Vec<Note> = notes.iter().map(|n| note(n.rule, &n.text)).collect();
            unseen(&notes)
        };
        assert_eq!([said(&[]), said(&[&none])], [None, None]);
        let both = said(&[&limit, &quota]).unwrap();
        let tokens =
            "its buckets have tokens left (costs 5): 60 per 60 s (burst 10) of plan `free`";
        let count = "its quota is not used up: counts as 1 of the 9 per day of plan `free`";
        assert!(
            both.starts_with(&format!("ok, if {tokens}, and {count};")),
            "{both}"
        );
        for quota_alone in [said(&[&quota]), said(&[&none, &quota])] {
            let text = quota_alone.unwrap();
            assert!(text.starts_with(&format!("ok, if {count};")), "{text}");
        }
        assert!(
            said(&[&limit])
                .unwrap()
                .starts_with(&format!("ok, if {tokens};"))
        );
    }
}
