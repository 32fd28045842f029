//! The control plane's containers, run as processes: the commands of the resources that
//! `keystilectl render kubernetes` prints, with folders in place of volumes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Home, prepare, text, word};

struct Cluster {
    folder: Home,
    head: String,
    documents: Vec<Value>,
}

impl Cluster {
    fn new() -> Self {
        let folder = Home::empty();
        let render = [
            "render",
            "kubernetes",
            "--image",
            "registry.example/x@sha256:0",
        ];
        let rendered = folder.ok(&render);
        let head: String = rendered
            .lines()
            .take_while(|l| l.starts_with('#'))
            .map(|l| format!("{}\n", l.trim_start_matches(['#', ' '])))
            .collect();
        let documents = rendered.split("---\n");
        let documents = documents.map(|d| serde_saphyr::from_str(d).unwrap());
        Self {
            documents: documents.collect(),
            folder,
            head,
        }
    }

    fn pod(&self, kind: &str) -> &Value {
        let document = self.documents.iter().find(|d| d["kind"] == kind).unwrap();
        let path = match kind {
            "CronJob" => "/spec/jobTemplate/spec/template/spec",
            _ => "/spec/template/spec",
        };
        document.pointer(path).unwrap()
    }

    /// The Secret's entry, as the head of what is printed has it made.
    fn make_master_key(&self) {
        let line = |l: &&str| l.contains("> master.key");
        let line = self.head.lines().find(line).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        prepare(&mut command, &self.folder.path(""));
        assert!(command.status().unwrap().success(), "{line}");
    }

    /// Runs a container of a pod, or something else in its place.
    fn run(&self, pod: &Value, container: &Value, instead: Option<&[&str]>) -> Output {
        let volumes = self.volumes(pod, container);
        // Paths of the container are paths below the folder of their volume.
        let placed = |word: &str| {
            let (mut out, mut rest) = (String::new(), word);
            while let Some(c) = rest.chars().next() {
                let begins = out.is_empty() || out.ends_with([' ', '"', '=']);
                let found = volumes.iter().find_map(|(path, folder)| {
                    let after = rest.strip_prefix(path.as_str())?;
                    (begins && after.starts_with('/')).then_some((folder, after))
                });
                if let Some((folder, after)) = found {
                    out.push_str(&folder.display().to_string());
                    rest = after;
                } else {
                    out.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
            out
        };
        let words = |list: &Value| -> Vec<String> {
            let list = list.as_array().into_iter().flatten();
            list.map(|w| placed(w.as_str().unwrap())).collect()
        };
        let all = match instead {
            Some(all) => all.iter().map(|w| placed(w)).collect(),
            None => [words(&container["command"]), words(&container["args"])].concat(),
        };
        let mut command = Command::new(&all[0]);
        command.args(&all[1..]);
        prepare(&mut command, &self.folder.path(""));
        command.env_remove("KEYSTILE_HOME");
        for variable in container["env"].as_array().unwrap() {
            let name = variable["name"].as_str().unwrap();
            let secret = &variable["valueFrom"]["secretKeyRef"];
            match variable["value"].as_str() {
                Some(value) => command.env(name, placed(value)),
                None => {
                    assert_eq!(secret["name"], "keystile-master-key");
                    assert_eq!(secret["key"], "master-key");
                    let key = fs::read_to_string(self.folder.path("master.key")).unwrap();
                    command.env(name, key)
                }
            };
        }
        // A container starts in the root of a file system that it cannot write.
        command.current_dir("/").output().unwrap()
    }

    fn ok(&self, pod: &Value, container: &Value, instead: Option<&[&str]>) -> String {
        let output = self.run(pod, container, instead);
        let words = text(&output.stderr);
        assert!(output.status.success(), "{words}");
        text(&output.stdout)
    }

    /// Where a container sees which folder. A claim is the same for every pod.
    fn volumes(&self, pod: &Value, container: &Value) -> BTreeMap<String, PathBuf> {
        let mounts = container["volumeMounts"].as_array().unwrap();
        let volumes = pod["volumes"].as_array().unwrap();
        let place = |mount: &Value| {
            let name = word(mount, "name");
            let volume = volumes.iter().find(|v| v["name"] == mount["name"]);
            let claim = volume.and_then(|v| v["persistentVolumeClaim"]["claimName"].as_str());
            // The claim of a StatefulSet's template, for its first pod.
            let claim = claim.map_or_else(|| format!("{name}-keystile-0"), str::to_owned);
            let folder = self.folder.path("volumes").join(claim);
            fs::create_dir_all(&folder).unwrap();
            (word(mount, "mountPath"), folder)
        };
        mounts.iter().map(place).collect()
    }

    fn volume(&self, claim: &str) -> PathBuf {
        self.folder.path("volumes").join(claim)
    }
}

/// The command that the page has for a restore.
fn restore_of_the_page() -> String {
    let page = include_str!("../../src/book/pages/kubernetes.md");
    let inline = page
        .split('`')
        .find(|s| s.starts_with("keystilectl restore"));
    inline.unwrap().to_owned()
}

#[test]
fn the_job_that_is_rendered_backs_up_and_the_page_s_words_restore() {
    let cluster = Cluster::new();
    cluster.make_master_key();
    let server = cluster.pod("StatefulSet");
    let (init, serve) = (&server["initContainers"][0], &server["containers"][0]);
    cluster.ok(server, init, None);
    // The pod moved: what is there stays.
    cluster.ok(server, init, None);
    let typed = |words: &[&str]| cluster.ok(server, serve, Some(words));
    typed(&["keystilectl", "client", "create", "acme", "--plan", "gold"]);
    typed(&["keystilectl", "key", "issue", "acme", "--count", "3"]);
    let keys = || typed(&["keystilectl", "key", "list", "--output", "json"]);
    let before = keys();

    let pod = cluster.pod("CronJob");
    let job = &pod["containers"][0];
    cluster.ok(pod, job, None);
    let kept: Vec<_> = fs::read_dir(cluster.volume("keystile-backup"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    // The same day a week later: the name is there, and gives way.
    typed(&["keystilectl", "key", "issue", "acme"]);
    let later = keys();
    assert_ne!(before, later);
    cluster.ok(pod, job, None);

    fs::remove_dir_all(cluster.volume("store-keystile-0")).unwrap();
    let restore = restore_of_the_page();
    let words: Vec<&str> = restore.split(' ').collect();
    let [program, verb, file] = words[..] else {
        panic!("{restore}");
    };
    let shown = file.strip_prefix("/backup/").unwrap();
    let day = |name: &str| name.len() == "keystile-Sun.db".len() && name.starts_with("keystile-");
    assert!(day(shown) && day(&kept[0]), "{shown}, {kept:?}");
    let file = format!("/backup/{}", kept[0]);
    cluster.ok(pod, job, Some(&[program, verb, &file]));

    // The server's own pod finds it, and does not begin anew.
    cluster.ok(server, init, None);
    assert_eq!(keys(), later);
    typed(&["keystilectl", "audit", "verify"]);
}
