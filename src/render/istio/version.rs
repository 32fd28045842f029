//! Versions of Istio, as far as they differ.

use std::str::FromStr;

use keystile_model::error::{Code, Error, refuse};

/// A version `1.x`, with or without a third number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IstioVersion {
    minor: u32,
}

impl IstioVersion {
    /// The oldest that has TrafficExtensions, and proxies that can load the native module.
    pub const TRAFFIC_EXTENSIONS: Self = Self { minor: 30 };
    /// The oldest whose proxies recreate a VM after a trap.
    pub const RELOADS: Self = Self { minor: 27 };
}

impl FromStr for IstioVersion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let numbers: Option<Vec<u32>> = text.split('.').map(|n| n.parse().ok()).collect();
        match numbers.as_deref() {
            Some([1, minor] | [1, minor, _]) => Ok(Self { minor: *minor }),
            _ => Err(refuse(
                Code::InvalidValue,
                format_args!("`{text}` is not a version of Istio"),
                "write `1.30`, for instance",
            )),
        }
    }
}
