//! From the table of properties to the types that hold them.

/// Makes the types; [`super`] says which.
macro_rules! properties {
    ($($name:ident: $shape:ty, $given:ty, $shown:ty {
        issue: $issue:literal,
        update: $update:literal,
        $(null: $null:ty,)?
        view: $(#[$view_attribute:meta])* $view:literal,
        option: $option:literal $value:literal,
        help: $issue_help:literal, $update_help:literal,
        $(none: $none:literal $none_help:literal,)?
        heading: $heading:literal,
        field: $label:literal $placeholder:literal,
        hint: $hint:expr, $(change $change_hint:expr,)?
        imported: $imported:literal,
    })*) => {
        /// The properties, in the order in which they are listed everywhere.
        pub static PROPERTIES: &[Property] = &[$(Property {
            name: stringify!($name),
            option: $option,
            value: $value,
            many: <$shape as Shape>::MANY,
            check: <$shape as Shape>::check_word,
            issue_help: $issue_help,
            update_help: $update_help,
            none: [$(Some(($none, $none_help)),)? None][0],
            heading: $heading,
            label: $label,
            placeholder: $placeholder,
            hint: $hint,
            change_hint: [$(Some($change_hint),)? None][0],
            imported: $imported,
        }),*];

        /// What a key may do, and until when.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Rules {
            /// The environment in which it works.
            pub environment: Name,
            /// Bound to browser origins.
            pub publishable: bool,
            $(#[doc = $view] pub $name: <$shape as Shape>::Kept,)*
        }

        impl Rules {
            /// What the audit log says about them, by name.
            pub fn audited(&self) -> impl Iterator<Item = (&'static str, Value)> {
                let all = [$((stringify!($name), <$shape as Shape>::audited(&self.$name)),)*];
                all.into_iter().filter_map(|(name, value)| Some((name, value?)))
            }

            /// Checks what they hold, whatever the policy says. What stood there `before` was
            /// looked at when it was given.
            ///
            /// # Errors
            /// The first property that may not be kept.
            pub fn check_words(&self, before: Option<&Self>) -> Result<()> {
                $(<$shape as Shape>::check(
                    stringify!($name),
                    &self.$name,
                    before.map(|b| &b.$name),
                )?;)*
                Ok(())
            }
        }

        /// What is said about new keys, each value checked by itself.
        #[derive(Clone, Debug, Default)]
        pub struct KeyDraft {
            /// The policy's first by default.
            pub environment: Option<Name>,
            /// Bound to browser origins.
            pub publishable: bool,
            /// Accept scopes that no route asks for.
            pub any_scope: bool,
            $(#[doc = $issue] pub $name: <$shape as Shape>::Kept,)*
        }

        impl KeyDraft {
            /// The rules that it makes.
            pub fn rules(self, environment: Name) -> Rules {
                let mut rules = Rules {
                    environment,
                    publishable: self.publishable,
                    $($name: self.$name,)*
                };
                $(<$shape as Shape>::tidy(&mut rules.$name);)*
                rules
            }

            /// Sets a property to what was typed.
            ///
            /// # Errors
            /// It is none, or cannot hold that; the message names it.
            pub fn set(&mut self, name: &str, typed: &[String], now: u64) -> Result<()> {
                match name {
                    $(stringify!($name) => {
                        let given = <$shape as Shape>::typed(typed).map_err(|e| wrong(name, &e))?;
                        self.$name = <$shape as Shape>::keep(name, given, now)?;
                    })*
                    _ => return Err(unknown(name)),
                }
                Ok(())
            }
        }

        /// What is to change about a key, each value checked by itself; `None` leaves as it is.
        #[derive(Clone, Debug, Default)]
        pub struct KeyPatch {
            /// Scopes to add.
            pub add_scopes: Vec<String>,
            /// Scopes to remove.
            pub remove_scopes: Vec<String>,
            /// Accept scopes that no route asks for.
            pub any_scope: bool,
            /// Names of labels to remove.
            pub remove_labels: Vec<String>,
            $(#[doc = $update] pub $name: Option<<$shape as Shape>::Kept>,)*
        }

        impl KeyPatch {
            /// Changes rules.
            pub fn apply(self, rules: &mut Rules) {
                $(if let Some(new) = self.$name {
                    <$shape as Shape>::change(&mut rules.$name, new);
                })*
                rules.scopes.extend(self.add_scopes);
                rules.scopes.retain(|s| !self.remove_scopes.contains(s));
                rules.labels.retain(|name, _| !self.remove_labels.contains(name));
                $(<$shape as Shape>::tidy(&mut rules.$name);)*
            }
        }

        /// Issues keys; each is shown only once, in the answer.
        #[derive(Default, Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        #[schema(as = KeyIssue)]
        pub struct Issue {
            /// The client that gets the keys.
            pub client: String,
            /// The environment in which they work; by default the first of the policy.
            #[serde(default)]
            pub environment: Option<Environment>,
            /// For servers, or for browsers.
            #[serde(default, rename = "type")]
            pub kind: KeyType,
            /// Accept scopes that no route of the policy asks for.
            #[serde(default)]
            pub allow_unknown_scope: bool,
            /// How many identical keys to issue; if given, the answer is a list. At most 10,000 through a
            /// server.
            #[serde(default)]
            pub count: Option<u32>,
            /// Called with the progress.
            #[serde(skip)]
            pub progress: Progress,
            $(
                #[doc = $issue]
                #[serde(default, skip_serializing_if = "is_default")]
                pub $name: $given,
            )*
        }

        impl Issue {
            /// Sets a property to what was typed.
            ///
            /// # Errors
            /// It is none, or cannot hold that; the message names it.
            pub fn set(&mut self, name: &str, typed: &[String]) -> Result<()> {
                match name {
                    $(stringify!($name) => {
                        self.$name = <$shape as Shape>::typed(typed).map_err(|e| wrong(name, &e))?;
                    })*
                    _ => return Err(unknown(name)),
                }
                Ok(())
            }

            /// What it says about the keys, at an instant.
            ///
            /// # Errors
            /// A value is none; the message names its property.
            pub fn draft(&mut self, now: u64) -> Result<KeyDraft> {
                Ok(KeyDraft {
                    environment: self.environment.take().map(|e| e.0),
                    publishable: self.kind == KeyType::Publishable,
                    any_scope: self.allow_unknown_scope,
                    $($name: {
                        let given = std::mem::take(&mut self.$name);
                        <$shape as Shape>::keep(stringify!($name), given, now)?
                    },)*
                })
            }
        }

        /// Changes what a key may do; fields that are left out stay as they are.
        #[derive(Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        #[schema(as = KeyUpdate)]
        pub struct Update {
            /// Its id.
            pub id: Id,
            /// Scopes to add.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub add_scopes: Vec<String>,
            /// Scopes to remove.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub remove_scopes: Vec<String>,
            /// Accept scopes that no route of the policy asks for.
            #[serde(default)]
            pub allow_unknown_scope: bool,
            /// Names of labels to remove.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub remove_labels: Vec<String>,
            $(
                #[doc = $update]
                #[serde(
                    default,
                    deserialize_with = "wire::said",
                    skip_serializing_if = "Option::is_none"
                )]
                $(#[schema(value_type = $null)])?
                pub $name: Option<$given>,
            )*
        }

        impl Update {
            fn nothing(id: Id) -> Self {
                Self {
                    id,
                    add_scopes: Vec::new(),
                    remove_scopes: Vec::new(),
                    allow_unknown_scope: false,
                    remove_labels: Vec::new(),
                    $($name: None,)*
                }
            }

            /// Sets a property to what was typed; to nothing, if nothing was.
            ///
            /// # Errors
            /// It is none, or cannot hold that; the message names it.
            pub fn set(&mut self, name: &str, typed: &[String]) -> Result<()> {
                match name {
                    $(stringify!($name) => {
                        let given = <$shape as Shape>::typed(typed).map_err(|e| wrong(name, &e))?;
                        self.$name = Some(given);
                    })*
                    _ => return Err(unknown(name)),
                }
                Ok(())
            }

            /// What it changes, at an instant.
            ///
            /// # Errors
            /// A value is none; the message names its property.
            pub fn patch(self, now: u64) -> Result<KeyPatch> {
                Ok(KeyPatch {
                    add_scopes: self.add_scopes,
                    remove_scopes: self.remove_scopes,
                    any_scope: self.allow_unknown_scope,
                    remove_labels: self.remove_labels,
                    $($name: self.$name.map(|given| {
                        <$shape as Shape>::keep(stringify!($name), given, now)
                    }).transpose()?,)*
                })
            }
        }

        /// Everything about a key except the key itself, which is stored nowhere.
        #[derive(Clone, Serialize, Deserialize, ToSchema)]
        #[schema(as = Key)]
        pub struct KeyView {
            /// The public id.
            pub id: Id,
            /// The client that holds it.
            pub client: String,
            /// Its present status.
            pub status: KeyStatus,
            /// The environment in which it works.
            pub environment: Environment,
            /// `secret` or `publishable`.
            #[serde(rename = "type")]
            pub kind: KeyType,
            /// The plan that its limits come from.
            #[serde(rename = "plan")]
            pub effective_plan: Option<String>,
            /// When it stops working because it was rotated.
            pub works_until: Option<Time>,
            /// It was imported.
            pub imported: bool,
            /// It is disabled.
            pub disabled: bool,
            /// When it was revoked.
            pub revoked: Option<Time>,
            /// Why.
            pub reason: String,
            /// The first key in its chain of rotations.
            pub lineage: Id,
            /// The key that it replaced.
            pub rotated_from: Option<Id>,
            /// When it was created.
            pub created: Time,
            /// How it was used; absent if no use is known.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub usage: Option<KeyUseView>,
            /// When an Envoy last reported that it came over plain HTTP where TLS is required;
            /// absent if none did, and in lists.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub exposed: Option<Time>,
            $(#[doc = $view] $(#[$view_attribute])* pub $name: $shown,)*
        }

        impl KeyView {
            /// The view of a key at a time, in seconds since the epoch.
            pub fn from_key(key: &Key, now: u64) -> Self {
                let rules = &key.rules;
                Self {
                    id: Id(key.id),
                    client: key.client.clone(),
                    status: KeyStatus(key.status(now)),
                    environment: Environment(rules.environment.clone()),
                    kind: KeyType::from_rules(rules),
                    effective_plan: key.effective_plan().map(str::to_owned),
                    works_until: key.overlap_end.map(Time),
                    imported: key.imported,
                    disabled: key.disabled,
                    revoked: key.revoked.map(Time),
                    reason: key.reason.clone(),
                    lineage: Id(key.lineage),
                    rotated_from: key.rotated_from.map(Id),
                    created: Time(key.created),
                    usage: None,
                    exposed: None,
                    $($name: <$shape as Shape>::show(&rules.$name),)*
                }
            }

            /// What its properties hold, as they could be typed.
            pub fn words(&self) -> impl Iterator<Item = (&'static Property, Vec<String>)> {
                PROPERTIES.iter().zip([$(<$shape as Shape>::words(&self.$name),)*])
            }

            /// The same as people read it.
            pub fn texts(&self, now: u64) -> impl Iterator<Item = (&'static Property, String)> {
                PROPERTIES.iter().zip([$(<$shape as Shape>::text(&self.$name, now),)*])
            }
        }
    };
}
