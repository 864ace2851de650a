//! Values that must not leak, and the keys that protect those at rest.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
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

/// Reads what [`hex`] writes.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?));
    rest.is_empty().then(|| bytes.collect()).flatten()
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// The HMAC-SHA256 of a message under a key that somebody else has, too. What is ours alone is made by a [`Keyring`].
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&key, message).as_ref());
    out
}

/// A SHA-256 over bytes that come in pieces.
pub struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Sha256 {
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

/// The server's keys, and everything that is made with them.
///
/// They live in a file of their own beside the databases, readable by its owner alone: who copies a database
/// without it gets no webhook header and can compute no token.
///
/// There is one key for tokens and one for sealing. While keys are exchanged there are several of a kind: the newest
/// makes, and each of them opens. See [`Keyring::begin_rotation`].
#[derive(Clone)]
pub struct Keyring {
    keys: Arc<Keys>,
}

/// Newest first, never empty.
struct Keys {
    tokens: Vec<Key>,
    seals: Vec<Key>,
}

type Key = [u8; 32];

/// What a key file begins with. One that was never changed since its first day holds 32 bytes and nothing else.
const KEY_FILE_HEAD: &str = "pilvi keys 2";
/// More keys of a kind than any exchange leaves.
const KEYS_MAX: usize = 8;
/// More bytes than any key file has.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Which keys are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Those that data is sealed with. Nobody outside notices.
    Seals,
    /// Those that tokens are derived from, too: every account token and security token changes.
    SealsAndTokens,
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
    #[error("there is no key file `{}`; put it back from a backup, because what was sealed with it cannot be \
         opened without it", path.display())]
    Missing { path: PathBuf },
    #[error(
        "the key file `{}` is damaged ({why}); restore it from a backup, because data sealed \
         with the lost key cannot be opened again", path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error("the key file `{}` can be read by others (mode {mode:o}); run `chmod 600` on it", path.display())]
    Readable { path: PathBuf, mode: u32 },
}

/// A sealed value that this keyring did not seal, or that was changed since.
#[derive(Debug, thiserror::Error)]
#[error("a sealed value does not open with this server's key file")]
pub struct Unsealable;

impl Keyring {
    /// Reads the key file, or makes it at first start.
    pub fn open_or_make(path: &Path) -> Result<Self, KeyringError> {
        match Self::open(path) {
            Err(KeyringError::Missing { .. }) => {
                let master = random_bytes::<32>();
                write_new(path, &master).map_err(|source| KeyringError::Io {
                    step: "write",
                    path: path.to_owned(),
                    source,
                })?;
                Ok(Self::from_bytes(master))
            }
            opened => opened,
        }
    }

