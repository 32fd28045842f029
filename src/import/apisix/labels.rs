//! Labels, which do nothing in APISIX.

use crate::closing::closes;
use crate::fields::Object;
use crate::found::Found;
use crate::node::shown_name;

/// Lists labels that read as if they switched a consumer off: APISIX does not act on them.
pub(super) fn name_labels(object: &Object<'_>, place: &str, found: &mut Found) {
    let Some(labels) = object.get("labels") else {
        return;
    };
    labels.pass();
    for (name, value) in labels.pairs().into_iter().flatten() {
        if closes(name, value) {
            found.leave(
                place,
                format!(
                    "label `{}` does nothing in APISIX: if it means that the consumer is off, leave it out by hand",
                    shown_name(name)
                ),
            );
        }
    }
}
