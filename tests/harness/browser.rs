//! Chromium without a window, driven over WebDriver (W3C): a dozen calls of JSON, for which
//! a library would bring a second HTTP stack.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Key of an element's id in answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// What a person holds in his hands.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    pub name: &'static str,
    pub width: u32,
    pub height: u32,
    pub dark: bool,
}

/// A desk, by day.
pub const DESK: Screen = Screen {
    name: "1280-light",
    width: 1280,
    height: 900,
    dark: false,
};

/// A telephone, by night.
pub const PHONE: Screen = Screen {
    name: "390-dark",
    width: 390,
    height: 844,
    dark: true,
};

/// A browser; it is killed with its test.
pub struct Browser {
    driver: Child,
    agent: ureq::Agent,
    session: String,
    pub screen: Screen,
    pub downloads: PathBuf,
    _profile: tempfile::TempDir,
}

/// A driver and its port. It takes one that is free for IPv4 and ends if another program has it
/// for IPv6, which is nobody's fault: then the next try takes another.
fn driver() -> Option<(Child, String)> {
    let mut driver = Command::new("chromedriver")
        .args(["--port=0", "--log-level=SEVERE"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver: run scripts/setup first");
    let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = said.find_map(|line| {
        let line = line.unwrap();
        let (_, port) = line.split_once("successfully on port ")?;
        Some(port.trim_end_matches('.').to_owned())
    });
    let Some(port) = port else {
        let _ = driver.wait();
        return None;
    };
    // Whoever stops reading a pipe stops who writes into it.
    std::thread::spawn(move || said.for_each(drop));
    Some((driver, port))
}

impl Browser {
    /// Starts one.
    pub fn start(screen: Screen) -> Self {
        let (driver, port) = (0..5)
            .find_map(|_| driver())
            .expect("chromedriver does not start");
        let profile = tempfile::tempdir().unwrap();
        let downloads = profile.path().join("downloads");
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE * 2))
            .build()
            .into();
        let mut browser = Self {
            driver,
            agent,
            session: format!("http://127.0.0.1:{port}"),
            screen,
            downloads: downloads.clone(),
            _profile: profile,
        };
        let mut args = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--ignore-certificate-errors".to_owned(),
            format!(
                "--user-data-dir={}",
                browser._profile.path().join("profile").display()
            ),
            format!("--window-size={},{}", screen.width.max(600), screen.height),
        ];
        if nix_is_root() {
            // Chromium's sandbox needs a user who is not root.
            args.push("--no-sandbox".to_owned());
        }
        let made = browser.post(
            "/session",
            &json!({"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {
                    "args": args,
                    "prefs": {"download.default_directory": downloads, "download.prompt_for_download": false},
                },
            }}}),
        );
        let id = made["sessionId"].as_str().unwrap().to_owned();
        browser.session = format!("{}/session/{id}", browser.session);
        browser.look_like(screen);
        browser
    }

    /// Takes another screen.
    pub fn look_like(&mut self, screen: Screen) {
        self.screen = screen;
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": screen.width, "height": screen.height, "deviceScaleFactor": 1, "mobile": false}),
        );
        let scheme = if screen.dark { "dark" } else { "light" };
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
    }

    /// Opens a page.
    pub fn go(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    /// Signs in at a server's console.
    pub fn sign_in(&self, server: &str, token: &str) {
        self.go(&format!("{server}/console"));
        assert!(self.url().ends_with("/console/sign-in"));
        self.write("[name=token]", token);
        self.follow("button[type=submit]");
        assert!(self.url().ends_with("/console"), "{}", self.url());
    }

    /// Its path.
    pub fn url(&self) -> String {
        self.get("/url").as_str().unwrap().to_owned()
    }

    /// Clicks something that leads to another page, and waits for that.
    pub fn follow(&self, css: &str) {
        self.script("document.documentElement.dataset.left = 'soon'", &[]);
        self.click(css);
        self.until("the next page", || {
            let there = self.script(
                "return document.readyState === 'complete' && !document.documentElement.dataset.left",
                &[],
            );
            there == Value::Bool(true)
        });
    }

    /// Clicks.
    pub fn click(&self, css: &str) {
        let element = self.find(css);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// Types into a field, in the place of what stands there.
    pub fn write(&self, css: &str, text: &str) {
        let element = self.find(css);
        self.post(&format!("/element/{element}/clear"), &json!({}));
        if !text.is_empty() {
            self.post(&format!("/element/{element}/value"), &json!({"text": text}));
        }
    }

    /// Chooses an option by its value.
    pub fn choose(&self, css: &str, value: &str) {
        self.click(&format!("{css} option[value=\"{value}\"]"));
    }

    /// What stands somewhere.
    pub fn text(&self, css: &str) -> String {
        let element = self.find(css);
        let text = self.get(&format!("/element/{element}/text"));
        text.as_str().unwrap().to_owned()
    }

    /// What stands in a field.
    pub fn value(&self, css: &str) -> String {
        self.find(css);
        let value = self.script("return document.querySelector(arguments[0]).value", &[css]);
        value.as_str().unwrap().to_owned()
    }

    /// How many there are.
    pub fn count(&self, css: &str) -> u64 {
        let n = self.script(
            "return document.querySelectorAll(arguments[0]).length",
            &[css],
        );
        n.as_u64().unwrap()
    }

    /// The document as it is.
    pub fn source(&self) -> String {
        self.get("/source").as_str().unwrap().to_owned()
    }

    /// Runs a script in the page.
    pub fn script(&self, script: &str, args: &[&str]) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": args}))
    }

    /// Waits.
    pub fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < PATIENCE, "{what}: not at {}", self.url());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Keeps a picture of the whole page, checks that it fits the screen, and that axe has
    /// nothing serious to say about it.
    pub fn judge(&self, name: &str) {
        let wide = self.script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]",
            &[],
        );
        assert!(
            wide[0].as_u64() <= wide[1].as_u64(),
            "`{name}` is wider than {}: {wide}",
            self.screen.name
        );
        let height = self.script("return document.documentElement.scrollHeight", &[]);
        let height = height.as_u64().unwrap().min(4000);
        let shot = self.devtools(
            "Page.captureScreenshot",
            &json!({"format": "png", "captureBeyondViewport": true,
                "clip": {"x": 0, "y": 0, "width": self.screen.width, "height": height, "scale": 1}}),
        );
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("target/console");
        fs::create_dir_all(&folder).unwrap();
        let png = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        fs::write(folder.join(format!("{name}-{}.png", self.screen.name)), png).unwrap();
        let findings = self.axe();
        assert!(
            findings.is_empty(),
            "axe about `{name}` ({}):\n{}",
            self.screen.name,
            findings.join("\n")
        );
    }

    /// What axe finds that is serious or critical.
    fn axe(&self) -> Vec<String> {
        let axe = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(".tools/axe.min.js");
        let axe = fs::read_to_string(axe).expect(".tools/axe.min.js: run scripts/setup first");
        self.script(&format!("{axe}\nwindow.axe = axe;"), &[]);
        let found = self.post(
            "/execute/async",
            &json!({"script": "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(
                (r) => done(r.violations.map((v) => [v.impact, v.id, v.help, v.nodes.map((n) => n.html + ' ' + n.failureSummary).join(' | ')])),
                (e) => done([['critical', 'axe', String(e), '']]))", "args": []}),
        );
        let all = found.as_array().unwrap().iter();
        all.filter(|v| v[0] == "serious" || v[0] == "critical")
            .map(|v| format!("{} {}: {} {}", v[0], v[1], v[2], v[3]))
            .collect()
    }

    fn find(&self, css: &str) -> String {
        let mut found = String::new();
        self.until(css, || {
            let answer = self.ask("/elements", &json!({"using": "css selector", "value": css}));
            let first = &answer["value"][0][ELEMENT];
            found = first.as_str().unwrap_or_default().to_owned();
            !found.is_empty()
        });
        found
    }

    fn devtools(&self, command: &str, params: &Value) -> Value {
        self.post(
            "/goog/cdp/execute",
            &json!({"cmd": command, "params": params}),
        )
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.ask(path, body);
        let value = answer["value"].clone();
        assert!(value["error"].is_null(), "{path}: {value:#}");
        value
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.session);
        let mut answer = self
            .agent
            .post(url)
            .header("content-type", "application/json")
            .send(body.to_string())
            .unwrap();
        serde_json::from_str(&read(&mut answer)).unwrap()
    }

    fn get(&self, path: &str) -> Value {
        let mut answer = self
            .agent
            .get(format!("{}{path}", self.session))
            .call()
            .unwrap();
        let answer: Value = serde_json::from_str(&read(&mut answer)).unwrap();
        answer["value"].clone()
    }
}

/// Pictures are large.
fn read(answer: &mut ureq::http::Response<ureq::Body>) -> String {
    answer
        .body_mut()
        .with_config()
        .limit(256 << 20)
        .read_to_string()
        .unwrap()
}

fn nix_is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session; the driver is ours to end.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
