//! Turns `dist/` (made by `npm run build`) into a table of embedded files: `$OUT_DIR/assets.rs`.
//!
//! `cargo build` never needs npm: without `dist/index.html` the table holds one page that says how to build the rest.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or_else(|| io::Error::other("not run by cargo"))?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("not run by cargo"))?);
    let dist = root.join("dist");
    // Cargo runs a build script again at every build while a path it watches is missing; an empty folder prevents
    // that. A read-only checkout only loses the shortcut.
    let _ = fs::create_dir(&dist);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/unbuilt.html");
    println!("cargo::rerun-if-changed=dist");

    let built = dist.join("index.html").is_file();
    let files = if built {
        list(&dist)?
    } else {
        println!(
            "cargo::warning=the console is not built: `/` will only say so (run `make console`, then build again)"
        );
        vec![("index.html".to_owned(), root.join("src/unbuilt.html"))]
    };
    fs::write(out.join("assets.rs"), table(&embed(files, &out)?, built)?)
}

/// All files below `dir` as (path with `/`, file), sorted by path because the table is searched by bisection.
fn list(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    let mut folders = vec![(String::new(), dir.to_owned())];
    while let Some((prefix, folder)) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry
                .file_name()
                .into_string()
                .map_err(|_| io::Error::other("a file name is not UTF-8"))?;
            let path = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                folders.push((format!("{path}/"), entry.path()));
            } else {
                files.push((path, entry.path()));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Copies of the files beside the table, so that it names nothing in a checkout that may be gone while what was built from
/// it is still used.
fn embed(files: Vec<(String, PathBuf)>, out: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let embedded = out.join("files");
    if embedded.is_dir() {
        fs::remove_dir_all(&embedded)?;
    }
    let copy = |(path, file): (String, PathBuf)| {
        let copy = embedded.join(&path);
        fs::create_dir_all(copy.parent().unwrap_or(&embedded))?;
        fs::copy(file, &copy)?;
        Ok((path, copy))
    };
    files.into_iter().map(copy).collect()
}

fn table(files: &[(String, PathBuf)], built: bool) -> io::Result<String> {
    let mut rows = String::new();
    for (path, file) in files {
        // `name.gz` is the compressed form of `name`, not an asset of its own.
        if path
            .strip_suffix(".gz")
            .is_some_and(|plain| files.iter().any(|(other, _)| other == plain))
        {
            continue;
        }
        let gzip = files.iter().find(|(other, _)| other.strip_suffix(".gz") == Some(path));
        let gzip = gzip.map_or_else(
            || "None".to_owned(),
            |(_, file)| format!("Some(include_bytes!({file:?}))"),
        );
        let (etag, content_type, immutable) = (fingerprint(&fs::read(file)?), content_type(path), is_hashed(path));
        writeln!(
            rows,
            "    ({path:?}, Asset {{ bytes: include_bytes!({file:?}), gzip: {gzip}, content_type: {content_type:?}, \
             etag: \"W/\\\"{etag:016x}\\\"\", immutable: {immutable} }}),"
        )
        .map_err(io::Error::other)?;
    }
    Ok(format!(
        "const BUILT: bool = {built};\nstatic ASSETS: &[(&str, Asset)] = &[\n{rows}];\n"
    ))
}

/// Vite puts every file it names after a hash of its content into `assets/`, and no other file.
fn is_hashed(path: &str) -> bool {
    path.starts_with("assets/")
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        // Browsers compile wasm while it arrives only under exactly this type.
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// FNV-1a, 64 bits. It tells one build of a file from another; nobody gains by forging it.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
