//! Groups that consumers name, and workspaces that are apart.

use std::collections::BTreeSet;

use super::World;
use crate::found::Found;
use crate::printable;

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
