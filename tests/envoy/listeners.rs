//! Two listeners of one store: keys and revocations are the store's, the policy is each listener's own.

use crate::fixture::{Keys, in_force};
use crate::support::{Envoy, Setup, Upstream, eventually, get};

const STRICT: &str = "{version: 1, routes: [{path: /v1/a}]}";
const TRIALS: [&str; 2] = [
    "{version: 1, routes: [{path: /v1/a, auth: none}]}",
    "{version: 1, mode: shadow, routes: [{path: /v1/a}]}",
];

#[test]
fn a_policy_that_is_tried_on_one_listener_opens_no_other_and_a_revocation_counts_on_both() {
    for trial in TRIALS {
        let upstream = Upstream::start();
        let mut keys = Keys::new(STRICT);
        let key = keys.issue("acme");
        let setup = Setup::ecds(&upstream).with_trial();
        setup.ecds_file().configure(&keys.sealed());
        keys.set_policy(trial);
        let later = keys.issue("beta");
        let file = setup.trial_file();
        file.configure(&keys.sealed());
        let envoy = Envoy::start(setup.signing_keys(&keys.signing_keys()));
        in_force(&envoy, keys.content.version);
        let status = |listener: &str, key: Option<&str>| {
            let request = key.map_or(get("/v1/a"), |key| get("/v1/a").bearer(key));
            let mut client = crate::support::Client::connect(envoy.listener(listener));
            client.send(&request).status
        };
        // Until then each listener has the keys that came with its policy, and the newest after it.
        // Often enough for both workers.
        eventually("the strict listener to have the newest keys", || {
            let knows = (0..20).all(|_| status("public", Some(&later)) == 200);
            knows.then_some(())
        });
        for _ in 0..20 {
            assert_eq!(status("public", None), 401);
            assert_eq!(status("public", Some(&key)), 200);
            assert_eq!(status("trial", None), 200);
        }
        keys.revoke(&key);
        file.configure(&keys.sealed());
        in_force(&envoy, keys.content.version);
        eventually("the workers to have it", || {
            (0..20)
                .all(|_| status("public", Some(&key)) == 401)
                .then_some(())
        });
        assert_eq!(status("public", None), 401);
        assert_eq!(status("trial", None), 200);
    }
}
