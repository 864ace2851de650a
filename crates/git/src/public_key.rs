//! Public keys of people, as they paste them.

use pilvi_model::{Error, Result};
use russh::keys::ssh_key::{self, Algorithm, HashAlg};

/// A key that may open the SSH door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Such as `ssh-ed25519`.
    pub algorithm: String,
    /// What stands behind the key in its file, most often `user@machine`.
    pub comment: String,
    /// By which a key is known, in the form `SHA256:…`.
    pub fingerprint: String,
    /// For RSA, whose strength is not in its name.
    pub bits: Option<u32>,
    /// The key in one line, as OpenSSH writes it.
    pub line: String,
}

/// RSA keys below this are weak.
const RSA_BITS_MIN: u32 = 2048;

/// RSA keys above this cost more to check than they protect.
const RSA_BITS_MAX: u32 = 16_384;

/// The longest text of a key; the largest RSA key has some three thousand characters.
const TEXT_MAX: usize = 16 << 10;

const HOW: &str = "paste the whole content of a file such as ~/.ssh/id_ed25519.pub; \
                   ssh-keygen -t ed25519 makes one if there is none";

impl PublicKey {
    /// Reads a public key file. The error is about the field `key` and says what to do.
    pub fn parse(text: &str) -> Result<Self> {
        parse(text).map_err(|message| Error::invalid("key", message))
    }
}

fn parse(text: &str) -> Result<PublicKey, String> {
    let line = text.trim();
    if line.is_empty() {
        return Err(format!("is required: {HOW}"));
    }
    if line.contains("PRIVATE KEY") || line.starts_with("PuTTY-User-Key-File") {
        return Err(
            "is a private key, which must never leave your machine; paste the file that ends with .pub instead, \
             and make a new pair if this one has been sent to anybody else"
                .to_owned(),
        );
    }
    if text.len() > TEXT_MAX || line.contains(['\n', '\r', '\0']) {
        return Err(format!("must be one public key in one line: {HOW}"));
    }
    let key = ssh_key::PublicKey::from_openssh(line)
        .map_err(|_| format!("is not a public key in OpenSSH's form: {HOW}"))?;
    let bits = check_strength(&key)?;
    let comment = key.comment().as_str_lossy().to_owned();
    Ok(PublicKey {
        algorithm: key.algorithm().to_string(),
        comment,
        fingerprint: fingerprint(&key),
        bits,
        line: line.to_owned(),
    })
}

