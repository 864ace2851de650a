//! `cargo xtask package`: a Debian package, and beside it what builds a container from it.
//!
//! `dpkg-deb` does the packing. What goes into the package is put together in a folder below `target/package`, as it
//! will be on the machine: the binary, the unit, the settings that the binary itself prints, completions and
//! documents.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::shell::{cargo, command, find, output, root, succeeds, target_folder};

/// Whom to ask.
const MAINTAINER: &str = "The Pilvi authors <pilvi@localhost>";

/// Settings of the package that are not those of a server which somebody starts by hand.
const SETTINGS: [&str; 2] = ["data=/var/lib/pilvi", "health=127.0.0.1:8089"];

/// What the server and its users call. Without git and nft it runs, and says what is missing.
const RECOMMENDS: &str = "ca-certificates, git, nftables";
const SUGGESTS: &str = "libnss-myhostname, mmdebstrap, passt";

/// Where each shell looks for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/pilvi"),
    ("zsh", "usr/share/zsh/vendor-completions/_pilvi"),
    ("fish", "usr/share/fish/vendor_completions.d/pilvi.fish"),
];

#[derive(Args)]
pub(crate) struct Options {
    /// Pack the binary of this profile
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// Put the package here [default: target/package]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Take the binary as it is, without building it
    #[arg(long)]
    no_build: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    Release,
    Dev,
}

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "debug",
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        find("dpkg-deb").is_some(),
        "dpkg-deb is missing: a package can be made on Debian and what descends from it"
    );
    if !options.no_build {
        let mut build = cargo();
        build.args(["build", "--package", "pilvi", "--locked"]);
        if options.profile == Profile::Release {
            build.arg("--release");
        }
        if !succeeds(&mut build)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    let binary = target_folder().join(options.profile.folder()).join("pilvi");
    ensure!(
        binary.is_file(),
        "{} is missing: leave out --no-build",
        binary.display()
    );
    let out = match &options.out {
        Some(out) => std::path::absolute(out)?,
        None => target_folder().join("package"),
    };
    let tree = Tree::make(&out.join("tree"))?;
    tree.fill(&binary)?;
    let package = tree.pack(&out, options.profile)?;
    // A container is built in this folder, from a name that stays the same.
    fs::copy(&package, out.join("pilvi.deb"))?;
    fs::copy(
        root().join("packaging/Containerfile"),
        out.join("Containerfile"),
    )?;
    fs::remove_dir_all(&tree.folder)?;
    println!("{}", package.display());
    Ok(ExitCode::SUCCESS)
}

/// The files of the package, as they will be on the machine.
struct Tree {
    folder: PathBuf,
}

impl Tree {
    fn make(folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        // Whatever the mask of whoever packs: everybody may look into the folders of a system.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn fill(&self, binary: &Path) -> Result<()> {
        self.add_binary(binary)?;
        let debian = |name: &str| fs::read_to_string(root().join("packaging/debian").join(name));
        let doc = "usr/share/doc/pilvi";
        self.write(
            "usr/lib/systemd/system/pilvi.service",
            &debian("pilvi.service")?,
            0o644,
        )?;
        self.write("etc/default/pilvi", &debian("default")?, 0o644)?;
        self.write(&format!("{doc}/copyright"), &debian("copyright")?, 0o644)?;
        let mut sample = self.pilvi();
        sample.args(["config", "default"]);
        sample.args(SETTINGS.iter().flat_map(|setting| ["--set", setting]));
        self.write("etc/pilvi/pilvi.toml", &output(&mut sample)?, 0o644)?;
        for (shell, place) in COMPLETIONS {
            let text = output(self.pilvi().args(["completions", shell]))?;
            self.write(place, &text, 0o644)?;
        }
        for document in documents()? {
            let text = fs::read_to_string(&document)?;
            let name = document.file_name().unwrap_or_default();
            self.write(&format!("{doc}/{}", name.to_string_lossy()), &text, 0o644)?;
        }
        let changes = fs::read_to_string(root().join("CHANGELOG.md"))?;
        self.write(&format!("{doc}/changelog"), &changes, 0o644)?;
        let changes = self.folder.join(doc).join("changelog");
        ensure!(
            succeeds(command("gzip").args(["--best", "--no-name"]).arg(changes))?,
            "the changelog could not be packed"
        );
        for script in ["postinst", "prerm", "postrm"] {
            self.write(&format!("DEBIAN/{script}"), &debian(script)?, 0o755)?;
        }
        self.write(
            "DEBIAN/conffiles",
            "/etc/default/pilvi\n/etc/pilvi/pilvi.toml\n",
            0o644,
        )?;
        self.write("DEBIAN/control", &self.control()?, 0o644)?;
        self.write("DEBIAN/md5sums", &self.sums()?, 0o644)
    }

    fn add_binary(&self, binary: &Path) -> Result<()> {
        let place = self.binary();
        fs::create_dir_all(place.parent().unwrap_or(&self.folder))?;
        fs::copy(binary, &place)?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
        // What is left out tells a debugger about lines; it is most of the file.
        ensure!(
            succeeds(command("strip").arg("--strip-unneeded").arg(&place))?,
            "strip is missing: as root, run apt-get install binutils"
        );
        Ok(())
    }

