//! A whole server: into a new folder, which then serves the same tokens.

use std::fs;
use std::path::Path;

use pilvi_e2e::api::Backend;
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::Request;
use pilvi_e2e::uploaded::{STARTED_WITHIN, Uploaded};
use pilvi_e2e::wait;
use serde_json::json;
use tempfile::TempDir;

use crate::world::{
    Writers, expect_one_moment, name, names_in, pilvi, pilvi_well, start, verified,
};

/// A server with one of each, backed up while people write.
struct Lived {
    folder: TempDir,
    backend: Backend,
    app: String,
    gateway: String,
    token: String,
    before: Vec<u64>,
    after: Vec<u64>,
}

impl Lived {
    #[track_caller]
    fn new(words: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let server = start(&folder.path().join("data"));
        let (cli, cloud) = (Cli::of(&server), server.cloud());
        let backend = cloud.create_backend("busy");
        let hook = json!({"url": "http://127.0.0.1:9/x", "headers": {"X-Key": "s3cret"}});
        backend.send_as_admin(Request::post("/v1/webhooks").json(&hook));
        let gateway = cloud.create_gateway("bell").id;
        let app = Uploaded::create(&cloud, server.http);
        app.run();
        cli.run(&["mar", "--app", &app.id, "envs", "set", "GREETING=s3cret"]);
        let deleted = cloud.create_backend("deleted");
        let path = format!("/v1/instances/{}", deleted.id);
        cloud.send(Request::delete(path)).must_be(200);

        let writers = Writers::start(&backend, server.http, 3);
        writers.wait_for(20);
        let before = writers.acknowledged();
        let file = folder.path().join("server.tar");
        cli.run(&[&["backup", "create", name(&file)], words].concat());
        let after = writers.acknowledged();
        writers.stop();
        server.stop();
        Self {
            backend,
            app: app.id.clone(),
            gateway,
            token: cloud.token.clone(),
            before,
            after,
            folder,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    #[track_caller]
    fn restore(&self, words: &[&str]) -> std::path::PathBuf {
        let to = self.path("restored");
        let file = self.path("server.tar");
        let words = [
            &["backup", "restore", name(&file), "--to", name(&to)],
            words,
        ]
        .concat();
        pilvi_well(&words);
        to
    }

    /// Expects everything to be there, and to be opened by what opened it before.
    #[track_caller]
    fn expect_all(&self, data: &Path) {
        let server = start(data);
        let backend = Backend::new(server.http, &self.backend.id, &self.backend.token);
        expect_one_moment(&backend, &self.before, &self.after);
        let hooks = backend
            .send_as_admin(Request::get("/v1/webhooks"))
            .must_be(200);
        assert_eq!(hooks["results"].as_array().unwrap().len(), 1, "{hooks}");
        let as_person = |path: &str| {
            let request = Request::get(path).bearer(&self.token);
            request.send(server.http).must_be(200)
        };
        as_person("/v1/user");
        as_person(&format!("/v1/instances/{}", self.gateway));
        let vars = as_person(&format!("/v1/apps/{}/env_vars", self.app));
        assert!(vars.to_string().contains("s3cret"), "{vars}");
        let host = format!("{}.localhost", self.app);
        wait::until("the app answers", STARTED_WITHIN, || {
            let mut connection = pilvi_e2e::http::Connection::open(server.http);
            connection.write(&Request::get("/").bytes(&host));
            (connection.reply().text() == "hi").then_some(())
        });
        server.stop();
    }
}

#[test]
fn a_whole_server_comes_back_in_a_new_folder_with_its_key() {
    let lived = Lived::new(&[]);
    let said = verified(&lived.path("server.tar"));
    assert_eq!(said["kind"], "server");
    assert!(
        said["databases"]["pilvi.db"]["tables"]["instances"] == 4,
        "{said}"
    );
    let archive = fs::read(lived.path("server.tar")).unwrap();
    for secret in [&b"s3cret"[..], b"PRIVATE KEY"] {
        assert!(!archive.windows(secret.len()).any(|window| window == secret));
    }

    // Without the key it says what would be missing, and does nothing.
    let (file, to) = (lived.path("server.tar"), lived.path("restored"));
    let refused = pilvi(&["backup", "restore", name(&file), "--to", name(&to)]);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.report());
    for word in [
        "config vars of apps (1)",
        "webhooks (1)",
        "--key FILE",
        "--without-key",
    ] {
        assert!(refused.errors.contains(word), "{}", refused.report());
    }
    assert_eq!(names_in(lived.folder.path()), ["data", "server.tar"]);

    let key = lived.path("data").join("secret.key");
    let restored = lived.restore(&["--key", name(&key)]);
    for same in ["secret.key", "ssh_host_ed25519_key"] {
        let [old, new] = [&lived.path("data"), &restored].map(|data| fs::read(data.join(same)));
        match same {
            "secret.key" => assert!(new.is_ok()),
            _ => assert_eq!(old.unwrap(), new.unwrap(), "{same}"),
        }
    }
    let [old, new] = [&lived.path("data"), &restored].map(|data| names_in(&data.join("ca")));
    assert_eq!(old, new);
    lived.expect_all(&restored);

    let again = pilvi(&[
        "backup",
        "restore",
        name(&file),
        "--to",
        name(&to),
        "--key",
        name(&key),
    ]);
    assert_eq!(again.status.code(), Some(1), "{}", again.report());
    assert!(again.errors.contains("not empty"), "{}", again.report());
}

#[test]
fn a_backup_with_the_key_needs_nothing_else() {
    let lived = Lived::new(&["--include-key"]);
    let restored = lived.restore(&[]);
    lived.expect_all(&restored);
}

#[test]
fn without_the_key_everything_but_the_secrets_comes_back() {
    let lived = Lived::new(&[]);
    let (file, to) = (lived.path("server.tar"), lived.path("restored"));
    let words = [
        "backup",
        "restore",
        name(&file),
        "--to",
        name(&to),
        "--without-key",
    ];
    let ended = pilvi_well(&words);
    let said = ended.lines.join("\n");
    for word in [
        "GREETING",
        "http://127.0.0.1:9/x",
        "security tokens changed",
    ] {
        assert!(said.contains(word), "{}", ended.report());
    }
    let server = start(&to);
    let request = |path: &str| Request::get(path).bearer(&lived.token).send(server.http);
    request("/v1/user").must_be(200);
    let path = format!("/v1/instances/{}/authorizations", lived.backend.id);
    let tokens = request(&path).must_be(200);
    let token = pilvi_e2e::api::text(&tokens, "/results/0/access_token");
    assert_ne!(token, lived.backend.token);
    let backend = Backend::new(server.http, &lived.backend.id, &token);
    expect_one_moment(&backend, &lived.before, &lived.after);
    server.stop();
}

#[test]
fn another_servers_key_does_not_fit() {
    let lived = Lived::new(&[]);
    let other = TempDir::new().unwrap();
    start(&other.path().join("data")).stop();
    let key = other.path().join("data/secret.key");
    let (file, to) = (lived.path("server.tar"), lived.path("restored"));
    let words = [
        "backup",
        "restore",
        name(&file),
        "--to",
        name(&to),
        "--key",
        name(&key),
    ];
    let refused = pilvi(&words);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.report());
    assert!(
        refused.errors.contains("--key FILE"),
        "{}",
        refused.report()
    );
    let refused = pilvi(&["backup", "verify", name(&file), "--key", name(&key)]);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.report());
    assert!(!to.exists());
}
