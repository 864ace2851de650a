//! Gets what the tests need besides Rust and Node: system tools by `apt-get`, the published clients by `npm` and `pip`.
//!
//! What is there already is only looked at, so a second run costs next to nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::{command, find, output, root, succeeds};

/// Something that the tests call, and the Debian packages that bring it.
struct Tool {
    name: &'static str,
    packages: &'static [&'static str],
    is_there: fn() -> bool,
}

const TOOLS: [Tool; 18] = [
    Tool {
        name: "cc",
        packages: &["gcc", "libc6-dev"],
        is_there: || find("cc").is_some(),
    },
    Tool {
        name: "curl",
        packages: &["curl"],
        is_there: || find("curl").is_some(),
    },
    Tool {
        name: "git",
        packages: &["git"],
        is_there: || find("git").is_some(),
    },
    Tool {
        name: "g++",
        packages: &["g++"],
        is_there: || find("g++").is_some(),
    },
    Tool {
        name: "make",
        packages: &["make"],
        is_there: || find("make").is_some(),
    },
    Tool {
        name: "ssh with its ssh-keygen",
        packages: &["openssh-client"],
        is_there: || find("ssh").is_some() && find("ssh-keygen").is_some(),
    },
    Tool {
        name: "Qt 5 with its qmake and its WebSockets module",
        packages: &["qt5-qmake", "qtbase5-dev", "libqt5websockets5-dev"],
        is_there: || is_qt_there(&QT_5, &QT_HEADERS),
    },
    Tool {
        name: "Qt 5's WebChannel module",
        packages: &["libqt5webchannel5-dev"],
        is_there: || is_qt_there(&QT_5, &["QtWebChannel/QWebChannel"]),
    },
    Tool {
        name: "Qt 6 with its qmake and its WebSockets module",
        packages: &["qt6-base-dev", "qt6-websockets-dev"],
        is_there: || is_qt_there(&QT_6, &QT_HEADERS),
    },
    Tool {
        name: "cmake",
        packages: &["cmake"],
        is_there: || find("cmake").is_some(),
    },
    Tool {
        name: "Chromium",
        // Without a font there is nothing to read on a picture of a page.
        packages: &["chromium", "fonts-dejavu-core"],
        is_there: || BROWSERS.into_iter().any(|browser| find(browser).is_some()),
    },
    Tool {
        name: "python3 with its venv module",
        packages: &["python3", "python3-venv"],
        is_there: is_python_there,
    },
    Tool {
        // Apps are built with the system's own, whatever else is on the search path.
        name: "the system's python3 with its venv module and pip",
        packages: &["python3", "python3-venv", "python3-pip"],
        is_there: || {
            output(command("/usr/bin/python3").args(["-c", "import ensurepip, pip, venv"])).is_ok()
        },
    },
    Tool {
        name: "nft",
        packages: &["nftables"],
        is_there: || find("nft").is_some(),
    },
    Tool {
        name: "ip",
        packages: &["iproute2"],
        is_there: || find("ip").is_some(),
    },
    Tool {
        name: "what makes and judges a Debian package",
        packages: &["binutils", "dpkg", "systemd"],
        is_there: || {
            ["dpkg-deb", "readelf", "strip", "systemd-analyze"]
                .into_iter()
                .all(|tool| find(tool).is_some())
        },
    },
    Tool {
        name: "mmdebstrap",
        packages: &["mmdebstrap"],
        is_there: || find("mmdebstrap").is_some(),
    },
    Tool {
        name: "pasta",
        packages: &["passt"],
        is_there: || find("pasta").is_some(),
    },
];

/// The names under which the tests look for Chromium.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A Qt of one major version.
struct Qt {
    major: &'static str,
    /// The names under which the tests look for its `qmake`; the first may stand for another Qt's.
    qmakes: &'static [&'static str],
}

const QT_5: Qt = Qt {
    major: "5",
    qmakes: &["qmake", "qmake-qt5", "qmake5"],
};

const QT_6: Qt = Qt {
    major: "6",
    qmakes: &["qmake6", "qmake-qt6", "qmake"],
};

/// The headers that the Qt examples need, one of each package.
const QT_HEADERS: [&str; 2] = ["QtNetwork/QNetworkAccessManager", "QtWebSockets/QWebSocket"];

/// The oldest Node whose standard library has all that the test scripts use.
const NODE_MAJOR_MIN: u32 = 18;

/// Installs what is missing; returns a sentence for everything that is missing still.
pub(crate) fn run() -> Result<Vec<String>> {
    let mut missing = system_tools()?;
    missing.extend(node_clients()?);
    missing.extend(python_clients()?);
    Ok(missing)
}

fn system_tools() -> Result<Vec<String>> {
    let mut absent: Vec<_> = TOOLS.iter().filter(|tool| !(tool.is_there)()).collect();
    if !absent.is_empty() && is_root()? && find("apt-get").is_some() {
        let packages: Vec<_> = absent
            .iter()
            .flat_map(|tool| tool.packages)
            .copied()
            .collect();
        apt_get(&packages)?;
        absent.retain(|tool| !(tool.is_there)());
    }
    Ok(absent.into_iter().map(missing_tool).collect())
}

fn missing_tool(tool: &Tool) -> String {
    format!(
        "{} is missing: as root, run apt-get install {}",
        tool.name,
        tool.packages.join(" ")
    )
}

