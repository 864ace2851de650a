//! Values that must not leak, and the keys that protect those at rest.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};

/// A value that neither `Debug` nor a log line shows.
///
/// Comparing two secrets takes the same time wherever they differ.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored in place of a random token: its SHA-256.
    pub fn digest(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        // Comparing digests takes a time that says nothing about the values.
        self.digest() == other.digest()
    }
}

impl Eq for Secret {}

/// `N` bytes of the operating system's randomness.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system gives random bytes");
    bytes
}

/// `2 N` lower-case hex characters of randomness.
pub fn random_hex<const N: usize>() -> String {
    hex(&random_bytes::<N>())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// The server's master key, and everything that is made with it.
///
/// It lives in a file of its own beside the databases, readable by its owner alone: who copies a database
/// without it gets no webhook header and can compute no token.
#[derive(Clone)]
pub struct Keyring {
    master: Arc<[u8; 32]>,
}

/// The key file cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("could not {step} the key file `{}`", path.display())]
    Io {
        step: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "the key file `{}` holds {found} bytes instead of 32; restore it from a backup, because data sealed \
         with the lost key cannot be opened again", path.display()
    )]
    Length { path: PathBuf, found: usize },
    #[error("the key file `{}` can be read by others (mode {mode:o}); run `chmod 600` on it", path.display())]
    Readable { path: PathBuf, mode: u32 },
}

/// A sealed value that this keyring did not seal, or that was changed since.
#[derive(Debug, thiserror::Error)]
#[error("a sealed value does not open with this server's key file")]
pub struct Unsealable;

impl Keyring {
    /// Reads the key file, or makes it at first start.
    pub fn open(path: &Path) -> Result<Self, KeyringError> {
        let fail = |step| {
            let path = path.to_owned();
            move |source| KeyringError::Io { step, path, source }
        };
        match fs::read(path) {
            Ok(bytes) => {
                let mode = fs::metadata(path)
                    .map_err(fail("inspect"))?
                    .permissions()
                    .mode()
                    & 0o777;
                if mode & 0o077 != 0 {
                    return Err(KeyringError::Readable {
                        path: path.to_owned(),
                        mode,
                    });
                }
                let found = bytes.len();
                let master = <[u8; 32]>::try_from(bytes).map_err(|_| KeyringError::Length {
                    path: path.to_owned(),
                    found,
                })?;
                Ok(Self::from_bytes(master))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let master = random_bytes::<32>();
                write_new(path, &master).map_err(fail("write"))?;
                Ok(Self::from_bytes(master))
            }
            Err(error) => Err(fail("read")(error)),
        }
    }

    /// A keyring over a given key, for tests.
    pub fn from_bytes(master: [u8; 32]) -> Self {
        Self {
            master: Arc::new(master),
        }
    }

    /// A token that need not be stored, because it can be computed again from what it is for.
    pub fn derive_token(&self, purpose: &str) -> Secret {
        let tag = self.hmac("token", purpose.as_bytes());
        Secret(hex(&tag[..20]))
    }

    /// Encrypts `plain` for storage. `context` names what it belongs to and must be given again to open it,
    /// so that a sealed value moved to another row does not open there.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        let nonce = random_bytes::<NONCE_LEN>();
        let mut sealed = plain.to_vec();
        self.aead()
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut sealed,
            )
            .expect("a value far below the cipher's 64 GiB limit can be sealed");
        let mut out = nonce.to_vec();
        out.append(&mut sealed);
        out
    }

    /// Opens what [`Keyring::seal`] made with the same context.
    pub fn open_sealed(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(Unsealable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unsealable)?;
        let mut body = body.to_vec();
        let plain = self
            .aead()
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut body)
            .map_err(|_| Unsealable)?;
        Ok(plain.to_vec())
    }

    fn aead(&self) -> LessSafeKey {
        let key = self.hmac("key", b"at-rest");
        LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, &key).expect("the key has the cipher's length"),
        )
    }

    fn hmac(&self, label: &str, message: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.master.as_ref());
        let mut context = hmac::Context::with_key(&key);
        context.update(label.as_bytes());
        context.update(&[0]);
        context.update(message);
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring([secret])")
    }
}

/// Writes a file that must not exist yet and that only its owner can read. Whenever this is interrupted, also by a cut
/// of the power, the file is either not there or whole: half a key would stop every later start.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let draft = folder.join(format!(".draft-{}", random_hex::<8>()));
    let written = write_draft(&draft, bytes).and_then(|()| fs::hard_link(&draft, path));
    // It has its name by now, or is of no use; one that stays behind does no harm.
    let _ = fs::remove_file(&draft);
    written?;
    fs::File::open(folder)?.sync_all()
}

fn write_draft(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(secret, Secret::new("hunter2"));
        assert_ne!(secret, Secret::new("hunter3"));
    }

    #[test]
    fn a_sealed_value_opens_only_with_its_key_and_context() {
        let keyring = Keyring::from_bytes([7; 32]);
        let sealed = keyring.seal("webhook 1", b"Bearer abc");
        assert_eq!(
            keyring.open_sealed("webhook 1", &sealed).unwrap(),
            b"Bearer abc"
        );
        assert!(keyring.open_sealed("webhook 2", &sealed).is_err());
        assert!(
            Keyring::from_bytes([8; 32])
                .open_sealed("webhook 1", &sealed)
                .is_err()
        );
        assert!(keyring.open_sealed("webhook 1", &sealed[..5]).is_err());
        assert!(!sealed.windows(6).any(|window| window == b"Bearer"));
    }

    #[test]
    fn a_new_file_appears_whole_and_replaces_none() {
        let folder = std::env::temp_dir().join(format!("pilvi-write-new-{}", random_hex::<8>()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("key");
        write_new(&path, b"first").unwrap();
        let again = write_new(&path, b"second").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            1,
            "no draft is left"
        );
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_key_file_is_made_once_and_refused_when_others_can_read_it() {
        let folder = std::env::temp_dir().join(format!("pilvi-keyring-{}", random_hex::<8>()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("key");
        let first = Keyring::open(&path).unwrap().derive_token("x");
        assert_eq!(Keyring::open(&path).unwrap().derive_token("x"), first);
        assert_ne!(Keyring::open(&path).unwrap().derive_token("y"), first);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            Keyring::open(&path),
            Err(KeyringError::Readable { mode: 0o644, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert!(matches!(
            Keyring::open(&path),
            Err(KeyringError::Length { found: 5, .. })
        ));
        fs::remove_dir_all(&folder).unwrap();
    }
}
