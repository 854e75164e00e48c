use serde::{Deserialize, Serialize};

use super::*;

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
    loopback: bool,
}

fn defaults() -> Tree {
    Tree {
        listen: "127.0.0.1:7400".into(),
        origins: vec![],
        limits: Limits {
            frame_bytes: 1024,
            share: 0.5,
            loopback: false,
        },
    }
}

fn layers() -> Layers {
    Layers::new(&defaults()).unwrap()
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn without_layers_the_defaults_stand() {
    assert_eq!(layers().build::<Tree>().unwrap(), defaults());
}

#[test]
fn what_is_dumped_reads_back_as_the_same() {
    let mut other = layers();
    other.toml(&dump(&defaults()).unwrap(), "dump").unwrap();
    assert_eq!(other.build::<Tree>().unwrap(), defaults());
}

#[test]
fn later_layers_win_and_leave_the_rest_alone() {
    let mut layers = layers();
    layers
        .toml("[limits]\nframe_bytes = 1\nshare = 1\nloopback = true", "file")
        .unwrap();
    let set = variables(&[
        ("AF_LIMITS__FRAME_BYTES", "1_000"),
        ("AF_ORIGINS", "a, b,"),
        ("OTHER", "x"),
    ]);
    layers.environment("AF_", &[], set).unwrap();
    layers.text("limits.frame_bytes", "3", "--frame-bytes").unwrap();
    let tree: Tree = layers.build().unwrap();
    assert_eq!(tree.limits.frame_bytes, 3);
    assert_eq!((tree.limits.share, tree.limits.loopback), (1.0, true));
    assert_eq!(tree.origins, ["a", "b"]);
    assert_eq!(tree.listen, defaults().listen);
}

#[test]
fn an_unknown_key_is_refused_by_its_full_name() {
    for (text, name) in [("lisen = 1", "`lisen`"), ("[limits]\nframes = 1", "`limits.frames`")] {
        let error = layers().toml(text, "af.toml").unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("af.toml"), "{error}");
    }
    for name in ["AF_LIMITS__FRAMES", "AF_LIMITS__FRAME_BYTES__X", "AF_LIMITS", "AF_"] {
        let error = layers().environment("AF_", &[], variables(&[(name, "1")])).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused_by_its_full_name() {
    for text in [
        "[limits]\nframe_bytes = \"1\"",
        "limits = 1",
        "listen = 3",
        "[limits]\nloopback = 0",
    ] {
        let error = layers().toml(text, "af.toml").unwrap_err();
        assert!(matches!(error, ConfigError::Type { .. }), "{error}");
    }
    let error = layers()
        .environment("AF_", &[], variables(&[("AF_LIMITS__LOOPBACK", "yes")]))
        .unwrap_err();
    assert!(
        error.to_string().contains("`limits.loopback` must be true or false"),
        "{error}"
    );
}

#[test]
fn a_number_that_does_not_fit_is_refused_by_its_name() {
    let mut layers = layers();
    layers.toml("[limits]\nframe_bytes = -1", "af.toml").unwrap();
    let error = layers.build::<Tree>().unwrap_err().to_string();
    assert!(error.contains("frame_bytes"), "{error}");
}

#[test]
fn reserved_names_and_service_links_are_not_keys() {
    let set = variables(&[
        ("AF_CONFIG", "/etc/af.toml"),
        ("AF_SERVICE_HOST", "10.0.0.1"),
        ("AF_PORT_7400_TCP_ADDR", "10.0.0.1"),
    ]);
    layers().environment("AF_", &["CONFIG"], set).unwrap();
}

#[test]
fn a_file_that_is_missing_or_broken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("af.toml");
    let missing = layers().file(&path).unwrap_err().to_string();
    assert!(missing.contains("af.toml"), "{missing}");
    fs::write(&path, "listen = ").unwrap();
    let broken = layers().file(&path).unwrap_err().to_string();
    assert!(broken.contains("af.toml"), "{broken}");
}

#[test]
fn validation_reports_everything_at_once() {
    let mut invalid = Invalid::default();
    invalid.unless(false, "listen", "is empty");
    invalid.unless(true, "fine", "never said");
    invalid.unless_within("limits.frame_bytes", 5, 10, 20);
    let text = invalid.into_result().unwrap_err().to_string();
    assert!(text.contains("`listen`: is empty") && text.contains("`limits.frame_bytes`: 5 is not between 10 and 20"));
    assert!(!text.contains("fine"));
    assert_eq!(Invalid::default().into_result(), Ok(()));
}
