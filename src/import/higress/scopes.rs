//! Scopes for what a key of Higress opens alone: rules, and plugins where there are several.

use std::collections::BTreeSet;

use super::{Consumer, World};
use crate::found::Found;

impl<'n> World<'n> {
    /// A list of clients that may call some routes, which get a scope that others do not have.
    pub(super) fn allow(&mut self, names: &[&str], scope: &str, place: &str, found: &mut Found) {
        found.leave(
            place,
            format!(
                "allows some consumers: they get scope `{scope}`; ask for it there (`any_scope`)"
            ),
        );
        for name in names {
            let who = (self.current, (*name).to_owned());
            let scopes = self.scopes.entry(who).or_default();
            scopes.insert(scope.to_owned());
        }
    }

    /// A scope that stands for no other rule: named after the first of what it selects.
    pub(super) fn scope_of(
        &mut self,
        selects: &[(&str, &str)],
        place: &str,
        number: usize,
    ) -> String {
        let plain = |text: &str| text.replace([' ', ',', '"', '\\'], "-");
        let rule = match selects {
            [] => place.to_owned(),
            _ => format!("{selects:?}"),
        };
        let (kind, name) = match selects.first() {
            Some((field, name)) => (field.trim_matches('_').replace("match_", ""), plain(name)),
            None => ("other".to_owned(), format!("rule-{number}")),
        };
        let more = format!("{kind}-{name}");
        self.free([name, more.clone()], &more, &rule)
    }

    /// The first of some scopes, or of more that begin like another, that stands for no other rule
    /// of any plugin.
    pub(super) fn free<const N: usize>(
        &mut self,
        first: [String; N],
        more: &str,
        rule: &str,
    ) -> String {
        let first_is_allowed = more == "allowed";
        let rule = format!("{:?} {rule}", self.current);
        let more = (2_u64..).map(|n| format!("{more}-{n}"));
        let is_free = |scope: &String| {
            (scope != "allowed" || first_is_allowed)
                && self.rules.get(scope).is_none_or(|there| *there == rule)
        };
        let mut all = first.into_iter().chain(more);
        let scope = all.find(is_free).unwrap_or_default();
        self.rules.insert(scope.clone(), rule);
        scope
    }

    /// Lists where plugins are in force. If several have consumers, each gets a scope.
    pub(super) fn scopes_of_plugins(&mut self, found: &mut Found) {
        let with: BTreeSet<usize> = self.consumers.iter().filter_map(|c| c.of).collect();
        for i in &with {
            let Some(plugin) = self.plugins.get(*i) else {
                continue;
            };
            let (place, name) = (plugin.place.clone(), plugin.name.clone());
            if with.len() < 2 {
                if plugin.narrowed {
                    found.leave(&place, "it is in force for some workloads or ports alone (`selector`, `match`): write what it protects as routes of the policy");
                }
                continue;
            }
            self.current = Some(*i);
            let scope = self.free([name.clone()], &name, "the plugin");
            found.leave(
                &place,
                format!("one of several plugins: write what it protects as routes of the policy, and ask for scope `{scope}` there (`any_scope`): its keys have it, those of the others have not"),
            );
            for consumer in self.consumers.iter().filter(|c| c.of == Some(*i)) {
                let who = (Some(*i), consumer.name.to_owned());
                self.scopes.entry(who).or_default().insert(scope.clone());
            }
        }
        self.current = None;
    }

    /// The scopes of a consumer: those of its own plugin, and of what stands apart from plugins.
    /// One that stands apart itself has those of all.
    pub(super) fn scopes(&self, consumer: &Consumer<'n>) -> impl Iterator<Item = &String> {
        let (name, of) = (consumer.name, consumer.of);
        let all = self.scopes.iter().filter(move |((plugin, who), _)| {
            who == name && (of.is_none() || plugin.is_none() || *plugin == of)
        });
        all.flat_map(|(_, scopes)| scopes)
    }
}
