//! Files of a crate use one another in one direction: by what they import and by the paths that
//! they write. (Methods are not looked into: an `impl` may stand in any file that sees the type.)

mod source;

use crate::*;
use source::{Import, Names, Source, read};
use std::collections::BTreeMap;

/// A module that has a file: `["limit", "bucket"]`; the root of the crate is empty.
type Module = Names;

struct Crate {
    files: BTreeMap<Module, (String, Source)>,
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Item(Module),
    Module(Module),
    Elsewhere,
}

/// Which file uses which, and by what name.
type Uses = BTreeMap<Module, BTreeMap<Module, String>>;

fn module(name: &str) -> Module {
    let path = name.trim_end_matches(".rs");
    let mut names: Names = path.split('/').map(str::to_owned).collect();
    let is_root = names.len() == 1 && ["lib", "main"].contains(&names[0].as_str());
    if is_root || names.last().is_some_and(|last| last == "mod") {
        names.pop();
    }
    names
}

impl Crate {
    fn new<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Crate {
        let files = files.map(|(name, text)| (module(name), (name.to_owned(), read(text))));
        let mut files: BTreeMap<Module, (String, Source)> = files.collect();
        // Modules that only tests have are not declared to anybody else.
        let is_declared = |files: &BTreeMap<Module, (String, Source)>, module: &Module| {
            let Some((last, above)) = module.split_last() else {
                return true;
            };
            let above = files.get(above);
            above.is_some_and(|(_, source)| source.children.contains(last))
        };
        loop {
            let mut known: BTreeSet<Module> = files.keys().cloned().collect();
            known.retain(|module| is_declared(&files, module));
            if known.len() == files.len() {
                return Crate { files };
            }
            files.retain(|module, _| known.contains(module));
        }
    }

    /// What `path` names in `from`; `steps` ends the search among imports of imports.
    fn place(&self, from: &Module, path: &[String], steps: usize) -> Place {
        let Some((first, rest)) = path.split_first() else {
            return Place::Module(from.clone());
        };
        if steps == 0 {
            return Place::Elsewhere;
        }
        match first.as_str() {
            "crate" => self.within(&Module::new(), rest, steps),
            "self" => self.within(from, rest, steps),
            "super" => {
                let above = from[..from.len().saturating_sub(1)].to_vec();
                match rest.first().map(String::as_str) {
                    Some("super") => self.place(&above, rest, steps),
                    _ => self.within(&above, rest, steps),
                }
            }
            _ if self.sees(from, first, steps) => self.within(from, path, steps),
            _ => Place::Elsewhere,
        }
    }

    /// Whether `name` is an item, a child or an import of the file.
    fn sees(&self, module: &Module, name: &str, steps: usize) -> bool {
        let (_, source) = &self.files[module];
        source.declared.contains(name)
            || source.children.contains(name)
            || source.imports.iter().any(|import| match &import.alias {
                Some(alias) => alias == name,
                None => self.all_of(module, import, name, steps).is_some(),
            })
    }

    /// The module that `import`, which ends in `*`, takes `name` from.
    fn all_of(&self, module: &Module, import: &Import, name: &str, steps: usize) -> Option<Module> {
        let Place::Module(there) = self.place(module, &import.path, steps.checked_sub(1)?) else {
            return None;
        };
        // What a file imports for itself is seen by those below it.
        let (_, source) = &self.files[&there];
        let is_offered = |import: &Import| {
            let is_seen = import.is_public || module.starts_with(&there);
            is_seen && import.alias.as_deref() == Some(name)
        };
        let has = source.declared.contains(name) || source.imports.iter().any(is_offered);
        (has && there != *module).then_some(there)
    }

