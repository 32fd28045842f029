//! Requests by the ten thousand: what each policy names, spelled in every way that readers are
//! known to understand differently. The same seed makes the same requests.

use super::policies::Site;
use super::spellings::{
    ENDS, KNOWN_HOSTS, KNOWN_PATHS, PARAMETERS, PARENTS, PORTS, SEGMENTS, SLASHES, STARTS,
};
use std::collections::HashSet;

/// A request; those of the corpus have no key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    pub site: usize,
    pub method: &'static str,
    pub target: Vec<u8>,
    pub authority: Vec<u8>,
    /// A second `Host`, or in HTTP/2 one beside `:authority`.
    pub host: Option<Vec<u8>>,
    pub key: Option<String>,
}

/// SplitMix64: enough to choose spellings by, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True so many times in a hundred.
    fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const METHODS: [&str; 8] = [
    "GET", "GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "DELETE",
];

/// At least `each` requests for every policy.
pub fn generate(sites: &[Site], seed: u64, each: usize) -> Vec<Case> {
    let mut random = Random(seed);
    let mut cases = Vec::new();
    for (number, site) in sites.iter().enumerate() {
        let places = Places::of(site);
        let mut known: HashSet<Case> = HashSet::new();
        let mut add = |case: Case| {
            if known.insert(case.clone()) {
                cases.push(case);
            }
            known.len()
        };
        for case in places.known(number) {
            add(case);
        }
        while add(places.case(number, &mut random)) < each {}
    }
    cases
}

/// What a policy names, as plain requests would.
struct Places {
    paths: Vec<Vec<u8>>,
    hosts: Vec<Vec<u8>>,
    by_host: bool,
}

impl Places {
    fn of(site: &Site) -> Self {
        let mut paths: Vec<Vec<u8>> = ["/", "/healthz", "/other/x", "/index.html"]
            .map(|path| path.as_bytes().to_vec())
            .into();
        for rule in &site.rules {
            for rest in ["", "x", "x/y.txt"] {
                let mut path = rule.path.replace("{*rest}", rest);
                while let (Some(from), Some(to)) = (path.find('{'), path.find('}')) {
                    path.replace_range(from..=to, "7");
                }
                paths.push(path.trim_end_matches('/').as_bytes().to_vec());
            }
        }
        paths.retain(|path| !path.is_empty());
        paths.sort_unstable();
        paths.dedup();
        let mut hosts: Vec<Vec<u8>> = site
            .hosts()
            .iter()
            .map(|host| host.replace('*', "a").into_bytes())
            .collect();
        let by_host = !hosts.is_empty();
        hosts.push(b"other.example.org".to_vec());
        Self {
            paths,
            hosts,
            by_host,
        }
    }

    fn known(&self, site: usize) -> Vec<Case> {
        let case = |authority: &str, target: &str| Case {
            site,
            method: "GET",
            target: target.into(),
            authority: authority.into(),
            host: None,
            key: None,
        };
        let mut cases: Vec<_> = KNOWN_PATHS.map(|path| case("api.example.com", path)).into();
        for host in KNOWN_HOSTS {
            cases.push(case(host, "/x"));
            cases.push(case("other.example.org", &format!("http://{host}/x")));
        }
        cases
    }

    fn case(&self, site: usize, random: &mut Random) -> Case {
        let odd_host = random.percent(if self.by_host { 60 } else { 12 });
        let odd_path = random.percent(if self.by_host { 45 } else { 94 });
        let mut authority = self.hosts[random.below(self.hosts.len())].clone();
        if odd_host {
            authority = self.odd_host(authority, random);
        }
        let mut target = self.paths[random.below(self.paths.len())].clone();
        if odd_path {
            for _ in 0..=random.below(2) {
                target = self.odd_path(target, random);
            }
        }
        let mut host = None;
        match random.below(24) {
            // Envoy takes the authority of an absolute form for the host.
            0 | 1 => {
                let scheme: &[u8] = random.pick(&[b"http://", b"https://", b"HTTP://", b"ftp://"]);
                target = [scheme, &authority, &target].concat();
                authority = self.hosts[random.below(self.hosts.len())].clone();
            }
            2 => host = Some(self.hosts[random.below(self.hosts.len())].clone()),
            _ => {}
        }
        Case {
            site,
            method: random.pick(&METHODS),
            target,
            authority,
            host,
            key: None,
        }
    }

