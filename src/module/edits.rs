//! Changes to a request's headers, kept apart from the headers: Envoy may move those with every
//! change, so no change may refer to them.

use std::cell::RefCell;

use keystile_core::request::credential::{Edit, Edits};

use crate::abi::{Map, Refused, Stream};

thread_local! {
    /// Memory for the changes of one request, reused by the next.
    static SPARE: RefCell<Memory> = RefCell::default();
}

/// Removals and replacements, in order.
pub struct KeptEdits {
    memory: Memory,
}

#[derive(Default)]
struct Memory {
    names: String,
    values: Vec<u8>,
    /// Where each name ends, and each value if there is one.
    all: Vec<(usize, Option<usize>)>,
}

impl KeptEdits {
    /// No changes yet.
    pub fn new() -> Self {
        Self {
            memory: SPARE.take(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let (mut name_at, mut value_at) = (0, 0);
        self.memory.all.iter().map(move |(name_end, value_end)| {
            let name = self
                .memory
                .names
                .get(name_at..*name_end)
                .unwrap_or_default();
            let value =
                value_end.map(|end| self.memory.values.get(value_at..end).unwrap_or_default());
            (name_at, value_at) = (*name_end, value_end.unwrap_or(value_at));
            (name, value)
        })
    }

    /// Carries them out.
    ///
    /// # Errors
    /// [`Refused`] with the first that failed.
    pub fn apply(&self, stream: &mut Stream<'_>, map: Map) -> Result<(), Refused> {
        self.iter().try_for_each(|(name, value)| match value {
            None => stream.remove_header(map, name),
            Some(value) => stream.set_header(map, name, value),
        })
    }
}

impl Drop for KeptEdits {
    fn drop(&mut self) {
        // Values are what stood beside a key: other people's cookies.
        self.memory.values.fill(0);
        self.memory.names.clear();
        self.memory.values.clear();
        self.memory.all.clear();
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut() {
                core::mem::swap(&mut *spare, &mut self.memory);
            }
        });
    }
}

impl<'a> Edits<'a> for KeptEdits {
    fn add(&mut self, edit: Edit<'a>) {
        self.memory.names.push_str(edit.name());
        let value_end = match edit {
            Edit::Remove(_) => None,
            Edit::Set(_, value) => {
                self.memory.values.extend_from_slice(&value);
                Some(self.memory.values.len())
            }
        };
        self.memory.all.push((self.memory.names.len(), value_end));
    }

    fn holds(&self, edit: &Edit<'_>) -> bool {
        let sought = match edit {
            Edit::Remove(name) => (&**name, None),
            Edit::Set(name, value) => (&**name, Some(&**value)),
        };
        self.iter().any(|kept| kept == sought)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    #[test]
    fn what_is_added_is_held_in_order_and_memory_is_used_again() {
        for _ in 0..3 {
            let mut kept = KeptEdits::new();
            assert_eq!(kept.iter().count(), 0);
            let set = |v: &'static str| Edit::Set(Cow::Borrowed("cookie"), v.as_bytes().into());
            kept.add(Edit::Remove(Cow::Borrowed("x-api-key")));
            kept.add(set("a=1; b=2"));
            kept.add(Edit::Remove(Cow::Borrowed("x")));
            kept.add(set(""));
            let all: Vec<_> = kept.iter().collect();
            let want = [
                ("x-api-key", None),
                ("cookie", Some(&b"a=1; b=2"[..])),
                ("x", None),
                ("cookie", Some(&b""[..])),
            ];
            assert_eq!(all, want);
            assert!(kept.holds(&set("")) && kept.holds(&Edit::Remove(Cow::Borrowed("x"))));
            assert!(!kept.holds(&set("a")) && !kept.holds(&Edit::Remove(Cow::Borrowed("y"))));
        }
    }
}
