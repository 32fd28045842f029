//! What no module names is not compiled, and tests in such a file never run.

use std::collections::BTreeMap;

use crate::*;

#[test]
fn every_file_of_code_belongs_to_a_crate() {
    let all: BTreeMap<String, String> = files("src").into_iter().chain(files("tests")).collect();
    let is_code = |name: &str| name.ends_with(".rs");
    let named: BTreeSet<String> = all.iter().flat_map(|(n, text)| by_path(n, text)).collect();
    for name in all.keys().filter(|name| is_code(name)) {
        let (folder, file) = name.rsplit_once('/').unwrap();
        let module = file.strip_suffix(".rs").unwrap();
        // Cargo itself compiles the file `build.rs` beside a manifest.
        let is_script = module == "build" && all.contains_key(&format!("{folder}/Cargo.toml"));
        if ["lib", "main", "mod"].contains(&module) || is_script || named.contains(name) {
            continue;
        }
        let roots = named.iter().filter(|root| {
            let beside = root
                .rsplit_once('/')
                .is_some_and(|(other, _)| other == folder);
            beside && is_code(root)
        });
        let parents = ["mod", "lib", "main"].map(|root| format!("{folder}/{root}.rs"));
        let mut parents = parents
            .iter()
            .chain(roots)
            .cloned()
            .chain([format!("{folder}.rs")]);
        let declares = |text: &String| {
            text.lines().any(|line| {
                let declared = line.trim().strip_suffix(';');
                let before = declared.and_then(|line| line.strip_suffix(module));
                before.is_some_and(|before| before.ends_with("mod "))
            })
        };
        assert!(
            parents.any(|parent| all.get(&parent).is_some_and(declares)),
            "no module names {name}: it is not compiled"
        );
    }
}

/// The files that a manifest names as roots of crates, and that `include_str!` reads.
fn by_path(owner: &str, text: &str) -> Vec<String> {
    let paths = text.lines().filter_map(|line| {
        let (_, rest) = line
            .split_once("path = \"")
            .or_else(|| line.split_once("include_str!(\""))?;
        rest.split('"').next()
    });
    let from_here = paths.map(|path| {
        let mut folders: Vec<&str> = owner.split('/').collect();
        folders.pop();
        for part in path.split('/') {
            match part {
                ".." => {
                    folders.pop();
                }
                part => folders.push(part),
            }
        }
        folders.join("/")
    });
    from_here.collect()
}
