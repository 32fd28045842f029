//! Whether what was let in is protected to any of the readers.

use super::WAYS;
use super::corpus::Case;
use super::policies::{NOBODY, Reading, Site};
use super::readers::{Answer, Question};
use super::recorder::Arrived;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub fn question(site: &Site, arrived: &Arrived) -> Question {
    Question {
        host: arrived.host.clone(),
        target: arrived.target.clone(),
        named: site.hosts(),
    }
}

/// What the readers made of it.
#[derive(Default)]
pub struct Judged {
    /// Requests that each reader judged, and how many of them it takes for protected.
    by_reader: BTreeMap<String, (usize, usize)>,
    /// The shortest request for each policy, way and reader.
    pub failures: BTreeMap<(&'static str, String), String>,
    failed: usize,
    /// Protected only to somebody who takes the host from one reader and the path from another.
    mixed: usize,
    mixed_examples: BTreeMap<&'static str, String>,
}

/// Reads the shortest requests first, so that those are shown.
pub fn judge(
    sites: &[Site],
    cases: &[Case],
    seen: &HashMap<usize, Arrived>,
    readings: &HashMap<&Question, Vec<Answer>>,
) -> Judged {
    let mut judged = Judged::default();
    let mut ids: Vec<_> = seen.keys().copied().collect();
    ids.sort_by_key(|id| {
        let case = &cases[id / WAYS.len()];
        (case.target.len() + case.authority.len(), *id)
    });
    for id in ids {
        let case = &cases[id / WAYS.len()];
        let site = &sites[case.site];
        let arrived = &seen[&id];
        let answers = &readings[&question(site, arrived)];
        let (protocol, settles) = WAYS[id % WAYS.len()];
        let second = case.host.as_ref();
        let second = second.map(|host| format!(" and {}", host.escape_ascii()));
        let sent = format!(
            "{protocol:?}, settled {settles}: {} {} at {}{}",
            case.method,
            case.target.escape_ascii(),
            case.authority.escape_ascii(),
            second.unwrap_or_default(),
        );
        judged.request(site, &sent, arrived, answers);
    }
    judged
}

/// What a reader found, and the name that it is counted under.
struct Finding<'a> {
    reader: &'a str,
    protected: Option<String>,
}

impl Judged {
    /// `sent` says how a request was sent, for people.
    pub fn request(&mut self, site: &Site, sent: &str, arrived: &Arrived, answers: &[Answer]) {
        let findings = findings(site, arrived, answers);
        let failed = findings.iter().any(|finding| finding.protected.is_some());
        let mut first: BTreeMap<&str, Option<String>> = BTreeMap::new();
        for Finding { reader, protected } in findings {
            let known = first.entry(reader).or_default();
            *known = known.take().or(protected);
        }
        for (reader, protected) in first {
            let (judged, refused) = self.by_reader.entry(reader.to_owned()).or_default();
            *judged += 1;
            let Some(protected) = protected else {
                continue;
            };
            *refused += 1;
            let shown = format!("{}: {sent} -> {reader}: {protected}", site.name);
            let place = (site.name, reader.to_owned());
            self.failures.entry(place).or_insert(shown);
        }
        self.failed += usize::from(failed);
        if let Some(found) = mixed(site, arrived, answers).filter(|_| !failed) {
            self.mixed += 1;
            let shown = format!("{}: {sent} -> {found}", site.name);
            self.mixed_examples.entry(site.name).or_insert(shown);
        }
    }

    pub fn print(&self) {
        for (reader, (judged, protected)) in &self.by_reader {
            println!("readings: {reader}: judged {judged}, takes {protected} for protected");
        }
        println!(
            "readings: {} requests that some reader takes for protected; {} more only to hosts of one and paths of another",
            self.failed, self.mixed
        );
        for shown in self.failures.values() {
            println!("  {shown}");
        }
        for shown in self.mixed_examples.values() {
            println!("  mixed: {shown}");
        }
    }
}

/// Each reader by the host that it reads itself, and by the virtual host that Envoy chose.
fn findings<'a>(site: &Site, arrived: &Arrived, answers: &'a [Answer]) -> Vec<Finding<'a>> {
    let chosen = match arrived.domain.as_str() {
        "*" => NOBODY.to_owned(),
        domain => domain.replace('*', "representative"),
    };
    let mut findings = Vec::new();
    for answer in answers {
        let own = answer.host.as_deref().unwrap_or(&arrived.host);
        let shown = |host: &str| format!("host {host:?}, path {:?}", answer.path);
        findings.push(Finding {
            reader: &answer.reader,
            protected: protects(site, arrived, own, answer).then(|| shown(own)),
        });
        findings.push(Finding {
            reader: "Envoy's virtual host",
            protected: protects(site, arrived, &chosen, answer)
                .then(|| format!("{} of {}", shown(&chosen), answer.reader)),
        });
    }
    findings
}

/// The host of one reader and the path of another.
fn mixed(site: &Site, arrived: &Arrived, answers: &[Answer]) -> Option<String> {
    let hosts = answers.iter();
    let hosts: BTreeSet<_> = hosts
        .map(|answer| answer.host.as_deref().unwrap_or(&arrived.host))
        .collect();
    hosts.into_iter().find_map(|host| {
        let mut answers = answers.iter();
        let answer = answers.find(|answer| protects(site, arrived, host, answer))?;
        let (path, reader) = (&answer.path, &answer.reader);
        Some(format!("host {host:?}, path {path:?} of {reader}"))
    })
}

fn protects(site: &Site, arrived: &Arrived, host: &str, answer: &Answer) -> bool {
    let path = Reading {
        path: &answer.path,
        escaped: answer.escaped,
    };
    site.protects(host, &arrived.method, &path)
}