    /// What `path` names among what the file has.
    fn within(&self, module: &Module, path: &[String], steps: usize) -> Place {
        let Some((first, rest)) = path.split_first() else {
            return Place::Module(module.clone());
        };
        let (_, source) = &self.files[module];
        let child: Module = module.iter().chain([first]).cloned().collect();
        let is_module = self.files.contains_key(&child);
        // A function may have the name of a module.
        if source.declared.contains(first) && (rest.is_empty() || !is_module) {
            return Place::Item(module.clone());
        }
        if is_module {
            return self.within(&child, rest, steps);
        }
        let by_name = |import: &&Import| import.alias.as_ref() == Some(first);
        if let Some(import) = source.imports.iter().find(by_name) {
            let path: Names = import.path.iter().chain(rest).cloned().collect();
            return self.place(module, &path, steps.saturating_sub(1));
        }
        let of_all = source
            .imports
            .iter()
            .filter(|import| import.alias.is_none());
        for import in of_all {
            if let Some(there) = self.all_of(module, import, first, steps) {
                return self.within(&there, path, steps.saturating_sub(1));
            }
        }
        let exports = |source: &Source| module.is_empty() && source.macros.contains(first);
        let mut files = self.files.iter();
        let exporter = files.find(|(_, (_, source))| exports(source));
        Place::Item(exporter.map_or(module, |(module, _)| module).clone())
    }

    fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (module, (_, source)) in &self.files {
            let mut used: BTreeMap<Module, String> = BTreeMap::new();
            let mut name = |path: &[String]| {
                if let Place::Item(there) = self.place(module, path, 8) {
                    used.entry(there).or_insert_with(|| path.join("::"));
                }
            };
            let is_private = |import: &&Import| !import.is_public && import.alias.is_some();
            for import in source.imports.iter().filter(is_private) {
                // A function may have the name of a module: where it is called, it counts.
                let within: Names = import
                    .path
                    .iter()
                    .cloned()
                    .chain(["*".to_owned()])
                    .collect();
                let also_module = self.place(module, &within, 8);
                if self.place(module, &import.path, 8) == also_module {
                    name(&import.path);
                }
            }
            source.paths.iter().for_each(|path| name(path));
            used.remove(module);
            uses.insert(module.clone(), used);
        }
        uses
    }

    fn file(&self, module: &Module) -> &str {
        &self.files[module].0
    }

    /// Sets of files each of which uses all others, directly or through others; and by what.
    fn circles(&self, uses: &Uses) -> Vec<String> {
        let reach: BTreeMap<&Module, BTreeSet<&Module>> =
            uses.keys().map(|m| (m, reached(uses, m))).collect();
        let (mut out, mut done) = (Vec::new(), BTreeSet::new());
        for (one, there) in &reach {
            let all: Vec<&Module> = there
                .iter()
                .copied()
                .filter(|other| reach[other].contains(one))
                .collect();
            if all.len() < 2 || !done.insert(all.clone()) {
                continue;
            }
            for from in &all {
                for (to, by) in uses[*from].iter().filter(|(to, _)| all.contains(to)) {
                    out.push(format!("{} uses {} ({by})", self.file(from), self.file(to)));
                }
            }
        }
        out
    }

    /// Takes one use away. Whether it closed a circle.
    fn forget(&self, uses: &mut Uses, from: &str, to: &str) -> bool {
        let (from, to) = (module(from), module(to));
        let is_used = uses
            .get_mut(&from)
            .is_some_and(|all| all.remove(&to).is_some());
        is_used && reached(uses, &to).contains(&from)
    }
}

/// All that a file uses, directly or through others.
fn reached<'a>(uses: &'a Uses, from: &'a Module) -> BTreeSet<&'a Module> {
    let (mut out, mut todo) = (BTreeSet::new(), vec![from]);
    while let Some(module) = todo.pop() {
        todo.extend(uses[module].keys().filter(|next| out.insert(*next)));
    }
    out
}

/// Uses that close a circle and stay: crate, who, what, and why.
const STAY: [(&str, &str, &str, &str); 0] = [];

fn crate_of(name: &str) -> Crate {
    let folder = format!("src/{name}/");
    let all = files(&folder);
    let code = all.iter().filter(|(file, _)| file.ends_with(".rs"));
    Crate::new(code.map(|(file, text)| (file.strip_prefix(&folder).unwrap(), text.as_str())))
}

