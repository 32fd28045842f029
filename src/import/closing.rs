//! Fields that no importer knows, and that close something by their names and values.

use super::node::{Data, Node, same_name};

mod words;

use words::*;

/// Whether a plugin that an importer does not know may refuse requests, by its name and settings.
pub fn plugin_closes(name: &str, settings: &[&Node]) -> bool {
    let is_gate =
        |word: &String| GATES.contains(&word.as_str()) || CLOSING.contains(&word.as_str());
    words(name).iter().any(is_gate) || settings.iter().any(|node| closes("", node))
}

/// Whether an unknown field disables something, by its name and value, or by those in it.
pub fn closes(name: &str, value: &Node) -> bool {
    let all = words(name);
    let what = all.iter().position(|w| !OF_WHAT.contains(&w.as_str()));
    let named = all.get(what.unwrap_or(0)..).unwrap_or_default();
    let joined = named.concat();
    let is = |names: &[&str]| names.iter().any(|n| same_name(n, &joined));
    let last = |names: &[&str]| named.last().is_some_and(|w| names.contains(&w.as_str()));
    let has = |names: &[&str]| named.iter().any(|w| names.contains(&w.as_str()));
    let has_not = has(&["not", "no", "non"]);
    if is(&CLOSING) || is(&VERBS) || has(&CLOSING) || has_not && last(&OPENING) {
        return !says_no(value);
    }
    if is(&TIMES) || ends(named) || is(&FROM_WHERE) {
        return !says_no(value) && !says_without_end(value);
    }
    if narrows(name, &all) {
        // As many requests as are allowed, for example.
        let is_count = value.number().is_some_and(|n| n > 1);
        return !says_no(value) && !says_without_end(value) && !is_count;
    }
    if last(&OPENING) && !has(&OF_OTHERS) {
        return !value.is_null() && !is_live(value);
    }
    if last(&STATES) {
        return !value.is_empty() && !is_live(value);
    }
    if is(&MARKS) && holds_closing(value) {
        return true;
    }
    match &value.data {
        Data::Map(pairs) => pairs.iter().any(|(name, value)| closes(name, value)),
        Data::List(items) => items.iter().any(|item| closes("", item)),
        _ => false,
    }
}

/// Whether a name is that of a moment at which something ends or begins.
fn ends(words: &[String]) -> bool {
    let is = |word: Option<&String>, all: &[&str]| word.is_some_and(|w| all.contains(&w.as_str()));
    let (last, before) = match words {
        [.., before, last] => (Some(last), Some(before)),
        [last] => (Some(last), None),
        [] => (None, None),
    };
    words.iter().any(|w| ENDS.contains(&w.as_str()))
        || is(last, &MOMENTS) && is(before, &EDGES)
        || is(last, &EDGES) && is(before, &SPANS)
}

/// Whether a text, or one in a list, is a word that closes.
fn holds_closing(value: &Node) -> bool {
    match &value.data {
        Data::List(items) => items.iter().any(holds_closing),
        Data::Map(_) => false,
        _ => {
            let word = value.text().unwrap_or_default().to_ascii_lowercase();
            CLOSING.contains(&word.as_str()) || matches!(word.as_str(), "none" | "off")
        }
    }
}

/// The words of a name in lower case: `isKeyEnabled`, `is_key-enabled` and `Is Key Enabled` have
/// the same.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        let new = !c.is_ascii_alphanumeric() || c.is_ascii_uppercase() && small;
        if new {
            words.push(String::new());
        }
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_lowercase());
        }
        small = c.is_ascii_lowercase();
    }
    words.retain(|w| !w.is_empty());
    // `isdisabled`
    if let [word] = words.as_slice()
        && let Some(bare) = word.strip_prefix("is")
        && (CLOSING.contains(&bare) || OPENING.contains(&bare))
    {
        return vec![bare.to_owned()];
    }
    words
}

/// Whether a name has one of those parts, without its separators.
fn narrows(name: &str, words: &[String]) -> bool {
    let bare: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let bare = bare.to_ascii_lowercase();
    let has = |names: &[&str]| words.iter().any(|w| names.contains(&w.as_str()));
    if has(&RANGES) && !has(&HISTORY) {
        return true;
    }
    NARROWING.iter().any(|part| match *part {
        // Not `commonly`: a word of its own.
        "only" => words.iter().any(|word| word == "only"),
        part => bare.contains(part),
    })
}

fn says_no(value: &Node) -> bool {
    value.is_empty()
        || value.flag() == Some(false)
        || value.number() == Some(0)
        || value
            .text()
            .is_some_and(|t| t.eq_ignore_ascii_case("never"))
}

/// Whether a state is known to be one in which something works, or a flag says yes.
fn is_live(value: &Node) -> bool {
    match &value.data {
        Data::Null => true,
        Data::List(items) => !items.is_empty() && items.iter().all(is_live),
        Data::Map(pairs) => !pairs.is_empty() && pairs.iter().all(|(_, value)| is_live(value)),
        _ => {
            let word = value.text().unwrap_or_default().trim().to_ascii_lowercase();
            value.flag() == Some(true) || LIVE.contains(&word.as_str())
        }
    }
}

/// As systems write that something has no end: a negative number.
fn says_without_end(value: &Node) -> bool {
    match &value.data {
        Data::Number(number, _) => *number < 0.0,
        Data::Text(text) => text.parse::<f64>().is_ok_and(|number| number < 0.0),
        _ => false,
    }
}
