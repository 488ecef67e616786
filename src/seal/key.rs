//! The keys that everything sealed is sealed with: read from configuration, or created once and kept.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use log::info;

use crate::secret::Secret;

/// A key of 32 random bytes, from which the keys in use are derived.
pub type Key = Secret<[u8; 32]>;

/// The name of the created key in the state directory.
const FILE: &str = "session.key";

/// The longest key file read; 32 bytes in base64 are 44.
const FILE_LIMIT: u64 = 4096;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A list without keys.
    #[error("found no session key, expected at least one")]
    None,
    /// Not 32 bytes in base64. The value itself is a secret and not shown.
    #[error(
        "found {0}, expected 32 random bytes in base64 (make them with `openssl rand -base64 32`)"
    )]
    Malformed(&'static str),
    /// A key file that others can read.
    #[error("`{}` has mode {mode:04o}, expected 0600: others could forge sessions with it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file that holds no key.
    #[error("`{}` holds no session key: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        cause: Box<KeyError>,
    },
    /// The file system refused.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key that nothing can be derived from, which no key of 32 bytes is.
    #[error("the session key cannot be used")]
    Unusable,
    /// The system's random number generator failed.
    #[error("the system gives no random numbers")]
    Random,
}

/// Reads a key as configured: 32 bytes in base64, of either alphabet, padded or not.
///
/// # Errors
/// When the text is anything else.
pub fn parse_key(text: &str) -> Result<Key, KeyError> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = text.trim_ascii();
    if text.is_empty() {
        return Err(KeyError::Malformed("nothing"));
    }
    let alphabet = if text.contains(['-', '_']) {
        alphabet::URL_SAFE
    } else {
        alphabet::STANDARD
    };
    let bytes = GeneralPurpose::new(&alphabet, LENIENT)
        .decode(text)
        .map_err(|_| KeyError::Malformed("something that is not base64"))?;
    let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| {
        KeyError::Malformed(if bytes.len() < 32 {
            "fewer bytes"
        } else {
            "more bytes"
        })
    })?;
    Ok(Secret::new(key))
}

/// Returns the key kept in `state_directory`, creating both when they do not exist.
///
/// However many processes start at once, all return the same key: it is written in full under
/// another name and then linked, which only one of them can.
///
/// # Errors
/// When the file or the directory cannot be used, or others can read the key.
pub fn load_or_create(state_directory: &Path) -> Result<Key, KeyError> {
    let path = state_directory.join(FILE);
    if let Some(key) = load(&path)? {
        return Ok(key);
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_directory)
        .map_err(failed("create the state directory", state_directory))?;
    if create(state_directory, &path)? {
        info!(file = path.display().to_string().as_str();
            "created a key for sealing session ids: replicas of this gateway need the same one");
    }
    load(&path)?.ok_or_else(|| {
        failed("read the session key", &path)(io::Error::from(io::ErrorKind::NotFound))
    })
}

fn load(path: &Path) -> Result<Option<Key>, KeyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read the session key", path)(error)),
    };
    // Of the open file, so that nobody can exchange it between the look and the read.
    let metadata = file
        .metadata()
        .map_err(failed("read the session key", path))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(KeyError::Exposed { path, mode });
    }
    let mut text = String::new();
    file.take(FILE_LIMIT)
        .read_to_string(&mut text)
        .map_err(failed("read the session key", path))?;
    parse_key(&text).map(Some).map_err(|cause| KeyError::File {
        path: path.to_owned(),
        cause: Box::new(cause),
    })
}

/// Creates the key; `false` when another process did meanwhile.
fn create(directory: &Path, path: &Path) -> Result<bool, KeyError> {
    let mut key = [0; 32];
    let mut name = [0; 8];
    rand::fill(&mut key).map_err(|_| KeyError::Random)?;
    rand::fill(&mut name).map_err(|_| KeyError::Random)?;
    let temporary = directory.join(format!(".{FILE}.{:016x}", u64::from_le_bytes(name)));
    let written = write(&temporary, &(STANDARD.encode(key) + "\n"));
    let linked = written.and_then(|()| fs::hard_link(&temporary, path));
    // Gone or not, it is a private file that is never read.
    let _ = fs::remove_file(&temporary);
    let created = match linked {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed("create the session key", path)(error)),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("create the session key", path))?;
    Ok(created)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, sync::Barrier, thread};

    use super::*;

    fn check(text: &str, expect: Result<[u8; 32], &str>) {
        let found = parse_key(text).map(|key| *key.reveal());
        assert_eq!(
            found.map_err(|e| e.to_string()),
            expect.map_err(|found| format!(
                "found {found}, expected 32 random bytes in base64 (make them with `openssl rand -base64 32`)"
            ))
        );
    }

    #[test]
    fn keys_are_read_in_every_base64() {
        let key = [0xfb; 32];
        check("+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=", Ok(key));
        check("-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s", Ok(key));
        check(" +/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s\n", Ok(key));
    }

    #[test]
    fn anything_else_is_refused_and_not_shown() {
        check("", Err("nothing"));
        check("c2hvcnQ=", Err("fewer bytes"));
        check(&STANDARD.encode([1; 33]), Err("more bytes"));
        check(
            "correct horse battery staple",
            Err("something that is not base64"),
        );
    }

    #[test]
    fn a_created_key_is_private_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state/of/gateway");
        let first = load_or_create(&state).unwrap();
        assert!(first == load_or_create(&state).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state.join(FILE)), 0o600);
        assert_eq!(mode(&state), 0o700);
        let files: Vec<_> = fs::read_dir(&state).unwrap().collect();
        assert_eq!(files.len(), 1, "nothing is left behind: {files:?}");
    }

    #[test]
    fn processes_that_start_at_once_agree_on_one_key() {
        const STARTERS: usize = 16;
        let directory = tempfile::tempdir().unwrap();
        let gate = Barrier::new(STARTERS);
        let keys: Vec<Key> = thread::scope(|scope| {
            let starters: Vec<_> = (0..STARTERS)
                .map(|_| {
                    scope.spawn(|| {
                        gate.wait();
                        load_or_create(directory.path()).unwrap()
                    })
                })
                .collect();
            starters.into_iter().map(|s| s.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        load_or_create(directory.path()).unwrap();
        let file = directory.path().join(FILE);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create(directory.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("has mode 0640, expected 0600: others could forge sessions with it")
        );
    }

    #[test]
    fn a_broken_file_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        fs::write(&file, "junk!").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let error = load_or_create(directory.path()).unwrap_err().to_string();
        assert!(error.contains("holds no session key"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "junk!");
    }
}