/// A file that only declares others and offers what is in them does not use them.
#[test]
fn no_two_files_of_a_crate_use_each_other() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = crate_of(&name);
        let mut uses = known.uses();
        for (_, from, to, why) in STAY.iter().filter(|(of, ..)| *of == name) {
            if !known.forget(&mut uses, from, to) {
                wrong.push(format!(
                    "{name}: {from} may use {to} ({why}): not needed any more"
                ));
            }
        }
        let circles = known.circles(&uses);
        wrong.extend(circles.into_iter().map(|c| format!("{name}: {c}")));
    }
    assert!(
        wrong.is_empty(),
        "move what both need into a file of its own, named by its idea: {wrong:#?}"
    );
}

fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let all = Crate::new(files.iter().copied());
    all.circles(&all.uses())
}

#[test]
fn a_circle_is_found_however_its_uses_are_written() {
    let root = "mod a; pub mod b { }\nmod c;\npub use a::{self, A as Alias};\n";
    let ways = [
        ("use crate::c::C;", "use super::a::{self, A};"),
        ("use {crate::c::{C, D}, std::fmt};", "use super::Alias;"),
        (
            "fn f() -> super::c::C { }",
            "fn f() { crate::a::f::<u8>(); }",
        ),
        (
            "use crate::c; fn g() { c::f() }",
            "use super::a as other; fn g() { other::A }",
        ),
        (
            "pub use crate::c::C; type D = C;",
            "use crate::*; type D = Alias;",
        ),
        ("use super::c::*; type D = C;", "use crate::Alias;"),
    ];
    for (a, c) in ways {
        let (a, c) = (format!("{a} pub struct A;"), format!("{c} pub struct C;"));
        let found = circles_of(&[("lib.rs", root), ("a.rs", &a), ("c.rs", &c)]);
        let among = found.iter().any(|use_| use_.starts_with("a.rs uses c.rs"));
        assert!(among && found.len() == 2, "{a} {c}: {found:?}");
    }
}

#[test]
fn a_parent_that_declares_and_offers_its_children_is_in_no_circle_with_them() {
    let part = "use super::Whole; pub struct Part; impl Whole { fn f() -> Part { } }";
    let whole = "mod part; pub use part::Part; pub struct Whole;";
    let of = |whole: &str, part: &str| {
        circles_of(&[("lib.rs", "mod w;"), ("w.rs", whole), ("w/part.rs", part)])
    };
    assert_eq!(of(whole, part), [""; 0]);
    let both = [
        "w.rs uses w/part.rs (Part)",
        "w/part.rs uses w.rs (super::Whole)",
    ];
    assert_eq!(of(&format!("{whole} struct P(Part);"), part), both);
    assert_eq!(
        of(&format!("{whole} fn g(p: part::Part) {{}}"), part).len(),
        2
    );
}

#[test]
fn what_only_tests_use_and_what_is_not_code_is_passed_over() {
    let a = "use crate::b::B;\npub struct A;";
    for b in [
        "#[cfg(test)]\nmod tests { use crate::a::A; }",
        "#[cfg(test)]\nuse crate::a::A;",
        "#[cfg(test)]\nmod tests;",
        "// crate::a::A\n/* crate::a::A */",
        "const T: &str = \"crate::a::A\"; const R: &str = r#\" \" crate::a::A\"#;",
        "fn f<'a>(c: char) -> &'a str { match c { '\"' | '\\'' => \"crate::a::A\" } }",
    ] {
        let b = format!("{b}\npub struct B;");
        let tests = ("b/tests.rs", "use crate::a::A;");
        let found = circles_of(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", a),
            ("b.rs", &b),
            tests,
        ]);
        assert_eq!(found, [""; 0], "{b}");
    }
}

#[test]
fn a_use_that_stays_and_closes_no_circle_any_more_is_noticed() {
    let root = ("lib.rs", "mod a; mod b;");
    let a = ("a.rs", "use crate::b::B; pub struct A;");
    for (b, closes) in [
        ("use crate::a::A; pub struct B;", true),
        ("pub struct B;", false),
    ] {
        let all = Crate::new([root, a, ("b.rs", b)].into_iter());
        let mut uses = all.uses();
        assert_eq!(all.forget(&mut uses, "a.rs", "b.rs"), closes);
        assert!(
            !all.forget(&mut uses, "a.rs", "b.rs"),
            "there is no such use"
        );
        assert_eq!(all.circles(&uses), [""; 0]);
    }
}
