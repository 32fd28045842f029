//! What people do by hand, before and after: the head of what is printed, and what Helm says once it
//! has installed the chart.

use crate::chosen::{Chosen, NAMESPACE};

type Words = Vec<Chosen<&'static str>>;

const NS: Chosen<&str> = setting(NAMESPACE);

const fn setting(path: &'static str) -> Chosen<&'static str> {
    Chosen::Setting { path }
}

/// The head of resources that are applied by hand.
pub fn head() -> Words {
    let mut words = vec![
        Chosen::Fixed(
            "\
Printed by `keystilectl render kubernetes`.

Once, before this is applied: create the secrets, none of which is printed here.

  kubectl create namespace ",
        ),
        NS,
        Chosen::Fixed("\n"),
    ];
    words.extend(secrets());
    words.push(Chosen::Fixed("\nOnce, afterwards"));
    words.extend(afterwards());
    words
}

/// What Helm says.
pub fn installed() -> Words {
    let mut words = vec![Chosen::Fixed(
        "\
The server starts once its secrets are there. None of them is part of the chart: create those that
are missing.

",
    )];
    words.extend(secrets());
    words.push(Chosen::Fixed("\nOnce, when the pod is ready"));
    words.extend(afterwards());
    words
}

/// The store's master key, a certificate, and where the database is.
fn secrets() -> Words {
    vec![
        Chosen::Fixed(
            "  head -c 32 /dev/urandom | basenc --base64url -w0 | tr -d = > master.key\n",
        ),
        Chosen::Fixed("  kubectl -n "),
        NS,
        Chosen::Fixed(" create secret generic "),
        setting("masterKey.secret"),
        Chosen::Fixed(" --from-file="),
        setting("masterKey.key"),
        Chosen::Fixed("=master.key\n  kubectl -n "),
        NS,
        Chosen::Fixed(" create secret generic "),
        setting("tls.secret"),
        Chosen::Fixed(" \\\n    --from-file=tls.crt --from-file=tls.key --from-file=ca.crt\n"),
        only_with("store.secret", Chosen::Fixed("  kubectl -n ")),
        only_with("store.secret", NS),
        only_with("store.secret", Chosen::Fixed(" create secret generic ")),
        only_with("store.secret", setting("store.secret")),
        only_with(
            "store.secret",
            Chosen::Fixed(" --from-file=address=store.address\n"),
        ),
        Chosen::Fixed(
            "
The first holds the store's master key: keep a copy elsewhere. The second holds a certificate for
",
        ),
        Chosen::Fixed("keystile."),
        NS,
        Chosen::Fixed(".svc, such as cert-manager writes.\n"),
        only_with(
            "store.secret",
            Chosen::Fixed(
                "\
The third holds the address of the database, with its password, for example
postgres://keystile:…@db.example.com/keystile?sslrootcert=/tls/db-ca.crt
",
            ),
        ),
    ]
}

fn only_with(path: &'static str, then: Chosen<&'static str>) -> Chosen<&'static str> {
    Chosen::only_with(path, then)
}

fn afterwards() -> Words {
    vec![
        Chosen::Fixed(
            ": create a token for yourself, and put the signing keys for the proxies
into their namespace.

  kubectl -n ",
        ),
        NS,
        Chosen::Fixed(
            " exec keystile-0 -- keystilectl token create ops --role owner\n  kubectl -n ",
        ),
        NS,
        Chosen::Fixed(
            " exec keystile-0 -- keystilectl signing-key export \\
    | kubectl -n PROXIES create secret generic keystile --from-env-file=/dev/stdin
  keystilectl render istio --discovery keystile.",
        ),
        NS,
        Chosen::Fixed(".svc:"),
        setting("service.discoveryPort"),
        Chosen::Fixed(" \\\n    --control keystile."),
        NS,
        Chosen::Fixed(".svc:"),
        setting("service.apiPort"),
        Chosen::Fixed(" …\n"),
        only_with("publicUrl", Chosen::Fixed("\nThe console is at ")),
        only_with("publicUrl", setting("publicUrl")),
        only_with("publicUrl", Chosen::Fixed("/console.\n")),
    ]
}
