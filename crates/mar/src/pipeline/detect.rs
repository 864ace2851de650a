//! Which buildpack builds a project (`mar.md` §4.4).

use std::collections::BTreeMap;

use super::Voice;
use super::outcome::{Cause, Failed, Step};
use super::packs::CUSTOM;
use super::tame::tame;
use super::workshop::{BUILD, PACKS, Workshop};

/// The config var that names a buildpack.
const BUILDPACK_URL: &str = "BUILDPACK_URL";

/// A buildpack's name is a word or two.
const NAME_MAX_CHARS: usize = 60;

/// The buildpack of a build.
pub(super) struct Pack {
    /// Its folder in the sandbox.
    pub(super) folder: String,
    /// What its detection printed.
    pub(super) name: String,
}

const FETCH: &str = r#"
set -u
source "$1/multi/lib/fetch.sh"
fetch_buildpack "$2" "$3"
"#;

/// Asks one buildpack after the other; prints the one that knows the project and the name that it gives.
const ASK: &str = r#"
for pack in "${@:3}"; do
    if name=$("$1/$pack/bin/detect" "$2"); then
        printf '%s\n%s\n' "$pack" "$name"
        exit 0
    fi
done
exit 1
"#;

/// The buildpack that was asked for, or else the first that knows the project.
pub(super) async fn choose(
    workshop: &mut Workshop,
    vars: &BTreeMap<String, String>,
    voice: &mut Voice,
) -> Result<Pack, Failed> {
    let url = vars.get(BUILDPACK_URL).map(|url| url.trim());
    let pack = match url {
        Some(url) if !url.is_empty() => fetch(workshop, url, voice).await?,
        _ => detect(workshop, voice).await?,
    };
    voice.title(&format!("{} app detected", pack.name)).await;
    Ok(pack)
}

async fn fetch(workshop: &mut Workshop, url: &str, voice: &mut Voice) -> Result<Pack, Failed> {
    voice.title("Fetching custom buildpack").await;
    let folder = format!("{PACKS}/{CUSTOM}");
    let argv = words(&["bash", "-c", FETCH, "fetch", PACKS, url, &folder]);
    workshop.run(&Step::Fetch, argv, voice).await?;
    let argv = words(&[&format!("{folder}/bin/detect"), BUILD]);
    let (exit, name) = workshop.ask(&Step::Detect, argv, 1024, voice).await?;
    if exit.code() != 0 {
        voice.title("Unable to select a buildpack").await;
        return Err(Failed::new(
            Step::Detect,
            Cause::Unusable(
                "The buildpack of BUILDPACK_URL does not know this project. Set another one, or remove the variable."
                    .to_owned(),
            ),
        ));
    }
    Ok(Pack {
        folder,
        name: name_of(&name, "Custom"),
    })
}

async fn detect(workshop: &mut Workshop, voice: &mut Voice) -> Result<Pack, Failed> {
    let mut argv = words(&["bash", "-c", ASK, "detect", PACKS, BUILD]);
    argv.extend_from_slice(workshop.packs().order());
    let (exit, answer) = workshop.ask(&Step::Detect, argv, 1024, voice).await?;
    let mut lines = answer.splitn(2, |byte| *byte == b'\n');
    let pack = lines.next().and_then(|pack| str::from_utf8(pack).ok());
    let known = pack.filter(|pack| workshop.packs().order().iter().any(|known| known == pack));
    match known {
        Some(pack) if exit.code() == 0 => Ok(Pack {
            folder: format!("{PACKS}/{pack}"),
            name: name_of(lines.next().unwrap_or_default(), pack),
        }),
        _ => {
            voice.title("Unable to select a buildpack").await;
            Err(Failed::new(Step::Detect, Cause::NoBuildpack))
        }
    }
}

/// The first line of what a detection printed.
fn name_of(output: &[u8], otherwise: &str) -> String {
    let line = output
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let name = tame(line.trim_ascii());
    match name.is_empty() {
        true => otherwise.to_owned(),
        false => name.chars().take(NAME_MAX_CHARS).collect(),
    }
}

pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_short_harmless_line() {
        assert_eq!(name_of(b"Node.js\nmore", "x"), "Node.js");
        assert_eq!(name_of(b" Qt \r\n", "x"), "Qt");
        assert_eq!(name_of(b"", "qt"), "qt");
        assert_eq!(name_of(b"a\x1b[2Jb", "x"), "a^[[2Jb");
        assert_eq!(name_of(&[b'a'; 500], "x").len(), NAME_MAX_CHARS);
    }
}
