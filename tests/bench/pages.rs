//! Every page of the console and of the portal, over a million keys and ten million rows of
//! usage: how long each takes, and how much of the server's CPU.
//!
//!     cargo bench --profile release --bench pages [-- KEYS ROWS]
//!
//! With `KEYSTILE_PAGES=DIR` what was made stays there, and is looked at again next time.
#![cfg_attr(target_family = "wasm", no_main)]
#![cfg(not(target_family = "wasm"))]
#![allow(dead_code)]

mod addresses;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use keystile_tests::fleet::{PART, ROUTES, Teller, now};
use keystile_tests::server::{Server, token};
use keystile_tests::support::{Home, word};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The largest client has a tenth of all keys, and these share the others.
const CLIENTS: usize = 2_000;
/// One key of so many is used at all.
const USED: usize = 10;
/// Keys that are used in an hour.
const HOURLY: usize = 2 * PART;
/// How often each page is asked for.
const TIMES: usize = 10;
/// What a page may take.
const BOUND: Duration = Duration::from_millis(200);

const POLICY: &str = "
version: 1
report: { cluster: keystile-control }
plans:
  free: { limits: [{ requests: 60, per: 1m }], quota: { requests: 100000, per: month } }
  gold: { limits: [{ requests: 100, per: 1s }] }
routes:
  - { path: /v1/route-0, scopes: [read] }
  - { path: /v1/route-1, scopes: [write] }
  - { path: /v1/route-2 }
";

fn main() {
    let mut numbers = std::env::args().filter_map(|a| a.parse::<usize>().ok());
    let keys = numbers.next().unwrap_or(1_000_000);
    let rows = numbers.next().unwrap_or(10_000_000);
    let home = match std::env::var("KEYSTILE_PAGES") {
        Ok(folder) => Home::kept(Path::new(&folder)),
        Err(_) => Home::empty(),
    };
    if home.path("made").exists() {
        println!("{}", fs::read_to_string(home.path("made")).unwrap().trim());
    } else {
        make(&home, keys, rows);
    }
    look(&home);
}

/// A store, and what Envoys have told of it.
fn make(home: &Home, keys: usize, rows: usize) {
    fs::write(home.path("policy.yaml"), POLICY).unwrap();
    home.ok(&["init", "--policy", "policy.yaml"]);
    let mut teller = Teller::new(home);
    let began = Instant::now();
    write_keys(home, keys);
    home.ok(&["key", "import", "keys.csv", "--create-clients"]);
    fs::remove_file(home.path("keys.csv")).unwrap();
    for client in ["big", "c7"] {
        home.ok(&["client", "update", client, "--plan", "free"]);
    }
    println!(
        "{keys} keys of {} clients in {:.0?}",
        CLIENTS + 1,
        began.elapsed()
    );

    let owner = token(home, "owner");
    let server = Server::start(home, &[]);
    let used: Vec<String> = all_ids(&server, &owner).into_iter().step_by(USED).collect();
    let began = Instant::now();
    let hour = now() - now() % 3600;
    let (mut told, mut hours) = (0, 0);
    while told < rows {
        hours += 1;
        // Other keys in each hour, so that in a few of them all were used.
        let from = hours * HOURLY % used.len();
        let some: Vec<&String> = used
            .iter()
            .cycle()
            .skip(from)
            .take(HOURLY.min(used.len()))
            .collect();
        for part in some.chunks(PART) {
            told += teller.tell(&server, hour - hours as u64 * 3600, part);
        }
    }
    let made = format!(
        "{keys} keys, {} of them used; {told} rows by hour on {ROUTES} routes over {hours} h, and those by day and by client of them",
        used.len(),
    );
    println!("{made}; told in {:.0?}", began.elapsed());
    assert!(server.stop());
    fs::write(home.path("made"), made).unwrap();
}

/// One in ten belongs to `big`, one in three ends within ninety days.
fn write_keys(home: &Home, keys: usize) {
    let file = fs::File::create(home.path("keys.csv")).unwrap();
    let mut file = std::io::BufWriter::new(file);
    writeln!(file, "client,sha256,name,scopes,plan,expires,labels").unwrap();
    for n in 0..keys {
        let client = match n % 10 {
            0 => "big".to_owned(),
            _ => format!("c{}", n % CLIENTS),
        };
        let digest = Sha256::digest(format!("key {n}"));
        let digest = digest.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let expires = match n % 3 {
            0 => format!("{}d", 1 + n % 90),
            _ => String::new(),
        };
        let label = if n % 50_000 == 1 {
            "team=rare"
        } else {
            "team=web"
        };
        writeln!(
            file,
            "{client},{digest},key {n},read,gold,{expires},{label}"
        )
        .unwrap();
    }
    file.flush().unwrap();
}

