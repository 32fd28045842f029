//! Whether what was let in is protected to any of the readers.

use super::WAYS;
use super::corpus::Case;
use super::policies::{NOBODY, Reading, Site};
use super::readers::{Answer, Question};
use super::recorder::Arrived;
use super::wire::Protocol;
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
}

/// What arrived alike is judged once. The shortest requests come first, so that those are shown.
pub fn judge(
    sites: &[Site],
    cases: &[Case],
    seen: &HashMap<usize, Arrived>,
    readings: &HashMap<&Question, Vec<Answer>>,
) -> Judged {
    let case = |id: usize| &cases[id / WAYS.len()];
    let mut alike: HashMap<(usize, &Arrived), Vec<usize>> = HashMap::new();
    for (id, arrived) in seen {
        let site = case(*id).site;
        alike.entry((site, arrived)).or_default().push(*id);
    }
    let length = |id: &usize| (case(*id).target.len() + case(*id).authority.len(), *id);
    let shortest = |ids: Vec<usize>| (ids.iter().map(length).min().unwrap(), ids.len());
    let alike = alike.into_iter();
    let mut alike: Vec<_> = alike.map(|(key, ids)| (shortest(ids), key)).collect();
    alike.sort_by_key(|(shortest, _)| *shortest);
    let mut judged = Judged::default();
    for (((_, id), times), (site, arrived)) in alike {
        let site = &sites[site];
        let answers = &readings[&question(site, arrived)];
        judged.request(
            site,
            &sent(case(id), WAYS[id % WAYS.len()]),
            times,
            arrived,
            answers,
        );
    }
    judged
}

/// For people.
fn sent(case: &Case, (protocol, settles): (Protocol, bool)) -> String {
    let paths = if settles { "settled" } else { "as they come" };
    let second = case.host.as_ref();
    let second = second.map(|host| format!(" and {}", host.escape_ascii()));
    format!(
        "{protocol:?}, paths {paths}: {} {} at {}{}",
        case.method,
        case.target.escape_ascii(),
        case.authority.escape_ascii(),
        second.unwrap_or_default(),
    )
}

/// What a reader found, and the name that it is counted under.
struct Finding<'a> {
    reader: &'a str,
    protected: Option<String>,
}

impl Judged {
    /// A request that came so many times; `sent` says how, for people.
    pub fn request(
        &mut self,
        site: &Site,
        sent: &str,
        times: usize,
        arrived: &Arrived,
        answers: &[Answer],
    ) {
        let mut first: BTreeMap<&str, Option<String>> = BTreeMap::new();
        for Finding { reader, protected } in findings(site, arrived, answers) {
            let known = first.entry(reader).or_default();
            *known = known.take().or(protected);
        }
        if first.values().any(Option::is_some) {
            self.failed += times;
        } else {
            // Where each by itself agrees, the host of one and the path of another still may not.
            first.insert("two readers", mixed(site, arrived, answers));
        }
        for (reader, protected) in first {
            let (judged, found) = self.by_reader.entry(reader.to_owned()).or_default();
            *judged += times;
            let Some(protected) = protected else {
                continue;
            };
            *found += times;
            let shown = format!("{}: {sent} -> {reader}: {protected}", site.name);
            let place = (site.name, reader.to_owned());
            self.failures.entry(place).or_insert(shown);
        }
    }

    /// The fewest requests that a reader judged: those that it refuses to read let nobody in.
    pub fn least(&self) -> usize {
        let counts = self.by_reader.values();
        counts.map(|(judged, _)| *judged).min().unwrap_or_default()
    }

    pub fn print(&self) {
        for (reader, (judged, protected)) in &self.by_reader {
            println!("readings: {reader}: judged {judged}, takes {protected} for protected");
        }
        println!(
            "readings: {} requests that some reader takes for protected",
            self.failed
        );
        for shown in self.failures.values() {
            println!("  {shown}");
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
        let own = match site.by_virtual_host() {
            true => &chosen,
            false => answer.host.as_deref().unwrap_or(&arrived.host),
        };
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
    if site.by_virtual_host() {
        return None;
    }
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
