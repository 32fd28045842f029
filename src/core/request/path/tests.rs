use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn all(path: &str) -> Vec<String> {
    let found = readings(path.as_bytes()).unwrap();
    let mut out = vec![found.as_sent().to_owned()];
    out.extend(found.others().map(str::to_owned));
    out
}

fn vectors(list: &str) -> Vec<Value> {
    let all: Value =
        serde_json::from_str(include_str!("../../../../tests/vectors/paths.json")).unwrap();
    all[list].as_array().unwrap().clone()
}

fn raw(vector: &Value) -> &[u8] {
    split_query(vector["raw"].as_str().unwrap().as_bytes()).0
}

/// The filter's tests read the same file.
#[test]
fn the_shared_vectors_hold() {
    for vector in vectors("one") {
        let found = readings(raw(&vector)).unwrap();
        assert_eq!(
            found.as_sent(),
            vector["path"].as_str().unwrap(),
            "{vector}"
        );
        assert!(found.agree(), "{vector}: {found:?}");
    }
    for vector in vectors("several") {
        let found = all(core::str::from_utf8(raw(&vector)).unwrap());
        for path in vector["reaches"].as_array().unwrap() {
            let path = path.as_str().unwrap();
            assert!(found.iter().any(|f| f == path), "{vector}: {found:?}");
        }
        assert!(found.len() > 1, "{vector}");
    }
    for vector in vectors("refused") {
        let why = readings(raw(&vector)).unwrap_err();
        let word = format!("{why:?}").to_lowercase();
        let want = vector["why"].as_str().unwrap().replace('_', "");
        assert_eq!(word, want, "{vector}");
    }
}

#[test]
fn readings_are_exactly_those_of_the_rewritings() {
    let mut found = all("/a;b//c");
    found.sort();
    assert_eq!(found, ["/a", "/a//c", "/a/c", "/a;b//c", "/a;b/c"]);
    assert_eq!(all("/%41"), ["/%41", "/A"]);
    assert_eq!(all("/x/.."), ["/x/..", "/"]);
    assert_eq!(all("/x/../"), ["/x/../", "/"]);
    assert_eq!(all("/a/b/./"), ["/a/b/./", "/a/b/"]);
    assert_eq!(all("/a%3Fb"), ["/a%3Fb", "/a"]);
    assert_eq!(all("/%3Fb"), ["/%3Fb", "/"]);
    assert_eq!(all("/a\\b"), ["/a\\b", "/a/b"]);
    assert_eq!(all("//h/a"), ["//h/a", "/h/a", "/a"]);
}

/// RFC 3986 section 6.2.2.2, which Envoy's `normalize_path` follows: letters are decoded, and
/// what would split the path is not.
#[test]
fn a_reader_that_decodes_unreserved_characters_alone_has_a_reading_of_its_own() {
    for (path, seen) in [("/%41%3B", "/A%3B"), ("/%61%2Fb", "/a%2Fb")] {
        assert!(all(path).iter().any(|r| r == seen), "{path}");
    }
}

/// RFC 3629 section 3: the first byte says how many follow, and the bits of the others count.
#[test]
fn overlong_sequences_stand_for_ascii_and_others_for_themselves() {
    for (path, seen) in [
        ("/%C0%AE", "/."),
        ("/%C1%AE", "/n"),
        ("/%E0%80%AE", "/."),
        ("/%E0%81%AE", "/n"),
        ("/%F0%80%80%AE", "/."),
        ("/%F0%80%81%AE", "/n"),
        // Not even UTF-8: readers that look at the last six bits alone.
        ("/%C0%2E", "/."),
    ] {
        assert!(all(path).iter().any(|r| r == seen), "{path}");
    }
    // U+00AF, U+092F, U+00AF again: of three bytes or four, and none of them ASCII.
    for other in ["%E0%82%AF", "%E0%A4%AF", "%F0%80%82%AF"] {
        let want = ["%C0%AE", "%2E", ".", ""].map(|dot| format!("/{other}x{dot}"));
        assert_eq!(all(&want[0]), want);
    }
}