    fn odd_path(&self, path: Vec<u8>, random: &mut Random) -> Vec<u8> {
        let cut = |random: &mut Random| {
            let slashes: Vec<_> = (0..path.len()).filter(|n| path[*n] == b'/').collect();
            let at = slashes.get(random.below(slashes.len().max(1)));
            path.split_at(at.copied().unwrap_or(0))
        };
        match random.below(16) {
            15 => path.to_ascii_uppercase(),
            0..=3 => self.detour(&path, random),
            4 | 5 => {
                let (before, after) = cut(random);
                let after = if before.is_empty() { &[][..] } else { after };
                let before = if before.is_empty() { &path } else { before };
                [before, random.pick(&PARAMETERS), after].concat()
            }
            6 | 7 => {
                let (before, after) = cut(random);
                [before, b"/", random.pick(&SEGMENTS), after].concat()
            }
            8 | 9 => {
                let (before, after) = cut(random);
                [
                    before,
                    random.pick(&SLASHES),
                    after.get(1..).unwrap_or_default(),
                ]
                .concat()
            }
            10 | 11 => [&path[..], random.pick(&ENDS)].concat(),
            12 => [random.pick(&STARTS), &path[..]].concat(),
            13 => escaped(&path, random),
            _ => odd_as_a_whole(&path, random),
        }
    }

    /// Up from one path, down to another.
    fn detour(&self, to: &[u8], random: &mut Random) -> Vec<u8> {
        let mut path = self.paths[random.below(self.paths.len())].clone();
        let depth = path.iter().filter(|b| **b == b'/').count();
        for _ in 0..(depth + random.below(3)).saturating_sub(1).max(1) {
            path.extend(if random.percent(80) {
                b"/"
            } else {
                random.pick(&SLASHES)
            });
            path.extend(random.pick(&PARENTS));
        }
        path.extend(if random.percent(80) {
            b"/"
        } else {
            random.pick(&SLASHES)
        });
        path.extend(to.strip_prefix(b"/").unwrap_or(to));
        path
    }

    fn odd_host(&self, host: Vec<u8>, random: &mut Random) -> Vec<u8> {
        let other = &self.hosts[random.below(self.hosts.len())];
        let name = other.strip_prefix(b"a.").unwrap_or(other);
        match random.below(20) {
            0..=6 => [&host[..], random.pick(&PORTS)].concat(),
            7 => [b"[", &host[..], b"]"].concat(),
            8 => [b"[", &host[..], b"]:80"].concat(),
            9 => [random.pick(&[&b"u@"[..], b"u:p@", b"x:80@", b"@"]), &host].concat(),
            10 => [&host[..], &b"@"[..], other].concat(),
            11 => [
                &host[..],
                random.pick(&[&b","[..], b", ", b" ", b";", b"\t", b"%00"]),
                other,
            ]
            .concat(),
            12 => [
                random.pick(&[&b"x:1."[..], b"[x].", b"x:80@a.", b"x/.", b"x?.", b"x#."]),
                name,
            ]
            .concat(),
            13 => [
                random.pick(&[&b"x\\."[..], b"x .", b".", b"..", b"-.", b"x%2f.", b"x@y."]),
                name,
            ]
            .concat(),
            14 => host.to_ascii_uppercase(),
            15 => [
                &host[..],
                random.pick(&[&b"/"[..], b"?", b"#", b"\\", b"/x", b":80/", b"\\@x"]),
            ]
            .concat(),
            16 => [random.pick(&[&b" "[..], b"http://", b"//", b"\t"]), &host].concat(),
            17 => random
                .pick(&[
                    &b"[::1]"[..],
                    b"[::1]:80",
                    b"::1",
                    b"[::1]x",
                    b"[::ffff:127.0.0.1]",
                    b"127.1",
                    b"[0:0:0:0:0:0:0:1]",
                    b"[::1%25lo]",
                    b"2130706433",
                    b"",
                    b":80",
                    b"[]",
                    b"*",
                ])
                .to_vec(),
            18 => escaped(&host, random),
            _ => [&host[..], random.pick(&PORTS), random.pick(&PORTS)].concat(),
        }
    }
}

/// One character as an escape, or as the escape of an escape.
fn escaped(text: &[u8], random: &mut Random) -> Vec<u8> {
    if text.is_empty() {
        return Vec::new();
    }
    let at = random.below(text.len());
    let (before, rest) = text.split_at(at);
    let byte = rest[0];
    let escape = match random.below(5) {
        0 | 1 => format!("%{byte:02x}"),
        2 | 3 => format!("%{byte:02X}"),
        _ => format!("%25{byte:02x}"),
    };
    [before, escape.as_bytes(), &rest[1..]].concat()
}

fn odd_as_a_whole(path: &[u8], random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => path.to_ascii_uppercase(),
        1 => [path, &b"/x/..".repeat(300)].concat(),
        2 => [&b"/x/..".repeat(300)[..], path].concat(),
        3 => [&b"/".repeat(500)[..], path].concat(),
        4 => [path, b"/", &b"a".repeat(5000)].concat(),
        5 => [path, b"\xff"].concat(),
        6 => path.get(1..).unwrap_or_default().to_vec(),
        _ => b"*".to_vec(),
    }
}
