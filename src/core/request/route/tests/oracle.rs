//! The router against regular expressions: another library's idea of what a template takes, and
//! the order of the module's documentation, worked out from the texts of all routes.

use super::*;
use core::cmp::Reverse;
use regex::Regex;

/// What a segment, or what stands for it, comes after: less is more specific.
type Rank = (u8, Reverse<(usize, usize, usize)>, String);

struct Naive {
    matches: Regex,
    rank: Vec<Rank>,
    methods: Vec<String>,
}

impl Naive {
    fn new(template: &str, methods: &[String]) -> Self {
        let names = Regex::new(r"\{[a-z]+\}").unwrap();
        let mut regex = String::from("^");
        let mut rank = Vec::new();
        let mut end = "/?";
        for segment in template.split('/').skip(1).filter(|s| !s.is_empty()) {
            let none = Reverse((0, 0, 0));
            let shape = names.replace_all(segment, "{}").into_owned();
            rank.push(match segment {
                _ if segment.starts_with("{*") => {
                    end = "(?:/.*)?";
                    (4, none, String::new())
                }
                _ if segment.ends_with("+}") => {
                    end = "/.*[^/].*";
                    (3, none, String::new())
                }
                _ if !names.is_match(segment) => (0, none, String::new()),
                _ if shape == "{}" => (2, none, String::new()),
                _ => {
                    let texts: Vec<&str> = names.split(segment).collect();
                    let all = texts.iter().map(|t| t.len()).sum();
                    let (first, last) = (texts[0].len(), texts[texts.len() - 1].len());
                    (1, Reverse((all, first, last)), shape)
                }
            });
            if rank.last().unwrap().0 < 3 {
                let texts: Vec<String> = names.split(segment).map(regex::escape).collect();
                regex += "/";
                regex += &texts.join("(?:[^/%]|%[0-9A-F][0-9A-F])+");
            }
        }
        Self {
            matches: Regex::new(&format!("{regex}{end}$")).unwrap(),
            rank,
            methods: methods.to_vec(),
        }
    }
}

fn slow_find(routes: &[Naive], method: &str, path: &str) -> Option<usize> {
    routes
        .iter()
        .enumerate()
        .filter(|(_, r)| r.methods.is_empty() || r.methods.iter().any(|m| m == method))
        .filter(|(_, r)| r.matches.is_match(path))
        .min_by_key(|(_, r)| (&r.rank, r.methods.is_empty()))
        .map(|(i, _)| i)
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn the_tree_finds_what_a_search_of_all_routes_finds(
        routes in proptest::collection::vec(
            (
                "(/(a|b|%80|\\{x\\}|[ab]?\\{x\\}[-0a]|[ab.8]\\{x\\}(0|%80)?|a?\\{x\\}(\\.|-|0|%80)\\{y\\}b?)){0,3}",
                prop_oneof![2 => Just(""), 1 => Just("/{*r}"), 1 => Just("/{r+}")],
                0usize..3,
            ),
            1..12,
        ),
        paths in proptest::collection::vec("(/([ab0.-]|%80|%2D){0,5}){0,4}", 32),
        method in prop_oneof!["GET", "PUT"],
    ) {
        let mut router = Router::default();
        let mut kept = Vec::new();
        for (mut text, tail, m) in routes {
            text += tail;
            if text.is_empty() { text.push('/') }
            let template = Template::parse(&text).unwrap();
            let methods: Vec<String> = [&[][..], &["GET"], &["PUT"]][m].iter().map(|m| m.to_string()).collect();
            let naive = Naive::new(&text, &methods);
            if router.insert(kept.len(), Places::default(), &template, &methods).is_ok() {
                kept.push(naive);
            } else {
                // A refused route leaves its traces only in conflicts.
                let is_same = |other: &Naive| other.matches.as_str() == naive.matches.as_str();
                prop_assert!(kept.iter().any(is_same), "{text}");
                return Ok(());
            }
        }
        for path in paths {
            let path = if path.is_empty() { "/" } else { &path };
            let want = slow_find(&kept, &method, path);
            prop_assert_eq!(router.find("h", method.as_bytes(), path), want, "{}", path);
        }
    }
}
