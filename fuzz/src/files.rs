//! The files beside the source: corpus, dictionaries, regressions.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::Target;

/// The folder of this crate.
fn folder(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(kind)
}

/// The inputs that mutation starts from.
pub fn corpus(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    inputs(folder("corpus").join(target.name))
}

/// The inputs that have failed once.
pub fn regressions(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    inputs(folder("regressions").join(target.name))
}

/// Keeps an input that has failed, under a name made from its bytes.
pub fn keep_regression(target: &Target, input: &[u8]) -> io::Result<PathBuf> {
    let folder = folder("regressions").join(target.name);
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{:016x}", fingerprint(input)));
    fs::write(&path, input)?;
    Ok(path)
}

/// A number that depends on the bytes alone (FNV-1a).
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// All files of a folder, in the order of their names. No folder, no files.
fn inputs(folder: PathBuf) -> io::Result<Vec<Vec<u8>>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(fs::read).collect()
}

/// The words of the target's language: one a line, with `\xNN` for any byte and `\\` for a backslash.
pub fn words(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let path = folder("dictionaries").join(format!("{}.txt", target.name));
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            unescape(line.as_bytes()).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("no word: {line}"))
            })
        })
        .collect()
}

fn unescape(mut line: &[u8]) -> Option<Vec<u8>> {
    let mut word = Vec::new();
    while let Some((&byte, rest)) = line.split_first() {
        line = rest;
        if byte != b'\\' {
            word.push(byte);
        } else if let Some(rest) = line.strip_prefix(b"\\") {
            word.push(b'\\');
            line = rest;
        } else {
            let (digits, rest) = line.strip_prefix(b"x")?.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            word.push(u8::from_str_radix(digits, 16).ok()?);
            line = rest;
        }
    }
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TARGETS;

    #[test]
    fn words_may_hold_any_byte() {
        assert_eq!(unescape(br"a\x00\\x\xFF").unwrap(), b"a\0\\x\xff");
        for wrong in [r"\", r"\x", r"\x0", r"\n", r"\xgg"] {
            assert_eq!(unescape(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn every_target_has_seeds_and_words() {
        for target in &TARGETS {
            assert!(corpus(target).unwrap().len() >= 5, "{}", target.name);
            assert!(words(target).unwrap().len() >= 5, "{}", target.name);
        }
    }
}
