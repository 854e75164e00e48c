//! The golden vectors.

use std::{fs, path::Path};

/// The golden vectors in a folder of `schema/testdata`, those whose names begin so.
pub(crate) fn golden(folder: &str, prefix: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata")).join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| {
        let name = file.file_name().unwrap().to_str().unwrap();
        name.starts_with(prefix) && name.ends_with(".hex")
    });
    files.sort();
    assert!(!files.is_empty());
    files
        .iter()
        .map(|file| bytes(&fs::read_to_string(file).unwrap()))
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}
