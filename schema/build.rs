//! Compiles the protobuf files: the native protocol, and the session service with what its nodes store and
//! tell one another. Each into a module of its own.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let frames = protox::compile(["proto/aether/v1/frames.proto"], ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(frames)?;

    let sessions = Path::new(&env::var("OUT_DIR")?).join("session");
    fs::create_dir_all(&sessions)?;
    let files = [
        "proto/aether/v1/session.proto",
        "proto/aether/v1/session_record.proto",
        "proto/aether/v1/presence_bus.proto",
    ];
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .out_dir(sessions)
        .compile_fds(protox::compile(files, ["proto"])?)?;
    Ok(())
}
