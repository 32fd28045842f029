//! What a stolen environment signs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile_core::keyset::SigningKey;
use keystile_render::ecds::EcdsPush;

use super::*;
use crate::fixture::Keys;

#[test]
fn what_a_stolen_environment_signs_changes_nothing_in_a_real_envoy() {
    // It runs both shells itself.
    if shell::is_module() {
        return;
    }
    let mut case = Case::start();
    case.follow(&blocks()[0]);
    let environment = case.environment();
    let value = |name: &str| {
        let line = environment.lines().find_map(|l| l.strip_prefix(name));
        line.unwrap().to_owned()
    };
    let public = value("KEYSTILE_VERIFY_KEYS=");
    let (kid, entry) = public.split_once(':').unwrap();
    let decoded = |text: &str| {
        URL_SAFE_NO_PAD
            .decode(text.rsplit_once(':').unwrap().1)
            .unwrap()
    };
    let (public, secret) = (decoded(entry), decoded(&value("KEYSTILE_NODE_KEY=")));
    // A keyset of the thief's own, with a key of theirs in it.
    let mut thief = Keys::new(POLICY);
    let key = thief.issue("thief");
    let built = thief.built();
    for (n, forger) in [
        SigningKey::new(kid, public.clone().into()).unwrap(),
        SigningKey::new(kid, secret.clone().into()).unwrap(),
        SigningKey::ed25519(kid, &secret).unwrap(),
        SigningKey::new("node", secret.into()).unwrap(),
    ]
    .iter()
    .enumerate()
    {
        for edge in &case.edges {
            let push = EcdsPush {
                name: "keystile",
                wasm: &edge.code,
                version_info: format!("forged-{n}"),
            };
            let pushed = push.protobuf(built.seal_raw(forger, n as u64));
            let beside = edge.dir.join("forged");
            fs::write(&beside, pushed).unwrap();
            fs::rename(&beside, edge.file()).unwrap();
            let refused = || {
                let stats = edge
                    .envoy()
                    .stats("extension_config_discovery.*update_rejected");
                stats.values().sum::<u64>()
            };
            eventually("it to be rejected", || {
                (refused() as usize > n).then_some(())
            });
            let status = |key: &str| edge.envoy().send(&get("/v1/x").bearer(key)).status;
            assert_eq!(
                (status(&key), status(&case.key)),
                (401, 200),
                "{}",
                edge.shell
            );
        }
    }
    case.a_revocation_arrives();
}
