//! Signing in, what is remembered of it, clouds and their members, against a real server. What commands print in which
//! case is told by the tests beside their code; here is that both sides mean the same.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pilvi_e2e::api::text;
use pilvi_e2e::child::{Client, Ended};
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{shape, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

const PASSWORD: &str = "a long enough pass phrase";
const WITHIN: Duration = Duration::from_secs(60);

/// The operator's address and a password, which the first start leaves out.
#[track_caller]
fn give_password(server: &Server) -> String {
    let change = json!({"name": "Anna", "password": PASSWORD});
    let reply = server.cloud().send(Request::put("/v1/user").json(&change));
    text(&reply.must_be(200), "/email")
}

/// Lines of standard output of a command that ends well.
#[track_caller]
fn says(ended: &Ended, expected: &str) {
    assert!(ended.status.success(), "{}", ended.report());
    let said = ended.lines.join("\n");
    assert!(said.contains(expected), "{expected:?} is not in\n{said}");
}

#[track_caller]
fn fails(ended: &Ended, code: i32) {
    assert_eq!(ended.status.code(), Some(code), "{}", ended.report());
    let said: Vec<&str> = ended.errors.lines().collect();
    assert!(
        matches!(said.as_slice(), [error, next] if error.starts_with("error: ") && next.starts_with("try: ")),
        "{}",
        ended.report()
    );
}

#[test]
fn a_password_signs_in_until_logout() {
    let server = Server::serve();
    let email = give_password(&server);
    let folder = TempDir::new().unwrap();
    let (cli, home) = (Cli::of(&server), folder.path());
    let at_home = cli.at_home(home);
    let login = ["login", "--url", cli.url(), "--email", &email];

    let wrong = at_home.run_with_input(&login, "something else entirely");
    fails(&wrong, 3);
    assert!(!home.join(".config/pilvi/config.toml").exists());

    let ended = at_home.run_with_input(&login, PASSWORD);
    says(&ended, &format!("as Anna ({email})."));
    let settings = home.join(".config/pilvi/config.toml");
    let mode = fs::metadata(&settings).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = fs::read_to_string(&settings).unwrap();
    assert!(!kept.contains(PASSWORD), "a password is not kept");

    // Neither an address nor a token nor the certificate need be said any more.
    let whoami = |words: &[&str]| {
        let mut command = at_home.command(words);
        let command = command.env_remove("PILVI_CA").current_dir(home);
        Client::start("pilvi whoami", command).ended(WITHIN)
    };
    says(&whoami(&["whoami"]), &email);
    let tokens = at_home.json(&["tokens"]);
    let named = shape::results(&tokens).iter().any(|token| {
        let name = token["name"].as_str().unwrap_or_default();
        name.starts_with("pilvi on ")
    });
    assert!(named, "the token says whose it is: {tokens}");

    let token = text(&at_home.json(&["config", "get", "token"]), "/token");
    says(&at_home.run(&["logout"]), "The token is revoked.");
    fails(&at_home.run_in(home, &["whoami"]), 3);
    fails(&cli.with_token(&token).run_in(home, &["whoami"]), 3);
    server.stop();
}

#[test]
fn a_token_signs_in_and_is_not_revoked() {
    let server = Server::serve();
    let folder = TempDir::new().unwrap();
    let cli = Cli::of(&server);
    let at_home = cli.at_home(folder.path());
    let words = [
        "login",
        "--url",
        cli.url(),
        "--with-token",
        "--context",
        "work",
    ];
    fails(&at_home.run_with_input(&words, "hunter2"), 3);
    let token = server.cloud().token;
    says(&at_home.run_with_input(&words, &token), "Signed in to");
    let contexts = at_home.json(&["config", "list"]);
    assert_eq!(text(&contexts, "/results/0/name"), "work");
    assert_eq!(at_home.json(&["clouds"]), cli.json(&["clouds"]));
    at_home.run(&["logout"]);
    cli.run(&["whoami"]);
    server.stop();
}

#[test]
fn somebody_is_invited_joins_and_leaves() {
    let data = TempDir::new().unwrap();
    let server = Server::start(&Options {
        data: Some(data.path().to_owned()),
        ..Options::serve()
    });
    let anna = Cli::of(&server);
    let id = text(&anna.json(&["clouds", "create", "Ours"]), "/id");
    anna.run(&ours(&["invite", "ben@example.org", "--role", "viewer"]));
    let waiting = anna.json(&ours(&["invitations"]));
    assert_eq!(text(&waiting, "/results/0/email"), "ben@example.org");

    let invitation = mail_with(data.path(), "An invitation to an account");
    let ben = anna.with_token(&sign_up(&server, data.path(), "ben@example.org"));
    assert_eq!(shape::results(&ben.json(&["clouds", "invited"])).len(), 1);
    let code = word_of(&invitation, |word| {
        word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    let joined = ben.run_with_input(&["clouds", "join"], &code);
    says(
        &joined,
        &format!("You are in the cloud Ours ({id}) now, as viewer."),
    );
    fails(&ben.run_with_input(&["clouds", "join"], &code), 4);

    let refused = ben.run_in(data.path(), &["mar", "--account", &id, "create", "echo"]);
    fails(&refused, 7);
    anna.run(&ours(&["members", "role", "ben@example.org", "developer"]));
    let members = anna.json(&ours(&["members"]));
    let roles: Vec<String> = shape::results(&members)
        .iter()
        .map(|member| text(member, "/role"))
        .collect();
    assert!(roles.contains(&"developer".into()) && roles.contains(&"owner".into()));
    ben.run(&["mar", "--account", &id, "create", "echo"]);

    let log = anna.run(&ours(&["log"])).lines.join("\n");
    for event in [
        "account.create",
        "invitation.create",
        "invitation.accept",
        "member.change",
    ] {
        assert!(log.contains(event), "{event} is not in\n{log}");
    }
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.contains("ben@example.org"),
        "the newest stands last:\n{log}"
    );

    fails(&anna.run_in(data.path(), &ours(&["leave", "--yes"])), 5);
    says(
        &ben.run(&ours(&["leave", "--yes"])),
        "You have left the cloud Ours.",
    );
    fails(&ben.run_in(data.path(), &["clouds", "show", &id]), 4);
    server.stop();
}

#[test]
fn an_instance_is_renamed_tagged_removed_and_brought_back() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let app = text(&cli.json(&["mar", "create", "echo"]), "/id");
    cli.run(&["instances", "rename", &app, "todo"]);
    cli.run(&["instances", "tag", &app, "talk", "qt"]);
    let shown = cli.json(&["instances", "show", &app]);
    assert_eq!(
        (&shown["name"], &shown["tags"]),
        (&json!("todo"), &json!(["talk", "qt"]))
    );
    let tokens = ["tokens", "--instance", &app];
    let before = cli.json(&tokens);

    cli.run(&["instances", "remove", &app, "--yes"]);
    assert_eq!(cli.json(&["instances", "list"]), json!({"results": []}));
    fails(
        &cli.run_in(Path::new("/"), &["mar", "--app", &app, "show"]),
        4,
    );
    let deleted = cli.json(&["instances", "list", "--deleted"]);
    assert_eq!(text(&deleted, "/results/0/id"), app);
    says(&cli.run(&["instances", "restore", &app]), "is back");
    assert_eq!(cli.json(&tokens), before);
    cli.run(&["mar", "--app", &app, "show"]);

    cli.run(&["instances", "remove", &app, "--yes", "--now"]);
    fails(
        &cli.run_in(Path::new("/"), &["instances", "restore", &app]),
        4,
    );
    server.stop();
}

#[test]
fn tokens_clouds_and_datacenters_are_looked_after() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let made = cli.json(&[
        "tokens",
        "create",
        "laptop",
        "--expires",
        "2099-01-31T00:00:00Z",
    ]);
    let (token, id) = (text(&made, "/access_token"), made["id"].to_string());
    let other = cli.with_token(&token);
    other.run(&["whoami"]);
    let listed = cli.json(&["tokens"]);
    let listed = shape::results(&listed);
    let found = listed
        .iter()
        .find(|token| token["id"] == made["id"])
        .unwrap();
    assert_eq!(found["name"], "laptop");
    assert!(found["expiresAt"].is_string(), "{found}");
    assert_eq!(found["access_token"], Value::Null, "shown once");
    cli.run(&["tokens", "remove", &id]);
    fails(&other.run_in(Path::new("/"), &["whoami"]), 3);

    cli.run(&["clouds", "create", "Second"]);
    fails(&cli.run_in(Path::new("/"), &["mar", "create", "echo"]), 2);
    cli.run(&["clouds", "rename", "Second", "Other"]);
    cli.run(&["mar", "--account", "Other", "create", "echo"]);
    fails(
        &cli.run_in(Path::new("/"), &["clouds", "remove", "Other", "--yes"]),
        5,
    );
    let app = cli.json(&["instances", "--account", "Other", "list"]);
    cli.run(&[
        "instances",
        "remove",
        &text(&app, "/results/0/id"),
        "--yes",
        "--now",
    ]);
    cli.run(&["clouds", "remove", "Other", "--yes"]);

    let cloud_token = cli.json(&["tokens", "--of-cloud", "create"]);
    let program = cli.with_token(&text(&cloud_token, "/access_token"));
    fails(&program.run_in(Path::new("/"), &["whoami"]), 7);

    let centers = cli.json(&["datacenters"]);
    let services = centers["results"][0]["services"].as_array().unwrap();
    assert!(
        services.iter().any(|service| service["id"] == "mar"),
        "{centers}"
    );
    server.stop();
}

