//! Plain requests for every operation of OpenAPI documents: none of them is ambiguous.

use super::corpus::Case;
use crate::support::Companion;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A document, and what it asks for.
pub struct Document {
    pub name: String,
    pub host: String,
    /// Drafted by the companion.
    pub policy: String,
    /// Method and target of a request.
    pub requests: Vec<(&'static str, String)>,
}

/// What callers put in the place of a parameter: names, dates, versions, addresses, words in any
/// script. No escaped slash, about which readers do disagree.
const VALUES: [&str; 26] = [
    "7",
    "octo-cat",
    "a.b",
    "v1.2.3",
    "release%20notes",
    "caf%C3%A9",
    "%E6%97%A5%E6%9C%AC",
    "2026-11-28T10:00:00Z",
    "2026-11-28T10%3A00%3A00%2B01%3A00",
    "x:y",
    "user@example.com",
    "user%40example.com",
    "a+b",
    "a,b",
    "~me",
    "A-B_C",
    "(draft)",
    "key=value",
    "key%3Dvalue",
    "it's",
    "100%25",
    "a%26b",
    ".hidden",
    "a..b",
    "%5Bx%5D",
    "%22quoted%22",
];

/// Documents in the shape of APIs that many know: a server, and an operation in each line.
const WRITTEN_HERE: [(&str, &str, &str); 3] = [
    (
        "repositories",
        "https://api.repositories.example",
        "GET /repos/{owner}/{repo}
         PATCH /repos/{owner}/{repo}
         GET /repos/{owner}/{repo}/branches/{branch}
         PUT /repos/{owner}/{repo}/branches/{branch}/protection
         GET /repos/{owner}/{repo}/contents/{path}
         PUT /repos/{owner}/{repo}/contents/{path}
         DELETE /repos/{owner}/{repo}/contents/{path}
         GET /repos/{owner}/{repo}/compare/{basehead}
         GET /repos/{owner}/{repo}/git/ref/{ref}
         GET /repos/{owner}/{repo}/releases/tags/{tag}
         POST /repos/{owner}/{repo}/issues/{issue_number}/comments
         DELETE /repos/{owner}/{repo}/labels/{name}
         GET /users/{username}
         GET /users/me
         GET /search/code
         GET /orgs/{org}/teams/{team_slug}/memberships/{username}
         open GET /meta
         open GET /zen",
    ),
    (
        "payments",
        "https://api.payments.example/v1",
        "POST /charges
         GET /charges/{charge}
         POST /charges/{charge}/capture
         GET /customers/{customer}/sources/{id}
         DELETE /customers/{customer}/discount
         POST /payment_intents/{intent}/confirm
         GET /prices/search
         GET /balance/history/{id}
         GET /accounts/{account}/persons/{person}
         POST /test_helpers/test_clocks/{clock}/advance
         GET /coupons/{coupon}
         open GET /country_specs/{country}
         open GET /status",
    ),
    (
        "cluster",
        "https://cluster.example",
        "GET /api/v1/namespaces/{namespace}/pods/{name}
         DELETE /api/v1/namespaces/{namespace}/pods/{name}
         GET /api/v1/namespaces/{namespace}/pods/{name}/log
         POST /api/v1/namespaces/{namespace}/pods/{name}/eviction
         GET /api/v1/namespaces/{namespace}/services/{name}/proxy/{path}
         PATCH /apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale
         GET /apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}
         PUT /apis/{group}/{version}/{plural}/{name}/status
         GET /api/v1/nodes/{name}/proxy/metrics
         GET /logs/{logpath}
         open GET /healthz
         open GET /livez/{check}
         open GET /version
         open GET /.well-known/openid-configuration",
    ),
];

