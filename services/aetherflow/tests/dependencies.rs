//! Every dependency has a licence and a source that `deny.toml` allows: checked with what cargo knows, so that it holds in every
//! build. `make deny` has cargo-deny check the same, and more.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::{collections::BTreeSet, fs};

use cargo_metadata::{Metadata, MetadataCommand};
use toml::{Table, Value};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn rules() -> Table {
    fs::read_to_string(format!("{ROOT}/deny.toml"))
        .unwrap()
        .parse()
        .unwrap()
}

fn list(rules: &Table, table: &str, key: &str) -> BTreeSet<String> {
    let list = rules[table][key].as_array().unwrap();
    list.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(format!("{ROOT}/Cargo.toml"))
        .other_options(["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .unwrap()
}

/// Whether an SPDX expression can be met with these licences. `/` is an `OR` of old.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let met = any(&mut words, allowed);
    assert!(words.is_empty(), "{expression} is no licence expression");
    met
}

fn any(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut met = all(words, allowed);
    while words.pop_if(|word| *word == "OR").is_some() {
        met |= all(words, allowed);
    }
    met
}

fn all(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, allowed);
    while words.pop_if(|word| *word == "AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    if words.pop_if(|word| *word == "(").is_some() {
        let met = any(words, allowed);
        assert_eq!(words.pop(), Some(")"));
        return met;
    }
    let mut licence = words.pop().unwrap().to_owned();
    if words.pop_if(|word| *word == "WITH").is_some() {
        licence = format!("{licence} WITH {}", words.pop().unwrap());
    }
    allowed.contains(&licence)
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let allowed = list(&rules(), "licenses", "allow");
    let refused: Vec<_> = metadata()
        .packages
        .iter()
        .filter(|package| {
            !package
                .license
                .as_deref()
                .is_some_and(|licence| is_met(licence, &allowed))
        })
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.license))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn every_source_is_one_that_is_allowed() {
    let allowed = list(&rules(), "sources", "allow-registry");
    assert!(list(&rules(), "sources", "allow-git").is_empty());
    let metadata = metadata();
    for package in &metadata.packages {
        match &package.source {
            Some(source) => {
                let registry = source.repr.strip_prefix("registry+");
                assert!(
                    registry.is_some_and(|registry| allowed.contains(registry)),
                    "{}: {source}",
                    package.name
                );
            }
            None => assert!(
                metadata.workspace_members.contains(&package.id),
                "{}: no source",
                package.name
            ),
        }
    }
}

#[test]
fn nothing_is_built_that_is_banned() {
    let rules = rules();
    let banned: BTreeSet<_> = rules["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| match entry {
            Value::Table(entry) => entry["crate"].as_str().unwrap(),
            other => other.as_str().unwrap(),
        })
        .collect();
    assert!(banned.len() > 2);
    let lock: Table = fs::read_to_string(format!("{ROOT}/Cargo.lock"))
        .unwrap()
        .parse()
        .unwrap();
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        assert!(!banned.contains(name), "{name}");
    }
}

#[test]
fn expressions_are_met_as_they_say() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned));
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("MIT AND (GPL-3.0 OR BSD-4-Clause)", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}