#[test]
fn the_type_of_a_stream_is_cut_off_with_the_stream_and_alone() {
    for (path, seen) in [
        ("/jobs/1:cancel::$DATA", "/jobs/1:cancel"),
        ("/jobs/1:cancel:$DATA", "/jobs/1:cancel"),
        ("/jobs/1:cancel:$DATA", "/jobs/1"),
        ("/a::$INDEX_ALLOCATION/b", "/a/b"),
    ] {
        assert!(all(path).iter().any(|r| r == seen), "{path}");
    }
}

#[test]
fn a_percent_sign_before_less_than_two_digits_stays_escaped() {
    for path in ["/%25", "/%254", "/%254g", "/%25g4"] {
        assert_eq!(all(path), [path]);
    }
}

#[test]
fn every_reason_tells_the_caller_something_of_its_own() {
    let reasons = [
        Ambiguous::NotAbsolute,
        Ambiguous::Control,
        Ambiguous::InvalidEscape,
        Ambiguous::Fragment,
        Ambiguous::TooManyReadings,
        Ambiguous::Parameters,
        Ambiguous::EscapedSeparator,
        Ambiguous::Backslash,
        Ambiguous::DotSegments,
        Ambiguous::WindowsName,
        Ambiguous::DoubledSlash,
        Ambiguous::Escape,
        Ambiguous::TrailingSlash,
        Ambiguous::LetterCase,
        Ambiguous::EmptyParameter,
    ];
    let told: std::collections::BTreeSet<_> = reasons.map(Ambiguous::detail).into();
    assert_eq!(told.len(), reasons.len());
    assert!(told.iter().all(|t| t.contains("path ")), "{told:?}");
}

#[test]
fn the_reason_names_what_has_several_readings() {
    for (path, want) in [
        ("/a\\b", Ambiguous::Backslash),
        ("/a%2fb", Ambiguous::EscapedSeparator),
        ("/a%5Cb", Ambiguous::EscapedSeparator),
        ("/a;b", Ambiguous::Parameters),
        ("/a%3bb", Ambiguous::Parameters),
        ("/a//b", Ambiguous::DoubledSlash),
        ("/a/./b", Ambiguous::DotSegments),
        ("/a/..", Ambiguous::DotSegments),
        ("/a.", Ambiguous::WindowsName),
        ("/a%20/b", Ambiguous::WindowsName),
        ("/a::$DATA", Ambiguous::WindowsName),
        ("/a/%2e%2e/b", Ambiguous::Escape),
    ] {
        assert_eq!(readings(path.as_bytes()).unwrap().doubt(), want, "{path}");
    }
}

#[test]
fn more_readings_than_anybody_compares_are_refused() {
    // Each round of decoding takes one `25` away.
    let deep = |n: usize| format!("/%{}41", "25".repeat(n));
    assert!(readings(deep(10).as_bytes()).is_ok());
    assert_eq!(
        readings(deep(MOST_READINGS).as_bytes()),
        Err(Ambiguous::TooManyReadings)
    );
    let long = format!("/{}%41", "a".repeat(40_000));
    assert_eq!(
        readings(long.as_bytes()),
        Err(Ambiguous::TooManyReadings),
        "two readings of forty thousand bytes"
    );
    // Two bytes less than the path: its other reading.
    let all_together = |bytes: usize| format!("/{}%41", "a".repeat((bytes - 6) / 2));
    assert!(readings(all_together(MOST_BYTES).as_bytes()).is_ok());
    assert_eq!(
        readings(all_together(MOST_BYTES + 2).as_bytes()),
        Err(Ambiguous::TooManyReadings)
    );
    let plain = format!("/{}", "a".repeat(100_000));
    assert!(readings(plain.as_bytes()).unwrap().agree());
}