/// Those written here, and every file of the folder that `KEYSTILE_READINGS_DOCUMENTS` names.
pub fn documents(companion: &Companion) -> Vec<Document> {
    let mut documents: Vec<_> = WRITTEN_HERE
        .iter()
        .map(|(name, server, operations)| {
            let file = companion.dir().join(format!("{name}.json"));
            fs::write(&file, written(name, server, operations).to_string()).unwrap();
            document(companion, &file)
        })
        .collect();
    if let Some(folder) = std::env::var_os("KEYSTILE_READINGS_DOCUMENTS") {
        let files = fs::read_dir(folder).expect("a folder of documents");
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        documents.extend(files.iter().map(|file| document(companion, file)));
    }
    documents
}

fn written(name: &str, server: &str, operations: &str) -> Value {
    let mut paths = json!({});
    for operation in operations.lines().map(str::trim) {
        let secured = operation.strip_prefix("open ");
        let (method, path) = secured.unwrap_or(operation).split_once(' ').unwrap();
        let security = if secured.is_some() {
            json!([])
        } else {
            json!([{"key": []}])
        };
        paths[path][method.to_ascii_lowercase()] = json!({"security": security, "responses": {}});
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": name, "version": "1"},
        "servers": [{"url": server}],
        "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}}},
        "paths": paths
    })
}

fn document(companion: &Companion, file: &Path) -> Document {
    let text = fs::read_to_string(file).unwrap();
    let read: Value = match file.extension().and_then(|end| end.to_str()) {
        Some("json") => serde_json::from_str(&text).unwrap(),
        _ => serde_saphyr::from_str(&text).unwrap(),
    };
    let policy = companion.run(&["policy", "from-openapi", file.to_str().unwrap()]);
    let server = server(&read);
    let address = server.split_once("://").map_or("/", |(_, rest)| rest);
    let (host, base) = address.split_once('/').unwrap_or((address, ""));
    let base = base.trim_end_matches('/');
    let mut requests = Vec::new();
    for (path, operations) in read["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let Some(method) = known(method) else {
                continue;
            };
            let target = match base {
                "" => path.clone(),
                base => format!("/{base}{path}"),
            };
            let several = if target.contains('{') {
                VALUES.len()
            } else {
                1
            };
            requests.extend((0..several).map(|n| (method, filled(&target, n))));
        }
    }
    Document {
        name: file.file_stem().unwrap().to_string_lossy().into_owned(),
        host: host.to_owned(),
        policy,
        requests,
    }
}

/// Its first server, with the default of each variable.
fn server(document: &Value) -> String {
    let server = &document["servers"][0];
    let mut url = server["url"]
        .as_str()
        .unwrap_or("http://nowhere.example")
        .to_owned();
    for (name, variable) in server["variables"].as_object().into_iter().flatten() {
        let default = variable["default"].as_str().unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), default);
    }
    url
}

fn known(method: &str) -> Option<&'static str> {
    let methods = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH"];
    methods
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(method))
}

/// The `n`th value for the first parameter, the next for the next.
fn filled(template: &str, n: usize) -> String {
    let mut out = String::new();
    let mut rest = template;
    let mut next = n;
    while let Some((before, after)) = rest.split_once('{') {
        let (_, after) = after.split_once('}').unwrap();
        out += before;
        out += VALUES[next % VALUES.len()];
        next += 1;
        rest = after;
    }
    // A fragment in a template tells operations apart, and is never sent.
    let out = out + rest;
    out.split('#').next().unwrap_or_default().to_owned()
}

impl Document {
    /// As it was drafted, and beside a catch-all that is open: where ambiguity is looked for most.
    pub fn policies(&self) -> [String; 2] {
        let open = "- {path: \"/{*rest}\", auth: none}\n";
        let beside = self
            .policy
            .replace("\nroutes:\n", &format!("\nroutes:\n{open}"));
        [self.policy.clone(), beside]
    }

    pub fn cases(&self, key: &str) -> Vec<Case> {
        let case = |(method, target): &(&'static str, String)| Case {
            site: 0,
            method,
            target: target.as_bytes().to_vec(),
            authority: self.host.as_bytes().to_vec(),
            host: None,
            key: Some(key.to_owned()),
        };
        self.requests.iter().map(case).collect()
    }
}
