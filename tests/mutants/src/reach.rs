//! Which tests come past which mutant: no other test can notice it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::Result;
use crate::run::Suite;

/// By mutant, the tests that ask for it.
pub struct Reach(BTreeMap<usize, BTreeSet<String>>);

impl Reach {
    /// Runs all tests once; they write to `file`.
    pub fn of(suite: &Suite, file: &Path) -> Result<Self> {
        let file = std::path::absolute(file)?;
        fs::write(&file, "")?;
        let status = suite
            .command("exec \"$@\"")
            .env("MUTANT_REACH", &file)
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err("tests fail while it is noted what they reach".into());
        }
        let mut reach: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for line in fs::read_to_string(&file)?.lines() {
            let (number, test) = line.split_once(' ').ok_or("a line without a space")?;
            reach
                .entry(number.parse()?)
                .or_default()
                .insert(test.to_owned());
        }
        Ok(Self(reach))
    }

    /// The tests that can notice a mutant: all, if a thread without a test's name asks for it.
    pub fn tests<'s>(&self, number: usize, suite: &'s Suite) -> Vec<&'s str> {
        let Some(asking) = self.0.get(&number) else {
            return Vec::new();
        };
        let is_known = asking.iter().all(|t| suite.seconds.contains_key(t));
        let all = suite.seconds.keys().map(String::as_str);
        all.filter(|t| !is_known || asking.contains(*t)).collect()
    }
}
