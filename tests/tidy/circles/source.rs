//! What a file of Rust declares, imports and names, read from its text.

use std::collections::BTreeSet;

/// A path as it is written: `["super", "key", "Key"]`.
pub type Names = Vec<String>;

pub struct Import {
    pub path: Names,
    /// The name that it has in the file; none for `*`.
    pub alias: Option<String>,
    pub is_public: bool,
}

#[derive(Default)]
pub struct Source {
    /// Items of the file itself; not the functions within an `impl`.
    pub declared: BTreeSet<String>,
    pub children: BTreeSet<String>,
    pub imports: Vec<Import>,
    /// Paths of one name and more, as they are written in the code.
    pub paths: Vec<Names>,
    /// Macros that the root of the crate offers.
    pub macros: Vec<String>,
}

/// Names and marks; without comments, texts, characters and lifetimes. `::` is one mark.
fn tokens(text: &str) -> Vec<String> {
    let text: Vec<char> = text.chars().collect();
    let at = |n: usize| text.get(n).copied().unwrap_or(' ');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut out, mut n) = (Vec::new(), 0);
    while n < text.len() {
        let begin = n;
        n += 1;
        match (at(begin), at(n)) {
            ('/', '/') => n += text[n..].iter().take_while(|c| **c != '\n').count(),
            ('/', '*') => {
                while n < text.len() && (at(n), at(n + 1)) != ('*', '/') {
                    n += 1;
                }
                n += 2;
            }
            ('r', '"' | '#') if at(n) == '"' || at(n + 1) == '"' || at(n + 1) == '#' => {
                let marks = text[n..].iter().take_while(|c| **c == '#').count();
                n += marks + 1;
                let ends = |n: usize| at(n) == '"' && (1..=marks).all(|mark| at(n + mark) == '#');
                while n < text.len() && !ends(n) {
                    n += 1;
                }
                n += marks + 1;
            }
            ('"', _) => {
                while n < text.len() && at(n) != '"' {
                    n += if at(n) == '\\' { 2 } else { 1 };
                }
                n += 1;
            }
            ('\'', '\\') => {
                n += 2;
                n += text[n..].iter().take_while(|c| **c != '\'').count() + 1;
            }
            ('\'', _) if at(n + 1) == '\'' => n += 2,
            ('\'', _) => n += text[n..].iter().take_while(|c| is_word(**c)).count(),
            (':', ':') => {
                n += 1;
                out.push("::".to_owned());
            }
            (c, _) if is_word(c) => {
                n += text[n..].iter().take_while(|c| is_word(**c)).count();
                let word: String = text[begin..n].iter().collect();
                let is_raw = word == "r" && at(n) == '#';
                n += usize::from(is_raw);
                out.extend((!is_raw).then_some(word));
            }
            (c, _) if c.is_whitespace() => {}
            (c, _) => out.push(c.to_string()),
        }
    }
    out
}

/// Without the items that only tests see.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut out, mut n) = (Vec::with_capacity(tokens.len()), 0);
    while n < tokens.len() {
        if !tokens[n..].iter().take(mark.len()).eq(mark.iter()) {
            out.push(tokens[n].clone());
            n += 1;
            continue;
        }
        n += mark.len();
        let mut depth = 0;
        while n < tokens.len() {
            match tokens[n].as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            let next = tokens.get(n + 1).map(String::as_str);
            let ends = tokens[n] == ";" || (tokens[n] == "}" && next != Some(";"));
            n += 1;
            if depth == 0 && ends {
                break;
            }
        }
    }
    out
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

struct Reader {
    tokens: Vec<String>,
    at: usize,
    /// How deep in braces, and at which depths a module within the file begins.
    depth: usize,
    modules: Vec<usize>,
    source: Source,
}

pub fn read(text: &str) -> Source {
    let mut reader = Reader {
        tokens: without_tests(tokens(text)),
        at: 0,
        depth: 0,
        modules: Vec::new(),
        source: Source::default(),
    };
    while reader.at < reader.tokens.len() {
        reader.step();
    }
    reader.source
}

impl Reader {
    fn token(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", String::as_str)
    }

