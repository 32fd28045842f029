//! The master key: 32 random bytes that encrypt the store.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use keystile_core::hex;
use keystile_model::error::{Code, Error, Result, named, refuse};
use keystile_system as system;

/// The places of a master key, as messages name them.
const VARIABLE: &str = "KEYSTILE_MASTER_KEY";
const BYTES: usize = 32;

/// The key that encrypts the store. No `Debug`, no `Display`; wiped when dropped.
pub struct MasterKey(Zeroizing<[u8; BYTES]>);

impl MasterKey {
    /// A new one.
    pub fn generate(entropy: fn(&mut [u8]) -> Result<()>) -> Result<Self> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        entropy(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// Reads 43 characters of base64url; `place` is their source.
    fn parse(text: &str, place: &str) -> Result<Self> {
        let text = text.trim().trim_end_matches('=');
        let wrong = |what: &str| {
            refuse(
                Code::MasterKeyInvalid,
                format_args!("{place} {what}"),
                "a master key is 32 random bytes in base64url, 43 characters, as in \
                 `head -c 32 /dev/urandom | basenc --base64url`",
            )
        };
        let mut decoded = Zeroizing::new([0u8; 48]);
        let n = URL_SAFE_NO_PAD
            .decode_slice(text, decoded.as_mut_slice())
            .map_err(|_| wrong("is not a master key"))?;
        let mut bytes = Zeroizing::new([0; BYTES]);
        match decoded.get(..n) {
            Some(d) if d.len() == BYTES => bytes.copy_from_slice(d),
            _ => return Err(wrong(&format!("holds {n} bytes, not {BYTES}"))),
        }
        Ok(Self(bytes))
    }

    /// The text that [`find`] reads back. A secret.
    fn expose_secret(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0.as_slice()))
    }

    /// The bytes. A secret.
    pub(crate) fn expose_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// SQLCipher's raw key, which needs no key derivation: `x'…'`. A secret.
    pub fn raw_key(&self) -> Zeroizing<String> {
        raw_key(&self.0)
    }

    /// Distinguishes this key from others and reveals nothing else about it: eight bytes of a hash
    /// of 256 random bits.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::new()
            .chain_update(b"keystile master key v1\n")
            .chain_update(self.0.as_slice())
            .finalize();
        hex::start(digest, 8)
    }
}

/// The master key from the first source that is set: the command, the environment, the file; `None`
/// if the file does not exist either.
pub fn find(file: &Path, command: Option<&str>) -> Result<Option<MasterKey>> {
    if let Some(command) = command {
        return from_command(command).map(Some);
    }
    if let Some(text) = system::secret_variable(VARIABLE) {
        return MasterKey::parse(&text, &format!("the environment variable `{VARIABLE}`"))
            .map(Some);
    }
    from_file(file)
}

/// SQLCipher's form of a raw key, which needs no key derivation: `x'…'`. A secret.
pub fn raw_key(key: &[u8; BYTES]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(2 * BYTES + 3));
    out.push_str("x'");
    for byte in key {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    out.push('\'');
    out
}

/// The error if [`find`] found none for an existing store.
pub fn missing(file: &Path) -> Error {
    refuse(
        Code::MasterKeyMissing,
        format_args!(
            "there is no master key: `{}` does not exist",
            file.display()
        ),
        keystile_model::next![
            format_args!("restore that file, set `{VARIABLE}`, or give "),
            named("master_key_command")
        ],
    )
}

/// The master key that a command prints.
pub fn from_command(command: &str) -> Result<MasterKey> {
    let text = printed(command, "the master key command")?;
    MasterKey::parse(&text, "the output of the master key command")
}

