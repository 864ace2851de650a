//! Whole builds in real sandboxes: the log that a pusher reads, the slug that comes out, and what stays behind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pilvi_git::Output;
use pilvi_mar::pipeline::{BuildLimits, BuildOrder, Built, Cause, Failed, Packs, Pipeline, Voice};
use pilvi_runtime::{LayerName, LayerState, NetworkSettings, Runtime, Settings, Stacks};
use tokio_util::sync::CancellationToken;

static MADE: AtomicU32 = AtomicU32::new(0);

const APP: &str = "mar-eu-1-twwto7g0";

/// The uid that the builds of these tests run as.
const UID: u32 = 299_999;

/// A pipeline of its own, in a folder of its own.
struct World {
    folder: tempfile::TempDir,
    runtime: Runtime,
    limits: BuildLimits,
}

impl Drop for World {
    fn drop(&mut self) {
        // Also after a failure: what a runtime makes on the machine is not to outlive its test.
        let runtime = self.runtime.clone();
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(runtime.stop()));
    }
}

/// What a build came to.
struct Outcome {
    result: Result<Built, Failed>,
    /// The log without the escape sequence that every line begins with.
    log: String,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let runtime = Runtime::start(Settings {
            folder: folder.path().join("sandboxes"),
            helper: vec![
                env!("CARGO_BIN_EXE_pilvi-mar-helper").into(),
                "sandbox".into(),
            ],
            prefix: format!("pilvi-build-{}-{number}", std::process::id()),
            required: Vec::new(),
            network: NetworkSettings {
                // Of its own: runtimes do not know of one another.
                range: (range_of(number), 20),
                allowed: registries(),
            },
            doors: Vec::new(),
        })
        .await
        .unwrap_or_else(|failure| panic!("{}", failure.sentence()));
        let limits = BuildLimits {
            time: Duration::from_secs(120),
            ..BuildLimits::default()
        };
        Self {
            folder,
            runtime,
            limits,
        }
    }

    /// Whether the machine lets us; without being root it often does not.
    fn limits_memory(&self) -> bool {
        let mut layers = self.runtime.layers().iter();
        layers.any(|layer| layer.name == LayerName::MemoryLimit && layer.state == LayerState::On)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn scratch(&self) -> PathBuf {
        self.scratch_of(APP)
    }

    fn scratch_of(&self, app: &str) -> PathBuf {
        self.path("builds").join(app)
    }

    fn pipeline(&self) -> Pipeline {
        let packs = Packs::lay_out(&self.path("packs")).unwrap();
        Pipeline::new(self.runtime.clone(), packs, self.limits.clone())
    }

    async fn build(&self, project: &Path, vars: &[(&str, &str)]) -> Outcome {
        self.build_until(project, vars, CancellationToken::new())
            .await
    }

    async fn build_until(
        &self,
        project: &Path,
        vars: &[(&str, &str)],
        abandoned: CancellationToken,
    ) -> Outcome {
        self.build_in(&self.pipeline(), APP, project, vars, abandoned)
            .await
    }

    async fn build_in(
        &self,
        pipeline: &Pipeline,
        app: &str,
        project: &Path,
        vars: &[(&str, &str)],
        abandoned: CancellationToken,
    ) -> Outcome {
        let stack = Stacks::open(self.path("stacks")).host().unwrap();
        let order = BuildOrder {
            app: app.parse().unwrap(),
            uid: UID,
            stack_name: "cedar-14".parse().unwrap(),
            stack,
            commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
            vars: vars
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            cache: self.path("cache"),
            scratch: self.scratch_of(app),
            abandoned,
        };
        let (output, mut pieces) = Output::channel(64);
        let mut voice = Voice::new(output, self.limits.shown_bytes);
        let reading = async {
            let mut log = Vec::new();
            while let Some(piece) = pieces.recv().await {
                log.extend_from_slice(&piece);
            }
            String::from_utf8(log).unwrap()
        };
        let building = async {
            let source = Box::new(std::io::Cursor::new(packed(project)));
            let result = pipeline.build(order, source, &mut voice).await;
            drop(voice);
            result
        };
        let (result, log) = tokio::join!(building, reading);
        assert!(
            log.lines().all(|line| line.starts_with("\x1b[1G")),
            "a line without its escape sequence: {log:?}"
        );
        let log = log.replace("\x1b[1G", "");
        Outcome { result, log }
    }
}

