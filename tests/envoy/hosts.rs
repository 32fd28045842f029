//! Hosts as Envoy's virtual hosts read them. The oracle is the virtual host that Envoy chose, which
//! writes its name on the request that the upstream gets.

use crate::fixture::Keys;
use crate::support::{Envoy, Setup, Upstream, echoed, get, shell};

/// Two virtual hosts that say on the way to the upstream which of them was chosen.
fn with_hosts(upstream: &Upstream, first: &str, domain: &str, ignore_ports: bool) -> Setup {
    let one = |name: &str, domain: &str| {
        format!(
            "            - name: {name}
              domains: [\"{domain}\"]
              request_headers_to_add:
              - {{header: {{key: x-chosen, value: {name}}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}
              routes:
              - match: {{prefix: /}}
                route: {{cluster: upstream}}
"
        )
    };
    let both = format!(
        "            virtual_hosts:\n{}{}",
        one(first, domain),
        one("other", "*")
    );
    let setup = Setup::ecds(upstream).edit(
        "            virtual_hosts:
            - name: upstream
              domains: [\"*\"]
              routes:
              - match: {prefix: /}
                route: {cluster: upstream}
",
        &both,
    );
    match ignore_ports {
        true => setup,
        false => setup.edit(
            "ignore_port_in_host_matching: true",
            "ignore_port_in_host_matching: false",
        ),
    }
}

/// The status of a request without a key, and the virtual host that let it in.
fn ask(envoy: &Envoy, host: &str) -> (u16, Option<String>) {
    let answer = envoy.send(&get("/x").header("host", host));
    let chosen = (answer.status == 200).then(|| echoed(&answer.json()).header("x-chosen").concat());
    (answer.status, chosen)
}

/// No virtual host but the open one may let anybody in.
#[track_caller]
fn only(envoy: &Envoy, host: &str, open: &str) -> u16 {
    let (status, chosen) = ask(envoy, host);
    assert!(
        chosen.is_none() || chosen.as_deref() == Some(open),
        "`{host}` reached {chosen:?} without a key"
    );
    status
}

const SPELLINGS: [&str; 9] = [
    "{}:81", "{}:10000", "{}.", "{}.:81", "[{}]", "{}:x", "{}:", "x@{}", "x:80@{}",
];

#[test]
fn a_protected_virtual_host_is_reached_by_no_spelling_of_its_name() {
    let upstream = Upstream::start();
    for (policy, ignore) in [("", false), ("host_ports: ignore\n", true)] {
        let keys = Keys::new(&format!(
            "version: 1\n{policy}routes:\n- {{path: \"/{{*rest}}\", hosts: [\"*.corp.example.com\"], scopes: [a]}}\n- {{path: \"/{{*rest}}\", auth: none}}\n"
        ));
        let mut keys = keys;
        let envoy = keys.start_on(with_hosts(&upstream, "corp", "*.corp.example.com", ignore));
        assert_eq!(only(&envoy, "www.example.com", "other"), 200);
        assert_eq!(only(&envoy, "a.corp.example.com", "other"), 401);
        for tricky in [
            "x:1.corp.example.com",
            "[x].corp.example.com",
            "x:80@a.corp.example.com",
        ] {
            assert_eq!(only(&envoy, tricky, "other"), 400, "{tricky}");
        }
        for spelling in SPELLINGS {
            let host = spelling.replace("{}", "a.corp.example.com");
            assert_ne!(only(&envoy, &host, "other"), 200, "{host}");
        }
    }
}

#[test]
fn an_open_virtual_host_opens_no_other_one() {
    let upstream = Upstream::start();
    for (policy, ignore) in [("", false), ("host_ports: ignore\n", true)] {
        let mut keys = Keys::new(&format!(
            "version: 1\n{policy}routes:\n- {{path: \"/{{*rest}}\", hosts: [www.example.com], auth: none}}\n- {{path: \"/{{*rest}}\"}}\n"
        ));
        let envoy = keys.start_on(with_hosts(&upstream, "www", "www.example.com", ignore));
        assert_eq!(only(&envoy, "www.example.com", "www"), 200);
        assert_eq!(only(&envoy, "WWW.example.com", "www"), 200);
        for spelling in SPELLINGS {
            let host = spelling.replace("{}", "www.example.com");
            let status = only(&envoy, &host, "www");
            let is_port = spelling.ends_with("81") || spelling.ends_with("10000");
            if ignore && is_port && !spelling.contains(".:") {
                assert_eq!(
                    status, 200,
                    "{host}: a port that Envoy and the policy ignore"
                );
            } else {
                assert_ne!(status, 200, "{host}");
            }
        }
        let absolute = get("http://www.example.com:81/x").header("host", "other");
        let answer = envoy.send(&absolute);
        assert!(ignore || answer.status == 400, "{}", answer.status);
    }
}

#[test]
fn a_rule_that_names_a_virtual_host_goes_by_envoys_own_choice() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(
        "version: 1\nroutes:\n- {path: \"/{*rest}\", virtual_hosts: [corp]}\n- {path: \"/{*rest}\", auth: none}\n",
    );
    let key = keys.issue("acme");
    let envoy = keys.start_on(with_hosts(&upstream, "corp", "*.corp.example.com", false));
    if shell::is_module() && !shell::is_told_all() {
        // Envoy does not tell it, so that it takes no such policy: nothing is let in.
        assert_eq!(only(&envoy, "www.example.com", "other"), 500);
        assert!(envoy.log().contains("the policy names `virtual_hosts`"));
        return;
    }
    assert_eq!(only(&envoy, "a.corp.example.com", "other"), 401);
    assert_eq!(only(&envoy, "www.example.com", "other"), 200);
    assert_eq!(
        only(&envoy, "a.corp.example.com:81", "other"),
        200,
        "Envoy has it for another host, and so it is one"
    );
    let answer = envoy.send(&get("/x").header("host", "a.corp.example.com").bearer(&key));
    assert_eq!(answer.status, 200);
    assert_eq!(echoed(&answer.json()).header("x-chosen"), ["corp"]);
}