    /// Reads the key file.
    pub fn open(path: &Path) -> Result<Self, KeyringError> {
        let fail = |step| {
            let path = path.to_owned();
            move |source| KeyringError::Io { step, path, source }
        };
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyringError::Missing {
                    path: path.to_owned(),
                });
            }
            opened => opened.map_err(fail("open"))?,
        };
        let mode = file
            .metadata()
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
        let mut bytes = Vec::new();
        file.take(KEY_FILE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(fail("read"))?;
        Self::parse(&bytes).map_err(|why| KeyringError::Damaged {
            path: path.to_owned(),
            why,
        })
    }

    /// The keyring of a key file with this content, or what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if let Ok(master) = Key::try_from(bytes)
            && !bytes.starts_with(KEY_FILE_HEAD.as_bytes())
        {
            return Ok(Self::from_bytes(master));
        }
        let text = std::str::from_utf8(bytes).ok();
        let lines = text.and_then(|text| text.strip_prefix(KEY_FILE_HEAD)?.strip_prefix('\n'));
        let Some(lines) = lines else {
            return Err(format!("it holds {} bytes that are no keys", bytes.len()));
        };
        if !lines.ends_with('\n') {
            return Err("its end is missing".to_owned());
        }
        let mut keys = Keys {
            tokens: Vec::new(),
            seals: Vec::new(),
        };
        for (number, line) in lines.lines().enumerate() {
            let parsed = line.split_once(' ').and_then(|(kind, key)| {
                let kind = match kind {
                    "tokens" => &mut keys.tokens,
                    "seals" => &mut keys.seals,
                    _ => return None,
                };
                (kind.len() < KEYS_MAX).then_some(())?;
                kind.push(unhex(key)?.try_into().ok()?);
                Some(())
            });
            if parsed.is_none() {
                // The line itself may be most of a key.
                return Err(format!("line {} is no key", number + 2));
            }
        }
        match keys.tokens.is_empty() || keys.seals.is_empty() {
            true => Err("a key is missing".to_owned()),
            false => Ok(Self::of(keys)),
        }
    }

    fn of(keys: Keys) -> Self {
        Self {
            keys: Arc::new(keys),
        }
    }

    /// What [`Keyring::parse`] reads.
    pub fn to_file(&self) -> Secret {
        let Keys { tokens, seals } = &*self.keys;
        let mut text = format!("{KEY_FILE_HEAD}\n");
        for (kind, keys) in [("tokens", tokens), ("seals", seals)] {
            for key in keys {
                text.push_str(&format!("{kind} {}\n", hex(key)));
            }
        }
        Secret(text)
    }

    /// Writes a keyring with new keys beside the old ones into the key file: from now on the new ones make, and the old
    /// ones still open. An exchange that was interrupted goes on with the keys that it has.
    ///
    /// Whoever calls this seals everything anew (each value that [`Keyring::reseal`] changes), and then calls
    /// [`Keyring::finish_rotation`]. Whatever interrupts it in between, everything opens, and doing it again is right.
    pub fn begin_rotation(&self, path: &Path, exchange: Exchange) -> Result<Self, KeyringError> {
        if self.is_rotating() {
            return Ok(self.clone());
        }
        let newer = |keys: &[Key]| [&[random_bytes::<32>()], keys].concat();
        let Keys { tokens, seals } = &*self.keys;
        let begun = Self::of(Keys {
            tokens: match exchange {
                Exchange::Seals => tokens.clone(),
                Exchange::SealsAndTokens => newer(tokens),
            },
            seals: newer(seals),
        });
        begun.save(path)?;
        Ok(begun)
    }

    /// Forgets all but the newest keys, here and in the key file.
    pub fn finish_rotation(&self, path: &Path) -> Result<Self, KeyringError> {
        let newest = |keys: &[Key]| keys[..1].to_vec();
        let finished = Self::of(Keys {
            tokens: newest(&self.keys.tokens),
            seals: newest(&self.keys.seals),
        });
        finished.save(path)?;
        Ok(finished)
    }

    /// Whether an exchange of keys was begun and not finished.
    pub fn is_rotating(&self) -> bool {
        self.keys.seals.len() > 1 || self.exchanges_tokens()
    }

    /// Whether it changes tokens.
    pub fn exchanges_tokens(&self) -> bool {
        self.keys.tokens.len() > 1
    }

    fn save(&self, path: &Path) -> Result<(), KeyringError> {
        let text = self.to_file();
        replace(path, text.expose().as_bytes()).map_err(|source| KeyringError::Io {
            step: "replace",
            path: path.to_owned(),
            source,
        })
    }

    /// A keyring over a given key, for tests.
    pub fn from_bytes(master: [u8; 32]) -> Self {
        Self::of(Keys {
            tokens: vec![master],
            seals: vec![master],
        })
    }

    /// Names the key that data is sealed with now, and says nothing about it.
    pub fn seal_id(&self) -> String {
        hex(&hmac(&self.keys.seals[0], "id", b"seals")[..8])
    }

    /// Proof that whoever has the keys of this server wrote `message`. It outlives an exchange of the keys that data
    /// is sealed with.
    pub fn sign(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        signature(&self.keys.tokens[0], purpose, message)
    }

    /// Whether [`Keyring::sign`] made this.
    pub fn is_signed(&self, purpose: &str, message: &[u8], tag: &[u8]) -> bool {
        // Digests take a time that says nothing about the values.
        let tag = sha256(tag);
        self.keys
            .tokens
            .iter()
            .any(|key| sha256(&signature(key, purpose, message)) == tag)
    }

    /// A token that need not be stored, because it can be computed again from what it is for.
    pub fn derive_token(&self, purpose: &str) -> Secret {
        let tag = hmac(&self.keys.tokens[0], "token", purpose.as_bytes());
        Secret(hex(&tag[..20]))
    }

    /// Encrypts `plain` for storage. `context` names what it belongs to and must be given again to open it,
    /// so that a sealed value moved to another row does not open there.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        let nonce = random_bytes::<NONCE_LEN>();
        let mut sealed = plain.to_vec();
        aead(&self.keys.seals[0])
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
        let mut keys = self.keys.seals.iter();
        keys.find_map(|key| open_with(key, context, sealed))
            .ok_or(Unsealable)
    }

    /// Seals anew what an older key sealed, or what is to belong to something else. `None`: it is as it should be.
    pub fn reseal(
        &self,
        from_context: &str,
        to_context: &str,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, Unsealable> {
        if open_with(&self.keys.seals[0], to_context, sealed).is_some() {
            return Ok(None);
        }
        let plain = self.open_sealed(from_context, sealed)?;
        Ok(Some(self.seal(to_context, &plain)))
    }
}

