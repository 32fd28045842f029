//! Builds the core's unit tests with all mutants in them that the compiler accepts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::list::{Genre, Mutant};
use crate::rewrite::{self, Region};
use crate::syntax::Fixed;
use crate::{Result, Verdict};

/// What the rewritten files ask.
const QUESTION: &str = include_str!("question.rs");
const ROOT: &str = "src/core/lib.rs";

/// A replacement that the compiler refuses for one of these would be refused alone as well: types
/// that do not fit, names and methods that do not exist, values that are missing.
const INVALID: [&str; 15] = [
    "E0004", "E0061", "E0063", "E0107", "E0271", "E0277", "E0308", "E0369", "E0423", "E0425",
    "E0432", "E0433", "E0599", "E0600", "E0614",
];

/// The path of the program. Mutants that are not in it are given a verdict.
pub fn build(
    core: &Path,
    mutants: &[Mutant],
    verdicts: &mut BTreeMap<usize, Verdict>,
) -> Result<PathBuf> {
    let mut sources: BTreeMap<&str, String> = BTreeMap::new();
    for file in mutants.iter().map(|m| m.file.as_str()).chain([ROOT]) {
        sources.insert(file, fs::read_to_string(core.join(file))?);
    }
    // Each round ends at another of the compiler's steps, if it finds an error there.
    for _ in 0..20 {
        let regions = write(core, &sources, mutants, verdicts)?;
        let (program, complaints) = compile(core)?;
        if let Some(program) = program {
            return Ok(program);
        }
        let before = verdicts.len();
        for complaint in &complaints {
            refuse(complaint, &regions, mutants, verdicts)?;
        }
        if verdicts.len() == before {
            return Err("the compiler refuses all, and no error names a place".into());
        }
    }
    Err("the compiler still finds errors after 20 rounds".into())
}

/// Rewrites all files, without the mutants that already have a verdict.
fn write(
    core: &Path,
    sources: &BTreeMap<&str, String>,
    mutants: &[Mutant],
    verdicts: &mut BTreeMap<usize, Verdict>,
) -> Result<BTreeMap<String, Vec<Region>>> {
    let mut regions = BTreeMap::new();
    for (file, source) in sources {
        let own: Vec<(usize, &Mutant)> = mutants
            .iter()
            .enumerate()
            .filter(|(n, m)| m.file == *file && !verdicts.contains_key(n))
            .collect();
        let (mut written, fixed) = rewrite::rewrite(source, &own)?;
        for (number, why) in fixed {
            let verdict = match why {
                Fixed::LetChain => Verdict::Unviable,
                Fixed::Constant | Fixed::Binding => Verdict::Alone,
            };
            verdicts.insert(number, verdict);
        }
        if *file == ROOT {
            written.text.push_str(QUESTION);
        }
        fs::write(core.join(file), written.text)?;
        regions.insert((*file).to_owned(), written.regions);
    }
    Ok(regions)
}

/// A line of Cargo's.
#[derive(Deserialize)]
struct Line {
    message: Option<Complaint>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Complaint {
    level: String,
    code: Option<Code>,
    rendered: Option<String>,
    spans: Vec<Place>,
    children: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Place {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
}

fn compile(core: &Path) -> Result<(Option<PathBuf>, Vec<Complaint>)> {
    let output = Command::new("cargo")
        .args([
            "test",
            "--quiet",
            "--package",
            "keystile-core",
            "--lib",
            "--no-run",
        ])
        .args(["--message-format", "json", "--target-dir", "../target"])
        .env("RUSTFLAGS", "--cap-lints=allow")
        .env("CARGO_PROFILE_TEST_OPT_LEVEL", "1")
        .current_dir(core)
        .stderr(Stdio::inherit())
        .output()?;
    let mut program = None;
    let mut complaints = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let line: Line = serde_json::from_str(line)?;
        program = line.executable.or(program);
        complaints.extend(line.message.filter(|m| m.level == "error"));
    }
    Ok((program.filter(|_| output.status.success()), complaints))
}

/// Finds the mutants that the compiler complains about.
fn refuse(
    complaint: &Complaint,
    regions: &BTreeMap<String, Vec<Region>>,
    mutants: &[Mutant],
    verdicts: &mut BTreeMap<usize, Verdict>,
) -> Result<()> {
    let all: Vec<&Place> = complaint
        .spans
        .iter()
        .chain(complaint.children.iter().flat_map(|c| &c.spans))
        .collect();
    let primary: Vec<&Place> = complaint.spans.iter().filter(|p| p.is_primary).collect();
    // The end of the list of errors.
    if all.is_empty() {
        return Ok(());
    }
    let (named, touched) = (owners(regions, &primary), owners(regions, &all));
    if named.len() == 1
        && touched == named
        && is_invalid(complaint, named.iter().map(|n| &mutants[*n]))
    {
        verdicts.extend(named.iter().map(|n| (*n, Verdict::Unviable)));
        return Ok(());
    }
    let meant = [
        named,
        touched,
        around(regions, &primary),
        around(regions, &all),
    ];
    let Some(meant) = meant.into_iter().find(|m| !m.is_empty()) else {
        return Err(complaint.rendered.clone().unwrap_or_default().into());
    };
    for number in meant {
        verdicts.entry(number).or_insert(Verdict::Alone);
    }
    Ok(())
}

fn is_invalid<'m>(complaint: &Complaint, mut of: impl Iterator<Item = &'m Mutant>) -> bool {
    let code = complaint.code.as_ref().map_or("", |c| c.code.as_str());
    // Two types that would each do are refused together, unless both are made iterators.
    let is_unnamed = |m: &Mutant| {
        let returns = m.function.as_ref().map_or("", |f| f.return_type.as_str());
        m.genre == Genre::FnValue && returns.contains("impl ") && !m.is_iterator()
    };
    INVALID.contains(&code) && !of.any(is_unnamed)
}

fn within<'r>(
    regions: &'r BTreeMap<String, Vec<Region>>,
    place: &Place,
) -> impl Iterator<Item = &'r Region> {
    let (start, end) = (place.byte_start, place.byte_end);
    let own = regions.get(&place.file_name).into_iter().flatten();
    own.filter(move |r| r.range.start <= start && end <= r.range.end)
}

/// The mutants in whose own text these places are.
fn owners(regions: &BTreeMap<String, Vec<Region>>, places: &[&Place]) -> BTreeSet<usize> {
    let found = places
        .iter()
        .flat_map(|p| within(regions, p))
        .filter(|r| r.is_own);
    found.flat_map(|r| r.numbers.iter().copied()).collect()
}

/// The mutants that share the narrowest part around one of these places.
fn around(regions: &BTreeMap<String, Vec<Region>>, places: &[&Place]) -> BTreeSet<usize> {
    let found = places
        .iter()
        .filter_map(|p| within(regions, p).min_by_key(|r| r.range.len()));
    found.flat_map(|r| r.numbers.iter().copied()).collect()
}