    fn before(&self) -> &str {
        let before = self.at.checked_sub(1);
        before.map_or("", |at| self.tokens[at].as_str())
    }

    fn step(&mut self) {
        let token = self.token(0).to_owned();
        match token.as_str() {
            "{" => self.depth += 1,
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                self.modules.retain(|depth| *depth < self.depth + 1);
            }
            "use" if self.begins_item() => return self.import(),
            "pub" if self.token(1) == "(" && self.token(2) == "in" => {
                while self.token(0) != ")" {
                    self.at += 1;
                }
            }
            "mod" if is_name(self.token(1)) => {
                let name = self.token(1).to_owned();
                if self.token(2) == ";" {
                    self.source.children.insert(name);
                } else if self.token(2) == "{" {
                    self.declare(name);
                    self.modules.push(self.depth + 1);
                }
                self.at += 1;
            }
            "macro_rules" if self.token(1) == "!" => {
                let name = self.token(2).to_owned();
                let is_exported = self.at > 2 && self.tokens[self.at - 2] == "macro_export";
                self.source.macros.extend(is_exported.then(|| name.clone()));
                self.declare(name);
                self.at += 2;
            }
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static"
                if is_name(self.token(1))
                    && !["unsafe", "fn", "extern", "mut"].contains(&self.token(1)) =>
            {
                self.declare(self.token(1).to_owned());
                self.at += 1;
            }
            word if is_name(word) && ![".", "::"].contains(&self.before()) => return self.path(),
            _ => {}
        }
        self.at += 1;
    }

    fn begins_item(&self) -> bool {
        matches!(self.before(), "" | ";" | "{" | "}" | "]" | ")" | "pub")
    }

    fn declare(&mut self, name: String) {
        if self.depth == self.modules.len() {
            self.source.declared.insert(name);
        }
    }

    /// `super` within a module of the file may be the file itself.
    fn outward(&self, mut path: Names) -> Names {
        let supers = path.iter().take_while(|name| *name == "super").count();
        let within = self.modules.len().min(supers);
        path.drain(..within);
        if within > 0 && within == supers {
            path.insert(0, "self".to_owned());
        }
        path
    }

    fn path(&mut self) {
        let mut path = vec![self.token(0).to_owned()];
        self.at += 1;
        while self.token(0) == "::" && is_name(self.token(1)) {
            path.push(self.token(1).to_owned());
            self.at += 2;
        }
        let is_variable = path.len() == 1
            && path[0].starts_with(|c: char| c.is_lowercase())
            && !["(", "!"].contains(&self.token(0));
        if !is_variable {
            let path = self.outward(path);
            self.source.paths.push(path);
        }
    }

    fn import(&mut self) {
        let is_public = ["pub", ")"].contains(&self.before());
        self.at += 1;
        self.tree(&mut Vec::new(), is_public);
        self.at += 1;
    }

    /// One branch of a `use`; ends at the `,`, the `}` or the `;` behind it.
    fn tree(&mut self, path: &mut Names, is_public: bool) {
        let begun = path.len();
        loop {
            match self.token(0).to_owned().as_str() {
                "{" => {
                    while self.token(0) != "}" {
                        self.at += 1;
                        if self.token(0) != "}" {
                            self.tree(path, is_public);
                        }
                    }
                    self.at += 1;
                    break;
                }
                "*" => {
                    self.at += 1;
                    self.imported(path.clone(), None, is_public);
                    break;
                }
                "," | "}" | ";" | "" => {
                    if path.last().is_some_and(|name| name == "self") && path.len() > 1 {
                        path.pop();
                    }
                    let alias = path.last().cloned();
                    self.imported(path.clone(), alias, is_public);
                    break;
                }
                "as" => {
                    let alias = self.token(1).to_owned();
                    self.at += 2;
                    self.imported(path.clone(), Some(alias), is_public);
                    break;
                }
                "::" => self.at += 1,
                name => {
                    path.push(name.to_owned());
                    self.at += 1;
                }
            }
        }
        path.truncate(begun);
    }

    fn imported(&mut self, path: Names, alias: Option<String>, is_public: bool) {
        let path = self.outward(path);
        self.source.imports.push(Import {
            path,
            alias,
            is_public,
        });
    }
}
