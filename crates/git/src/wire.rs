//! The words between the hook and the server, over a socket that only this user can reach.
//!
//! The hook says everything at once, in lines: the version, the token, the quarantine's variables, the updates, `end`.
//! The server answers with frames as they arise: `o` and text to print, at last `x` and the hook's exit code.

use std::path::PathBuf;

use crate::repositories::is_hash;
use crate::{Quarantine, Update};

/// Both sides come from the same program, except while it is being replaced by a newer one.
pub(crate) const VERSION: &str = "pilvi-git-hook 1";

/// The longest request: some ten thousand branches and tags.
pub(crate) const REQUEST_MAX: u64 = 4 << 20;

/// The longest frame.
pub(crate) const FRAME_MAX: usize = 64 << 10;

pub(crate) const TEXT: u8 = b'o';
pub(crate) const EXIT: u8 = b'x';

/// The variables by which git names the place of new objects.
pub(crate) const QUARANTINE_VARIABLES: [&str; 3] = [
    "GIT_QUARANTINE_PATH",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
];

/// What the hook tells.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) token: String,
    pub(crate) quarantine: Quarantine,
    pub(crate) updates: Vec<Update>,
}

/// A frame's head: what it is, and how long.
pub(crate) fn frame_head(kind: u8, length: usize) -> [u8; 5] {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [kind, length[0], length[1], length[2], length[3]]
}

/// The request as it is sent. `None`: a path holds a line end.
pub(crate) fn encode(token: &str, quarantine: &[(&str, String)], updates: &str) -> Option<String> {
    let mut text = format!("{VERSION}\ntoken {token}\n");
    for (name, folder) in quarantine {
        if folder.contains('\n') {
            return None;
        }
        text.push_str(&format!("folder {name} {folder}\n"));
    }
    for line in updates.lines() {
        text.push_str(&format!("update {line}\n"));
    }
    text.push_str("end\n");
    Some(text)
}

/// Reads a request. `None`: it is none, or of another version.
pub(crate) fn decode(text: &str) -> Option<Request> {
    let mut lines = text.strip_suffix("end\n")?.lines();
    if lines.next()? != VERSION {
        return None;
    }
    let token = lines.next()?.strip_prefix("token ")?.to_owned();
    let mut request = Request {
        token,
        quarantine: Quarantine::default(),
        updates: Vec::new(),
    };
    for line in lines {
        match line.split_once(' ')? {
            ("folder", folder) => request.quarantine.variables.push(parse_folder(folder)?),
            ("update", update) => request.updates.push(parse_update(update)?),
            _ => return None,
        }
    }
    Some(request)
}

fn parse_folder(text: &str) -> Option<(&'static str, PathBuf)> {
    let (name, folder) = text.split_once(' ')?;
    let known = QUARANTINE_VARIABLES
        .into_iter()
        .find(|known| *known == name)?;
    Some((known, PathBuf::from(folder)))
}

/// `<old> <new> <name>`, where a hash of zeros means that there is nothing.
fn parse_update(text: &str) -> Option<Update> {
    let mut words = text.splitn(3, ' ');
    let (old, new, name) = (words.next()?, words.next()?, words.next()?);
    let hash = |text: &str| match is_hash(text) {
        true => Some(
            text.bytes()
                .any(|byte| byte != b'0')
                .then(|| text.to_owned()),
        ),
        false => None,
    };
    Some(Update {
        name: name.to_owned(),
        old: hash(old)?,
        new: hash(new)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    #[test]
    fn a_request_comes_out_as_it_went_in() {
        let updates = format!("{ZERO} {A} refs/heads/master\n{A} {ZERO} refs/tags/v1\n");
        let folders = [("GIT_QUARANTINE_PATH", "/data/a b/incoming".to_owned())];
        let text = encode("abc", &folders, &updates).unwrap();
        let request = decode(&text).unwrap();
        assert_eq!(request.token, "abc");
        let folder = ("GIT_QUARANTINE_PATH", PathBuf::from("/data/a b/incoming"));
        assert_eq!(request.quarantine.variables, [folder]);
        let names: Vec<_> = request.updates.iter().map(|update| &*update.name).collect();
        assert_eq!(names, ["refs/heads/master", "refs/tags/v1"]);
        assert_eq!(request.updates[0].old, None);
        assert_eq!(request.updates[0].new.as_deref(), Some(A));
        assert_eq!(request.updates[1].new, None);
    }

    #[test]
    fn what_is_no_request_is_not_read_as_one() {
        let whole = encode("abc", &[], &format!("{ZERO} {A} refs/heads/a\n")).unwrap();
        assert!(decode(&whole).is_some());
        for wrong in [
            "",
            "end\n",
            &whole[..whole.len() - 4],
            &whole.replace("hook 1", "hook 2"),
            &whole.replace("update", "upgrade"),
            &whole.replace(A, "abc"),
            &format!("{VERSION}\ntoken a\nfolder LD_PRELOAD /x\nend\n"),
        ] {
            assert!(decode(wrong).is_none(), "{wrong}");
        }
        assert!(encode("abc", &[("GIT_QUARANTINE_PATH", "/a\nb".to_owned())], "").is_none());
    }
}
