//! Key files: one line of text, readable by their owner alone.

use ordain_keys::{KeyPair, KeyTextError};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Folder of a data directory that holds its keys.
pub const FOLDER: &str = "keys";
/// The node's own key.
pub const NODE: &str = "node.key";
/// The key that a new cluster trusts with everything.
pub const OPERATOR: &str = "operator.key";

/// Why a key file cannot be used.
#[derive(Debug)]
pub enum KeyFileError {
    /// It cannot be read.
    Read(PathBuf, io::Error),
    /// It cannot be written.
    Write(PathBuf, io::Error),
    /// It holds no key.
    Text(PathBuf, KeyTextError),
    /// Others may read it.
    Open(PathBuf, u32),
    /// The system has no randomness.
    Random(getrandom::Error),
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(
                f,
                "cannot read the key file {}: {error}. Check the path; `ordain keys new FILE` makes a key",
                path.display()
            ),
            Self::Write(path, error) => write!(
                f,
                "cannot write the key file {}: {error}. Choose a path that does not exist in a folder that you may write",
                path.display()
            ),
            Self::Text(path, error) => write!(f, "the key file {} holds no key: {error}", path.display()),
            Self::Open(path, mode) => write!(
                f,
                "others may read the key file {} (mode {mode:03o}). Make it yours alone: chmod 600 {}",
                path.display(),
                path.display()
            ),
            Self::Random(error) => write!(f, "the system gives no random bytes: {error}. Check /dev/urandom"),
        }
    }
}

impl std::error::Error for KeyFileError {}

/// 32 random bytes.
///
/// # Errors
/// [`KeyFileError::Random`].
pub fn random() -> Result<[u8; 32], KeyFileError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(KeyFileError::Random)?;
    Ok(bytes)
}

/// Reads a key file.
///
/// # Errors
/// [`KeyFileError`]; also if others may read the file.
pub fn load(path: &Path) -> Result<KeyPair, KeyFileError> {
    let read = |error| KeyFileError::Read(path.to_owned(), error);
    let mode = fs::metadata(path).map_err(read)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open(path.to_owned(), mode));
    }
    let text = fs::read_to_string(path).map_err(read)?;
    KeyPair::from_secret_text(&text).map_err(|error| KeyFileError::Text(path.to_owned(), error))
}

/// Makes a new key and writes it to a file that does not exist yet, synced.
///
/// # Errors
/// [`KeyFileError`].
pub fn create(path: &Path) -> Result<KeyPair, KeyFileError> {
    let write = |error| KeyFileError::Write(path.to_owned(), error);
    let pair = KeyPair::from_seed(&random()?);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(write)?;
    writeln!(file, "{}", pair.to_secret_text()).and_then(|()| file.sync_all()).map_err(write)?;
    Ok(pair)
}

/// The node's key of a data directory, and the operator's if it is there. Both are made together, for a new
/// cluster: an operator's key made later would be known to nobody.
///
/// # Errors
/// [`KeyFileError`].
pub fn of_directory(data: &Path) -> Result<(KeyPair, Option<KeyPair>), KeyFileError> {
    let folder = data.join(FOLDER);
    fs::create_dir_all(&folder).map_err(|error| KeyFileError::Write(folder.clone(), error))?;
    let (node, operator) = (folder.join(NODE), folder.join(OPERATOR));
    match (node.exists(), operator.exists()) {
        (true, true) => Ok((load(&node)?, Some(load(&operator)?))),
        (true, false) => Ok((load(&node)?, None)),
        // The operator's first: a start that ends between the two is repeated.
        (false, true) => Ok((create(&node)?, Some(load(&operator)?))),
        (false, false) => {
            let operator = create(&operator)?;
            Ok((create(&node)?, Some(operator)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        let made = create(&path).unwrap();
        assert_eq!(load(&path).unwrap().public(), made.public());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(create(&path), Err(KeyFileError::Write(..))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load(&path), Err(KeyFileError::Open(_, 0o644))));
    }

    #[test]
    fn a_directory_keeps_its_keys() {
        let dir = tempfile::tempdir().unwrap();
        let (node, operator) = of_directory(dir.path()).unwrap();
        let again = of_directory(dir.path()).unwrap();
        let (operator, operator_again) = (operator.unwrap().public(), again.1.unwrap().public());
        assert_eq!((node.public(), operator), (again.0.public(), operator_again));
        assert_ne!(node.public(), operator);
        fs::remove_file(dir.path().join(FOLDER).join(OPERATOR)).unwrap();
        assert!(of_directory(dir.path()).unwrap().1.is_none(), "a key that nobody knows is not made");
    }
}
