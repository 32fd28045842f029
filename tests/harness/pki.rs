//! An authority and its certificates, as a fleet has them and as it should not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `openssl ca` has to be told.
const CONFIG: &str = "[ca]
default_ca = here
[here]
database = index
new_certs_dir = .
default_md = sha256
policy = names
rand_serial = yes
unique_subject = no
copy_extensions = copy
crlnumber = number
default_crl_days = 2
crl_extensions = list
[list]
authorityKeyIdentifier = keyid:always
[names]
commonName = supplied
";
const CURVE: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
];
/// From and until, for one that nobody should take any more.
const EXPIRED: [&str; 4] = [
    "-startdate",
    "20200101000000Z",
    "-enddate",
    "20200201000000Z",
];

/// An authority with a folder of its own.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// A new one; its certificate is in `ca.pem`.
    pub fn new(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config"), CONFIG).unwrap();
        fs::write(folder.join("index"), "").unwrap();
        fs::write(folder.join("number"), "01\n").unwrap();
        let authority = Self { folder };
        let mut make = authority.openssl("req");
        make.arg("-x509").args(CURVE).args(["-days", "2"]);
        make.args([
            "-subj",
            "/CN=authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ]);
        run(make);
        authority
    }

    /// `name.pem` and `name.key`, for a server or client of this DNS name on this machine.
    pub fn issue(&self, name: &str, dns: &str) {
        self.sign(name, dns, &["-days", "2"]);
    }

    /// The same, of a time that is over.
    pub fn issue_expired(&self, name: &str, dns: &str) {
        self.sign(name, dns, &EXPIRED);
    }

    /// Takes a certificate back; [`Self::list_revoked`] says so.
    pub fn revoke(&self, name: &str) {
        let mut revoke = self.openssl("ca");
        revoke.args([
            "-batch", "-config", "config", "-cert", "ca.pem", "-keyfile", "ca.key",
        ]);
        revoke.args(["-revoke", &format!("{name}.pem")]);
        run(revoke);
    }

    /// Lists in `crl.pem`, at once, what was taken back.
    pub fn list_revoked(&self) {
        let mut list = self.openssl("ca");
        list.args([
            "-batch", "-config", "config", "-cert", "ca.pem", "-keyfile", "ca.key",
        ]);
        list.args(["-gencrl", "-out", "crl.new"]);
        run(list);
        fs::rename(self.folder.join("crl.new"), self.folder.join("crl.pem")).unwrap();
    }

    /// A file of a backup.
    pub fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    fn sign(&self, name: &str, dns: &str, when: &[&str]) {
        let [key, request, pem] = ["key", "csr", "pem"].map(|end| format!("{name}.{end}"));
        let mut ask = self.openssl("req");
        ask.args(CURVE).args(["-subj", &format!("/CN={name}")]);
        ask.args(["-addext", &format!("subjectAltName=DNS:{dns},IP:127.0.0.1")]);
        ask.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        ask.args(["-keyout", &key, "-out", &request]);
        run(ask);
        let mut sign = self.openssl("ca");
        sign.args(["-batch", "-notext", "-config", "config"]);
        sign.args(["-cert", "ca.pem", "-keyfile", "ca.key"]);
        sign.args(["-in", &request, "-out", &pem]).args(when);
        run(sign);
    }

    fn openssl(&self, what: &str) -> Command {
        let mut command = Command::new("openssl");
        command.arg(what).current_dir(Path::new(&self.folder));
        command
    }
}

fn run(mut command: Command) {
    let output = command.output().expect("openssl: run scripts/setup first");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}
