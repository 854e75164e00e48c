//! Layers point down only, as the architecture says: checked against the dependencies that cargo sees.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Each crate with what it may depend on of ours. Crates that are not named here fail the test.
const MAY_USE: &[(&str, &[&str])] = &[
    ("quantum-proto", &[]),
    ("quantum", &["quantum-proto"]),
    ("aetherflow-schema", &[]),
    ("aetherflow-log-core", &["aetherflow-schema"]),
    ("aetherflow-log-store", &["aetherflow-schema", "aetherflow-log-core"]),
    ("aetherflow-oplog", &["aetherflow-schema", "aetherflow-log-core"]),
    ("aetherflow-runtime", &[]),
    (
        "aetherflow-statesync",
        &["aetherflow-schema", "aetherflow-log-core", "aetherflow-oplog"],
    ),
    ("aetherflow-session", &["aetherflow-schema"]),
    (
        "aetherflow-access",
        &["aetherflow-schema", "aetherflow-oplog", "aetherflow-runtime"],
    ),
    ("aetherflow-gateway", &["aetherflow-schema", "aetherflow-runtime"]),
    ("aetherflow-client", &["aetherflow-schema", "quantum"]),
    ("aetherflow-console", &[]),
    (
        "aetherflow",
        &[
            "quantum",
            "aetherflow-schema",
            "aetherflow-log-store",
            "aetherflow-oplog",
            "aetherflow-runtime",
            "aetherflow-statesync",
            "aetherflow-session",
            "aetherflow-access",
            "aetherflow-gateway",
            "aetherflow-console",
        ],
    ),
    ("aetherflow-loadtest", &["quantum", "aetherflow-schema"]),
];

/// Packages that only some layers may touch: the log knows bytes, not automerge, and cores do no I/O.
const RESERVED: &[(&str, &[&str])] = &[
    (
        "automerge",
        &["aetherflow-statesync", "aetherflow-client", "aetherflow-loadtest"],
    ),
    ("rocksdb", &["aetherflow-log-store", "aetherflow-session"]),
    ("tonic", &["aetherflow-session"]),
    ("async-nats", &["aetherflow-session"]),
    ("axum", &["aetherflow-gateway"]),
    ("governor", &["aetherflow-access"]),
    (
        "tokio-rustls",
        &[
            "aetherflow-runtime",
            "aetherflow-access",
            "aetherflow-client",
            "aetherflow",
        ],
    ),
    (
        "tokio",
        &[
            "quantum",
            "aetherflow-oplog",
            "aetherflow-runtime",
            "aetherflow-statesync",
            "aetherflow-session",
            "aetherflow-access",
            "aetherflow-gateway",
            "aetherflow-client",
            "aetherflow",
            "aetherflow-loadtest",
        ],
    ),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .expect("cargo metadata");
    metadata
        .packages
        .iter()
        .map(|package| {
            let used = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind == DependencyKind::Normal)
                .map(|dependency| dependency.name.clone());
            (package.name.to_string(), used.collect())
        })
        .collect()
}

#[test]
fn layers_point_down_only() {
    let dependencies = dependencies();
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    for (name, used) in &dependencies {
        let allowed = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} has no place among the layers: give it one here and in ARCHITECTURE.md"));
        for ours in used.iter().filter(|used| dependencies.contains_key(*used)) {
            assert!(allowed.contains(&ours.as_str()), "{name} must not depend on {ours}");
        }
    }
}

#[test]
fn what_belongs_to_one_layer_stays_there() {
    for (name, used) in dependencies() {
        for (package, owners) in RESERVED {
            assert!(
                !used.contains(*package) || owners.contains(&name.as_str()),
                "{name} must not depend on {package}"
            );
        }
    }
}
