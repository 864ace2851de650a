//! The one line that a client sends. It is not given to a shell.

use crate::app_of_path;
use crate::git::Service;

/// The longest line that is looked at.
const LENGTH_MAX: usize = 512;

/// What a client may ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SshCommand {
    pub(crate) service: Service,
    pub(crate) app: String,
}

/// Reads `git-receive-pack '<app>'` and its like. The error is for the pusher.
pub(crate) fn parse(line: &[u8]) -> Result<SshCommand, &'static str> {
    const ONLY_GIT: &str =
        "Only git push, git fetch and git clone are served here. There is no shell.";
    let line = std::str::from_utf8(line).map_err(|_| ONLY_GIT)?;
    if line.len() > LENGTH_MAX {
        return Err(ONLY_GIT);
    }
    // `git receive-pack` means the same program.
    let line = line.trim();
    let spelled = match line.strip_prefix("git ") {
        Some(rest) => format!("git-{rest}"),
        None => line.to_owned(),
    };
    let (program, argument) = spelled.split_once(' ').ok_or(ONLY_GIT)?;
    let service = Service::named(program).ok_or(match program {
        "git-upload-archive" => {
            "git archive is not served here. Clone the repository and make the archive from the clone."
        }
        _ => ONLY_GIT,
    })?;
    let path = unquote(argument.trim());
    let app = app_of_path(path).ok_or(
        "This is not the name of an app. The address ends with the app's id, such as mar-eu-1-twwto7g0.",
    )?;
    Ok(SshCommand {
        service,
        app: app.to_owned(),
    })
}

/// Takes one pair of quotes away. Whatever else is quoted or escaped is no name of an app.
fn unquote(text: &str) -> &str {
    ['\'', '"']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_push_and_a_fetch_are_understood() {
        for (line, service) in [
            ("git-receive-pack 'mar-eu-1-twwto7g0'", Service::Receive),
            ("git-receive-pack mar-eu-1-twwto7g0", Service::Receive),
            ("git receive-pack \"mar-eu-1-twwto7g0\"", Service::Receive),
            (
                "git-receive-pack '/mar-eu-1-twwto7g0.git'",
                Service::Receive,
            ),
            ("git-upload-pack '/mar-eu-1-twwto7g0'", Service::Upload),
            ("git upload-pack 'mar-eu-1-twwto7g0/'", Service::Upload),
        ] {
            let app = "mar-eu-1-twwto7g0".to_owned();
            assert_eq!(
                parse(line.as_bytes()),
                Ok(SshCommand { service, app }),
                "{line}"
            );
        }
    }

    #[test]
    fn everything_else_is_refused_in_words() {
        for line in [
            "",
            "ls",
            "sh -c 'git-receive-pack a'",
            "git-receive-pack",
            "git-receive-pack ",
            "git-receive-pack 'a' 'b'",
            "git-receive-pack '../a'",
            "git-receive-pack 'a/../b'",
            "git-receive-pack 'a'; ls",
            "git-receive-pack $(ls)",
            "git-receive-pack --help",
            "git-receive-pack '--help'",
            "git-upload-archive 'a'",
            "git-lfs-authenticate a download",
            "git-shell a",
            "GIT-RECEIVE-PACK a",
            "scp -t /tmp",
        ] {
            let message = parse(line.as_bytes()).unwrap_err();
            assert!(message.ends_with('.'), "{line}: {message}");
        }
        assert!(parse(b"git-receive-pack \xff").is_err());
        assert!(parse(format!("git-receive-pack {}", "a".repeat(600)).as_bytes()).is_err());
    }
}
