//! One app and what is done with it.

use std::fs;

use serde_json::{Value, json};

use super::server::Server;
use super::{APP, Desk, Seen, TOKEN};

fn app() -> Value {
    json!({
        "id": APP, "name": "echo", "type": "app", "size": 1, "state": "running", "stack": "cedar-14",
        "structure": {"web": 1, "worker": 0}, "sslCertificate": null, "release": 3,
        "url": format!("http://{APP}.localhost:8080"),
        "httpsUrl": format!("https://{APP}.localhost:8443"),
        "gitUrl": format!("ssh://git@127.0.0.1:2222/{APP}"),
        "gitSshUrl": format!("ssh://git@127.0.0.1:2222/{APP}"),
        "gitHttpsUrl": format!("https://localhost:8443/git/{APP}"),
    })
}

fn status() -> Value {
    json!({"state": "running", "processes": [
        {"id": "web.1", "type": "web", "number": 1, "state": "running",
         "startedAt": "2015-05-13T10:00:00.000Z", "exitCode": null, "memory": 41_943_040},
        {"id": "worker.1", "type": "worker", "number": 1, "state": "crashed",
         "startedAt": "2015-05-13T10:00:01.000Z", "exitCode": 1, "memory": null},
    ]})
}

fn server() -> Server {
    Server::start()
        .on_app("GET", "", 200, app())
        .on_app("GET", "/status", 200, status())
}

fn types(server: &Server, words: &str) -> Seen {
    Desk::new().types(server, &format!("mar --app {APP} {words}"))
}

#[test]
fn create_tells_where_the_app_is_and_how_to_push_to_it() {
    let instance = json!({
        "id": APP, "name": "echo", "tags": [],
        "config": {"MAR_GIT_ADDRESS": format!("git@git-mar-eu-1.localhost:{APP}"), "runtimeSize": 2},
    });
    let server = server().on("POST /v1/accounts/46738209/instances", 201, instance);
    let desk = Desk::new();
    let seen = desk.types(&server, "mar create echo --size small");
    assert_eq!(
        seen,
        Seen::good(
            "Created mar-eu-1-twwto7g0, called echo, mini (256 MB).\n\
             \n\
             Once something is deployed, it answers at:\n\
             \x20 http://mar-eu-1-twwto7g0.localhost:8080\n\
             \x20 https://mar-eu-1-twwto7g0.localhost:8443\n\
             \n\
             Push over SSH, once your key is known (pilvi keys add):\n\
             \x20 git remote add qtc ssh://git@127.0.0.1:2222/mar-eu-1-twwto7g0\n\
             Or push over HTTPS, with any user name and your token as password:\n\
             \x20 git remote add qtc https://localhost:8443/git/mar-eu-1-twwto7g0\n\
             Or by the classic address, where git reaches its host on port 22:\n\
             \x20 git remote add qtc git@git-mar-eu-1.localhost:mar-eu-1-twwto7g0\n\
             Then, and after every change:\n\
             \x20 git push qtc HEAD:master\n"
        )
    );
    let (what, body) = server.only("POST");
    assert_eq!(what, "POST /v1/accounts/46738209/instances");
    assert_eq!(
        body,
        json!({"name": "echo", "serviceProviderId": "mar", "config": {"runtimeSize": 2, "runtimeType": "app"}})
    );
    for asked in server.asked() {
        assert_eq!(asked.authorization, Some(format!("Bearer {TOKEN}")));
    }
}

#[test]
fn a_created_app_is_not_lost_when_its_addresses_are_not_known() {
    let instance = json!({"id": APP, "name": "echo", "tags": [], "config": {}});
    let server = Server::start()
        .on("POST /v1/accounts/46738209/instances", 201, instance)
        .on_app(
            "GET",
            "",
            500,
            json!({"error": {"reason": "InternalError", "message": "no"}}),
        );
    let seen = Desk::new().types(&server, "mar create echo");
    assert_eq!(seen.code, 1);
    assert!(
        seen.err.contains("mar-eu-1-twwto7g0 was created"),
        "{}",
        seen.err
    );
    assert!(
        seen.err
            .ends_with("try: pilvi mar show --app mar-eu-1-twwto7g0\n"),
        "{}",
        seen.err
    );
}

