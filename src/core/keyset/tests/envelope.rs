//! Where reading stops, and what is said of it.

use super::*;

fn refused(text: impl AsRef<[u8]>) -> KeysetRefusal {
    load(text.as_ref()).err().expect("it is read")
}

fn syntax(offset: usize, expected: &'static str) -> KeysetRefusal {
    KeysetRefusal::Syntax { offset, expected }
}

#[test]
fn what_is_no_envelope_is_told_with_the_byte_and_what_should_stand_there() {
    const QUOTE: &str = "`\"`";
    for (text, want) in [
        ("", KeysetRefusal::Missing),
        ("[", syntax(0, "`{`")),
        (" \t{", syntax(3, QUOTE)),
        ("{x", syntax(1, QUOTE)),
        (r#"{"format" 1"#, syntax(10, "`:`")),
        (r#"{"format":"1""#, syntax(10, "a whole number")),
        (
            r#"{"format":99999999999999999999"#,
            syntax(29, "a whole number"),
        ),
        (
            r#"{"format":1 "nonce""#,
            syntax(12, "`,` (or a field has another type)"),
        ),
        (
            r#"{"format":1,"format":1"#,
            KeysetRefusal::Repeated("format".into()),
        ),
        (r#"{"kid":"a"#, syntax(9, "the end of a string")),
        (r#"{"kid":"a\"b""#, syntax(9, QUOTE)),
        (
            r#"{"formats":1"#,
            KeysetRefusal::UnknownField("formats".into()),
        ),
        (r#"{"format":1}"#, KeysetRefusal::FieldMissing("pages")),
        (r#"{"format":1}x"#, syntax(12, "a line feed and the pages")),
        (r#"{"format":2,"pages":"#, KeysetRefusal::Format(2)),
        (
            r#"{"format":1,"pages":"#,
            KeysetRefusal::FieldMissing("kid"),
        ),
        (
            r#"{"format":1,"kid":"k","pages":"#,
            KeysetRefusal::FieldMissing("hmac"),
        ),
    ] {
        assert_eq!(refused(text), want, "{text}");
        // Wherever it stands: what is read at once ends somewhere.
        let far = format!("{}{text}", " ".repeat(200_000));
        let want = match want {
            KeysetRefusal::Missing => syntax(200_000, "`{`"),
            KeysetRefusal::Syntax { offset, expected } => syntax(200_000 + offset, expected),
            same => same,
        };
        assert_eq!(refused(far), want, "{text}");
    }
}

#[test]
fn names_and_signatures_have_a_greatest_length() {
    let name = |n: usize| format!("{{\"{}\":", "x".repeat(n));
    assert_eq!(
        refused(name(16)),
        KeysetRefusal::UnknownField("x".repeat(16))
    );
    assert_eq!(refused(name(17)), syntax(19, "a shorter string"));
    let kid = |n: usize| format!("{{\"kid\":\"{}\"", "x".repeat(n));
    assert!(matches!(
        refused(kid(4096)),
        KeysetRefusal::Syntax { offset: 4105, expected } if expected != "a shorter string"
    ));
    assert_eq!(refused(kid(4097)), syntax(4105, "a shorter string"));
}

#[test]
fn nothing_stands_behind_the_pages_and_nothing_between() {
    let whole = sealed(&content(vec![row(1)]));
    let body = whole.strip_suffix('}').unwrap();
    let after = "nothing after the closing brace";
    assert_eq!(refused(format!("{whole}x")), syntax(whole.len(), after));
    assert!(load(format!("{body} }}\n\t ").as_bytes()).is_ok());
    assert_eq!(
        refused(format!("{body},\"nonce\":1}}")),
        syntax(body.len(), "`}` (`pages` comes last)")
    );
    assert_eq!(
        refused(body),
        syntax(body.len(), "`}` (`pages` comes last)")
    );
}

#[test]
fn pages_of_another_size_than_was_signed_are_refused() {
    let built = build(&content((0..300).map(row).collect())).unwrap();
    let with = |pages: Vec<u8>| Built {
        pages,
        ..built.clone()
    };
    let signer = signing_key("new", 2);
    let all = &built.pages;
    let (shorter, longer) = (all[1..].to_vec(), [&all[..], b"x"].concat());
    assert_eq!(
        refused(with(Vec::new()).seal(&signer, 0)),
        KeysetRefusal::Size
    );
    for pages in [Vec::new(), shorter.clone(), longer.clone()] {
        assert_eq!(
            refused(with(pages).seal_raw(&signer, 0)),
            KeysetRefusal::Size
        );
    }
    for pages in [shorter, longer] {
        assert!(matches!(
            refused(with(pages).seal(&signer, 0)),
            KeysetRefusal::Syntax { .. } | KeysetRefusal::Base64("pages") | KeysetRefusal::Size
        ));
    }
}