    fn binary(&self) -> PathBuf {
        self.folder.join("usr/bin/pilvi")
    }

    /// The binary that goes into the package, free of this machine's settings.
    fn pilvi(&self) -> std::process::Command {
        let mut pilvi = command(self.binary());
        pilvi.env_clear();
        pilvi
    }

    fn write(&self, place: &str, text: &str, mode: u32) -> Result<()> {
        let place = self.folder.join(place);
        fs::create_dir_all(place.parent().unwrap_or(&self.folder))?;
        fs::write(&place, text).with_context(|| format!("could not write {}", place.display()))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    fn control(&self) -> Result<String> {
        let architecture = output(command("dpkg").arg("--print-architecture"))?;
        let said = output(self.pilvi().arg("--version"))?;
        let version = said
            .trim()
            .rsplit(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        let size = output(
            command("du")
                .args(["--summarize", "--block-size=1024"])
                .arg(&self.folder),
        )?;
        let size = size.split_whitespace().next().unwrap_or("0").to_owned();
        Ok(format!(
            "Package: pilvi\n\
             Version: {version}\n\
             Architecture: {architecture}\n\
             Maintainer: {MAINTAINER}\n\
             Installed-Size: {size}\n\
             Depends: libc6 (>= {libc}), libgcc-s1, init-system-helpers (>= 1.54)\n\
             Recommends: {RECOMMENDS}\n\
             Suggests: {SUGGESTS}\n\
             Section: net\n\
             Priority: optional\n\
             Description: self-hosted application cloud in one binary\n \
             Data storage with users and access lists, WebSocket gateways, webhooks, and apps\n \
             that are deployed by git push and run in sandboxes.\n \
             .\n \
             The package brings the server as a service of systemd, which listens on loopback\n \
             only until /etc/pilvi/pilvi.toml says otherwise, and the command line.\n",
            architecture = architecture.trim(),
            libc = self.libc_needed()?,
        ))
    }

    /// The newest version of libc whose symbols the binary uses.
    fn libc_needed(&self) -> Result<String> {
        let said = output(
            command("readelf")
                .args(["--version-info", "--wide"])
                .arg(self.binary()),
        )?;
        let newest = newest_libc(&said);
        newest.context("readelf names no version of libc; is the binary a Linux program?")
    }

    /// What `dpkg --verify` compares with.
    fn sums(&self) -> Result<String> {
        let mut files = output(command("find").current_dir(&self.folder).args([
            ".", "-path", "./DEBIAN", "-prune", "-o", "-type", "f", "-printf", "%P\\n",
        ]))?
        .lines()
        .filter(|file| !file.starts_with("etc/"))
        .map(str::to_owned)
        .collect::<Vec<_>>();
        files.sort();
        output(command("md5sum").current_dir(&self.folder).args(files))
    }

    fn pack(&self, out: &Path, profile: Profile) -> Result<PathBuf> {
        let control = fs::read_to_string(self.folder.join("DEBIAN/control"))?;
        let field = |name: &str| {
            let mut lines = control.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.unwrap_or_default().to_owned()
        };
        let name = format!("pilvi_{}_{}.deb", field("Version"), field("Architecture"));
        let package = out.join(name);
        let mut pack = command("dpkg-deb");
        pack.args(["--root-owner-group", "--build"]);
        if profile == Profile::Dev {
            // It is tried once and thrown away.
            pack.args(["-Zgzip", "-z1"]);
        }
        // The same sources make the same package.
        if let Ok(time) = output(command("git").args(["log", "-1", "--format=%ct"])) {
            pack.env("SOURCE_DATE_EPOCH", time.trim());
        }
        pack.arg(&self.folder).arg(&package);
        if !succeeds(&mut pack)? {
            bail!("dpkg-deb did not make the package");
        }
        Ok(package)
    }
}

/// What there is to read for users.
fn documents() -> Result<Vec<PathBuf>> {
    let book = fs::read_dir(root().join("docs"))?;
    let pages = book.filter_map(|entry| Some(entry.ok()?.path()));
    let pages = pages.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    // The list of the pages has the name of the front page.
    let pages = pages.filter(|path| !path.ends_with("README.md"));
    let mut pages: Vec<_> = pages.chain([root().join("README.md")]).collect();
    pages.sort();
    Ok(pages)
}

/// `2.34` out of all the versions that readelf names.
fn newest_libc(said: &str) -> Option<String> {
    let versions = said.split_whitespace().filter_map(|word| {
        let version = word.strip_prefix("GLIBC_")?;
        let (major, minor) = version.split_once('.')?;
        Some((
            major.parse::<u32>().ok()?,
            minor.split('.').next()?.parse::<u32>().ok()?,
        ))
    });
    let (major, minor) = versions.max()?;
    Some(format!("{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_libc_counts_by_number() {
        let said = "0x0010: Name: GLIBC_2.9 Flags: none\n Name: GLIBC_2.34 Name: GLIBC_2.2.5 Name: GCC_3.0";
        assert_eq!(newest_libc(said).as_deref(), Some("2.34"));
        assert_eq!(newest_libc("no versions"), None);
    }
}
