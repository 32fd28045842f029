//! Changes to the headers of a request.

use std::borrow::Cow;

/// A change to the request's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Removes every header of this name.
    Remove(Cow<'a, str>),
    /// Replaces every header of this name by one.
    Set(Cow<'a, str>, Cow<'a, [u8]>),
}

/// A list of changes.
pub trait Edits<'a> {
    /// Adds one.
    fn add(&mut self, edit: Edit<'a>);

    /// Whether it is there already.
    fn holds(&self, edit: &Edit<'_>) -> bool;
}

impl<'a> Edits<'a> for Vec<Edit<'a>> {
    fn add(&mut self, edit: Edit<'a>) {
        self.push(edit);
    }

    fn holds(&self, edit: &Edit<'_>) -> bool {
        self.contains(edit)
    }
}

/// Usually one, the removal of the key, which needs no allocation.
#[derive(Default)]
pub struct FewEdits<'a> {
    first: Option<Edit<'a>>,
    others: Vec<Edit<'a>>,
}

impl<'a> FewEdits<'a> {
    /// In the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Edit<'a>> {
        self.first.iter().chain(&self.others)
    }
}

impl<'a> Edits<'a> for FewEdits<'a> {
    fn add(&mut self, edit: Edit<'a>) {
        match self.first {
            None => self.first = Some(edit),
            Some(_) => self.others.push(edit),
        }
    }

    fn holds(&self, edit: &Edit<'_>) -> bool {
        self.iter().any(|other| other == edit)
    }
}

impl<'a> Edit<'a> {
    /// The header that it changes.
    pub fn name(&self) -> &str {
        match self {
            Self::Remove(name) | Self::Set(name, _) => name,
        }
    }

    /// Adds the removal of a header to a list, once.
    pub(crate) fn remove(name: &'a [u8], edits: &mut impl Edits<'a>) {
        // Envoy accepts no other names, and one that is not text could not be requested.
        if let Ok(name) = core::str::from_utf8(name) {
            let edit = Self::Remove(Cow::Borrowed(name));
            if !edits.holds(&edit) {
                edits.add(edit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_edits_are_a_list_like_any_other() {
        let (mut few, mut many) = (FewEdits::default(), Vec::new());
        for name in ["a", "b", "a", "c", "c"] {
            Edit::remove(name.as_bytes(), &mut few);
            Edit::remove(name.as_bytes(), &mut many);
            assert!(few.iter().eq(&many));
        }
        assert_eq!(many.len(), 3, "each once");
        let set = Edit::Set("a".into(), b"1"[..].into());
        assert!(!few.holds(&set));
        few.add(set.clone());
        assert!(few.holds(&set));
        assert_eq!(few.iter().last(), Some(&set));
    }
}