#[test]
fn show_tells_all_about_an_app() {
    let mut app = app();
    app["layersMissing"] = json!(["landlock"]);
    let domains = json!({"results": [{"name": "www.example.com"}, {"name": "example.com"}]});
    let server = server()
        .on_app("GET", "", 200, app)
        .on_app("GET", "/domains", 200, domains);
    assert_eq!(
        types(&server, "show"),
        Seen::good(
            "Id            mar-eu-1-twwto7g0\n\
             Name          echo\n\
             State         running\n\
             Size          mini (256 MB)\n\
             Stack         cedar-14\n\
             Release       v3\n\
             Formation     web=1 worker=0\n\
             Address       http://mar-eu-1-twwto7g0.localhost:8080\n\
             \x20             https://mar-eu-1-twwto7g0.localhost:8443\n\
             Git           ssh://git@127.0.0.1:2222/mar-eu-1-twwto7g0\n\
             \x20             https://localhost:8443/git/mar-eu-1-twwto7g0\n\
             Domains       www.example.com\n\
             \x20             example.com\n\
             Certificate   the server's own\n\
             Not isolated  landlock\n\
             \n\
             PROCESS   STATE    SINCE                     MEMORY   EXIT\n\
             web.1     running  2015-05-13T10:00:00.000Z  40.0 MB\n\
             worker.1  crashed  2015-05-13T10:00:01.000Z           1\n"
        )
    );
}

#[test]
fn show_as_json_is_the_app_with_its_status() {
    let server = server();
    let seen = types(&server, "show --json");
    let mut expected = app();
    expected["status"] = status();
    assert_eq!(serde_json::from_str::<Value>(&seen.out).unwrap(), expected);
}

#[test]
fn logs_are_printed_as_they_were_written() {
    let entries = json!({"results": [
        {"time": "2015-05-13T10:00:00Z", "log": "listening on 5000\n", "stream": "stdout", "process": "web.1"},
        {"time": "2015-05-13T10:00:01Z", "log": "\u{1b}[31mred\u{1b}[0m", "stream": "stderr", "process": "web.1"},
    ]});
    let server = server()
        .on_app("GET", "/logs?offset=0&limit=100", 200, entries.clone())
        .on_app(
            "GET",
            "/logs?offset=5&limit=2&stream=stderr&process=web.1",
            200,
            entries,
        );
    let seen = types(&server, "logs");
    assert_eq!(
        seen,
        Seen::good("listening on 5000\n\u{1b}[31mred\u{1b}[0m\n")
    );
    let line = "logs --offset 5 --limit 2 --stream stderr --process web.1 --timestamps";
    assert_eq!(
        types(&server, line),
        Seen::good(
            "[2015-05-13T10:00:00Z] web.1: listening on 5000\n\
             [2015-05-13T10:00:01Z] web.1: \u{1b}[31mred\u{1b}[0m\n"
        )
    );
}

#[test]
fn a_followed_log_is_printed_entry_by_entry_until_the_server_ends_it() {
    let lines = "{\"time\":\"t\",\"log\":\"one\",\"process\":\"web.1\"}\n\n{\"time\":\"t\",\"log\":\"two\"}\n";
    let server = server().on_app("GET", "/logs?offset=0&limit=10&follow=1", 200, lines);
    let seen = types(&server, "logs --follow --limit 10");
    assert_eq!(seen.out, "one\ntwo\n");
    assert_eq!(seen.code, 6);
    assert_eq!(
        seen.err,
        "error: the server ended the log\n\
         try: call the command again; --limit 0 leaves out what you have seen\n"
    );
    let seen = types(&server, "logs --follow --limit 10 --json");
    assert_eq!(seen.out.lines().count(), 2);
}