/// A range that no other test has, and hardly another process.
fn range_of(number: u32) -> Ipv4Addr {
    let block = std::process::id().wrapping_mul(16).wrapping_add(number) % 1024;
    let [.., high, low] = (block << 4).to_be_bytes();
    Ipv4Addr::new(10, 64 + high, low, 0)
}

/// Where packages come from. On some machines that is a mirror at a private address, which an operator has to allow.
fn registries() -> Vec<(IpAddr, u8)> {
    [
        "registry.npmjs.org:443",
        "pypi.org:443",
        "files.pythonhosted.org:443",
    ]
    .iter()
    .filter_map(|name| name.to_socket_addrs().ok())
    .flatten()
    .filter(SocketAddr::is_ipv4)
    .map(|address| (address.ip(), 32))
    .collect()
}

/// What `git archive` makes of a project.
fn packed(project: &Path) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all(".", project).unwrap();
    archive.into_inner().unwrap()
}

/// A project of a few files.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// A project whose buildpack is its own, kept in a folder of it and named by `BUILDPACK_URL`.
fn project_with_pack(compile: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = project(files);
    let pack = folder.path().join("pack");
    fs::create_dir_all(pack.join("bin")).unwrap();
    for (name, text) in [
        ("detect", "echo Own"),
        ("compile", compile),
        ("release", "echo 'config_vars: {FROM_PACK: yes please}'"),
    ] {
        fs::write(
            pack.join("bin").join(name),
            format!("#!/usr/bin/env bash\n{text}\n"),
        )
        .unwrap();
    }
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git")
            .args([
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@example.org",
                "-c",
                "safe.directory=*",
            ])
            .args(arguments)
            .current_dir(&pack)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    git(&["init", "--quiet", "--initial-branch=stable"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message=a buildpack"]);
    folder
}

const OWN_PACK: (&str, &str) = ("BUILDPACK_URL", "file:///app/pack#stable");

/// The names in a tarball.
fn names_in(tarball: &Path) -> Vec<String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(
        fs::File::open(tarball).unwrap(),
    ));
    let mut names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// The names in a folder, as a tarball would have them.
fn names_below(folder: &Path) -> Vec<String> {
    fn add(folder: &Path, prefix: &str, names: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                add(&entry.path(), &format!("{name}/"), names);
                names.push(format!("{name}/"));
            } else {
                names.push(name);
            }
        }
    }
    let mut names = vec!["./".to_owned()];
    add(folder, "./", &mut names);
    names.sort();
    names
}

