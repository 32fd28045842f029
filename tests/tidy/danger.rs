//! Where code may do what the compiler cannot check.

use crate::*;

/// What calls the host over a C interface, in each of the two shells.
#[test]
fn only_what_calls_the_host_is_unsafe() {
    let may = [
        "src/filter/entry.rs",
        "src/filter/given.rs",
        "src/filter/host.rs",
        "src/filter/host/",
        "src/module/abi.rs",
        "src/module/abi/",
    ];
    let words = [
        "unsafe {",
        "unsafe fn",
        "unsafe extern",
        "unsafe impl",
        "unsafe(",
        "unsafe_code",
    ];
    let elsewhere = hits("src", &words, |name| {
        may.iter().any(|m| name.starts_with(m))
    });
    assert_eq!(elsewhere, [""; 0]);
}
