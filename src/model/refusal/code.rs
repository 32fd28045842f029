//! The one list of what can be refused, for REST, command line, console and documentation.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kind of a refusal, which determines the status of an HTTP answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The request is invalid.
    #[default]
    Invalid,
    /// The request is malformed.
    Malformed,
    /// The caller is not known.
    Unauthenticated,
    /// The caller may not do this.
    Forbidden,
    /// There is no such value.
    NotFound,
    /// The path does not take this method.
    Method,
    /// The request did not arrive in time.
    Slow,
    /// It conflicts with something that is there.
    Conflict,
    /// It has changed since it was read.
    Stale,
    /// The body is too large.
    TooLarge,
    /// The body is not of a type that is taken.
    MediaType,
    /// Too many requests.
    TooMany,
    /// It cannot be done at the moment.
    Unavailable,
    /// The store fails.
    Store(Trouble),
}

/// Why the store fails, the worst reason last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// There is no space left.
    Full,
    /// It cannot be opened or written.
    Access,
    /// The disk does not work properly.
    Io,
    /// Data on the disk is damaged.
    Damaged,
}

impl Trouble {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Full, Self::Access, Self::Io, Self::Damaged];

    /// Its name in metrics and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Access => "access",
            Self::Io => "io",
            Self::Damaged => "damaged",
        }
    }
}

impl Kind {
    /// Each of them that has a word of its own.
    pub const ALL: [Self; 15] = [
        Self::Malformed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Method,
        Self::Slow,
        Self::Conflict,
        Self::Stale,
        Self::TooLarge,
        Self::MediaType,
        Self::Invalid,
        Self::TooMany,
        Self::Unavailable,
        Self::Store(Trouble::Full),
        Self::Store(Trouble::Io),
    ];

    /// The word for it in the type of a problem.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Method => "method_not_allowed",
            Self::Slow => "too_slow",
            Self::Conflict => "conflict",
            Self::Stale => "stale",
            Self::TooLarge => "too_large",
            Self::MediaType => "unsupported_media_type",
            Self::Invalid => "invalid",
            Self::TooMany => "too_many_requests",
            Self::Unavailable => "unavailable",
            Self::Store(Trouble::Full) => "storage_full",
            Self::Store(_) => "store_trouble",
        }
    }

    /// The kind of that word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == word)
    }

    /// The same for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Malformed => "Malformed request",
            Self::Unauthenticated => "Token missing or not valid",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::Method => "Method not allowed",
            Self::Slow => "Too slow",
            Self::Conflict => "In conflict with the current state",
            Self::Stale => "Changed meanwhile",
            Self::TooLarge => "Too large",
            Self::MediaType => "Unsupported media type",
            Self::Invalid => "Refused",
            Self::TooMany => "Too many requests",
            Self::Unavailable => "Not possible at the moment",
            Self::Store(Trouble::Full) => "No space left for the store",
            Self::Store(_) => "The store is failing",
        }
    }
}

