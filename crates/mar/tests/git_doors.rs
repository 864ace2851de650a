//! Who comes in through the git doors: the platform's own keys and tokens, the real clients, the real front door.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use pilvi_base::{Clock, Secret, TaskGroup};
use pilvi_core::rate::{self, Rate};
use pilvi_core::{Directory, Rates};
use pilvi_git::{
    Deployer, Git, HostKey, Limits, Output, PublicKey, Push, Rejected, Repositories, Settings,
    SshLimits, SshServer,
};
use pilvi_mar::{Gate, git_site};
use pilvi_model::{AccountId, Instance, PersonId, Provider, Timestamp};
use pilvi_store::Store;
use pilvi_store::platform::{Account, FirstRecords, Holder, NewSshKey, NewToken, Person};
use pilvi_web::{Door, Hosts, Service};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

const APP: &str = "mar-eu-1-twwto7g0";
const OTHER_APP: &str = "mar-eu-1-00000001";

/// Tells the pusher who they are taken for.
struct Mirror;

impl Deployer for Mirror {
    fn push(&self, push: Push, output: Output) -> BoxFuture<'_, Result<(), Rejected>> {
        Box::pin(async move {
            output.line(&format!("pushed by {}", push.pusher)).await;
            Ok(())
        })
    }
}

/// A server with two persons, each with an account and an app.
struct World {
    store: Store,
    person: PersonId,
    tasks: TaskGroup,
    http: SocketAddr,
    ssh: SocketAddr,
    /// By which the rates go.
    clock: Clock,
    folder: TempDir,
}

/// So many unknown keys of one address are looked at.
const STRANGERS: u32 = 5;

fn now() -> Timestamp {
    Timestamp::from_millis(1_400_000_000_000)
}

fn token(secret: &str, holder: Holder) -> NewToken {
    NewToken {
        holder,
        digest: Secret::new(secret).digest(),
        generation: 0,
        name: None,
        created_at: now(),
        expires_at: None,
    }
}

fn person(email: &str) -> Person {
    Person::new(PersonId::random(), email, "Somebody", now())
}

fn account() -> Account {
    Account {
        id: AccountId::random(),
        name: "My Cloud".to_owned(),
        datacenter: "eu-1".to_owned(),
        vpc: false,
        created_at: now(),
    }
}