/// The secret that a command prints; `name` says which command it is.
///
/// # Errors
/// If it fails, or prints something other than text.
pub fn printed(command: &str, name: &str) -> Result<Zeroizing<String>> {
    let fail = |what: String| {
        refuse(
            Code::MasterKeyInvalid,
            format_args!("{name} {what}"),
            format_args!("run it by hand to see why: {command}"),
        )
    };
    let output = system::shell(command)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| fail(format!("did not start ({e})")))?;
    let mut stdout = output.stdout;
    if !output.status.success() {
        stdout.zeroize();
        return Err(fail(format!("failed ({})", output.status)));
    }
    match String::from_utf8(stdout) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(e) => {
            e.into_bytes().zeroize();
            Err(fail("printed something other than text".to_owned()))
        }
    }
}

/// The master key in a file; `None` if there is no file.
pub fn from_file(file: &Path) -> Result<Option<MasterKey>> {
    let shown = file.display();
    let cannot = |e: std::io::Error| {
        refuse(
            Code::MasterKeyInvalid,
            format_args!("the master key `{shown}` cannot be read ({e})"),
            "run as the user who made it",
        )
    };
    let mut opened = match fs::File::open(file) {
        Ok(opened) => opened,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(cannot(e)),
    };
    // Of the file that was opened, even if it is replaced meanwhile.
    let metadata = opened.metadata().map_err(cannot)?;
    // Root may work on other users' stores.
    let (owner, we) = (metadata.uid(), system::user_id());
    if we != 0 && owner != we && owner != 0 {
        return Err(another_user(file, owner));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(refuse(
            Code::MasterKeyExposed,
            format_args!("the master key `{shown}` can be read by others (mode {mode:04o})"),
            format_args!("run `chmod 600 {shown}`, and make new keys if anybody may have read it"),
        ));
    }
    let mut text = Zeroizing::new(String::new());
    opened.read_to_string(&mut text).map_err(cannot)?;
    MasterKey::parse(&text, &format!("the file `{shown}`")).map(Some)
}

/// Checks that a master key file, if there is one, belongs to the user who creates the store:
/// anybody else who put it there would know the key.
///
/// # Errors
/// If it belongs to another user.
pub fn check_owner(file: &Path) -> Result<()> {
    match fs::metadata(file) {
        Ok(m) if m.uid() != system::user_id() => Err(another_user(file, m.uid())),
        _ => Ok(()),
    }
}

fn another_user(file: &Path, owner: u32) -> Error {
    let shown = file.display();
    refuse(
        Code::MasterKeyExposed,
        format_args!(
            "the master key `{shown}` belongs to another user (uid {owner}), who knows it"
        ),
        format_args!(
            "run as that user; or, if no store needs this key, move `{shown}` away: a new one is made"
        ),
    )
}

/// Writes a new master key file, with mode 0600 from the start.
pub fn write_file(file: &Path, key: &MasterKey) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut f = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)?;
        f.write_all(key.expose_secret().as_bytes())?;
        f.write_all(b"\n")?;
        f.sync_all()
    };
    write().map_err(|e| {
        refuse(
            Code::FileUnwritable,
            format_args!(
                "the master key `{}` cannot be written ({e})",
                file.display()
            ),
            "check the folder and try again",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_reads_back_what_it_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        let key = MasterKey::parse(&"A".repeat(43), "here").ok().unwrap();
        write_file(&file, &key).unwrap();
        let again = from_file(&file).unwrap().unwrap();
        assert_eq!(again.raw_key(), key.raw_key());
        assert_eq!(again.raw_key().as_str(), format!("x'{}'", "00".repeat(32)));
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_short_master_key_is_refused_with_its_length() {
        let error = MasterKey::parse(&"A".repeat(40), "it").err().unwrap();
        assert!(
            error.to_string().starts_with("it holds 30 bytes, not 32; "),
            "{error}"
        );
        assert!(MasterKey::parse("no spaces here", "it").is_err());
        assert!(MasterKey::parse(&"A".repeat(400), "it").is_err());
    }

    #[test]
    fn different_keys_have_different_fingerprints() {
        let a = MasterKey::parse(&"A".repeat(43), "a").ok().unwrap();
        let b = MasterKey::parse(&format!("B{}", "A".repeat(42)), "b")
            .ok()
            .unwrap();
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert_eq!(a.fingerprint().len(), 16);
    }
}