fn open_with(key: &Key, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut body = body.to_vec();
    let plain = aead(key)
        .open_in_place(nonce, Aad::from(context.as_bytes()), &mut body)
        .ok()?;
    Some(plain.to_vec())
}

fn aead(key: &Key) -> LessSafeKey {
    let key = hmac(key, "key", b"at-rest");
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("the key has the cipher's length"))
}

fn signature(key: &Key, purpose: &str, message: &[u8]) -> [u8; 32] {
    let key = hmac(key, "sign", purpose.as_bytes());
    hmac(&key, "message", message)
}

fn hmac(key: &Key, label: &str, message: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(label.as_bytes());
    context.update(&[0]);
    context.update(message);
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring([secret])")
    }
}

const DRAFT: &str = ".draft-";

/// Writes a file that must not exist yet and that only its owner can read. Whenever this is interrupted, also by a cut
/// of the power, the file is either not there or whole: half a key would stop every later start.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let draft = draft_in(folder);
    let written = write_draft(&draft, bytes).and_then(|()| fs::hard_link(&draft, path));
    // It has its name by now, or is of no use; one that stays behind does no harm.
    let _ = fs::remove_file(&draft);
    written?;
    fs::File::open(folder)?.sync_all()
}

/// Writes a file that only its owner can read in place of the one that may be there. Whenever this is interrupted, the
/// file is the old one or the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let draft = draft_in(folder);
    let written = write_draft(&draft, bytes).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written?;
    fs::File::open(folder)?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn draft_in(folder: &Path) -> PathBuf {
    folder.join(format!("{DRAFT}{}", random_hex::<8>()))
}

