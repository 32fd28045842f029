//! A property of keys.

/// A property of keys, as the surfaces show it.
pub struct Property {
    /// Its name in JSON, in the audit log and in the header of an import.
    pub name: &'static str,
    /// Its option on the command line, without the dashes.
    pub option: &'static str,
    /// The placeholder for the option's value.
    pub value: &'static str,
    /// It holds several words.
    pub many: bool,
    /// Checks one word.
    pub check: fn(&str) -> std::result::Result<(), keystile_core::advice::Advice>,
    /// The help of the option for a new key.
    pub issue_help: &'static str,
    /// The help of the option for a change.
    pub update_help: &'static str,
    /// The option that empties it, and its help; none if there is no such option.
    pub none: Option<(&'static str, &'static str)>,
    /// Its line in `key show`.
    pub heading: &'static str,
    /// Its label in the console.
    pub label: &'static str,
    /// An example for its field there.
    pub placeholder: &'static str,
    /// The hint below its field for a new key.
    pub hint: &'static str,
    /// The same in the form that changes a key; none if it is not in that form.
    pub change_hint: Option<&'static str>,
    /// It is a column of an import.
    pub imported: bool,
}

impl Property {
    /// What an option, a field or a column holds, as words: one, or several that were parted.
    pub fn words(&self, text: &str, parted: impl Fn(char) -> bool) -> Vec<String> {
        match self.many {
            true => text
                .split(parted)
                .filter(|w| !w.is_empty())
                .map(str::to_owned)
                .collect(),
            false if text.is_empty() => Vec::new(),
            false => vec![text.to_owned()],
        }
    }
}
