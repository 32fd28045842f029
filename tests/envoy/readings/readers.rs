//! Readers that share no code with us: each says which host and path it takes a request for.

use super::policies::NOBODY;
use crate::support::{eventually, root};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use tempfile::TempDir;

/// Host and target of a request that was let in, and the hosts that its policy names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    pub host: String,
    pub target: String,
    pub named: Vec<&'static str>,
}

/// What one reader takes a request for.
#[derive(Clone, Debug)]
pub struct Answer {
    pub reader: String,
    /// None: as it came.
    pub host: Option<String>,
    pub path: String,
    pub escaped: bool,
}

/// Every reading of each question.
pub fn read(questions: &BTreeSet<Question>) -> HashMap<&Question, Vec<Answer>> {
    let source = root().join("tests/envoy/readings");
    let programs = [
        script("python3", &source.join("reader.py")),
        script("node", &source.join("reader.js")),
        Command::new(built_with_go(&source.join("reader.go"))),
    ];
    let lines: String = questions
        .iter()
        .map(|question| {
            json!({"host": question.host, "target": question.target}).to_string() + "\n"
        })
        .collect();
    let mut answers: HashMap<&Question, Vec<Answer>> = HashMap::new();
    thread::scope(|scope| {
        let running: Vec<_> = programs
            .into_iter()
            .map(|program| scope.spawn(|| answered(program, &lines)))
            .collect();
        for question in questions {
            answers.insert(question, Vec::new());
        }
        for reader in running {
            let read = reader.join().unwrap();
            assert_eq!(read.len(), questions.len(), "a reader stopped");
            for (question, read) in questions.iter().zip(read) {
                answers.get_mut(question).unwrap().extend(read);
            }
        }
    });
    for (question, read) in Nginx::start(questions).read(questions) {
        answers.get_mut(question).unwrap().extend(read);
    }
    answers
}

fn script(program: &str, file: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(file);
    command
}

/// Once for all tests of this run, which would otherwise write it while another runs it.
fn built_with_go(source: &Path) -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = root().join("target/envoy-tests");
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("reader-go");
        let mut go = Command::new("go");
        go.arg("build").arg("-o").arg(&program).arg(source);
        // Nothing but what the standard library has, which is built once for these tests.
        go.env("GO111MODULE", "off").env("GOPROXY", "off");
        go.env("GOCACHE", folder.join("callers/go-cache"));
        let output = go.output().expect("Go: run scripts/setup tests first");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        program
    })
}

fn answered(mut program: Command, lines: &str) -> Vec<Vec<Answer>> {
    let child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("a reader: run scripts/setup tests first");
    let mut input = child.stdin.take().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let answers = thread::scope(|scope| {
        scope.spawn(move || input.write_all(lines.as_bytes()));
        let lines = output
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        lines
            .map(|line: Value| line.as_array().unwrap().iter().map(answer).collect())
            .collect()
    });
    assert!(child.wait().unwrap().success());
    answers
}

fn answer(reading: &Value) -> Answer {
    Answer {
        reader: reading[0].as_str().unwrap().into(),
        host: reading[1].as_str().map(str::to_owned),
        path: reading[2].as_str().unwrap().into(),
        escaped: reading[3].as_bool().unwrap(),
    }
}

/// A real nginx. It picks a server by host, decodes the path, resolves it, and tells.
struct Nginx {
    process: Child,
    folder: TempDir,
    /// Each set of hosts that a policy names has a socket of its own, in each of two settings.
    sets: Vec<Vec<&'static str>>,
}

const SETTINGS: [(&str, &str); 2] = [("nginx", "on"), ("nginx without merge_slashes", "off")];

impl Nginx {
    fn start(questions: &BTreeSet<Question>) -> Self {
        let sets: BTreeSet<_> = questions
            .iter()
            .map(|question| question.named.clone())
            .collect();
        let sets: Vec<_> = sets.into_iter().collect();
        // Not below `target`: the name of a socket may have 107 bytes.
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display();
        let mut servers = String::new();
        for (number, set) in sets.iter().enumerate() {
            for (which, (_, merge)) in SETTINGS.iter().enumerate() {
                let listen = format!("listen unix:{here}/{number}-{which}");
                let default = format!("{listen} default_server");
                let named = set.iter().map(|host| (*host, &listen));
                for (name, listen) in [("\"\"", &default)].into_iter().chain(named) {
                    let told = if name == "\"\"" { NOBODY } else { name };
                    servers += &format!(
                        "server {{ {listen}; server_name {name}; merge_slashes {merge};
                        return 200 \"{told}\\n$host\\n$uri\"; }}\n"
                    );
                }
            }
        }
        let config = format!(
            "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;
            events {{ worker_connections 64; }}
            http {{ access_log off; keepalive_requests 10000000; large_client_header_buffers 8 64k;
            client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f;
            uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
            server_names_hash_bucket_size 128; {servers} }}"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        let process = Command::new("/usr/sbin/nginx")
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .stderr(Stdio::inherit())
            .spawn()
            .expect("nginx: run scripts/setup tests first");
        Self {
            process,
            folder,
            sets,
        }
    }

    fn read<'q>(&self, questions: &'q BTreeSet<Question>) -> Vec<(&'q Question, Vec<Answer>)> {
        let mut out = Vec::new();
        for (number, set) in self.sets.iter().enumerate() {
            for (which, (reader, _)) in SETTINGS.iter().enumerate() {
                let socket = self.folder.path().join(format!("{number}-{which}"));
                let connect =
                    || eventually("nginx to listen", || UnixStream::connect(&socket).ok());
                let mut stream = BufReader::new(connect());
                for question in questions.iter().filter(|question| question.named == *set) {
                    match ask(&mut stream, question) {
                        Some(told) => out.push((question, answers(reader, &told))),
                        // Refused, which lets nobody in; nginx closes the connection behind it.
                        None => stream = BufReader::new(connect()),
                    }
                }
            }
        }
        out
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// By the server that was picked, and by the host as nginx reads it.
fn answers(reader: &str, told: &str) -> Vec<Answer> {
    let mut parts = told.splitn(3, '\n');
    let server = parts
        .next()
        .unwrap_or_default()
        .replace('*', "representative");
    let host = parts.next().unwrap_or_default().to_owned();
    let path = parts.next().unwrap_or_default().to_owned();
    let answer = |host| Answer {
        reader: reader.into(),
        host: Some(host),
        path: path.clone(),
        escaped: false,
    };
    vec![answer(server), answer(host)]
}

fn ask(stream: &mut BufReader<UnixStream>, question: &Question) -> Option<String> {
    let text = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n",
        question.target, question.host
    );
    let bytes: Vec<u8> = text.chars().map(|c| c as u32 as u8).collect();
    stream.get_mut().write_all(&bytes).ok()?;
    let mut status = String::new();
    stream.read_line(&mut status).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let fine = status.starts_with("HTTP/1.1 200");
    fine.then(|| String::from_utf8_lossy(&body).into_owned())
}
