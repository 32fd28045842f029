//! Keys bound to client certificates.

use super::*;
use crate::request::certificate::Stranger;

const BILLING: &str = "spiffe://example.org/billing";

fn bound() -> World {
    world(|r| r.certificates = vec![BILLING.into(), "dns:api.example.com".into()])
}

fn proven(uri: Option<&'static str>, dns: Option<&'static str>) -> Peer<'static> {
    Peer::Proven {
        uri: uri.map(str::as_bytes),
        dns: dns.map(str::as_bytes),
    }
}

#[test]
fn a_bound_key_is_good_with_a_certificate_that_it_names_and_with_no_other() {
    let w = bound();
    let c = call("GET", "/users/7").keyed(&w);
    for (peer, verdict) in [
        (proven(Some(BILLING), None), Ok(())),
        (proven(None, Some("API.example.com")), Ok(())),
        (
            proven(Some("spiffe://other.org/x"), Some("api.example.com")),
            Ok(()),
        ),
        (
            proven(Some("spiffe://example.org/x"), Some("example.com")),
            Err(Stranger::Other),
        ),
        (proven(None, None), Err(Stranger::Other)),
        (Peer::Unproven, Err(Stranger::Unproven)),
        (Peer::Anonymous, Err(Stranger::Anonymous)),
    ] {
        let c = Call { peer, ..c.clone() };
        let decision = c.decide(&w, &mut MemoryBuckets::default());
        assert_eq!(
            decision.verdict,
            verdict.map_err(Denial::CertificateDenied),
            "{peer:?}"
        );
    }
}

#[test]
fn a_key_that_is_bound_to_none_is_good_with_any_and_without() {
    let w = world(|_| {});
    let c = call("GET", "/users/7").keyed(&w);
    for peer in [proven(Some(BILLING), None), Peer::Unproven, Peer::Anonymous] {
        assert_eq!(Call { peer, ..c.clone() }.code(&w), "ok");
    }
}

#[test]
fn a_certificate_does_not_take_the_place_of_the_key() {
    let w = bound();
    let peer = proven(Some(BILLING), None);
    let c = Call {
        peer,
        ..call("GET", "/users/7")
    };
    assert_eq!(c.code(&w), "missing_api_key");
    assert_eq!(
        c.with("x-api-key", "whatever").code(&w),
        "malformed_api_key"
    );
}

#[test]
fn a_second_pass_asks_for_the_certificate_again_and_a_refusal_takes_nothing() {
    let w = bound();
    let mut buckets = MemoryBuckets::default();
    let peer = proven(Some(BILLING), None);
    let stranger = call("GET", "/tight").keyed(&w);
    assert_eq!(
        stranger.decide(&w, &mut buckets).code(),
        "certificate_denied"
    );
    let first = Call { peer, ..stranger }.decide(&w, &mut buckets);
    assert_eq!(first.code(), "ok");
    let again = Call {
        prior: first.prefix.map(Prior::Admitted),
        ..call("GET", "/users/7")
    };
    assert_eq!(again.code(&w), "certificate_denied");
    assert_eq!(Call { peer, ..again }.code(&w), "ok");
}

#[test]
fn the_operator_reads_in_the_log_what_the_caller_is_not_told() {
    for (who, details) in [
        (Stranger::Anonymous, "keystile:certificate_denied:absent"),
        (Stranger::Unproven, "keystile:certificate_denied:unproven"),
        (Stranger::Other, "keystile:certificate_denied:other"),
    ] {
        let denial = Denial::CertificateDenied(who);
        assert_eq!(denial.log_details(), details);
        assert_eq!((denial.answer().status, denial.answer().grpc), (403, 7));
    }
}