#[test]
fn envs_are_listed_set_and_removed() {
    let vars = json!({"STACK": "cedar-14", "GREETING": "hello there"});
    let server =
        server()
            .on_app("GET", "/env_vars", 200, vars)
            .on_app("PUT", "/env_vars", 200, json!({}));
    assert_eq!(
        types(&server, "envs"),
        Seen::good("STACK=cedar-14\nGREETING=hello there\n")
    );
    let seen = types(&server, "envs set A=1 EMPTY= B=x=y");
    assert_eq!(seen.out, "Set A, B.\nRemoved EMPTY.\n");
    let (_, body) = server.only("PUT");
    assert_eq!(body, json!({"A": "1", "EMPTY": null, "B": "x=y"}));
}

#[test]
fn envs_unset_removes() {
    let server = server().on_app("PUT", "/env_vars", 200, json!({}));
    let seen = types(&server, "envs unset A B");
    assert_eq!(seen.out, "Removed A, B.\n");
    assert_eq!(server.only("PUT").1, json!({"A": null, "B": null}));
}

#[test]
fn scale_sends_counts_as_texts_and_shows_what_is_wanted() {
    let server = server().on_app(
        "POST",
        "/scale",
        200,
        json!({"structure": {"web": 2, "worker": 1}}),
    );
    let seen = types(&server, "scale web=2 worker=1");
    assert_eq!(seen, Seen::good("Wanted now: web=2 worker=1\n"));
    assert_eq!(server.only("POST").1, json!({"web": "2", "worker": "1"}));
}

#[test]
fn restart_start_and_stop_are_orders() {
    for (verb, said) in [
        ("restart", "All processes are started anew.\n"),
        ("start", "The app is started.\n"),
        (
            "stop",
            "The app is stopped. Start it again with: pilvi mar start\n",
        ),
    ] {
        let server = server().on_app("POST", &format!("/{verb}"), 200, json!({}));
        assert_eq!(types(&server, verb), Seen::good(said));
        assert_eq!(server.only("POST").1, json!({}));
    }
}

#[test]
fn exec_passes_on_both_streams_and_the_exit_code() {
    let answer = json!({"stdout": "out\n", "stderr": "err\n", "exitCode": 3});
    let server = server().on_app("POST", "/exec", 200, answer);
    let seen = types(&server, "exec ls -la /app");
    assert_eq!(
        seen,
        Seen {
            code: 3,
            out: "out\n".into(),
            err: "err\n".into()
        }
    );
    assert_eq!(
        server.only("POST").1,
        json!({"cmd": "ls -la /app", "processId": "web.1"})
    );
}

#[test]
fn exec_goes_beside_the_named_process() {
    let answer = json!({"stdout": "", "stderr": ""});
    let server = server().on_app("POST", "/exec", 200, answer);
    assert_eq!(
        types(&server, "exec --process worker.1 date"),
        Seen::good("")
    );
    let expected = json!({"cmd": "date", "processId": "worker.1"});
    assert_eq!(server.only("POST").1, expected);
}

#[test]
fn exec_without_a_process_says_so() {
    let server = server().on_app(
        "GET",
        "/status",
        200,
        json!({"state": "stopped", "processes": []}),
    );
    let err = "error: no process of mar-eu-1-twwto7g0 runs\n\
               try: see `pilvi mar show`; start the app with `pilvi mar start` or `pilvi mar scale web=1`\n";
    assert_eq!(types(&server, "exec date"), Seen::bad(5, err));
}

#[test]
fn domains_come_and_go() {
    let server = server()
        .on_app(
            "GET",
            "/domains",
            200,
            json!({"results": [{"name": "www.example.com"}]}),
        )
        .on_app("POST", "/domains", 201, json!({"name": "www.example.com"}))
        .on_app("DELETE", "/domains/www.example.com", 200, json!({}));
    assert_eq!(types(&server, "domains"), Seen::good("www.example.com\n"));
    let added = types(&server, "domains add www.example.com");
    assert_eq!(added.out, "mar-eu-1-twwto7g0 answers to www.example.com.\n");
    let removed = types(&server, "domains remove www.example.com");
    assert_eq!(
        removed,
        Seen::good("mar-eu-1-twwto7g0 no longer answers to www.example.com.\n")
    );
}

