//! Small private files that a server keeps over its restarts: whole or not there, whatever happens while they are written.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

use crate::identity::{IdentityError, io_error};

/// The secret kept in a folder, for [`ServerOptions::secret`](crate::ServerOptions::secret); made there when there is none.
///
/// # Errors
/// What is there cannot be read or is no secret, or nothing can be written.
pub fn secret_kept_in(folder: &Path) -> Result<[u8; 32], IdentityError> {
    let path = folder.join("secret");
    match fs::read(&path) {
        Ok(bytes) => bytes
            .try_into()
            .map_err(|_| IdentityError::Secret(path.display().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret: [u8; 32] = rand::random();
            write(&path, &secret)?;
            Ok(secret)
        }
        Err(error) => Err(io_error(&path, error)),
    }
}

/// Writes a file that only its owner may read, and the folder if need be.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let draft = path.with_extension("draft");
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().map_err(|source| io_error(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("quantum");
        let secret = secret_kept_in(&below).unwrap();
        assert_eq!(secret_kept_in(&below).unwrap(), secret);
        #[cfg(unix)]
        {
            let mode = fs::metadata(below.join("secret")).unwrap();
            assert_eq!(
                std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
                0o600
            );
        }
        assert_ne!(secret_kept_in(folder.path()).unwrap(), secret);
    }

    #[test]
    fn what_is_no_secret_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), b"short").unwrap();
        let error = secret_kept_in(folder.path()).unwrap_err().to_string();
        assert!(error.contains("secret") && error.contains("32 bytes"), "{error}");
    }
}