#[test]
fn literals_of_templates_have_one_reading() {
    for (text, want) in [
        ("users", Some("users")),
        ("users:batch", Some("users:batch")),
        ("caf\u{e9}", Some("caf%C3%A9")),
        ("caf%c3%a9", Some("caf%C3%A9")),
        (".well-known", Some(".well-known")),
        ("a b", Some("a%20b")),
        ("", None),
        ("a.", None),
        ("a%20", None),
        ("a:$b", None),
        (".", None),
        ("..", None),
        ("a;b", None),
        ("a?b", None),
        ("a/b", None),
        ("a\\b", None),
        ("%41", Some("A")),
        ("users%3abatch", Some("users:batch")),
        ("%2e%2e", None),
        ("a%2Fb", None),
        ("a%3Bb", None),
        ("%2541", None),
        ("a%3Fb", None),
        ("a%", None),
        ("a#b", None),
    ] {
        assert_eq!(literal(text).as_deref(), want, "{text}");
    }
}

/// One reader after another, each as somebody else wrote it down, shares no code with ours.
mod readers {
    /// Segments cut at `;`, then decoded, then dots resolved, then slashes merged.
    pub fn servlet(path: &str) -> String {
        let cut: Vec<String> = path
            .split('/')
            .map(|s| unescape(s.split(';').next().unwrap()))
            .collect();
        tidy(&cut.join("/"))
    }

    /// Decoded first, then split and resolved.
    pub fn file_server(path: &str) -> String {
        tidy(&unescape(path).replace('\\', "/"))
    }

    fn unescape(text: &str) -> String {
        let bytes = text.as_bytes();
        let (mut out, mut i) = (Vec::new(), 0);
        while i < bytes.len() {
            let byte = (bytes[i] == b'%')
                .then(|| u8::from_str_radix(text.get(i + 1..i + 3)?, 16).ok())
                .flatten();
            out.push(byte.unwrap_or(bytes[i]));
            i += if byte.is_some() { 3 } else { 1 };
        }
        String::from_utf8(out).unwrap()
    }

    fn tidy(path: &str) -> String {
        let mut out: Vec<&str> = Vec::new();
        for part in path.split('/').filter(|p| !p.is_empty() && *p != ".") {
            if part == ".." {
                out.pop();
            } else {
                out.push(part);
            }
        }
        format!("/{}", out.join("/"))
    }
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn what_two_independent_readers_see_is_among_the_readings(path in "/([ab./;\\\\]|%2[eEfF]|%3[bB]|%5[cC]|%61){0,10}") {
        let Ok(found) = readings(path.as_bytes()) else { return Ok(()) };
        let mut ours = vec![found.as_sent().to_owned()];
        ours.extend(found.others().map(str::to_owned));
        let bare = |p: &String| match p.trim_end_matches('/') { "" => "/".to_owned(), p => p.to_owned() };
        let ours: Vec<String> = ours.iter().map(bare).collect();
        // Backslashes that a reader keeps stand in our texts as they are.
        for seen in [readers::servlet(&path), readers::file_server(&path)] {
            prop_assert!(ours.contains(&bare(&seen)), "{} reads as {} and not as any of {:?}", path, seen, ours);
        }
    }

    #[test]
    fn every_reading_reads_as_some_of_them(path in "/([ab./;%]|%2e|%2F|%25){0,8}") {
        let Ok(found) = readings(path.as_bytes()) else { return Ok(()) };
        let mut ours: Vec<&str> = found.others().collect();
        ours.push(found.as_sent());
        for one in &ours {
            for f in REWRITES {
                if let Some(next) = f(one) {
                    prop_assert!(ours.contains(&next.as_str()), "{} to {}", one, next);
                }
            }
        }
    }

    #[test]
    fn plain_paths_take_the_short_way_and_come_out_as_they_are(path in "(/[a-z0-9-]{1,8}){1,5}/?") {
        let found = readings(path.as_bytes()).unwrap();
        prop_assert!(matches!(found.first, Cow::Borrowed(_)));
        prop_assert_eq!(found.as_sent(), &*path);
        prop_assert!(found.agree());
    }

    #[test]
    fn a_path_is_plain_only_if_no_rewriting_changes_it(path in "/[ -~]{0,12}") {
        if is_plain(path.as_bytes()) {
            let normal = normal(path.as_bytes()).unwrap();
            prop_assert_eq!(&normal, &path);
            for f in REWRITES {
                prop_assert_eq!(f(&path), None);
            }
        }
    }
}
