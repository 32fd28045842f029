//! Tries all mutants that `cargo mutants --list --json` names, in minutes: one build holds all of
//! them, and a variable in the environment switches one on.
//!
//! ```text
//! keystile-mutants LIST CORE OUTPUT JOBS
//! ```
//!
//! `CORE` is a copy of the workspace with the core alone, and is rewritten. `OUTPUT` then holds
//! `caught.txt`, `timeout.txt`, `missed.txt` and `unviable.txt`, as cargo-mutants would write them,
//! and `alone.txt`: mutants that cannot be built together with others.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

mod build;
mod list;
mod reach;
mod rewrite;
mod run;
mod syntax;

use list::Mutant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What became of a mutant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// A test failed.
    Caught,
    /// A test ran for far too long, which is noticed as well.
    Timeout,
    /// Every test passed.
    Missed,
    /// It is no valid program.
    Unviable,
    /// It has to be built alone.
    Alone,
}

impl Verdict {
    const ALL: [(Self, &str); 5] = [
        (Self::Caught, "caught"),
        (Self::Timeout, "timeout"),
        (Self::Missed, "missed"),
        (Self::Unviable, "unviable"),
        (Self::Alone, "alone"),
    ];
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [list, core, output, jobs] = arguments.as_slice() else {
        return Err("usage: keystile-mutants LIST CORE OUTPUT JOBS".into());
    };
    let core = fs::canonicalize(core)?;
    let output = PathBuf::from(output);
    let mutants: Vec<Mutant> = serde_json::from_str(&fs::read_to_string(list)?)?;

    let started = Instant::now();
    let mut verdicts: BTreeMap<usize, Verdict> = BTreeMap::new();
    let program = build::build(&core, &mutants, &mut verdicts)?;
    println!(
        "mutants: {} of {} are in one build, after {} s",
        mutants.len() - verdicts.len(),
        mutants.len(),
        started.elapsed().as_secs()
    );
    let together: Vec<usize> = (0..mutants.len())
        .filter(|n| !verdicts.contains_key(n))
        .collect();
    let suite = run::Suite::new(program, &core)?;
    let reach = reach::Reach::of(&suite, &output.join("reach.txt"))?;
    verdicts.extend(run::all(&suite, &reach, &together, jobs.parse()?)?);

    write(&output, &mutants, &verdicts)?;
    println!("mutants: tried after {} s", started.elapsed().as_secs());
    Ok(())
}

/// One list for each verdict.
fn write(output: &Path, mutants: &[Mutant], verdicts: &BTreeMap<usize, Verdict>) -> Result<()> {
    let mut counts = Vec::new();
    for (verdict, name) in Verdict::ALL {
        let mut lines = String::new();
        for (n, _) in verdicts.iter().filter(|(_, v)| **v == verdict) {
            lines.push_str(&mutants[*n].name);
            lines.push('\n');
        }
        counts.push(format!("{} {name}", lines.lines().count()));
        fs::write(output.join(format!("{name}.txt")), lines)?;
    }
    println!("mutants: {}", counts.join(", "));
    Ok(())
}
