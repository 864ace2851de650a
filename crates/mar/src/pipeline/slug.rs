//! Packs what was built (`mar.md` §4.9).

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::detect::words;
use super::disk::{DEPTH_MAX, Measure, measure};
use super::outcome::{Cause, Failed, Step};
use super::release::Release;
use super::scratch::Scratch;
use super::workshop::{BUILD, SLUG, Task, To, Workshop};
use super::{BuildLimits, Built, Voice};

/// Leaves out what no slug holds (repositories, pipes and sockets), and what `.slugignore` names as patterns of tar:
/// then what remains is laid out beside the build, since the files that run must be those of the tarball. The quickest
/// level of gzip: the tarball is read once or never.
const PACK: &str = r#"
set -eu -o pipefail
find "$1" -name .git -prune -exec rm -rf {} + -o \( -type p -o -type s \) -exec rm -f {} +
folder=$1
if [ "$3" = slimmed ]; then
    sed -E -e 's/\r$//' -e '/^[[:space:]]*(#|$)/d' -e 's|/+$||' -e 's|^/|./|' "$1/.slugignore" >/tmp/slugignore
    tar -c -f - --exclude-from=/tmp/slugignore -C "$1" . | tar -x -f - -C "$2"
    folder=$2
fi
tar -c -f - -C "$folder" . | gzip -1
"#;

/// A packed slug.
pub(super) struct Made {
    pub(super) release: Release,
    pub(super) tarball: Tarball,
}

pub(super) struct Tarball {
    bytes: u64,
}

/// Packs the build into the scratch folder and says how large it became.
pub(super) async fn pack(
    workshop: &mut Workshop,
    scratch: &Scratch,
    release: &Release,
    voice: &mut Voice,
) -> Result<Tarball, Failed> {
    let step = Step::Pack;
    let machine = || Failed::machine(Step::Pack);
    // Made here and only written to by the sandbox, which sees no name of it.
    let file = tokio::fs::File::create_new(scratch.tarball())
        .await
        .map_err(machine())?;
    let end = file.try_clone().await.map_err(machine())?.into_std().await;
    let what = if release.is_slimmed {
        "slimmed"
    } else {
        "whole"
    };
    let task = Task {
        step: &step,
        argv: words(&["bash", "-c", PACK, "pack", BUILD, SLUG, what]),
        stdin: None,
        stdout: To::File(OwnedFd::from(end)),
    };
    let exit = workshop.perform(task, voice).await?;
    let metadata = file.metadata().await.map_err(machine())?;
    let bytes_max = workshop.limits().slug_bytes;
    if metadata.len() > bytes_max {
        let cause = Cause::SlugTooLarge {
            bytes: metadata.len(),
            max: bytes_max,
        };
        return Err(Failed::new(step, cause));
    }
    workshop.succeeded(&step, exit)?;
    check_files(workshop.limits(), folder_of(scratch, release)).await?;
    file.sync_all().await.map_err(machine())?;
    let on_disk = file.metadata().await.map_err(machine())?.blocks() * 512;
    voice
        .title(&format!("Compiled slug size is {}", human_size(on_disk)))
        .await;
    Ok(Tarball {
        bytes: metadata.len(),
    })
}

/// What runs is the same as what is packed, so it must not be more than can be unpacked again.
async fn check_files(limits: &BuildLimits, folder: PathBuf) -> Result<(), Failed> {
    let enough = Measure {
        bytes: limits.slug_unpacked_bytes,
        files: limits.slug_files,
    };
    let found = tokio::task::spawn_blocking(move || measure(&folder, enough)).await;
    let found = found.map_err(|error| Failed::new(Step::Pack, Cause::Machine(error.into())))?;
    if found.bytes <= enough.bytes && found.files <= enough.files {
        return Ok(());
    }
    let sentence = format!(
        "The slug has more than {} or {} files, the limits; folders that lie more than {DEPTH_MAX} deep count \
         as more. Name what the app does not need at run time in .slugignore.",
        human_size(enough.bytes),
        enough.files
    );
    Err(Failed::new(Step::Pack, Cause::Unusable(sentence)))
}

/// Where the files of the slug are.
fn folder_of(scratch: &Scratch, release: &Release) -> PathBuf {
    match release.is_slimmed {
        true => scratch.slimmed(),
        false => scratch.build(),
    }
}

impl Made {
    pub(super) fn into_built(self, scratch: Scratch) -> Built {
        Built {
            folder: folder_of(&scratch, &self.release),
            tarball: scratch.tarball(),
            tarball_bytes: self.tarball.bytes,
            process_types: self.release.process_types,
            default_vars: self.release.default_vars,
            scratch,
        }
    }
}

/// A size as `du -h` prints it: one letter, rounded up, with one decimal below ten: `4.0K`, `23M`, `108M`.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut unit = 0;
    let mut size = 1024_u64;
    while bytes.div_ceil(size) >= 1024 && unit + 1 < UNITS.len() {
        size <<= 10;
        unit += 1;
    }
    let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(size));
    match tenths {
        ..100 => format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit]),
        _ => format!("{}{}", bytes.div_ceil(size), UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_look_as_du_prints_them() {
        for (bytes, shown) in [
            (0, "0"),
            (512, "512"),
            (4096, "4.0K"),
            (4097, "4.1K"),
            (10_200, "10K"),
            (10_240, "10K"),
            (10_241, "11K"),
            (23 << 20, "23M"),
            ((107 << 20) + 1, "108M"),
            (108 << 20, "108M"),
            ((1 << 20) - 1, "1.0M"),
            (1 << 30, "1.0G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(human_size(bytes), shown, "{bytes}");
        }
    }
}