#[test]
fn a_certificate_is_read_from_files_and_sent() {
    let server = server()
        .on_app("POST", "/ssl_certificate", 201, json!({}))
        .on_app("DELETE", "/ssl_certificate", 200, json!({}));
    let desk = Desk::new();
    for name in ["key.pem", "cert.pem", "chain.pem"] {
        fs::write(desk.path().join(name), format!("-----BEGIN {name}\n")).unwrap();
    }
    let line = format!("mar --app {APP} ssl add --key key.pem --cert cert.pem --chain chain.pem");
    let seen = desk.types(&server, &line);
    assert_eq!(
        seen,
        Seen::good("The app shows this certificate from now on.\n")
    );
    assert_eq!(
        server.only("POST").1,
        json!({
            "name": APP,
            "privateKey": "-----BEGIN key.pem\n",
            "certificateBody": "-----BEGIN cert.pem\n",
            "certificateChain": "-----BEGIN chain.pem\n",
        })
    );
    let seen = types(&server, "ssl remove");
    assert_eq!(
        seen.out,
        "The app shows the server's own certificate again.\n"
    );
}

#[test]
fn releases_are_listed_and_gone_back_to() {
    let releases = json!({"results": [
        {"number": 2, "tag": "0123456789abcdef0123", "state": "current", "reason": "push to master",
         "author": "anna@example.org", "createdAt": "2015-05-13T10:00:00Z"},
        {"number": 1, "tag": "v1.2", "state": "old", "reason": "slug deploy", "author": "anna@example.org",
         "createdAt": "2015-05-12T10:00:00Z"},
    ]});
    let server = server().on_app("GET", "/releases", 200, releases).on_app(
        "POST",
        "/releases/1/rollback",
        200,
        json!({"state": "running", "release": 3}),
    );
    assert_eq!(
        types(&server, "releases"),
        Seen::good(
            "RELEASE  STATE    SLUG          REASON          BY                CREATED\n\
             v2       current  0123456789ab  push to master  anna@example.org  2015-05-13T10:00:00Z\n\
             v1       old      v1.2          slug deploy     anna@example.org  2015-05-12T10:00:00Z\n"
        )
    );
    assert_eq!(
        types(&server, "rollback"),
        Seen::good("The app runs what v1 ran, as v3.\n")
    );
    assert_eq!(types(&server, "rollback v1"), types(&server, "rollback"));
    let err = "error: nothing answers to POST /v1/apps/mar-eu-1-twwto7g0/releases/9/rollback\n\
               try: see `pilvi mar releases` for those that there are\n";
    assert_eq!(types(&server, "rollback 9"), Seen::bad(4, err));
}

#[test]
fn slugs_are_listed_deployed_and_removed() {
    let slugs = json!({"results": [
        {"tag": "v1.2", "createdAt": "2015-05-13T10:00:00Z", "deployedAt": null},
    ]});
    let server = server()
        .on_app("GET", "/slugs", 200, slugs)
        .on_app(
            "POST",
            "/slugs/v1.2/deploy",
            200,
            json!({"state": "deploying", "release": null}),
        )
        .on_app("DELETE", "/slugs/v1.2", 200, json!({}));
    assert_eq!(
        types(&server, "slugs"),
        Seen::good("TAG   CREATED               DEPLOYED\nv1.2  2015-05-13T10:00:00Z\n")
    );
    let deployed = types(&server, "slugs deploy v1.2");
    assert_eq!(
        deployed,
        Seen::good("The app is going to run v1.2. See how it goes with: pilvi mar logs --follow\n")
    );
    assert_eq!(
        types(&server, "slugs remove v1.2"),
        Seen::good("Removed v1.2.\n")
    );
}