/// By which a key is known.
pub(crate) fn fingerprint(key: &ssh_key::PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// The size of an RSA key that is strong enough; other algorithms have the one size that is in their names.
fn check_strength(key: &ssh_key::PublicKey) -> Result<Option<u32>, String> {
    match key.algorithm() {
        Algorithm::Ed25519
        | Algorithm::Ecdsa { .. }
        | Algorithm::SkEd25519
        | Algorithm::SkEcdsaSha2NistP256 => Ok(None),
        Algorithm::Rsa { .. } => {
            let bits = key
                .key_data()
                .rsa()
                .map_or(0, ssh_key::public::RsaPublicKey::key_size);
            match bits {
                RSA_BITS_MIN..=RSA_BITS_MAX => Ok(Some(bits)),
                ..RSA_BITS_MIN => Err(format!(
                    "is an RSA key of {bits} bits, which is too weak; make one with ssh-keygen -t ed25519, or with at \
                     least {RSA_BITS_MIN} bits"
                )),
                _ => Err(format!(
                    "is an RSA key of more than {RSA_BITS_MAX} bits; make a smaller one"
                )),
            }
        }
        Algorithm::Dsa => Err(
            "is a DSA key, which is too weak for use today; make one with ssh-keygen -t ed25519"
                .to_owned(),
        ),
        other => Err(format!(
            "is of the kind {other}, which is not taken; make one with ssh-keygen -t ed25519"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIkOuzknHIUCP+kOKTM4uJLdOlfHxJfFcadBFoDDwjE6 ada@laptop";
    const ECDSA: &str = concat!(
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJQhXKM9U7Im48WgoP+PvsRKufZ5ahUv",
        "gVJyKtBXE0yNiwD0HZwe+CROzHJ9muqMZlNtxPF7nPHgd4UzEFC6dQc= ada@laptop"
    );
    const RSA_2048: &str = concat!(
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCq/YbHW/JmLE5JZE7IkoG16s3Zd0OA724yCFdss52+pztpdRSBps0kcF0wY+h2/KLS",
        "WXUOyJeNIyP5xXU0tfQ6Y/ExOt5dcsiJRFfyRGG/7hjGVqodtyms3wkdLnO2IG3ntmn86NscWCijR18mTzYaTCedl+BfX6Vt7AVKpED/",
        "FsTBL0lJG8MObytSdMmWqoPamt/lGKMQ9ZJxpuXpLCFcYzB5xmJLOIKv+Bap8sy2756K3x45LERJKVaXKxVzcha1AgzUWKEXaTv6Or5Q",
        "Kk4o7SaN7JdEJhRr2AzfWDadLQxMGVKA5Yv2jsikBqB/nmjChHUBamG/hiB2M8eaD2vt ada@laptop"
    );
    const RSA_1024: &str = concat!(
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC/NOuM2+/Nw5dfQ9hMRe0lJLGz4RdmMu0cmMZ4AwD9Or2Pddts7KHUAHFMZjfB0lDs",
        "YwEAk8JHWQRGxFCr+De/0/SayXRs8vVmZ7y2e5b3lRS83BAh2kipTF4Pu+ZOcQ5KTIhXVozhw/LctHk0RLGGQPcFNf5R/dXyBlx51HBn",
        "tw== ada@laptop"
    );
    const DSA: &str = concat!(
        "ssh-dss AAAAB3NzaC1kc3MAAACBAINAgprUuOcsQx5s3GY915KR3/Sz8qO+hC57na+GQl+sDErxpAukiBtouf4GeKWvyddhfm+JrNcO",
        "ieEbrMRX0QtOys6yWnoqWs6QwWPZz+rQI+71utCzU6m9xKT2AGM3u9PHmFx9NPeS7XAUTpI00hB75daZhaTaMi6WGNc8D9AnAAAAFQDs",
        "VrCXUt2YL4fFYEkSKrk/jnZePwAAAIA+EHodhxoWQIJV0QI93PLDgURyOx1OWIgRUf3bDA0Qw/YWMpZw9y8YgdYnL1kLCp5Lo3jKX0B3",
        "IKJw5dikhPHInj58TGgzceEEbCihqWaPLPK689a8pGRhK1SXviPKLnxRJcH7+zsnbpR4YEXkBUbIBkwE6V81aTypuo5xUOT0swAAAIAS",
        "YO1Zv2nQH5B6k3lEezRSrA/h4uYBDoRs+zue5f439FL9ON5NkYWnDdK+iKALH+IFZP/32yFikrvytp3cYB9s5pYJfu2PGLRuM1BwMRIG",
        "CARXU69YPsPLLFgmubKjXwzMuzbutSTEGCdOf83HkVp/C+nKVVJJdbO6XuSwtu8JrQ== ada@laptop"
    );

    fn refused(text: &str) -> String {
        let error = PublicKey::parse(text).unwrap_err();
        assert_eq!(error.fields[0].property, "key");
        error.message
    }

    /// The fingerprints are those that `ssh-keygen -l` prints.
    #[test]
    fn a_key_is_read_as_its_file_has_it() {
        for (text, algorithm, fingerprint, bits) in [
            (
                ED25519,
                "ssh-ed25519",
                "SHA256:xTo5TRQjY9mSi8KC0ocnYxMh4GHeAzbYCTB5ep36myk",
                None,
            ),
            (
                ECDSA,
                "ecdsa-sha2-nistp256",
                "SHA256:6SEJIPLQdKIHUH+0lZrqCDBxjjHPm8ZCaFCT7+qSh6k",
                None,
            ),
            (
                RSA_2048,
                "ssh-rsa",
                "SHA256:waOtwUUfbG2KmpgQRZdNOMInIdPYZb+Kzq2de5VgHHA",
                Some(2048),
            ),
        ] {
            let key = PublicKey::parse(&format!("{text}\n")).unwrap();
            let expected = PublicKey {
                algorithm: algorithm.to_owned(),
                comment: "ada@laptop".to_owned(),
                fingerprint: fingerprint.to_owned(),
                bits,
                line: text.to_owned(),
            };
            assert_eq!(key, expected);
        }
    }

    #[test]
    fn the_comment_may_be_missing_or_have_blanks() {
        let bare = ED25519.strip_suffix(" ada@laptop").unwrap();
        assert_eq!(PublicKey::parse(bare).unwrap().comment, "");
        let long = format!("{bare} Ada's new laptop");
        assert_eq!(PublicKey::parse(&long).unwrap().comment, "Ada's new laptop");
    }

    #[test]
    fn a_weak_key_is_refused_with_what_to_do() {
        assert!(refused(RSA_1024).contains("RSA key of 1024 bits"));
        assert!(refused(DSA).contains("DSA key"));
        for weak in [RSA_1024, DSA] {
            assert!(refused(weak).contains("ssh-keygen -t ed25519"));
        }
    }

    #[test]
    fn a_private_key_is_refused_with_a_warning() {
        for private in [
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
            "PuTTY-User-Key-File-3: ssh-ed25519\n",
        ] {
            assert!(refused(private).contains("must never leave your machine"));
        }
    }

    #[test]
    fn garbage_is_refused_with_what_to_paste() {
        let two = format!("{ED25519}\n{ECDSA}");
        let option = format!("command=\"ls\" {ED25519}");
        let cut = &ED25519[..40];
        let renamed = ED25519.replace("ssh-ed25519", "ssh-rsa");
        let huge = format!("ssh-ed25519 {}", "A".repeat(TEXT_MAX));
        for text in [
            "",
            " \n",
            "hello",
            "ssh-ed25519",
            &two,
            &option,
            cut,
            &renamed,
            &huge,
            "ä\0",
        ] {
            assert!(refused(text).contains("id_ed25519.pub"), "{text}");
        }
    }
}
