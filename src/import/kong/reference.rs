//! How a file of Kong refers to consumers, groups and workspaces.

use super::tables;
use crate::fields::Object;
use crate::found::Found;
use crate::node::Node;
use keystile_model::error::Result;

/// Why a consumer is left out.
pub const UNREAD_GROUP: &str = "it is in a group that the export does not name";

/// The names that a reference gives, the first of which that is known counts.
pub type ReferencedNames = Vec<String>;

/// What a reference names: a text, or an object with an id or a name. A consumer's `custom_id` is
/// none of its names.
pub fn reference(
    node: &Node,
    place: &str,
    closed: &mut Option<String>,
    found: &mut Found,
) -> Result<Option<ReferencedNames>> {
    if let Some(name) = node.text() {
        return Ok(Some(vec![name.to_owned()]));
    }
    let object = Object::open(node, &tables::REFERENCE, place, found)?;
    *closed = closed.take().or_else(|| object.closed());
    let mut names = ReferencedNames::new();
    for field in ["id", "username", "name"] {
        names.extend(object.text(field)?.map(str::to_owned));
    }
    Ok((!names.is_empty()).then_some(names))
}

/// The workspace of a consumer, or its control plane; none if that is not said.
pub fn workspace(file: &Object<'_>, consumer: &Object<'_>) -> Result<Option<String>> {
    let own = file.text("_workspace")?;
    let plane = file.get("_konnect");
    plane.into_iter().for_each(Node::pass);
    let plane = plane.and_then(|konnect| konnect.peek("control_plane_name")?.text());
    let id = consumer.text("ws_id")?;
    Ok(own.or(plane).or(id).map(str::to_owned))
}
