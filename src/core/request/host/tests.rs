use super::*;
use proptest::prelude::*;

fn others(authority: &str) -> Vec<String> {
    let host = Host::parse(authority.as_bytes()).unwrap();
    let others = host.others(true);
    others.into_iter().map(|(text, _)| text).collect()
}

#[test]
fn names_come_without_case_port_and_final_dot() {
    for raw in [
        "API.example.com:8443",
        "api.example.com.",
        "api.example.com",
        "api.example.com.:1",
    ] {
        assert_eq!(
            Host::parse(raw.as_bytes()).unwrap().name(),
            "api.example.com",
            "{raw}"
        );
    }
    assert_eq!(Host::parse(b"[::1]:80").unwrap().name(), "[::1]");
    assert_eq!(Host::parse(b"10.0.0.1").unwrap().name(), "10.0.0.1");
    assert_eq!(Host::NONE.name(), "");
    assert!(Host::NONE.is_plain());
    assert_eq!(Host::parse(b"v4.x1").unwrap().name(), "v4.x1");
}

#[test]
fn what_is_no_host_is_refused() {
    let longest = "a".repeat(253);
    assert!(Host::parse(longest.as_bytes()).is_ok());
    assert!(Host::parse(format!("{longest}.").as_bytes()).is_ok());
    let too_long = "a".repeat(254);
    for raw in [
        "x:1.corp.example.com",
        "[x].corp.example.com",
        "x:80@a.corp.example.com",
        "user@www.example.com",
        "[www.example.com]",
        "www.example.com:x",
        "www.example.com:",
        "www.example.com:80:90",
        "www.example.com,www.example.com",
        "www.example.com www.example.com",
        "www..example.com",
        ".example.com",
        ".com",
        ".",
        "..",
        ":80",
        "a/b",
        "a?b",
        "a#b",
        "a\\b",
        "a%41",
        "*.example.com",
        "::1",
        "[::1",
        "::1]",
        "[::1]x",
        "[::1]x:80",
        "[::1].",
        "[fe80::1%25eth0]",
        "[1.2.3.4]",
        "caf\u{e9}.example.com",
        "",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0X7F000001",
        "127.0.0.01",
        "127.0.0.256",
        "a.1",
        "a.0x",
        too_long.as_str(),
    ] {
        assert_eq!(
            Host::parse(raw.as_bytes()),
            Err(AmbiguousHost::Malformed),
            "{raw}"
        );
    }
    assert_eq!(Host::parse(b"\xff"), Err(AmbiguousHost::Malformed));
}

#[test]
fn a_port_and_a_final_dot_are_readings_of_their_own() {
    assert_eq!(others("h"), [""; 0]);
    assert_eq!(others("H:81"), ["h:81"]);
    assert_eq!(others("h."), ["h."]);
    assert_eq!(others("h.:81"), ["h.", "h:81", "h.:81"]);
    assert_eq!(others("[::1]"), [""; 0]);
    assert_eq!(others("[0::1]"), ["[::1]"]);
    assert_eq!(others("[0::1]:1"), ["[0::1]:1", "[::1]:1", "[::1]"]);
    let host = Host::parse(b"h.:81").unwrap();
    let texts: Vec<_> = host.others(false).into_iter().map(|(t, _)| t).collect();
    assert_eq!(texts, ["h."]);
}

#[test]
fn only_a_bare_name_is_plain() {
    for (raw, plain) in [("h", true), ("h:1", false), ("h.", false), ("[::1]", false)] {
        assert_eq!(Host::parse(raw.as_bytes()).unwrap().is_plain(), plain);
    }
}

proptest! {
    #![proptest_config(crate::seeded())]

    /// What is told by one pass is what the long way says.
    #[test]
    fn a_plain_host_is_read_as_any_other(
        labels in proptest::collection::vec("[a-zA-Z0-9_-]{0,5}|0x[0-9a-f]{0,3}|[0-9]{1,3}|[a-z]{60}", 0..7),
        end in prop_oneof!["", "\\.", ":80", ":", "\\]", "%"],
    ) {
        let text = labels.join(".") + &end;
        let read = |host: Result<Host<'_>, _>| {
            host.map(|h| (h.name().to_owned(), h.is_plain(), h.port().map(str::to_owned)))
        };
        let bytes = text.as_bytes();
        prop_assert_eq!(read(Host::parse(bytes)), read(Host::parse_any(bytes)), "{}", text);
    }
}
