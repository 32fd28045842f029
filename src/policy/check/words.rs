//! Findings as sentences: what a caller could send, by which route it passes, and what to
//! write instead.

use std::collections::BTreeSet;

use keystile_core::policy::{Auth, ExposedKeys};

use keystile_model::plural;

use super::look::{Kind, Known, Look, Seen, Way};
use crate::file::PolicyFile;
use crate::yaml;

/// Hints for the author of a policy, each with file and line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is open next to something protected.
    pub warnings: Vec<String>,
    /// What is refused that a caller may have sent in good faith, and what the policy opens by name.
    pub notes: Vec<String>,
}

/// Methods that callers are likely to try, the most significant first.
const USUAL: [&str; 6] = ["POST", "PUT", "PATCH", "DELETE", "HEAD", "GET"];

pub(super) fn say(file: &PolicyFile, look: Look<'_>) -> Findings {
    let say = Say {
        file,
        root: yaml::parse(&file.text).ok(),
        look,
    };
    Findings {
        warnings: say.warnings(),
        notes: say.notes(),
    }
}

struct Say<'p> {
    file: &'p PolicyFile,
    /// Where everything stands; the text was parsed once already.
    root: Option<yaml::YamlNode>,
    look: Look<'p>,
}

impl Say<'_> {
    fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.look.shadow() {
            out.push(self.line(
                "mode",
                "`shadow` lets every request through, with or without a key; write `enforce` \
                 once the refusals that are counted are the ones you expect",
            ));
        }
        for ((p, kind, way), seen) in &self.look.seen {
            if let Some(route) = self.look.routes.get(*p) {
                out.push(match kind {
                    Kind::Methods => self.methods(*p, route, *way, seen),
                    Kind::Hosts => self.hosts(*p, route, *way, seen),
                });
            }
        }
        for p in self.look.preflights() {
            out.push(self.line(
                &format!("routes[{p}].methods"),
                format_args!(
                    "names `OPTIONS`, but a preflight passes without a key since `preflight` (line {}) is \
                     `allow`: `OPTIONS {}` with `Origin` and `Access-Control-Request-Method`; \
                     write `preflight: deny`, or take `OPTIONS` out",
                    self.at("preflight"),
                    example(&self.look, p),
                ),
            ));
        }
        out.extend(self.exposed());
        if self.look.cut {
            out.push(self.line(
                "routes",
                "distinguish too many kinds of requests to examine all of them, so something may \
                 be open that is not listed; use fewer hosts, or fewer parameters in the same places",
            ));
        }
        out
    }

    /// Why what is to happen to exposed keys will not happen, or may happen to others.
    fn exposed(&self) -> Option<String> {
        let policy = self.look.policy;
        if policy.exposed_keys == ExposedKeys::Report {
            return None;
        }
        let why = match &policy.report {
            _ if !policy.require_tls => {
                "has no effect, because plain HTTP is not refused; write `require_tls: true`"
            }
            Some(report) if report.usage && policy.require_enrolment => return None,
            Some(report) if report.usage => {
                "acts on what any Envoy says, and each of them could say it of any key; write `require_enrolment: true`"
            }
            _ => {
                "has no effect, because Envoys report such keys with their usage; add `report`, with `usage: true`"
            }
        };
        Some(self.line("exposed_keys", why))
    }

    fn methods(&self, p: usize, route: &Known<'_>, way: Way, seen: &Seen) -> String {
        let (request, others) = self.request(seen);
        let also = match others.is_empty() {
            true => String::new(),
            false => format!(" (as do {})", others.join(", ")),
        };
        let asks = match route.raw.methods.is_empty() {
            true => format!("`{}` asks for {}", route.raw.path, wanted(route)),
            false => format!(
                "`{}` asks for {} for {} only",
                route.raw.path,
                wanted(route),
                list(&route.raw.methods)
            ),
        };
        let next = match route.raw.methods.is_empty() {
            true => format!("ask for a key in {} as well", self.named(way)),
            false => format!(
                "leave `methods` out, or add a route `{}` without `methods` that says what the others need",
                route.raw.path
            ),
        };
        self.line(
            &format!("routes[{p}].methods"),
            format_args!(
                "`{request}`{} {} {}{also}, while {asks}; {next}",
                at(seen),
                passes(way),
                self.by(way)
            ),
        )
    }

    fn hosts(&self, p: usize, route: &Known<'_>, way: Way, seen: &Seen) -> String {
        let (request, _) = self.request(seen);
        let bare = seen.host.as_deref().and_then(|h| {
            let wild = format!("*.{h}");
            route.raw.hosts.iter().find(|x| **x == wild)
        });
        let beside = bare.map_or_else(String::new, |wild| {
            format!(" (`{wild}` does not include the name itself)")
        });
        let next = match (bare, way) {
            (Some(_), _) => "add the name to `hosts`".to_owned(),
            (None, Way::Open(o)) => format!(
                "leave `hosts` out, or give `routes[{o}]` the `hosts` that are meant to be open"
            ),
            (None, Way::AnyKey) => "leave `hosts` out, or write `unmatched: deny`".to_owned(),
        };
        self.line(
            &format!("routes[{p}].hosts"),
            format_args!(
                "`{request}`{}{beside} {} {}, while `{}` asks for {} at {} only; {next}",
                at(seen),
                passes(way),
                self.by(way),
                route.raw.path,
                wanted(route),
                list(&route.raw.hosts),
            ),
        )
    }

    fn notes(&self) -> Vec<String> {
        let mut out: Vec<String> = self.any_preflight().into_iter().collect();
        for (o, inside) in self.look.spellings() {
            let (Some(open), Some(first)) = (
                self.look.routes.get(o),
                inside.first().and_then(|p| self.look.routes.get(*p)),
            ) else {
                continue;
            };
            let more = match inside.len() {
                0 | 1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            let p = inside.first().copied().unwrap_or_default();
            let path = example(&self.look, p);
            let rest = path.trim_start_matches('/');
            out.push(self.line(
                &format!("routes[{o}]"),
                format_args!(
                    "`{}` is open around `{}` of `routes[{p}]` (line {}){more}, so a path that \
                     could also be read as one of those, such as `/x/..%2F{rest}` or `/;/{rest}`, is \
                     refused with 400 `ambiguous_path`; to avoid this, open only the paths that need it",
                    open.raw.path,
                    first.raw.path,
                    self.at(&format!("routes[{p}]")),
                ),
            ));
        }
        out
    }

    /// What `preflight: allow` opens. It is meant, so it is no warning.
    fn any_preflight(&self) -> Option<String> {
        let open = self.look.open_to_preflights();
        let p = *open.first()?;
        let route = self.look.routes.get(p)?;
        let more = match open.len() {
            1 => String::new(),
            n => format!(
                "; the same holds for {}",
                plural::count(n - 1, "other route")
            ),
        };
        Some(self.line(
            "preflight",
            format_args!(
                "lets `OPTIONS` pass without a key at every path, if it has `Origin` and \
                 `Access-Control-Request-Method`, as in `OPTIONS {}`, while `routes[{p}]` `{}` (line {}) \
                 asks for {}{more}; if the upstream answers `OPTIONS` with more than CORS headers, \
                 write `preflight: deny`",
                example(&self.look, p),
                route.raw.path,
                self.at(&format!("routes[{p}]")),
                wanted(route),
            ),
        ))
    }

    /// What a caller could send, and the other methods that get the same.
    fn request(&self, seen: &Seen) -> (String, Vec<String>) {
        let last = self.look.methods.len().saturating_sub(1);
        let named: BTreeSet<&str> = self
            .look
            .methods
            .iter()
            .take(last)
            .map(|m| m.text.as_str())
            .collect();
        let mut methods: Vec<String> = seen
            .methods
            .iter()
            .filter(|m| **m != last)
            .filter_map(|m| self.look.methods.get(*m).map(|m| m.text.clone()))
            .collect();
        let mut all = false;
        if seen.methods.contains(&last) {
            all = true;
            let unnamed = USUAL.iter().filter(|m| !named.contains(**m));
            methods.extend(unnamed.map(|m| (*m).to_owned()));
        }
        methods.sort_by_key(|m| USUAL.iter().position(|u| u == m).unwrap_or(USUAL.len()));
        let first = match methods.is_empty() {
            true => self.look.method(last).to_owned(),
            false => methods.remove(0),
        };
        if all {
            methods.push("all other methods".to_owned());
        }
        (format!("{first} {}", seen.path), methods)
    }

    fn named(&self, way: Way) -> String {
        match way {
            Way::Open(o) => format!("`routes[{o}]`"),
            Way::AnyKey => "`unmatched`".to_owned(),
        }
    }

    fn by(&self, way: Way) -> String {
        let Way::Open(o) = way else {
            return format!(
                "since no route matches and `unmatched` (line {}) is `authenticated`",
                self.at("unmatched")
            );
        };
        let Some(open) = self.look.routes.get(o) else {
            return String::new();
        };
        let auth = match open.raw.auth {
            Auth::Optional => ", `auth: optional`",
            _ => "",
        };
        format!(
            "by `routes[{o}]` `{}` (line {}{auth})",
            open.raw.path,
            self.at(&format!("routes[{o}]"))
        )
    }

    fn at(&self, field: &str) -> u64 {
        self.root.as_ref().map_or(1, |r| r.line_of(field))
    }

    fn line(&self, field: &str, problem: impl std::fmt::Display) -> String {
        format!(
            "{}:{}: `{field}`: {problem}",
            self.file.name,
            self.at(field)
        )
    }
}

fn passes(way: Way) -> &'static str {
    match way {
        Way::Open(_) => "passes without a key",
        Way::AnyKey => "passes with any key",
    }
}

fn wanted(route: &Known<'_>) -> String {
    let all = route.raw.scopes.iter().chain(&route.raw.any_scope);
    let scopes: Vec<String> = all.map(|s| format!("`{s}`")).collect();
    match scopes.is_empty() {
        true => "a key".to_owned(),
        false => format!("a key with {}", scopes.join(", ")),
    }
}

fn at(seen: &Seen) -> String {
    let host = seen.host.as_ref();
    host.map_or_else(String::new, |h| format!(" at `{h}`"))
}

fn list(words: &[String]) -> String {
    words.join(", ")
}

/// A path of a route.
fn example(look: &Look<'_>, route: usize) -> String {
    let shape = look.routes.get(route).map(|r| r.shape.as_slice());
    let steps: String = shape
        .unwrap_or_default()
        .iter()
        .filter(|s| *s != "{*}")
        .map(|s| match s.as_str() {
            "{+}" => "/other".to_owned(),
            s => format!("/{}", s.replace("{}", "other")),
        })
        .collect();
    if steps.is_empty() {
        "/".to_owned()
    } else {
        steps
    }
}
