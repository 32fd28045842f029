//! Builds of the filter that are measured side by side: as WebAssembly, as a native module, and
//! others that are to be compared with them.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use keystile_render::ecds::module_name;
use serde_json::Value;

use super::cases::Case;
use super::envoy;

/// What our code runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// WebAssembly, in a VM of Envoy's
    Wasm,
    /// A native module
    Module,
}

impl Shell {
    /// The file that `scripts/build` makes.
    pub fn file(self) -> &'static str {
        match self {
            Self::Wasm => "target/dist/keystile.wasm",
            Self::Module => "target/dist/libkeystile.so",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Module => "module",
        }
    }

    /// Position of what `scripts/build` made among [`Builds`].
    fn build(self) -> usize {
        match self {
            Self::Wasm => 0,
            Self::Module => 1,
        }
    }
}

/// A case with one build; cases that are not ours have but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub case: Case,
    /// Position among [`Builds`].
    pub build: usize,
}

impl Case {
    /// As WebAssembly, as `scripts/build` made it; or what is not ours.
    pub fn built(self) -> Subject {
        self.within(Shell::Wasm)
    }

    /// As `scripts/build` made it.
    pub fn within(self, shell: Shell) -> Subject {
        Subject {
            case: self,
            build: shell.build(),
        }
    }
}

#[derive(Clone)]
struct Build {
    label: String,
    file: PathBuf,
    /// Is to be measured.
    is_wanted: bool,
}

/// All builds; the first two are those that `scripts/build` made.
#[derive(Clone)]
pub struct Builds(Vec<Build>);

impl Builds {
    /// Of these shells, and these besides: `LABEL=FILE`.
    pub fn with(shells: &[Shell], more: &[String]) -> Result<Self, String> {
        let made = |shell: Shell, label: &str| Build {
            label: label.to_owned(),
            file: shell.file().into(),
            is_wanted: shells.contains(&shell),
        };
        let mut all = vec![
            made(Shell::Wasm, ""),
            made(Shell::Module, Shell::Module.name()),
        ];
        for text in more {
            let (label, file) = text
                .split_once('=')
                .ok_or_else(|| format!("`--wasm {text}` is not LABEL=FILE"))?;
            all.push(Build {
                label: label.to_owned(),
                file: fs::canonicalize(file).map_err(|e| format!("{file}: {e}"))?,
                is_wanted: true,
            });
        }
        Ok(Self(all))
    }

    /// Each case that is ours with each build, in the order of the cases.
    pub fn of(&self, cases: &[Case]) -> Vec<Subject> {
        let all = cases.iter().flat_map(|case| {
            let builds = match case.is_keystile() {
                true => 0..self.0.len(),
                false => 0..1,
            };
            builds.map(|build| Subject { case: *case, build })
        });
        all.filter(|s| self.is_measured(*s)).collect()
    }

    fn is_measured(&self, subject: Subject) -> bool {
        let case = subject.case;
        let build = &self.0[subject.build];
        // A module is never with a guard.
        let is_twice = case == Case::Unguarded && self.module(subject).is_some();
        !case.is_keystile() || build.is_wanted && !is_twice
    }

    pub fn name(&self, subject: Subject) -> String {
        match self.0.get(subject.build) {
            Some(Build { label, .. }) if !label.is_empty() => {
                format!("{} [{label}]", subject.case.name())
            }
            _ => subject.case.name().to_owned(),
        }
    }

    pub fn file(&self, subject: Subject) -> &Path {
        &self.0[subject.build].file
    }

    /// The name of the module, if it is one.
    pub fn module(&self, subject: Subject) -> Option<&str> {
        module_name(self.file(subject))
    }

    /// Whether it is another build of the same case than what `scripts/build` made for wasm.
    pub fn is_beside(&self, subject: Subject) -> bool {
        subject.build > 0 && self.0[0].is_wanted
    }

    /// The guard of the time of a build; a module needs none.
    pub fn guard(&self, subject: Subject) -> Option<Value> {
        if matches!(subject.case, Case::Key | Case::Unguarded) || self.module(subject).is_some() {
            return None;
        }
        let wasm = fs::read(self.file(subject)).expect("a build");
        let mark = keystile_core::decide::NOBODY.as_bytes();
        Some(match wasm.windows(mark.len()).any(|part| part == mark) {
            true => envoy::guard(),
            false => envoy::earlier_guard(),
        })
    }
}
