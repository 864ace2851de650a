//! The hook's side: this program again, started by git in the middle of a push.
//!
//! It tells the server what is pushed, prints what comes back, and ends as the server says. It decides nothing, so
//! that a hook without a server rejects the push.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::wire::{self, EXIT, FRAME_MAX, QUARANTINE_VARIABLES, REQUEST_MAX, TEXT};

/// The word after the program's name that makes it the hook.
pub const HOOK_WORD: &str = "git-hook";

/// The variables that lead the hook back to the server.
pub(crate) const SOCKET_FOLDER: &str = "PILVI_GIT_FOLDER";
pub(crate) const TOKEN: &str = "PILVI_GIT_TOKEN";

/// The socket's name in its folder.
const SOCKET: &str = "hook.sock";

/// Acts as the hook if this process was started as one, which `main` asks before anything else.
pub fn take_over() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != HOOK_WORD {
        return None;
    }
    let checked = arguments.next().is_some_and(|word| word == "check");
    let done = match checked {
        true => print(b"ready\n").map(|()| 0),
        false => ask_the_server(),
    };
    Some(match done {
        Ok(code) => ExitCode::from(code),
        Err(_) => {
            let _ = print(
                b"The server stopped before the push was finished. Push again in a moment.\n",
            );
            ExitCode::FAILURE
        }
    })
}

fn ask_the_server() -> io::Result<u8> {
    let mut updates = String::new();
    io::stdin().take(REQUEST_MAX).read_to_string(&mut updates)?;
    let folder = PathBuf::from(variable(SOCKET_FOLDER)?);
    // A push that only deletes brings no objects.
    let quarantine: Vec<_> = QUARANTINE_VARIABLES
        .into_iter()
        .filter_map(|name| Some((name, variable(name).ok()?)))
        .collect();
    let request = wire::encode(&variable(TOKEN)?, &quarantine, &updates);
    let request = request.ok_or(io::ErrorKind::InvalidInput)?;
    if request.len() as u64 > REQUEST_MAX {
        print(b"There are too many branches and tags in one push. Push them in several parts.\n")?;
        return Ok(1);
    }
    let mut server = through_folder(&folder, |path| UnixStream::connect(path))?;
    // The way stays open: the server takes its end for the hook's.
    server.write_all(request.as_bytes())?;
    relay(&mut server)
}

/// Prints frames until the one that ends it.
fn relay(server: &mut impl Read) -> io::Result<u8> {
    let mut payload = vec![0; FRAME_MAX];
    loop {
        let mut head = [0; 5];
        server.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let payload = payload
            .get_mut(..length)
            .ok_or(io::ErrorKind::InvalidData)?;
        server.read_exact(payload)?;
        match (kind, &*payload) {
            (TEXT, text) => print(text)?,
            (EXIT, [code]) => return Ok(*code),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Git sends it to the pusher, marked as the server's words.
fn print(text: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text)?;
    output.flush()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this process is a door of its own, to which git speaks by its environment"
)]
fn variable(name: &str) -> io::Result<String> {
    std::env::var(name).map_err(io::Error::other)
}

/// Does something with the socket below `folder`. The path of a data folder may be longer than the hundred bytes that
/// an address can hold, so the folder is named by its open file.
pub(crate) fn through_folder<T>(
    folder: &Path,
    act: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let open = File::open(folder)?;
    act(&PathBuf::from(format!(
        "/proc/self/fd/{}/{SOCKET}",
        open.as_raw_fd()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = wire::frame_head(kind, payload.len()).to_vec();
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn the_last_frame_says_how_to_end() {
        let mut frames = frame(TEXT, b"");
        frames.extend(frame(EXIT, &[3]));
        assert_eq!(relay(&mut &frames[..]).unwrap(), 3);
    }

    #[test]
    fn half_an_answer_is_no_consent() {
        let mut frames = frame(TEXT, b"");
        frames.extend(&frame(EXIT, &[0])[..5]);
        assert!(relay(&mut &frames[..]).is_err());
        assert!(relay(&mut &frame(b'?', &[0])[..]).is_err());
        assert!(relay(&mut &wire::frame_head(TEXT, FRAME_MAX + 1)[..]).is_err());
        assert!(relay(&mut &[][..]).is_err());
    }
}
