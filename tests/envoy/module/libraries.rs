//! Files that are no module, or none for this Envoy: nothing opens, and the log says why.

use std::fs;
use std::path::Path;

use crate::fixture::Keys;
use crate::support::{Envoy, Setup, Upstream, get, part, shell};

const POLICY: &str = "version: 1\nroutes:\n- {path: /healthz, auth: none}\n";
const FOLDERS: &str = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH";
/// The oldest Envoy that runs the filter in WebAssembly.
const TOO_OLD: &str = "1.36.4";

/// With this file in the place of the module, in a static configuration and over discovery.
fn opens_nothing(file: impl Fn(&Path), words: &str) {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let put = |setup: Setup| {
        let folder = setup.dir().join("modules");
        fs::create_dir(&folder).unwrap();
        file(&folder.join("libkeystile.so"));
        setup.environment(FOLDERS, &folder.display().to_string())
    };
    let fixed = put(Setup::fixed(&upstream, &keys.sealed()));
    let log = Envoy::try_start(fixed).err().expect("it does not start");
    assert!(log.contains(words), "{log}");
    let envoy = keys.start_on(put(Setup::ecds(&upstream)));
    assert_eq!(envoy.send(&get("/healthz")).status, 500);
    assert!(envoy.log().contains(words));
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_file_that_is_no_library_opens_nothing() {
    if !shell::is_module() {
        return;
    }
    let text = |path: &Path| fs::write(path, "no library ".repeat(1000)).unwrap();
    opens_nothing(text, "invalid ELF header");
}

/// The system's loader may end Envoy over it: files are put in place by renaming.
#[test]
fn an_envoy_with_a_module_that_is_cut_off_does_not_start() {
    if !shell::is_module() {
        return;
    }
    let upstream = Upstream::start();
    let setup = Setup::fixed(&upstream, &Keys::new(POLICY).sealed());
    let folder = setup.dir().join("modules");
    fs::create_dir(&folder).unwrap();
    let whole = fs::read(shell::file()).unwrap();
    fs::write(folder.join("libkeystile.so"), &whole[..whole.len() / 2]).unwrap();
    let setup = setup.environment(FOLDERS, &folder.display().to_string());
    assert!(Envoy::try_start(setup).is_err());
}

#[test]
fn a_library_of_something_else_opens_nothing() {
    if !shell::is_module() {
        return;
    }
    let mathematics = format!("/lib/{}-linux-gnu/libm.so.6", std::env::consts::ARCH);
    let copy = |path: &Path| {
        fs::copy(&mathematics, path).unwrap();
    };
    opens_nothing(copy, "envoy_dynamic_module_on_program_init");
}

#[test]
fn an_envoy_that_is_too_old_is_told_what_to_do() {
    if !shell::is_module() {
        return;
    }
    let binary = format!(".tools/envoy-{TOO_OLD}/envoy/_bin/envoy");
    part(
        &binary,
        &format!("KEYSTILE_ENVOY_VERSION={TOO_OLD} scripts/setup tests"),
    );
    let upstream = Upstream::start();
    let setup = Setup::fixed(&upstream, &Keys::new(POLICY).sealed()).version(TOO_OLD);
    let log = Envoy::try_start(setup).err().expect("it does not start");
    let words = "libkeystile.so needs Envoy 1.38 or later: update Envoy, or use keystile.wasm";
    assert!(log.contains(words), "{log}");
}
