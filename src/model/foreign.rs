//! Text from others, made safe for a terminal.
//!
//! Names, labels, descriptions and a server's messages come from callers. A terminal acts on their
//! content: escape sequences change its title, move the cursor and clear the screen, a line break
//! forges a row, and right-to-left marks reverse a word. Everything that is printed for people
//! passes through here. Sources: ECMA-48; Unicode Technical Report 36, section 2.10; the paper
//! "Trojan Source".

use std::borrow::Cow;

use serde::Serialize;

use crate::error::{Code, Error, Result, refuse};
pub use crate::invisible::acts;
use std::fmt::Write as _;

/// One line: every character that is not simply visible is written as an escape.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Several lines, each as in [`line()`] except for our own colours. Lines after the first are
/// indented, so that none can pass for a separate message.
pub fn message(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(without_sequences).collect();
    lines.join("\n    ")
}

/// Our own tables and texts: line breaks and colours stay.
pub fn page(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(without_sequences).collect();
    lines.join("\n")
}

/// JSON from a serializer: the same values, with every active character as an escape. Outside
/// strings, line breaks are the only ones.
pub fn json(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c != '\n' && acts(c);
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match acts(c) {
            true => {
                let units = &mut [0; 2];
                for unit in c.encode_utf16(units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| acts(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match acts(c) && !keep(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A line whose only escape sequences are those that set colours (SGR).
fn without_sequences(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return escaped(text, |c| c == '\t');
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out.push_str(&escaped(before, |c| c == '\t'));
        let color = after.strip_prefix('[').and_then(|codes| {
            let end = codes.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            codes.get(end..)?.starts_with('m').then_some(end + 2)
        });
        match color.and_then(|end| after.split_at_checked(end)) {
            Some((codes, behind)) => {
                out.push('\u{1b}');
                out.push_str(codes);
                rest = behind;
            }
            None => {
                out.push_str("\\u{1b}");
                rest = after;
            }
        }
    }
    out.push_str(&escaped(rest, |c| c == '\t'));
    Cow::Owned(out)
}

/// JSON on one line with a line feed, safe for a terminal.
pub fn json_line(value: &impl Serialize) -> Result<String> {
    let mut out = serde_json::to_string(value).map_err(|e| unwritable(&e))?;
    out.push('\n');
    Ok(json(&out).into_owned())
}

/// The error that an answer cannot be written as JSON.
pub fn unwritable(e: &serde_json::Error) -> Error {
    refuse(
        Code::OutputFailed,
        format_args!("the answer cannot be written as JSON ({e})"),
        crate::next!["use ", crate::error::named("output").value("table")],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Title, clear screen, a cell of its own, a forged row, a word turned around.
    const HOSTILE: &str =
        "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}1A\r\nforged  row\u{202e}gpj.exe\u{feff}\u{200b}";

    #[test]
    fn a_line_is_one_line_and_moves_nothing() {
        let shown = line(HOSTILE);
        assert!(!shown.chars().any(acts), "{shown}");
        assert!(shown.contains("\\u{202e}") && shown.contains("\\n"));
        assert_eq!(line("Zoë, 東京 → ok"), "Zoë, 東京 → ok");
    }

    #[test]
    fn a_message_keeps_colours_and_indents_what_follows() {
        let shown = message(&format!("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m {HOSTILE}"));
        assert!(shown.starts_with("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m a\\u{1b}]0;"));
        assert!(shown.contains("\n    forged"), "{shown}");
        let rest = shown.replace("\u{1b}[1m", "").replace("\u{1b}[31m", "");
        let rest = rest.replace("\u{1b}[0m", "").replace('\n', "");
        assert!(!rest.chars().any(acts), "{rest}");
    }

    #[test]
    fn json_holds_the_same_and_moves_nothing() {
        let hostile = format!("{HOSTILE}\u{7f}\u{e0041}\u{2028}東京");
        let value = serde_json::json!({ hostile.clone(): [hostile, "plain"] });
        for text in [
            value.to_string(),
            serde_json::to_string_pretty(&value).unwrap(),
        ] {
            let shown = json(&text);
            assert!(!shown.chars().any(|c| c != '\n' && acts(c)), "{shown}");
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
                value
            );
            assert!(shown.contains("\\u202e") && shown.contains("\\udb40\\udc41"));
            assert!(shown.contains("東京"));
        }
        assert!(matches!(json("{\"a\": 1}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_page_keeps_its_lines() {
        assert_eq!(page("A\tB\n1  2\n"), "A\tB\n1  2\n");
        assert_eq!(page("\u{1b}[1mA\u{1b}[0m\n"), "\u{1b}[1mA\u{1b}[0m\n");
        assert_eq!(page("x\u{1b}[2Jy\u{1b}"), "x\\u{1b}[2Jy\\u{1b}");
    }
}
