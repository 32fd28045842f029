//! Refusals of discovery: a gRPC status for the Envoy, and a code from the list of all refusals for
//! people who read its log.

use keystile_model::error::{Code, Error, Surface};
use tonic::Status;
use tonic::metadata::MetadataValue;

/// The header of a refusal's code.
const CODE: &str = "keystile-code";

/// The status of a refusal. Envoy logs nothing but its message, so the code ends that too.
pub fn denied(status: tonic::Code, refusal: &Error) -> Status {
    let code = refusal.code().unwrap_or(Code::Unknown).as_str();
    let words = refusal.words(Surface::CommandLine).join("; ");
    let mut status = Status::new(status, format!("{words} ({code})"));
    let metadata = status.metadata_mut();
    metadata.insert(CODE, MetadataValue::from_static(code));
    status
}

/// The code of the refusal in a status; empty if there is none.
pub fn code_of(status: &Status) -> &str {
    let code = status.metadata().get(CODE);
    code.and_then(|c| c.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile_model::error::{Act, refuse};

    #[test]
    fn a_refusal_travels_with_its_code_and_words_that_name_the_next_step() {
        let next = keystile_model::next!["enroll it again with ", Act::NodeEnroll];
        let refusal = refuse(Code::NodeRevoked, "this node was revoked", next);
        let status = denied(tonic::Code::PermissionDenied, &refusal);
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
        assert_eq!(code_of(&status), "node_revoked");
        assert_eq!(
            status.message(),
            "this node was revoked; enroll it again with `keystilectl node enroll` (node_revoked)"
        );
        assert_eq!(code_of(&Status::ok("")), "");
    }
}