macro_rules! codes {
    ($($name:ident $word:tt $kind:expr, $title:tt;)*) => {
        /// What happened, for programs. A word never changes its meaning; new words may be added.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
        )]
        #[schema(as = ErrorCode)]
        pub enum Code {
            $(
                #[doc = $title]
                #[serde(rename = $word)]
                $name,
            )*
        }

        impl Code {
            /// The list.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word that programs compare.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What sort of refusal it usually is.
            pub fn kind(self) -> Kind {
                match self { $(Self::$name => $kind,)* }
            }

            /// What it means, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    // What a field holds.
    InvalidValue "invalid_value" Kind::Invalid, "A field has a value that it cannot have";
    OutOfRange "out_of_range" Kind::Invalid, "A number or a time is outside its bounds";
    TooLong "too_long" Kind::Invalid, "A text is too long";
    TooMany "too_many" Kind::Invalid, "More items are given than fit";
    HiddenCharacters "hidden_characters" Kind::Invalid, "A text holds characters that cannot be seen";
    SecretInText "secret_in_text" Kind::Invalid, "A text that would be stored contains a key, a token or a secret";
    FieldMissing "field_missing" Kind::Invalid, "Something that is needed is not given";
    FieldUnknown "field_unknown" Kind::Invalid, "There is no field or column of that name";
    FieldsConflict "fields_conflict" Kind::Invalid, "Two fields are given that exclude each other";
    InvalidName "invalid_name" Kind::Invalid, "A name has characters that names cannot have";
    InvalidScope "invalid_scope" Kind::Invalid, "A scope has characters that scopes cannot have";
    UnknownScope "unknown_scope" Kind::Invalid, "No route of the policy asks for the scope";
    ScopeNotPublishable "scope_not_publishable" Kind::Invalid, "The policy does not let publishable keys hold the scope";
    OriginMissing "origin_missing" Kind::Invalid, "A publishable key is given no origin";
    UnknownPlan "unknown_plan" Kind::Invalid, "The policy has no plan of that name";
    UnknownEvent "unknown_event" Kind::Invalid, "There is no event of that name";
    NoEnvironment "no_environment" Kind::Invalid, "The policy accepts no environment";
    BurstTooSmall "burst_too_small" Kind::Invalid, "A burst is below the cost of a route";
    ExpiryInPast "expiry_in_past" Kind::Invalid, "It would already be expired";
    EndsBeforeBegin "ends_before_begin" Kind::Invalid, "It would expire before it becomes valid, or end before it begins";
    InvalidAddress "invalid_address" Kind::Invalid, "A URL or an address cannot be read";
    AddressNotAllowed "address_not_allowed" Kind::Invalid, "The address is neither public nor allowed";
    NotEncrypted "not_encrypted" Kind::Invalid, "Something secret would travel without TLS";
    BeyondMaxLifetime "beyond_max_lifetime" Kind::Invalid, "The key would live longer than the policy allows";
    BeyondCeiling "beyond_ceiling" Kind::Invalid, "It is more than the token, or the client, may have";
    KeyLimitReached "key_limit_reached" Kind::Invalid, "The client has as many keys as it may have";
    ConfirmationMissing "confirmation_missing" Kind::Conflict, "It cannot be undone and was not confirmed";
    IdempotencyKeyInvalid "idempotency_key_invalid" Kind::Invalid, "The idempotency key cannot be used";

    // What is not there.
    ClientNotFound "client_not_found" Kind::NotFound, "There is no such client";
    KeyNotFound "key_not_found" Kind::NotFound, "There is no such key";
    TokenNotFound "token_not_found" Kind::NotFound, "There is no such token";
    WebhookNotFound "webhook_not_found" Kind::NotFound, "There is no such webhook";
    SigningKeyNotFound "signing_key_not_found" Kind::NotFound, "There is no such signing key";
    NodeNotFound "node_not_found" Kind::NotFound, "The node is not enrolled";
    EnvoyNotFound "envoy_not_found" Kind::NotFound, "The server knows no such Envoy";
    SessionNotFound "session_not_found" Kind::NotFound, "There is no such session of the console";
    RevisionNotFound "revision_not_found" Kind::NotFound, "The policy has no such revision";
    VersionNotFound "version_not_found" Kind::NotFound, "The server does not remember that version of the keyset";
    BackupNotFound "backup_not_found" Kind::NotFound, "There is no such backup to fetch";
    RecordNotFound "audit_record_not_found" Kind::NotFound, "The audit log has no such record, or no longer";
    AuditEmpty "audit_empty" Kind::NotFound, "The audit log has no record yet";
    PathNotFound "path_not_found" Kind::NotFound, "There is nothing at this path";
    SignInNotSetUp "sign_in_not_set_up" Kind::NotFound, "Sign-in with an identity provider is not set up";

    // What is there and stands in the way.
    ClientExists "client_exists" Kind::Conflict, "There is a client of that name already";
    TokenExists "token_exists" Kind::Conflict, "There is a token of that name already";
    WebhookExists "webhook_exists" Kind::Invalid, "There is a webhook of that name already";
    KeyExists "key_exists" Kind::Invalid, "The key is in the store already, or given twice";
    ClientDeleted "client_deleted" Kind::Invalid, "The client was deleted";
    KeyRevoked "key_revoked" Kind::Conflict, "The key was revoked permanently";
    KeyRotated "key_rotated" Kind::Conflict, "The key was rotated to another one already";
    KeyExpired "key_expired" Kind::Conflict, "The key has expired";
    KeyDisabled "key_disabled" Kind::Conflict, "The key is disabled";
    NoSuccessor "no_successor" Kind::Invalid, "The key has no successor to fetch";
    SuccessorFetched "successor_fetched" Kind::Invalid, "The successor of the key was fetched already";
    SigningKeyActive "signing_key_active" Kind::Conflict, "The signing key is the one that signs";
    EnvoyConnected "envoy_connected" Kind::Conflict, "The Envoy is connected";
    BackupRunning "backup_running" Kind::Conflict, "Another backup is being made or fetched";
    IdempotencyKeyReused "idempotency_key_reused" Kind::Conflict, "The idempotency key was used for another request";
    ServerRunning "server_running" Kind::Conflict, "A server is running on the store's folder";
    StoreOlder "store_older" Kind::Conflict, "The store was written by an earlier version and has to be updated first";
    ChangedMeanwhile "changed_meanwhile" Kind::Stale, "It has changed since it was read";
    ConditionUnsupported "condition_unsupported" Kind::Stale, "`If-Match` cannot be checked for this operation";

    // Who asks.
    TokenMissing "token_missing" Kind::Unauthenticated, "The request has no token";
    TokenInvalid "token_invalid" Kind::Unauthenticated, "The token or invitation is not valid, or no longer valid";
    RoleForbidden "role_forbidden" Kind::Forbidden, "The role of the token may not do this";
    NotPermitted "not_permitted" Kind::Forbidden, "The token may not do this to this object";
    FormForeign "form_foreign" Kind::Forbidden, "The form was not sent by a page of this session";
    SignInFailed "sign_in_failed" Kind::Unauthenticated, "Sign-in with the identity provider did not succeed";
    SignInNotMapped "sign_in_not_mapped" Kind::Forbidden, "The identity provider knows the person, but no rule gives them a role";
    BatchRefused "batch_refused" Kind::Forbidden, "A batch of usage is not counted";
    NodeRevoked "node_revoked" Kind::Forbidden, "The node was revoked and is sent nothing";
    NodeNotServed "node_not_served" Kind::Forbidden, "The server serves other nodes";
    NodeNotCertified "node_not_certified" Kind::Forbidden, "The certificate of an Envoy does not name its node";
    NodeUntrusted "node_untrusted" Kind::Forbidden, "A message of an Envoy is not signed with the secret of its node, or the node may not report";
    ReportRefused "report_refused" Kind::Forbidden, "A report of an Envoy is not accepted";
    MessageUntrusted "message_untrusted" Kind::Forbidden, "A message of a scanner is rejected: its signature does not match";

    // How it was asked.
    MalformedBody "malformed_body" Kind::Malformed, "The body cannot be read";
    MalformedQuery "malformed_query" Kind::Malformed, "The query cannot be read, or the operation takes none";
    MalformedHeader "malformed_header" Kind::Malformed, "A header cannot be read";
    BodyIncomplete "body_incomplete" Kind::Malformed, "The body was cut short";
    BodyTooSlow "body_too_slow" Kind::Slow, "The body arrived too slowly";
    BodyTooLarge "body_too_large" Kind::TooLarge, "The body is too large";
    MediaTypeUnsupported "media_type_unsupported" Kind::MediaType, "The body is not declared as JSON";
    MethodNotAllowed "method_not_allowed" Kind::Method, "The path does not take this method";
    TooManyStreams "too_many_streams" Kind::TooMany, "More discovery streams, or more nodes, than are allowed";
    StreamSilent "stream_silent" Kind::Slow, "An Envoy does not read or answer what it is sent";
    TooManyRequests "too_many_requests" Kind::TooMany, "Too many requests in a short time";

    // What cannot be done at the moment.
    Interrupted "interrupted" Kind::Unavailable, "The change was interrupted; nothing was changed";
    StoreBusy "store_busy" Kind::Unavailable, "Other writers kept the store busy for too long";
    ServerBusy "server_busy" Kind::Unavailable, "The server has too much to do";
    ShuttingDown "shutting_down" Kind::Unavailable, "The server is shutting down";
    ServerOnly "server_only" Kind::Unavailable, "Only a running server knows or does this";
    NotReady "not_ready" Kind::Unavailable, "Something that is needed is not there yet";
    Unreachable "unreachable" Kind::Unavailable, "A server, a receiver or an identity provider cannot be reached";
    StrangeAnswer "strange_answer" Kind::Unavailable, "A server gave an invalid answer";
    Defect "defect" Kind::Unavailable, "A bug in Keystile: please report it";

    // The store and its folder.
    StoreMissing "store_missing" Kind::Store(Trouble::Access), "There is no store, or it cannot be reached";
    StoreAddress "store_address" Kind::Invalid, "The address of the store's database cannot be used";
    StoreUnreachable "store_unreachable" Kind::Store(Trouble::Access), "The store's database cannot be reached, or the connection to it was lost";
    StoreInDatabase "store_in_database" Kind::Invalid, "The store is in a database, and this is for stores in files";
    StoreExists "store_exists" Kind::Invalid, "There is a store in the folder already";
    StoreNewer "store_newer" Kind::Store(Trouble::Access), "The store was written by a newer version";
    StoreUndecryptable "store_undecryptable" Kind::Store(Trouble::Damaged), "The store cannot be decrypted";
    StoreFull "store_full" Kind::Store(Trouble::Full), "The disk under the store is full";
    StoreAccess "store_access" Kind::Store(Trouble::Access), "The store cannot be written";
    StoreIo "store_io" Kind::Store(Trouble::Io), "The disk under the store does not work properly";
    StoreDamaged "store_damaged" Kind::Store(Trouble::Damaged), "The store is damaged";
    StoreFailing "store_failing" Kind::Store(Trouble::Io), "The store is failing, and is tried again every few seconds";
    UsageDamaged "usage_damaged" Kind::Store(Trouble::Damaged), "The usage counts are damaged";
    AuditBroken "audit_broken" Kind::Invalid, "The audit log was changed after it was written";
    MasterKeyMissing "master_key_missing" Kind::Invalid, "There is no master key";
    MasterKeyInvalid "master_key_invalid" Kind::Invalid, "The master key cannot be read";
    MasterKeyExposed "master_key_exposed" Kind::Invalid, "The master key is known to others, or could be";
    MasterKeyWrong "master_key_wrong" Kind::Invalid, "It is not the master key of the store or the backup";
    FolderUnsafe "folder_unsafe" Kind::Invalid, "Others could replace what is in the folder";

    // Files, and the machine.
    FileUnreadable "file_unreadable" Kind::Invalid, "A file cannot be read";
    FileUnwritable "file_unwritable" Kind::Invalid, "A file or a folder cannot be written";
    FileInvalid "file_invalid" Kind::Invalid, "A file does not contain what it should";
    FileTooLarge "file_too_large" Kind::Invalid, "A file is too large";
    SettingInvalid "setting_invalid" Kind::Invalid, "A setting of the server or its environment cannot be used";
    SystemFailed "system_failed" Kind::Invalid, "The operating system refused something";
    OutputFailed "output_failed" Kind::Invalid, "The output cannot be written, or not in this form";
    SecretNotShown "secret_not_shown" Kind::Invalid, "Something was created, but its secret could not be shown";

    // Policy and keyset.
    PolicyInvalid "policy_invalid" Kind::Invalid, "The policy has a mistake";
    PolicyBreaksKeys "policy_breaks_keys" Kind::Invalid, "Keys or clients of the store do not agree with the policy";
    PolicyTooComplex "policy_too_complex" Kind::Invalid, "The policies overlap in too many ways to compare";
    OpenapiInvalid "openapi_invalid" Kind::Invalid, "The OpenAPI document cannot be used";
    CasesInvalid "cases_invalid" Kind::Invalid, "A file of cases has a mistake";
    CheckFailed "check_failed" Kind::Invalid, "A check found something";
    KeysetImpossible "keyset_impossible" Kind::Invalid, "No keyset can be built from the store";
    KeysetInvalid "keyset_invalid" Kind::Invalid, "A file contains no valid keyset";
    NotInForce "not_in_force" Kind::Unavailable, "The change was made, but is not yet in force everywhere";

    Unknown "unknown" Kind::Invalid, "A code of a newer version";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Code {
    /// The code of that word; [`Code::Unknown`] for one that a newer version may have.
    pub fn of_word(word: &str) -> Self {
        let mut all = Self::ALL.iter().copied();
        all.find(|c| c.as_str() == word).unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_word_of_its_own_in_one_form() {
        for (n, code) in Code::ALL.iter().enumerate() {
            let word = code.as_str();
            assert!(
                word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{word}"
            );
            assert_eq!(Code::of_word(word), *code);
            assert_eq!(serde_json::to_value(code).unwrap(), word);
            assert!(Code::ALL[..n].iter().all(|c| c.title() != code.title()));
        }
        assert_eq!(Code::of_word("of_tomorrow"), Code::Unknown);
    }

    #[test]
    fn every_kind_is_known_by_its_word() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_word(kind.as_str()), Some(kind));
        }
        for code in Code::ALL {
            assert!(Kind::of_word(code.kind().as_str()).is_some());
        }
    }
}
