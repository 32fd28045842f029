//! References by id or name, groups, and workspaces.

use std::collections::BTreeSet;

use super::{World, tables};
use crate::fields::Object;
use crate::found::Found;
use crate::node::Node;
use crate::printable;
use keystile_model::error::Result;

/// Why a consumer is left out.
pub const UNREAD_GROUP: &str = "it is in a group that the export does not name";

/// The names that a reference gives, the first of which that is known counts.
pub type Names = Vec<String>;

/// What a reference names: a text, or an object with an id or a name. A consumer's `custom_id` is
/// none of its names.
pub fn reference(
    node: &Node,
    place: &str,
    closed: &mut Option<String>,
    found: &mut Found,
) -> Result<Option<Names>> {
    if let Some(name) = node.text() {
        return Ok(Some(vec![name.to_owned()]));
    }
    let object = Object::open(node, &tables::REFERENCE, place, found)?;
    *closed = closed.take().or_else(|| object.closed());
    let mut names = Names::new();
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

impl World<'_> {
    /// Finds the groups that consumers name, when all of them are known.
    pub(super) fn settle_groups(&mut self) {
        let mut people = std::mem::take(&mut self.people);
        for person in &mut people {
            for names in std::mem::take(&mut person.in_groups) {
                let (name, known) = self.group(&names);
                if !known {
                    let shown = printable(&name, 80);
                    person.close(Some(format!("its group `{shown}` is not in the export")));
                }
                person.groups.insert(name);
            }
        }
        self.people = people;
    }

    /// Consumers of one workspace call its services alone: if there are several, each has a scope.
    pub(super) fn settle_workspaces(&mut self, found: &mut Found) {
        let all: BTreeSet<Option<String>> =
            self.people.iter().map(|p| p.workspace.clone()).collect();
        if all.len() < 2 {
            return;
        }
        for workspace in &all {
            let name = workspace.as_deref().unwrap_or("default");
            found.leave(
                &format!("workspace `{}`", printable(name, 80)),
                "one of several: write its services as routes of the policy, and ask for the scope of that name there (`any_scope`): its keys have `workspace:NAME`, those of the others have not",
            );
        }
        for person in &mut self.people {
            let name = person.workspace.as_deref().unwrap_or("default").to_owned();
            person.scope(format!("workspace:{name}"));
            person.original = format!("{name}/{}", person.original);
        }
    }
}