fn is_qt_there(qt: &Qt, headers: &[&str]) -> bool {
    qt.qmakes.iter().copied().filter_map(find).any(|qmake| {
        let says = |what| qmake_says(&qmake, qt, what).unwrap_or_default();
        let folder = says("QT_INSTALL_HEADERS");
        let folder = Path::new(folder.trim());
        says("QT_VERSION").split('.').next() == Some(qt.major)
            && headers.iter().all(|header| folder.join(header).is_file())
    })
}

/// What `qmake` says of itself, and nothing where it is only a name for a Qt that is not there.
fn qmake_says(qmake: &Path, qt: &Qt, what: &str) -> Option<String> {
    // Where one name stands for several Qts (Debian's `qtchooser`), the variable tells which.
    output(
        command(qmake)
            .args(["-query", what])
            .env("QT_SELECT", qt.major),
    )
    .ok()
}

/// Debian ships the module apart from the interpreter, and without `ensurepip` it makes nothing of use.
fn is_python_there() -> bool {
    find("python3").is_some()
        && output(command("python3").args(["-c", "import ensurepip, venv"])).is_ok()
}

fn is_root() -> Result<bool> {
    Ok(output(command("id").arg("-u"))?.trim() == "0")
}

fn apt_get(packages: &[&str]) -> Result<()> {
    // A stale package list is no reason to stop: the install says what it lacks.
    succeeds(command("apt-get").args(["update", "--quiet"]))?;
    let mut install = command("apt-get");
    install
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    succeeds(&mut install)?;
    Ok(())
}

/// Puts the published clients beside the scripts that run them, in exactly the locked versions.
fn node_clients() -> Result<Vec<String>> {
    if let Some(problem) = node_problem()? {
        return Ok(vec![problem]);
    }
    let stamp = Stamp::new(
        "e2e/node/package-lock.json",
        &clients_folder().join("node_modules"),
    )?;
    if stamp.is_there() {
        return Ok(Vec::new());
    }
    let mut npm = command("npm");
    npm.current_dir(clients_folder())
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    if !succeeds(&mut npm)? {
        return Ok(vec![
            "the Node clients could not be installed: run npm ci in e2e/node".into(),
        ]);
    }
    stamp.put()?;
    Ok(Vec::new())
}

/// Makes an environment of its own for the published Python client; `e2e/src/python.rs` looks for it in this place.
fn python_clients() -> Result<Vec<String>> {
    if !is_python_there() {
        // The sentence about the tool says all.
        return Ok(Vec::new());
    }
    let requirements = "e2e/python/requirements.txt";
    let folder = root().join("target/python-clients");
    let program = folder.join("bin/python");
    let stamp = Stamp::new(requirements, &folder)?;
    // An environment whose interpreter has gone is made anew.
    if stamp.is_there() && program.is_file() {
        return Ok(Vec::new());
    }
    let mut venv = command("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&folder);
    // Wheels only: nothing of a package runs before a test calls it.
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
    ];
    if !succeeds(&mut venv)?
        || !succeeds(
            command(&program)
                .args(pip)
                .args(["--requirement", requirements]),
        )?
    {
        return Ok(vec![format!(
            "the Python client could not be installed: pip must be able to install {requirements} in a venv"
        )]);
    }
    stamp.put()?;
    Ok(Vec::new())
}

/// Remembers, in a folder of installed things, from which list they were installed.
struct Stamp {
    list: String,
    file: PathBuf,
}

impl Stamp {
    fn new(list: &str, folder: &Path) -> Result<Self> {
        let text = fs::read_to_string(root().join(list));
        Ok(Self {
            list: text.with_context(|| format!("could not read {list}"))?,
            file: folder.join(".installed-from"),
        })
    }

    /// Whether the folder holds what the list names now.
    fn is_there(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|installed| installed == self.list)
    }

    fn put(&self) -> Result<()> {
        fs::write(&self.file, &self.list)
            .with_context(|| format!("could not write {}", self.file.display()))
    }
}

fn clients_folder() -> PathBuf {
    root().join("e2e/node")
}

fn node_problem() -> Result<Option<String>> {
    if find("node").is_none() || find("npm").is_none() {
        return Ok(Some(
            "node or npm is missing: install Node.js 18 or newer with npm".into(),
        ));
    }
    let version = output(command("node").arg("--version"))?;
    Ok(match node_major(&version) {
        Some(major) if major >= NODE_MAJOR_MIN => None,
        _ => Some(format!(
            "node is {}, but the tests need 18 or newer",
            version.trim()
        )),
    })
}

/// `18` out of `v18.19.0`.
fn node_major(version: &str) -> Option<u32> {
    version
        .trim()
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_told_in_one_sentence() {
        assert_eq!(
            missing_tool(&TOOLS[4]),
            "make is missing: as root, run apt-get install make"
        );
    }

    #[test]
    fn what_was_installed_from_another_list_is_not_there() {
        let folder = root().join("target/tmp/stamp-test");
        fs::create_dir_all(&folder).unwrap();
        let stamp = Stamp::new("Cargo.toml", &folder).unwrap();
        stamp.put().unwrap();
        assert!(stamp.is_there());
        let other = Stamp::new("rustfmt.toml", &folder).unwrap();
        assert!(!other.is_there());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_major_version_of_node_is_read_from_its_own_words() {
        assert_eq!(node_major("v18.19.0\n"), Some(18));
        assert_eq!(node_major("v20.20.2"), Some(20));
        assert_eq!(node_major("unknown"), None);
    }
}
