//! Fuzzing: files and variables of a configuration. `schema/tests/fuzz` says how it is run.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

#[path = "../../../../quantum/proto/tests/fuzz/run.rs"]
mod run;
#[allow(dead_code, reason = "the transport needs more of it")]
#[path = "../../../../quantum/proto/tests/fuzz/source.rs"]
mod source;

use std::collections::BTreeMap;

use aetherflow_runtime::config::{self, Layers};
use serde::{Deserialize, Serialize};

use crate::{run::seeds, source::Source};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tree {
    listen: String,
    origins: Vec<String>,
    limits: Limits,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Limits {
    frame_bytes: u32,
    share: f64,
    open: bool,
}

fn defaults() -> Tree {
    Tree {
        listen: "127.0.0.1:7400".to_owned(),
        origins: vec!["https://app.example".to_owned()],
        limits: Limits {
            frame_bytes: 1 << 20,
            share: 0.5,
            open: false,
        },
    }
}

/// A file, a variable, a flag: what is taken is written down, and read again as the same.
fn layers(data: &[u8]) {
    let files = [
        "listen = \"0.0.0.0:80\"\norigins = [\"*\", \"x\"]\n[limits]\nframe_bytes = 4096\nshare = 1.5\nopen = true\n",
        "limits.frame_bytes = 0x1000\nlimits = { share = 1e3 }\n",
    ];
    let variables = [
        "APP_LIMITS__FRAME_BYTES",
        "APP_ORIGINS",
        "APP_LIMITS__OPEN",
        "APP_LISTEN",
        "APP_LIMITS",
    ];
    let values = ["8192", "a,b,,c", "true", "-1.5e9", ""];
    let mut source = Source::new(data);
    let mut text = |corpus: &[&str]| String::from_utf8_lossy(&source.nearly(corpus)).into_owned();
    let mut layers = Layers::new(&defaults()).unwrap();
    let _ = layers.toml(&text(&files), "a file");
    let environment = BTreeMap::from([(text(&variables), text(&values)), (text(&variables), text(&values))]);
    let _ = layers.environment("APP_", &[], environment);
    let _ = layers.text("limits.share", &text(&values), "--share");
    if let Ok(tree) = layers.build::<Tree>() {
        let dumped = config::dump(&tree).unwrap();
        let mut again = Layers::new(&defaults()).unwrap();
        again.toml(&dumped, "the dump").unwrap();
        let again: Tree = again.build().unwrap();
        // Numbers that are none are not equal to themselves.
        assert_eq!(format!("{again:?}"), format!("{tree:?}"));
    }
}

#[test]
fn any_layers() {
    seeds("any_layers", 10_000, 300, layers);
}
