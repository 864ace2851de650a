//! The key by which clients know this server.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pilvi_base::secret::{random_bytes, write_new};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};

use crate::public_key::fingerprint;

/// The server's own key.
#[derive(Clone)]
pub struct HostKey {
    key: PrivateKey,
}

impl HostKey {
    /// Reads the key, or makes it at first start, readable by its owner alone.
    pub fn open(path: &Path) -> io::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::read(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(named("read", path, &error)),
        }
    }

    /// What people compare when their client asks whether this is the right server.
    pub fn fingerprint(&self) -> String {
        fingerprint(self.key.public_key())
    }

    /// The public key in one line, for a `known_hosts` file.
    pub fn public_line(&self) -> String {
        self.key.public_key().to_openssh().unwrap_or_default()
    }

    pub(crate) fn key(&self) -> &PrivateKey {
        &self.key
    }

    fn read(path: &Path, text: &str) -> io::Result<Self> {
        let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(io::Error::other(format!(
                "the host key `{}` can be read by others (mode {mode:o}); run `chmod 600` on it",
                path.display()
            )));
        }
        let key =
            PrivateKey::from_openssh(text).map_err(|error| named("understand", path, &error))?;
        if key.is_encrypted() {
            return Err(io::Error::other(format!(
                "the host key `{}` has a passphrase; put one without into its place",
                path.display()
            )));
        }
        Ok(Self { key })
    }

    fn make(path: &Path) -> io::Result<Self> {
        let pair = Ed25519Keypair::from_seed(&random_bytes::<32>());
        let key = PrivateKey::new(KeypairData::Ed25519(pair), "pilvi").map_err(io::Error::other)?;
        let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
        match write_new(path, text.as_bytes()) {
            Ok(()) => Ok(Self { key }),
            Err(error) => Err(named("write", path, &error)),
        }
    }
}

fn named(step: &str, path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!(
        "could not {step} the host key `{}`: {error}",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_key_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host_key");
        let first = HostKey::open(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let again = HostKey::open(&path).unwrap();
        assert_eq!(again.fingerprint(), first.fingerprint());
        assert!(first.fingerprint().starts_with("SHA256:"));
        assert!(first.public_line().starts_with("ssh-ed25519 "));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = HostKey::open(&path).err().unwrap().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn a_broken_key_stops_the_start_rather_than_being_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host_key");
        fs::write(&path, "no key").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(HostKey::open(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"no key");
    }
}
