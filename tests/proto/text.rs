//! Reads the texts in `tests/vectors/proto`, as far as `make.py` there writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What the texts declare, by full names with a dot in front.
#[derive(Default)]
pub struct Texts {
    pub messages: BTreeMap<String, Vec<Field>>,
    pub enums: BTreeMap<String, BTreeMap<String, i32>>,
    /// Methods as they stand in a request's path, with what they take and return.
    pub methods: BTreeMap<String, [String; 2]>,
    /// `path` of each text, as messages' comments name their origin.
    pub origins: BTreeSet<String>,
}

pub struct Field {
    pub name: String,
    pub number: u32,
    pub kind: Kind,
    pub repeated: bool,
}

#[derive(Clone)]
pub enum Kind {
    /// A scalar, or a message or an enum by its full name.
    One(String),
    Map(String, String),
}

impl Texts {
    pub fn read() -> Self {
        let root =
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/vectors/proto");
        let mut texts = Self::default();
        let mut todo = vec![root.clone()];
        while let Some(path) = todo.pop() {
            if path.is_dir() {
                todo.extend(fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
            } else if path.extension().is_some_and(|e| e == "proto") {
                texts.file(&fs::read_to_string(&path).unwrap());
                let origin = path.strip_prefix(&root).unwrap();
                texts.origins.insert(origin.to_str().unwrap().to_owned());
            }
        }
        texts
    }

    fn file(&mut self, text: &str) {
        let mut words = Words::of(text);
        words.expect("syntax = \"proto3\" ; package");
        let package = words.next();
        words.expect(";");
        while let Some(word) = words.0.pop() {
            let name = format!(".{package}.{}", words.next());
            match word.as_str() {
                "message" => self.message(&mut words, name),
                "enum" => self.an_enum(&mut words, name),
                "service" => self.service(&mut words, &name[1..]),
                other => panic!("`{other}` in {package}"),
            }
        }
    }

    fn message(&mut self, words: &mut Words, message: String) {
        words.expect("{");
        let mut fields = Vec::new();
        let mut inside_oneof = false;
        loop {
            match words.next().as_str() {
                "message" => {
                    let name = format!("{message}.{}", words.next());
                    self.message(words, name);
                }
                "enum" => {
                    let name = format!("{message}.{}", words.next());
                    self.an_enum(words, name);
                }
                "oneof" => {
                    words.next();
                    words.expect("{");
                    inside_oneof = true;
                }
                "}" if inside_oneof => inside_oneof = false,
                "}" => break,
                word => fields.push(Field::after(word, words)),
            }
        }
        assert!(self.messages.insert(message, fields).is_none());
    }

    fn an_enum(&mut self, words: &mut Words, name: String) {
        words.expect("{");
        let mut values = BTreeMap::new();
        loop {
            let value = words.next();
            if value == "}" {
                break;
            }
            words.expect("=");
            values.insert(value, words.next().parse().unwrap());
            words.expect(";");
        }
        assert!(self.enums.insert(name, values).is_none());
    }

    fn service(&mut self, words: &mut Words, service: &str) {
        words.expect("{");
        while words.next() == "rpc" {
            let path = format!("/{service}/{}", words.next());
            let asked = words.in_brackets();
            words.expect("returns");
            let answered = words.in_brackets();
            words.expect(";");
            self.methods.insert(path, [asked, answered]);
        }
    }
}

impl Field {
    fn after(word: &str, words: &mut Words) -> Self {
        let repeated = word == "repeated";
        let kind = match word {
            "repeated" => Kind::One(words.next()),
            "map" => {
                words.expect("<");
                let key = words.next();
                words.expect(",");
                let value = words.next();
                words.expect(">");
                Kind::Map(key, value)
            }
            one => Kind::One(one.to_owned()),
        };
        let name = words.next();
        words.expect("=");
        let number = words.next().parse().unwrap();
        words.expect(";");
        Self {
            name,
            number,
            kind,
            repeated,
        }
    }
}

/// Words and signs, the last one first.
struct Words(Vec<String>);

impl Words {
    fn of(text: &str) -> Self {
        let lines = text.lines().filter(|l| !l.starts_with("//"));
        let mut spaced = lines.collect::<Vec<_>>().join(" ");
        for sign in ["{", "}", "(", ")", "<", ">", ",", ";"] {
            spaced = spaced.replace(sign, &format!(" {sign} "));
        }
        Self(spaced.split_whitespace().rev().map(str::to_owned).collect())
    }

    fn next(&mut self) -> String {
        self.0.pop().expect("more text")
    }

    fn expect(&mut self, all: &str) {
        for word in all.split(' ') {
            assert_eq!(self.next(), word);
        }
    }

    fn in_brackets(&mut self) -> String {
        self.expect("(");
        let mut all = Vec::new();
        loop {
            let word = self.next();
            if word == ")" {
                return all.join(" ");
            }
            all.push(word);
        }
    }
}
