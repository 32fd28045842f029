//! The files of `envoy/`, into which values are put.

use keystile_model::error::{Error, defect};

pub(super) const ECDS: &str = include_str!("../../../envoy/ecds-file.yaml");

pub(super) const DISCOVERY: &str = include_str!("../../../envoy/discovery.yaml");

pub(super) const STATIC: &str = include_str!("../../../envoy/static.yaml");

pub(super) fn drifted(what: &str) -> Error {
    defect(format_args!("the template is not as expected: {what}"))
}