fn failed(outcome: Outcome) -> String {
    match outcome.result {
        Ok(_) => panic!("the build succeeded"),
        Err(failed) => failed.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_with_a_procfile_is_packed_as_it_is() {
    let world = World::new().await;
    let project = project(&[
        ("Procfile", "web: ./serve\nworker: ./work\n"),
        ("serve", "#!/bin/sh\n"),
        (".git/config", "[core]\n"),
        ("vendor/thing/.git/config", "[core]\n"),
        ("vendor/thing/file", "x"),
    ]);
    let outcome = world.build(project.path(), &[]).await;
    let built = outcome.result.unwrap();
    let expected = "-----> Procfile app detected\n       \
                    Nothing to compile; the programs of the Procfile run as they were pushed\n\
                    -----> Discovering process types\n       \
                    Procfile declares types -> web, worker\n\
                    -----> Compiled slug size is 4.0K\n";
    assert_eq!(outcome.log, expected);
    let expected = [
        "./",
        "./.profile.d/",
        "./.release",
        "./Procfile",
        "./serve",
        "./vendor/",
        "./vendor/thing/",
        "./vendor/thing/file",
    ];
    assert_eq!(names_in(&built.tarball), expected);
    assert_eq!(names_below(&built.folder), expected);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        assert_eq!(
            fs::metadata(built.folder.join("Procfile")).unwrap().uid(),
            UID
        );
    }
    // Kept, it is where it was to be, and nothing else is left.
    let (tree, tarball) = (world.path("1"), world.path("1.tgz"));
    built.move_to(&tree, &tarball).await.unwrap();
    assert_eq!(names_below(&tree), names_in(&tarball));
    assert!(!world.scratch().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buildpack_of_ones_own_gets_all_that_the_contract_promises() {
    let world = World::new().await;
    let project = project_with_pack(
        r#"
        echo "dirs $1 $2 $3, home $HOME, app $APP_DIR, stack $STACK, commit $SOURCE_VERSION"
        echo "var $GREETING, file $(cat "$3/GREETING"), names $(ls "$3" | tr '\n' ' ')"
        echo "request ${#REQUEST_ID}, here $(pwd), source $(cat /app/file) $(cat file)"
        echo "id $(id -u)"
        touch "$2/kept"; ls "$2" "$1/.profile.d"
        printf 'no end of line'
        "#,
        &[("file", "text"), ("Procfile", "web: x")],
    );
    let vars = [
        OWN_PACK,
        ("GREETING", "hello\nworld"),
        ("HOME", "/elsewhere"),
    ];
    let outcome = world.build(project.path(), &vars).await;
    let log = &outcome.log;
    let built = outcome.result.unwrap();
    for part in [
        "-----> Fetching custom buildpack\n-----> Own app detected\n",
        "dirs /tmp/build /tmp/cache /tmp/env, home /app, app /app, stack cedar-14, commit 0123456789abcdef",
        "var hello\n       world, file hello\n       world, names BUILDPACK_URL GREETING HOME \n",
        "request 20, here /tmp/build, source text text\n",
        "       id 5000\n",
        "       no end of line\n-----> Discovering process types\n",
    ] {
        assert!(log.contains(part), "{part:?} is not in {log}");
    }
    assert_eq!(
        built.default_vars,
        BTreeMap::from([("FROM_PACK".to_owned(), "yes please".to_owned())])
    );
    assert!(world.path("cache/kept").is_file());
    drop(built);
    assert!(!world.scratch().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_slugignore_names_is_in_neither_form_of_the_slug() {
    let world = World::new().await;
    let project = project(&[
        ("Procfile", "web: x"),
        (".slugignore", "# what is not needed\n*.psd\r\n/docs/\n"),
        ("docs/page", "x"),
        ("art/a.psd", "x"),
        ("art/a.png", "x"),
        ("lib/docs/page", "x"),
    ]);
    let built = world.build(project.path(), &[]).await.result.unwrap();
    let names = names_in(&built.tarball);
    let expected = [
        "./",
        "./.profile.d/",
        "./.release",
        "./.slugignore",
        "./Procfile",
        "./art/",
        "./art/a.png",
        "./lib/",
        "./lib/docs/",
        "./lib/docs/page",
    ];
    assert_eq!(names, expected);
    assert_eq!(names_below(&built.folder), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_buildpacks_run_one_after_the_other() {
    let world = World::new().await;
    let project = project_with_pack(
        "echo 'export FOUND=treasure' >\"$(dirname \"$0\")/../export\"; echo first",
        &[
            ("Procfile", "web: x"),
            (
                ".buildpacks",
                "file:///app/pack#stable\nqt\nfile:///app/last#stable\n",
            ),
        ],
    );
    let last = project_with_pack("echo \"last sees $FOUND\"", &[]);
    fs::rename(last.path().join("pack"), project.path().join("last")).unwrap();
    let outcome = world.build(project.path(), &[]).await;
    let built = outcome.result.unwrap();
    let expected = "-----> Multipack app detected\n       \
                    =====> Downloading Buildpack: file:///app/pack#stable\n       \
                    =====> Detected Framework: Own\n       \
                    first\n       \
                    =====> Downloading Buildpack: file:///app/last#stable\n       \
                    =====> Detected Framework: Own\n       \
                    last sees treasure\n\
                    -----> Discovering process types\n";
    assert!(outcome.log.starts_with(expected), "{}", outcome.log);
    assert!(built.default_vars.contains_key("FROM_PACK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_named_and_leaves_nothing() {
    let world = World::new().await;
    for (compile, sentence) in [
        (
            "echo wrong; exit 3",
            "The build failed at compiling with the Own buildpack, with exit code 3.",
        ),
        (
            "kill -SEGV $$",
            "The build failed at compiling with the Own buildpack, ended by signal 11.",
        ),
    ] {
        let project = project_with_pack(compile, &[("Procfile", "web: x")]);
        let outcome = world.build(project.path(), &[OWN_PACK]).await;
        assert_eq!(failed(outcome), sentence);
        assert!(!world.scratch().exists());
    }
    for (files, vars, part) in [
        (
            &[("readme", "x")][..],
            &[][..],
            "No buildpack knows this project.",
        ),
        (
            &[("Procfile", "just words")],
            &[],
            "The Procfile has the line",
        ),
        (
            &[("Procfile", "web: x")],
            &[("BUILDPACK_URL", "file:///nowhere")],
            "The build failed at fetching the buildpack, with exit code 1.",
        ),
    ] {
        let outcome = world.build(project(files).path(), vars).await;
        let log = outcome.log.clone();
        let sentence = failed(outcome);
        assert!(sentence.contains(part), "{sentence}");
        if sentence.starts_with("No buildpack") {
            assert!(
                log.ends_with("-----> Unable to select a buildpack\n"),
                "{log}"
            );
        }
        assert!(!world.scratch().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_cannot_use_up_the_machine() {
    let mut world = World::new().await;
    let own = |compile: &str| project_with_pack(compile, &[("Procfile", "web: x")]);

    world.limits.time = Duration::from_secs(3);
    let sentence = failed(
        world
            .build(own("sleep 1000 & sleep 1000").path(), &[OWN_PACK])
            .await,
    );
    assert!(
        sentence.contains("not finished after 3 seconds"),
        "{sentence}"
    );

    world.limits.time = Duration::from_secs(120);
    world.limits.memory_bytes = 64 << 20;
    let bomb = own("exec perl -e '@a = (1) x 100_000_000'");
    if world.limits_memory() {
        let sentence = failed(world.build(bomb.path(), &[OWN_PACK]).await);
        assert!(
            sentence.contains("needed more than the 64M of memory"),
            "{sentence}"
        );
    }

    world.limits.memory_bytes = 1 << 30;
    world.limits.disk_bytes = 50 << 20;
    let filler = own("while :; do cat /usr/bin/perl >>$RANDOM; sleep 0.01; done");
    let sentence = failed(world.build(filler.path(), &[OWN_PACK]).await);
    assert!(sentence.contains("wrote more than 50M"), "{sentence}");

    world.limits.disk_bytes = 1 << 30;
    world.limits.shown_bytes = 10_000;
    world.limits.output_bytes = 5 << 20;
    let outcome = world.build(own("yes").path(), &[OWN_PACK]).await;
    assert!(outcome.log.len() < 20_000);
    let sentence = failed(outcome);
    assert!(
        sentence.contains("wrote more than 5.0M of output"),
        "{sentence}"
    );

    world.limits.slug_bytes = 1 << 20;
    let large = own("head -c 3000000 /dev/urandom >large");
    let sentence = failed(world.build(large.path(), &[OWN_PACK]).await);
    assert!(
        sentence.contains("The slug has 2.9M, and 1.0M is the limit."),
        "{sentence}"
    );

    world.limits.slug_bytes = 1 << 30;
    world.limits.slug_files = 50;
    let many = own("for number in {1..100}; do : >file$number; done");
    let sentence = failed(world.build(many.path(), &[OWN_PACK]).await);
    assert!(sentence.contains("or 50 files"), "{sentence}");

    world.limits.slug_files = 1000;
    world.limits.pids = 60;
    let forks = own("bomb() { bomb | bomb & }; bomb; sleep 2; echo survived");
    let started = std::time::Instant::now();
    world.build(forks.path(), &[OWN_PACK]).await;
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(!world.scratch().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_grows_too_large_is_emptied() {
    let mut world = World::new().await;
    world.limits.cache_bytes = 1 << 20;
    let project = project_with_pack(
        "head -c 2000000 /dev/urandom >$2/$RANDOM",
        &[("Procfile", "web: x")],
    );
    let outcome = world.build(project.path(), &[OWN_PACK]).await;
    outcome.result.unwrap();
    assert!(
        outcome
            .log
            .contains("The build cache held more than 1.0M and was emptied.")
    );
    assert!(!world.path("cache").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_without_end_are_removed_and_the_next_build_works() {
    let world = World::new().await;
    let nest = "nest() { perl -e 'for (1..shift) { mkdir \"d\" and chdir \"d\" or die $! }' $1; }";
    let project = project_with_pack(
        &format!("{nest}; (cd $2 && nest 100); cd /tmp && nest 25000; echo nested"),
        &[("Procfile", "web: x")],
    );
    let outcome = world.build(project.path(), &[OWN_PACK]).await;
    // It may have ended by itself before anybody looked.
    match &outcome.result {
        Ok(_) => assert!(outcome.log.contains("nested"), "{}", outcome.log),
        Err(failed) => assert!(
            matches!(failed.cause, Cause::OutOfDisk(_)),
            "{failed}\n{}",
            outcome.log
        ),
    }
    // What lies in the cache cannot be counted to its end.
    assert!(outcome.log.contains("was emptied"), "{}", outcome.log);
    assert!(!world.path("cache").exists());
    drop(outcome);
    assert!(!world.scratch().exists());
    let project = self::project(&[("Procfile", "web: x")]);
    world.build(project.path(), &[]).await.result.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_nobody_waits_for_is_ended() {
    let world = World::new().await;
    let project = project_with_pack(
        "echo begun >$2/begun; sleep 1000",
        &[("Procfile", "web: x")],
    );
    let abandoned = CancellationToken::new();
    let begun = world.path("cache/begun");
    let hang_up = async {
        while !begun.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        abandoned.cancel();
    };
    let (outcome, ()) = tokio::join!(
        world.build_until(project.path(), &[OWN_PACK], abandoned.clone()),
        hang_up
    );
    let sentence = failed(outcome);
    assert!(
        sentence.contains("nobody waits for it any more"),
        "{sentence}"
    );
    assert!(!world.scratch().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_waits_for_another_one_and_says_so() {
    let mut world = World::new().await;
    world.limits.builds_max = 1;
    let pipeline = world.pipeline();
    let slow = project_with_pack(
        "touch $2/begun; until [ -e $2/go ]; do sleep 0.02; done",
        &[("Procfile", "web: x")],
    );
    let quick = project(&[("Procfile", "web: x")]);
    let first = world.build_in(
        &pipeline,
        APP,
        slow.path(),
        &[OWN_PACK],
        CancellationToken::new(),
    );
    let second = async {
        while !world.path("cache/begun").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let other = "mar-eu-1-aaaaaaaa";
        let given_up = CancellationToken::new();
        given_up.cancel();
        let outcome = world
            .build_in(&pipeline, other, quick.path(), &[], given_up)
            .await;
        assert!(failed(outcome).contains("nobody waits for it any more"));
        let go_on = async { fs::write(world.path("cache/go"), "").unwrap() };
        let waiting = world.build_in(
            &pipeline,
            other,
            quick.path(),
            &[],
            CancellationToken::new(),
        );
        tokio::join!(waiting, go_on).0
    };
    let (first, second) = tokio::join!(first, second);
    first.result.unwrap();
    second.result.unwrap();
    let line = "       Other builds are running. This one begins when one of them has ended.\n";
    assert!(second.log.starts_with(line), "{}", second.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buildpack_may_come_packed() {
    let world = World::new().await;
    let project = project_with_pack("echo unpacked", &[("Procfile", "web: x")]);
    let packed = std::process::Command::new("tar")
        .args(["-czf", "pack.tgz", "pack"])
        .current_dir(project.path())
        .status()
        .unwrap();
    assert!(packed.success());
    let vars = [("BUILDPACK_URL", "file:///app/pack.tgz")];
    let outcome = world.build(project.path(), &vars).await;
    assert!(outcome.log.contains("       unpacked\n"), "{}", outcome.log);
    outcome.result.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn links_lead_nowhere_outside_the_sandbox() {
    let world = World::new().await;
    let secret = world.path("secret");
    fs::write(&secret, "web: the host's secret").unwrap();
    let project = project_with_pack(
        &format!(
            "mkfifo fifo; rm -rf Procfile .slugignore; ln -s {0} Procfile; ln -s {0} .slugignore; ln -s / root",
            secret.display()
        ),
        &[("Procfile", "web: x")],
    );
    let outcome = world.build(project.path(), &[OWN_PACK]).await;
    assert!(!outcome.log.contains("secret"), "{}", outcome.log);
    let built = outcome.result.unwrap();
    assert!(built.process_types.is_empty());
    let names = names_in(&built.tarball);
    assert!(names.contains(&"./root".to_owned()), "{names:?}");
    assert!(!names.contains(&"./fifo".to_owned()), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_built_and_then_built_again_with_what_was_kept() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for (name, first, second, web) in [
        (
            "hello-procfile",
            "Procfile app detected",
            "",
            "perl hello.pl",
        ),
        (
            "hello-static",
            "Static site app detected",
            "",
            "exec perl .static/serve.pl",
        ),
        (
            "hello-node",
            "No Procfile found; Adding npm start to new Procfile",
            "",
            "npm start",
        ),
        (
            "hello-python",
            "Installing packages by requirements.txt",
            "requirements.txt is the same as at the last build",
            "gunicorn app:app --bind 0.0.0.0:$PORT --workers 2 --access-logfile -",
        ),
        ("hello-qt-qmake", "-o main.o", "", "./hello"),
        ("hello-qt-cmake", "Building CXX object", "", "build/hello"),
    ] {
        let world = World::new().await;
        for round in 1..=2 {
            let outcome = world.build(&examples.join(name), &[]).await;
            let built = outcome
                .result
                .unwrap_or_else(|failed| panic!("{name}: {failed}"));
            let commands: Vec<_> = built
                .process_types
                .iter()
                .filter(|(process_type, _)| process_type.is_web())
                .map(|(_, command)| command)
                .collect();
            assert_eq!(commands, [web], "{name}");
            let expected = if round == 1 { first } else { second };
            assert!(
                outcome.log.contains(expected),
                "{name}, build {round}: {}",
                outcome.log
            );
            if name.starts_with("hello-qt") {
                let is_compiled = outcome.log.contains(first);
                assert_eq!(
                    is_compiled,
                    round == 1,
                    "{name}, build {round}: {}",
                    outcome.log
                );
            }
            let (tree, tarball) = (world.path("tree"), world.path("tarball"));
            built.move_to(&tree, &tarball).await.unwrap();
            fs::remove_dir_all(tree).unwrap();
        }
    }
}