/// Removes the drafts in a folder that nobody else writes to. One that was left behind may hold keys that were
/// exchanged since, and are to be nowhere any more.
pub fn remove_drafts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(DRAFT)) && entry.file_type()?.is_file()
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
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
    fn a_draft_that_was_left_behind_goes_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("pilvi-drafts-{}", random_hex::<8>()));
        fs::create_dir(&folder).unwrap();
        let draft = draft_in(&folder);
        write_draft(&draft, b"old key").unwrap();
        write_new(&folder.join("key"), b"key").unwrap();
        fs::create_dir(folder.join(".draft-folder")).unwrap();
        remove_drafts(&folder).unwrap();
        assert!(!draft.exists());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_key_file_is_made_once_and_refused_when_others_can_read_it() {
        let folder = std::env::temp_dir().join(format!("pilvi-keyring-{}", random_hex::<8>()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("key");
        assert!(matches!(
            Keyring::open(&path),
            Err(KeyringError::Missing { .. })
        ));
        let first = Keyring::open_or_make(&path).unwrap().derive_token("x");
        assert_eq!(
            Keyring::open_or_make(&path).unwrap().derive_token("x"),
            first
        );
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
            Err(KeyringError::Damaged { .. })
        ));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn an_exchange_of_keys_loses_nothing_wherever_it_stops() {
        let folder = std::env::temp_dir().join(format!("pilvi-rotate-{}", random_hex::<8>()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("key");
        let old = Keyring::open_or_make(&path).unwrap();
        let sealed = old.seal("a", b"plain");
        let tag = old.sign("p", b"message");

        let begun = old.begin_rotation(&path, Exchange::Seals).unwrap();
        let read = Keyring::open(&path).unwrap();
        for keyring in [&begun, &read] {
            assert!(keyring.is_rotating() && !keyring.exchanges_tokens());
            assert_eq!(keyring.open_sealed("a", &sealed).unwrap(), b"plain");
            assert_eq!(keyring.derive_token("x"), old.derive_token("x"));
        }
        assert_ne!(begun.seal_id(), old.seal_id());
        // Begun again, as after a crash: with the same keys.
        let again = read
            .begin_rotation(&path, Exchange::SealsAndTokens)
            .unwrap();
        assert_eq!(again.seal_id(), begun.seal_id());
        assert!(!again.exchanges_tokens());
        let resealed = again.reseal("a", "a", &sealed).unwrap().unwrap();
        assert!(again.reseal("a", "a", &resealed).unwrap().is_none());

        let new = again.finish_rotation(&path).unwrap();
        assert!(!Keyring::open(&path).unwrap().is_rotating());
        assert!(new.open_sealed("a", &sealed).is_err());
        assert_eq!(new.open_sealed("a", &resealed).unwrap(), b"plain");
        assert!(new.is_signed("p", b"message", &tag));

        let tokens = new.begin_rotation(&path, Exchange::SealsAndTokens).unwrap();
        assert!(tokens.exchanges_tokens());
        assert_ne!(tokens.derive_token("x"), old.derive_token("x"));
        assert!(tokens.is_signed("p", b"message", &tag));
        let last = tokens.finish_rotation(&path).unwrap();
        assert!(!last.is_signed("p", b"message", &tag));
        assert!(!last.is_signed("p", b"message", &[]));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            1,
            "no draft is left"
        );
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_damaged_key_file_is_never_half_read() {
        let whole = Keyring::from_bytes([7; 32]).to_file();
        let whole = whole.expose().as_bytes();
        assert!(Keyring::parse(whole).is_ok());
        for end in 0..whole.len() {
            assert!(Keyring::parse(&whole[..end]).is_err(), "{end}");
        }
        let line = format!("seals {}\n", hex(&[1; 32]));
        for wrong in [
            "pilvi keys 3\n".to_owned(),
            format!("pilvi keys 2\n{line}"),
            format!("pilvi keys 2\n{}", line.repeat(KEYS_MAX + 1)),
            format!("pilvi keys 2\n{}", line.to_uppercase()),
        ] {
            let why = Keyring::parse(wrong.as_bytes()).map(|_| ()).unwrap_err();
            assert!(!why.contains("0101"), "{why}");
        }
    }

    #[test]
    fn hex_is_read_as_it_is_written() {
        assert_eq!(unhex(&hex(&[0, 255, 16])).unwrap(), [0, 255, 16]);
        for wrong in ["0", "0g", "AB", "é"] {
            assert!(unhex(wrong).is_none(), "{wrong}");
        }
    }
}
