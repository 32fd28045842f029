//! Authorities: what is read as a host is one to other servers as well, and they read the same.
#![no_main]

use keystile_core::request::host::Host;
use keystile_fuzz::readers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    keystile_fuzz::bounded(|| {
        let Ok(host) = Host::parse(bytes) else {
            return;
        };
        let seen = readers::host(bytes);
        let others = host.others(true);
        assert!(
            host.name().as_bytes() == seen || others.iter().any(|(text, _)| text.as_bytes() == seen),
            "{host:?} is read as {:?} elsewhere",
            String::from_utf8_lossy(&seen)
        );
        assert!(host.name().bytes().all(|b| !b.is_ascii_uppercase()));
        assert!(!bytes.iter().any(|b| b" ,@/\\?#%*".contains(b)), "{host:?}");
        // Each reading is a host, and the same one.
        for (text, _) in &others {
            let again = Host::parse(text.as_bytes()).expect("a reading is a host");
            assert!(
                again.name() == host.name() || host.name().starts_with('['),
                "{host:?}: {text}"
            );
        }
        if host.is_plain() {
            assert!(others.is_empty(), "{host:?}");
        }
    });
});
