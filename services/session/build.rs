//! Generates the gRPC service. Its messages are the schema's.

use std::{env, error::Error, fs, path::Path};

use tonic_prost_build::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    const ROOT: &str = "../../schema/proto";
    println!("cargo::rerun-if-changed={ROOT}/aether/v1/session.proto");
    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_file("aether/v1/session.proto")?;
    // For reflection.
    let out = env::var("OUT_DIR")?;
    fs::write(
        Path::new(&out).join("session.fds"),
        compiler.encode_file_descriptor_set(),
    )?;
    let files: FileDescriptorSet = compiler.file_descriptor_set();
    tonic_prost_build::configure()
        .extern_path(".aether.v1", "::aetherflow_schema::sessions::wire")
        .compile_fds(files)?;
    Ok(())
}