/// What is typed about the cloud of that name.
fn ours<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["clouds", "--account", "Ours"], words].concat()
}

/// Somebody new, who proves an address with the code from a mail; returns a token.
#[track_caller]
fn sign_up(server: &Server, data: &Path, email: &str) -> String {
    let send = |path: &str, body: &Value| server.cloud().send(Request::post(path).json(body));
    let body = json!({"email": email, "name": "Ben", "password": PASSWORD});
    send("/v1/user/sign_up", &body).must_be(201);
    let mail = mail_with(data, "signed up with this address");
    let code = word_of(&mail, |word| {
        word.len() >= 16
            && word
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    });
    let body = json!({"code": code, "password": PASSWORD, "client": "a test"});
    text(
        &send("/v1/user/verify", &body).must_be(201),
        "/access_token",
    )
}

/// The newest mail in which this stands.
#[track_caller]
fn mail_with(data: &Path, words: &str) -> String {
    wait::until("a mail", WITHIN, || {
        let files = fs::read_dir(data.join("mail")).ok()?;
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        let mut mails = files
            .iter()
            .rev()
            .map(|file| fs::read_to_string(file).unwrap());
        mails.find(|mail| mail.to_lowercase().contains(&words.to_lowercase()))
    })
}

#[track_caller]
fn word_of(mail: &str, is_it: impl Fn(&str) -> bool) -> String {
    let mut words = mail.split_whitespace();
    let word = words.find(|word| is_it(word));
    word.unwrap_or_else(|| panic!("there is no such word in\n{mail}"))
        .to_owned()
}