#[test]
fn a_slug_is_uploaded_to_the_place_that_the_server_names() {
    let server = server();
    let blob = format!("http://{}/blobs/1?signature=s", server.address());
    let server = server
        .on_app(
            "POST",
            "/slugs",
            201,
            json!({"tag": "v2", "blob": {"url": blob}}),
        )
        .on("PUT /blobs/1?signature=s", 200, json!({}));
    let desk = Desk::new();
    fs::write(desk.path().join("slug.tgz"), "the bytes").unwrap();
    fs::write(desk.path().join("Procfile"), "web: ./server\n").unwrap();
    let line = format!("mar --app {APP} slugs upload --slug slug.tgz --procfile Procfile --tag v2");
    assert_eq!(
        desk.types(&server, &line),
        Seen::good("Uploaded v2. Run it with: pilvi mar slugs deploy v2\n")
    );
    let expected = json!({"tag": "v2", "process_types": {"web": "./server"}});
    assert_eq!(server.only("POST").1, expected);
    let asked = server.asked();
    let put = asked.last().unwrap();
    assert_eq!(
        (&*put.what, &*put.body),
        ("PUT /blobs/1?signature=s", "the bytes")
    );
    assert_eq!(put.authorization, None, "the token stays here");
}

#[test]
fn the_stack_is_shown_and_set() {
    let server = server().on_app("PUT", "", 200, json!({}));
    assert_eq!(types(&server, "stack"), Seen::good("cedar-14\n"));
    let seen = types(&server, "stack set host");
    assert_eq!(
        seen,
        Seen::good("The next push to mar-eu-1-twwto7g0 is built on host.\n")
    );
    assert_eq!(server.only("PUT").1, json!({"stack": "host"}));
}

#[test]
fn the_cache_is_forgotten_and_the_repository_emptied() {
    let server = server()
        .on_app("DELETE", "/build_cache", 200, json!({}))
        .on_app("DELETE", "/repository", 200, json!({}));
    assert_eq!(
        types(&server, "repo purge-cache"),
        Seen::good("The next build begins without what earlier ones kept.\n")
    );
    let err = "error: the repository of mar-eu-1-twwto7g0 would be emptied\ntry: add --yes when you mean it\n";
    assert_eq!(types(&server, "repo reset"), Seen::bad(2, err));
    assert_eq!(
        types(&server, "repo reset --yes"),
        Seen::good("The repository is empty. Fill it again with: git push\n")
    );
    let asked: Vec<String> = server.asked().into_iter().map(|asked| asked.what).collect();
    let of_app = |below: &str| format!("DELETE /v1/apps/{APP}/{below}");
    assert_eq!(asked, [of_app("build_cache"), of_app("repository")]);
}

#[test]
fn remove_wants_to_be_meant() {
    let server = server().on(&format!("DELETE /v1/instances/{APP}"), 200, json!({}));
    let err = "error: mar-eu-1-twwto7g0 would be removed with its repository, releases, logs and config vars\n\
               try: add --yes when you mean it\n";
    assert_eq!(types(&server, "remove"), Seen::bad(2, err));
    assert_eq!(server.asked(), []);
    let out = "Removed mar-eu-1-twwto7g0. While it is kept, this brings it back: \
               pilvi instances restore mar-eu-1-twwto7g0\n";
    assert_eq!(types(&server, "remove --yes"), Seen::good(out));
}

#[test]
fn the_app_is_that_of_the_repository_in_the_current_folder() {
    let server = server().on_app("POST", "/restart", 200, json!({}));
    let desk = Desk::new();
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        let status = git.args(arguments).current_dir(desk.path()).status();
        assert!(status.unwrap().success());
    };
    git(&["init", "--quiet"]);
    let seen = desk.types(&server, "mar restart");
    let err = "error: no app is named, and no git remote of the current folder leads to one\n\
               try: name the app with --app ID; `pilvi mar list` shows the ids\n";
    assert_eq!(seen, Seen::bad(2, err));
    git(&[
        "remote",
        "add",
        "qtc",
        &format!("ssh://git@127.0.0.1:2222/{APP}"),
    ]);
    let seen = desk.types(&server, "mar restart");
    assert_eq!(seen.out, "All processes are started anew.\n");
    let seen = desk.types(&server, "mar restart --remote qtc");
    assert_eq!(seen.out, "All processes are started anew.\n");
}