fn all_ids(server: &Server, owner: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let url = format!("{}/v1/keys?limit=10000{cursor}", server.url());
        let asked = ureq::get(&url).header("authorization", format!("Bearer {owner}"));
        let page = asked
            .call()
            .unwrap()
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_vec();
        let page: Value = serde_json::from_slice(&page.unwrap()).unwrap();
        ids.extend(
            page["keys"]
                .as_array()
                .unwrap()
                .iter()
                .map(|k| word(k, "id")),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

/// Who is signed in.
struct Visitor<'s> {
    server: &'s Server,
    agent: ureq::Agent,
    cookie: String,
}

impl<'s> Visitor<'s> {
    fn new(server: &'s Server, token: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .build();
        let mut visitor = Self {
            server,
            agent: agent.into(),
            cookie: String::new(),
        };
        let answer = visitor.post("/console/sign-in", &[("token", token)]);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        visitor.cookie = cookie.split(';').next().unwrap().to_owned();
        visitor
    }

    fn get(&self, path: &str) -> String {
        let url = format!("{}{path}", self.server.url());
        let mut answer = self
            .agent
            .get(&url)
            .header("cookie", &self.cookie)
            .call()
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.body_mut().read_to_string().unwrap()
    }

    fn post(&self, path: &str, form: &[(&str, &str)]) -> ureq::http::Response<ureq::Body> {
        let url = format!("{}{path}", self.server.url());
        self.agent
            .post(&url)
            .header("cookie", &self.cookie)
            .header("origin", self.server.url())
            .send_form(form.iter().copied())
            .unwrap()
    }

    /// What its forms carry.
    fn seal(&self) -> String {
        let page = self.get("/console/explain");
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }
}

fn look(home: &Home) {
    let name = format!("look-{}", now());
    let made = home.json(&["token", "create", &name, "--role", "owner"]);
    let owner = word(&made, "token");
    let of_client = |client: &str| {
        let name = format!("{name}-{client}");
        let made = [
            &["token", "create", &name, "--role", "client"][..],
            &["--client", client, "--scope", "read"],
        ];
        word(&home.json(&made.concat()), "token")
    };
    let (big, small) = (of_client("big"), of_client("c7"));
    let server = Server::start(home, &[]);
    settle(&server);

    let staff = Visitor::new(&server, &owner);
    let ids = |visitor: &Visitor, path: &str| -> String {
        let page = visitor.get(path);
        let (_, rest) = page.split_once("href=\"/console/keys/").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let used = {
        let page = staff.get("/console/clients/c7?since=30d");
        let (_, busiest) = page.split_once("busiest").unwrap();
        let (_, rest) = busiest.split_once("href=\"/console/keys/").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let unused = ids(&staff, "/console/keys?client=c7");
    println!("\nmilliseconds: median, worst, and CPU of the server for each");
    let mut slow = 0;
    println!("an owner");
    for path in addresses::of_staff(&used, &unused) {
        slow += usize::from(timed(&server, &path, || drop(staff.get(&path))));
    }
    let seal = staff.seal();
    for (words, key) in [
        ("its id", used.as_str()),
        ("an unknown key", "ks_live_x"),
        ("no key", ""),
    ] {
        let form = [
            ("csrf", seal.as_str()),
            ("key", key),
            ("method", "GET"),
            ("path", "/v1/route-0"),
        ];
        let name = format!("/console/explain, asked with {words}");
        slow += usize::from(timed(&server, &name, || {
            let mut answer = staff.post("/console/explain", &form);
            let page = answer.body_mut().read_to_string().unwrap();
            assert!(page.contains("id=\"verdict\""), "{page}");
        }));
    }
    for (client, token) in [("big", &big), ("c7", &small)] {
        println!("{client}, in the portal");
        let visitor = Visitor::new(&server, token);
        let key = ids(&visitor, "/console");
        for path in [
            "/console".to_owned(),
            "/console?since=7d".to_owned(),
            "/console?since=30d".to_owned(),
            "/console?status=revoked".to_owned(),
            format!("/console/keys/{key}"),
            format!("/console/keys/{key}?since=30d"),
            format!("/console/clients/{client}/issue"),
            "/console/guide".to_owned(),
        ] {
            slow += usize::from(timed(&server, &path, || drop(visitor.get(&path))));
        }
    }
    println!("\n{slow} pages are slower than {BOUND:?}");
}

/// Asks for a page again and again; whether the median is too slow.
fn timed(server: &Server, name: &str, ask: impl Fn()) -> bool {
    let before = cpu(server);
    let mut times: Vec<Duration> = (0..TIMES)
        .map(|_| {
            let began = Instant::now();
            ask();
            began.elapsed()
        })
        .collect();
    let spent = (cpu(server) - before) / TIMES as u32;
    times.sort();
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    let [median, worst] = [times[TIMES / 2], times[TIMES - 1]];
    let mark = if median > BOUND { "  SLOW" } else { "" };
    println!(
        "{:8.1} {:8.1} {:8.1}  {name}{mark}",
        ms(median),
        ms(worst),
        ms(spent)
    );
    median > BOUND
}

/// What the server has used of the CPU, in hundredths of a second.
fn cpu(server: &Server) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = |n: usize| fields.split(' ').nth(n).unwrap().parse::<u64>().unwrap();
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// Until the server has nothing left to do, such as the first keyset.
fn settle(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(300);
    let mut quiet = 0;
    while quiet < 10 {
        assert!(
            Instant::now() < deadline,
            "the server does not come to rest"
        );
        let before = cpu(server);
        std::thread::sleep(Duration::from_millis(200));
        quiet = if cpu(server) - before <= Duration::from_millis(20) {
            quiet + 1
        } else {
            0
        };
    }
}