#[test]
fn a_browser_approves_a_sign_in_and_refuses_another() {
    let server = Server::serve();
    let email = give_password(&server);
    let mut browser = Browser::at(&server);
    browser.sign_in(&email);
    let folder = TempDir::new().unwrap();
    let at_home = Cli::of(&server).at_home(folder.path());
    let url = format!("http://{}/v1", server.http);

    let login = Login::begin(&at_home, &url);
    browser.decide(&login.code, "approve");
    says(
        &login.ended(),
        &format!("Signed in to {url} as Anna ({email})."),
    );
    says(&at_home.run(&["whoami"]), &email);
    let listed = at_home.json(&["tokens"]);
    let before = shape::results(&listed).len();

    let login = Login::begin(&at_home, &url);
    browser.decide(&login.code, "deny");
    let ended = login.ended();
    assert_eq!(ended.status.code(), Some(3), "{}", ended.report());
    let said = ended.lines.join("\n");
    assert!(
        said.contains("the sign-in was refused in the browser"),
        "{said}"
    );
    // What was remembered before still holds.
    assert_eq!(shape::results(&at_home.json(&["tokens"])).len(), before);
    server.stop();
}

/// `pilvi login`, which waits for a browser.
struct Login {
    client: Client,
    code: String,
}

impl Login {
    #[track_caller]
    fn begin(cli: &Cli, url: &str) -> Self {
        // What it says beside the result is read while it waits.
        let program = cli.command(&[]);
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$0\" login --no-browser --url \"$1\" 2>&1"])
            .arg(program.get_program())
            .arg(url);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut client = Client::start("pilvi login", &mut command);
        client.expect_line(
            "To sign in, open this address in a browser on any machine:",
            WITHIN,
        );
        client.next_line(WITHIN);
        let line = client.next_line(WITHIN);
        let code = line.strip_prefix("and enter the code ").unwrap();
        let code = code.strip_suffix(" there.").unwrap().to_owned();
        Self { client, code }
    }

    #[track_caller]
    fn ended(self) -> Ended {
        self.client.ended(WITHIN)
    }
}

/// As much of a browser as the console's forms need: it keeps a cookie and fills in forms.
struct Browser<'s> {
    server: &'s Server,
    cookie: String,
}

impl<'s> Browser<'s> {
    fn at(server: &'s Server) -> Self {
        Self {
            server,
            cookie: String::new(),
        }
    }

    #[track_caller]
    fn sign_in(&mut self, email: &str) {
        let form = self.form("/console/sign-in");
        let (email, password) = (email.replace('@', "%40"), PASSWORD.replace(' ', "+"));
        let body = format!("form={form}&next=&email={email}&password={password}");
        self.post("/console/sign-in", &body);
    }

    #[track_caller]
    fn decide(&mut self, code: &str, decision: &str) {
        let form = self.form(&format!("/console/device?user_code={code}"));
        let body = format!("form={form}&user_code={code}&decision={decision}");
        self.post("/console/device/decide", &body);
    }

    /// The value that a page's form proves itself with.
    #[track_caller]
    fn form(&mut self, path: &str) -> String {
        let reply = self.send(Request::get(path));
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let page = reply.text();
        let form = page.split("name=\"form\" value=\"").nth(1);
        let form = form.and_then(|rest| rest.split('"').next());
        form.unwrap_or_else(|| panic!("{path} has no form:\n{page}"))
            .to_owned()
    }

    #[track_caller]
    fn post(&mut self, path: &str, body: &str) {
        let request = Request::post(path)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Origin", format!("http://{}", self.server.http))
            .body(body);
        let reply = self.send(request);
        assert!(
            reply.status < 400,
            "{path}: {} {}",
            reply.status,
            reply.text()
        );
    }

    fn send(&mut self, request: Request) -> Reply {
        let request = match self.cookie.is_empty() {
            true => request,
            false => request.header("Cookie", self.cookie.clone()),
        };
        let reply = request.send(self.server.http);
        if let Some(cookie) = reply.header("Set-Cookie") {
            self.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        }
        reply
    }
}
