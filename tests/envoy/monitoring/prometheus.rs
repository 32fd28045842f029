//! The real Prometheus, on loopback.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{eventually, fresh_dir, root};

/// How often it asks everything and evaluates the rules.
const EVERY: &str = "1s";

/// A Prometheus with our rules; dropped, it is killed.
pub struct Prometheus {
    process: Child,
    url: String,
    agent: ureq::Agent,
}

impl Prometheus {
    /// Starts one that scrapes this server and these Envoys' admin interfaces.
    pub fn start(server: &str, envoys: &[String]) -> Self {
        let dir = fresh_dir();
        let config = json!({
            "global": {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY},
            "rule_files": [root().join("envoy/prometheus-rules.yaml")],
            "scrape_configs": [
                {"job_name": "keystile", "static_configs": [{"targets": [server]}]},
                {
                    "job_name": "envoy",
                    "metrics_path": "/stats/prometheus",
                    "static_configs": [{"targets": envoys}],
                },
            ],
        });
        let file = dir.join("prometheus.json");
        fs::write(&file, config.to_string()).unwrap();
        // Prometheus does not say which port it was given, so it has to be told one.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let mut prometheus = Self {
            process: started(&dir, &file, &address),
            url: format!("http://{address}/api/v1"),
            agent: ureq::Agent::config_builder()
                .timeout_global(Some(Duration::from_secs(10)))
                .http_status_as_error(false)
                .build()
                .new_agent(),
        };
        eventually("Prometheus to be ready", || {
            if let Some(status) = prometheus.process.try_wait().unwrap() {
                let log = fs::read_to_string(dir.join("prometheus.log")).unwrap();
                panic!("Prometheus ended ({status}):\n{log}");
            }
            let ready = format!("http://{address}/-/ready");
            let answer = prometheus.agent.get(ready).call().ok()?;
            answer.status().is_success().then_some(())
        });
        prometheus
    }

    /// The series that a query has now; a query that Prometheus cannot evaluate ends the test.
    #[track_caller]
    pub fn query(&self, query: &str) -> Vec<Value> {
        let told = self.ask("query", &[("query", query)]);
        told["data"]["result"].as_array().unwrap().clone()
    }

    /// The labels of every series of this name.
    pub fn series(&self, name: &str) -> Vec<Value> {
        let told = self.ask("series", &[("match[]", name)]);
        told["data"].as_array().unwrap().clone()
    }

    /// The rules, as it has evaluated them.
    pub fn rules(&self) -> Vec<Value> {
        let told = self.ask("rules", &[]);
        let groups = told["data"]["groups"].as_array().unwrap().iter();
        groups
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect()
    }

    #[track_caller]
    fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Value {
        let mut request = self.agent.get(format!("{}/{what}", self.url));
        for (name, value) in parameters {
            request = request.query(name, value);
        }
        let told = request.call().unwrap().body_mut().read_json::<Value>();
        let told = told.unwrap();
        assert_eq!(told["status"], "success", "{parameters:?}: {told}");
        told
    }
}

fn started(dir: &Path, config: &Path, address: &str) -> Child {
    let log = File::create(dir.join("prometheus.log")).unwrap();
    Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.join("data").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("prometheus: run `scripts/setup tests` first")
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