/// Two persons: `ada`, who comes first, and `bob`. The secrets of tokens are words that say what they are.
async fn fill(store: &Store) -> PersonId {
    let (ada, bob) = (person("ada@example.org"), person("bob@example.org"));
    let (first, second) = (account(), account());
    let member = |account: AccountId, person: PersonId| Holder::Member { account, person };
    let records = FirstRecords {
        person_token: token("ada", Holder::Person(ada.id)),
        account_token: token("ada-account", member(first.id, ada.id)),
        person: ada.clone(),
        account: first.clone(),
    };
    assert!(store.insert_first_records(records).await.unwrap());
    store.insert_person(bob.clone()).await.unwrap();
    let personal = token("bob", Holder::Person(bob.id));
    store.insert_token(personal, 9).await.unwrap();
    let shared = token("bob-account", member(second.id, bob.id));
    let inserted = store.insert_account(second.clone(), bob.id, shared, 9);
    inserted.await.unwrap();
    for (app, account) in [(APP, first.id), (OTHER_APP, second.id)] {
        let instance = Instance {
            id: app.to_owned(),
            provider: Provider::Mar,
            account,
            name: "echo".to_owned(),
            tags: Vec::new(),
            config: serde_json::Map::new(),
            datacenter: "eu-1".to_owned(),
            created_at: now(),
        };
        store.insert_instance(instance, 9).await.unwrap();
        let own = token(&format!("{app}-own"), Holder::Instance(app.to_owned()));
        assert!(store.release_instance(app, own).await.unwrap());
    }
    ada.id
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let store = Store::open(&data, pilvi_store::Limits::default())
            .await
            .unwrap();
        let person = fill(&store).await;
        let tasks = TaskGroup::new();
        let directory = Directory::new(store.clone(), tasks.clone());
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_426_669_200));
        let settings = rate::Settings {
            failures: Rate {
                burst: STRANGERS,
                per_second: 1,
            },
            ..rate::Settings::default()
        };
        let rates = Rates::new(settings, clock.clone());
        let settings = Settings {
            folder: data.join("git"),
            program: vec![env!("CARGO_BIN_EXE_pilvi-mar-helper").into()],
            limits: Limits::default(),
        };
        let git = Git::start(
            settings,
            Repositories::open(&data.join("mar")).unwrap(),
            Arc::new(Gate::new(store.clone(), directory).with_rates(rates.clone())),
            Arc::new(Mirror),
            tasks.clone(),
        );
        let git = git.await.unwrap();
        let host_key = HostKey::open(&data.join("git/host_key")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ssh = listener.local_addr().unwrap();
        let server = SshServer::new(git.clone(), &host_key, SshLimits::default());
        tasks.spawn("ssh", server.serve(listener, tasks.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap();
        let door = Door::new(Hosts::shared(), pilvi_web::Limits::default())
            .site(Service::Git, git_site(git))
            .rates(rates);
        tasks.spawn("http", Arc::new(door).serve(listener, None, tasks.clone()));
        let world = Self {
            store,
            person,
            tasks,
            http,
            ssh,
            clock,
            folder,
        };
        world.work().await;
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `git` in the folder of the work, with the key `id` for ssh.
    fn git(&self, arguments: &[&str]) -> Command {
        let ssh = format!(
            "ssh -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile={} \
             -o LogLevel=ERROR -F none",
            self.path("id").display(),
            self.path("known_hosts").display()
        );
        let mut command = Command::new("git");
        command
            .current_dir(self.path("work"))
            .args(arguments)
            .env("HOME", self.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSH_COMMAND", ssh)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Whether git succeeds, and what it says.
    async fn run(&self, arguments: &[&str]) -> (bool, String) {
        let outcome = self.git(arguments).output().await.unwrap();
        let said = [&outcome.stdout[..], &outcome.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (outcome.status.success(), said)
    }

    async fn ok(&self, arguments: &[&str]) -> String {
        let (succeeded, said) = self.run(arguments).await;
        assert!(succeeded, "git {arguments:?}: {said}");
        said
    }

    async fn work(&self) {
        std::fs::create_dir(self.path("work")).unwrap();
        self.ok(&["init", "-q", "-b", "master"]).await;
        self.ok(&["config", "user.name", "Ada"]).await;
        self.ok(&["config", "user.email", "ada@example.org"]).await;
        self.commit().await;
    }

    /// Something new to push.
    async fn commit(&self) {
        self.ok(&["commit", "-q", "--allow-empty", "-m", "more"])
            .await;
    }

    fn http_url(&self, token: &str, app: &str) -> String {
        format!("http://git:{token}@{}/git/{app}", self.http)
    }

    /// The key `id`, in place of the one that was there.
    async fn make_key(&self) {
        for name in ["id", "id.pub"] {
            let _ = std::fs::remove_file(self.path(name));
        }
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(self.path("id"));
        assert!(keygen.status().await.unwrap().success());
    }

    /// Makes it the person's, under this name.
    async fn add_key(&self, name: &str) -> i64 {
        let text = std::fs::read_to_string(self.path("id.pub")).unwrap();
        let key = PublicKey::parse(&text).unwrap();
        let new = NewSshKey {
            person: self.person,
            name: name.to_owned(),
            key: key.line,
            fingerprint: key.fingerprint,
            created_at: now(),
        };
        self.store.insert_ssh_key(new, 9).await.unwrap().id
    }

    fn ssh_url(&self, app: &str) -> String {
        format!("ssh://git@{}/{app}", self.ssh)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_token_opens_its_apps_and_no_others() {
    let world = World::new().await;
    let own = format!("{APP}-own");
    for (token, name) in [
        ("ada", "ada@example.org"),
        ("ada-account", "the account token"),
        (&own, "the app's own token"),
    ] {
        world.commit().await;
        let said = world
            .ok(&["push", &world.http_url(token, APP), "master"])
            .await;
        assert!(
            said.contains(&format!("remote: pushed by {name}")),
            "{token}: {said}"
        );
        let (succeeded, said) = world
            .run(&["push", &world.http_url(token, OTHER_APP), "master"])
            .await;
        assert!(!succeeded, "{token}: {said}");
        assert!(
            said.contains(&format!("remote: There is no app {OTHER_APP}")),
            "{token}: {said}"
        );
    }
    for token in ["bob", "bob-account", &format!("{OTHER_APP}-own")] {
        for verb in ["push", "fetch"] {
            let (succeeded, said) = world
                .run(&[verb, &world.http_url(token, APP), "master"])
                .await;
            assert!(
                !succeeded && said.contains("remote: There is no app"),
                "{token}: {said}"
            );
        }
    }
    let (succeeded, said) = world
        .run(&["push", &world.http_url("nobody", APP), "master"])
        .await;
    assert!(
        !succeeded && said.contains("remote: This token is not valid"),
        "{said}"
    );
    let unknown = world.http_url("ada", "mar-eu-1-99999999");
    let (succeeded, said) = world.run(&["push", &unknown, "master"]).await;
    assert!(
        !succeeded && said.contains("There is no app mar-eu-1-99999999"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_the_apps_of_its_person_until_it_is_removed() {
    let world = World::new().await;
    world.make_key().await;
    let (succeeded, said) = world.run(&["push", &world.ssh_url(APP), "master"]).await;
    assert!(
        !succeeded && said.contains("Permission denied (publickey)"),
        "{said}"
    );

    let key = world.add_key("laptop").await;
    let said = world.ok(&["push", &world.ssh_url(APP), "master"]).await;
    assert!(said.contains("remote: pushed by ada@example.org"), "{said}");
    let (succeeded, said) = world
        .run(&["push", &world.ssh_url(OTHER_APP), "master"])
        .await;
    assert!(
        !succeeded && said.contains(&format!("There is no app {OTHER_APP}")),
        "{said}"
    );

    assert!(world.store.delete_ssh_key(world.person, key).await.unwrap());
    let (succeeded, said) = world.run(&["fetch", &world.ssh_url(APP), "master"]).await;
    assert!(
        !succeeded && said.contains("Permission denied (publickey)"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_of_one_address_are_bounded_and_known_ones_pass() {
    let world = World::new().await;
    let ask = async || world.run(&["ls-remote", &world.ssh_url(APP)]).await.0;
    world.make_key().await;
    world.add_key("laptop").await;
    assert!(ask().await);
    for name in ["id", "id.pub"] {
        std::fs::rename(world.path(name), world.path(&format!("known {name}"))).unwrap();
    }
    for _ in 0..STRANGERS {
        world.make_key().await;
        assert!(!ask().await);
    }
    // A key that was never seen is not looked at now, although it is good.
    world.add_key("desktop").await;
    assert!(!ask().await);
    let wrong = world.http_url("wrong", APP);
    let (_, said) = world.run(&["ls-remote", &wrong]).await;
    assert!(said.contains("429"), "{said}");
    world.clock.advance(Duration::from_secs(1));
    assert!(ask().await);
    world.make_key().await;
    assert!(!ask().await);
    for name in ["id", "id.pub"] {
        std::fs::rename(world.path(&format!("known {name}")), world.path(name)).unwrap();
    }
    assert!(ask().await);
}

/// A token that is good at git has a bucket of its own there.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_known_to_the_rates_once_git_has_taken_it() {
    let world = World::new().await;
    let url = world.http_url("ada", APP);
    world.ok(&["ls-remote", &url]).await;
    for number in 0..STRANGERS + 1 {
        let wrong = world.http_url(&format!("wrong{number}"), APP);
        assert!(!world.run(&["ls-remote", &wrong]).await.0);
    }
    let unknown = world.http_url("ada-account", APP);
    let (_, said) = world.run(&["ls-remote", &unknown]).await;
    assert!(said.contains("429"), "{said}");
    world.ok(&["ls-remote", &url]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_push_passes_the_front_door_in_chunks() {
    let world = World::new().await;
    let noise: Vec<u8> = (0..1 << 20)
        .flat_map(|_| pilvi_base::secret::random_bytes::<8>())
        .collect();
    std::fs::write(world.path("work/noise.bin"), noise).unwrap();
    world.ok(&["add", "."]).await;
    world.commit().await;
    world
        .ok(&["push", &world.http_url("ada", APP), "master"])
        .await;
    let clone = world.path("clone").display().to_string();
    world
        .ok(&["clone", "-q", &world.http_url("ada", APP), &clone])
        .await;
    let copy = std::fs::read(world.path("clone/noise.bin")).unwrap();
    assert!(copy == std::fs::read(world.path("work/noise.bin")).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_door_gives_leave_to_send_and_leaves_refusals_as_they_are() {
    let world = World::new().await;
    let question = b"0014command=ls-refs\n0000";
    let head = |headers: &str| {
        format!(
            "POST /git/{APP}/git-upload-pack HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-git-upload-pack-request\r\nGit-Protocol: version=2\r\n{headers}\r\n",
            question.len()
        )
    };
    let mut stream = TcpStream::connect(world.http).await.unwrap();
    let leave = head("Expect: 100-continue\r\nAuthorization: Bearer ada\r\n");
    stream.write_all(leave.as_bytes()).await.unwrap();
    let mut start = [0; 25];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(question).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");

    let mut stream = TcpStream::connect(world.http).await.unwrap();
    stream.write_all(head("").as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 401 "), "{reply}");
    let headers = reply.to_lowercase();
    assert!(
        headers.contains("www-authenticate: basic realm=\"pilvi\""),
        "{reply}"
    );
    assert!(headers.contains("content-type: text/plain"), "{reply}");
    assert!(reply.contains("Any user name will do."), "{reply}");

    // What is no repository's address is refused as everywhere else.
    let mut stream = TcpStream::connect(world.http).await.unwrap();
    let request = b"GET /git HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(
        reply.starts_with("HTTP/1.1 404 ") && reply.contains("\"NotFound\""),
        "{reply}"
    );
}
