//! The platform by clients that others made: every method of npm `qtc`'s `Platform`, and keys as `ssh-keygen` makes
//! them, with what the server says to each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pilvi_e2e::api::{Cloud, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server, loopback_with_port_443};
use pilvi_e2e::{node, shape, skip};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Keys of security tokens that nobody has, because `ssh-keygen` makes such keys only with the token at hand.
const SK_ED25519: &str = concat!(
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIJWIS82QezMSW0lp5N1RYAN2S4ki+xu/",
    "+M2XfZhoNb7tAAAABHNzaDo= anna@token\n"
);
const SK_ECDSA: &str = concat!(
    "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYA",
    "AABBBNXEFYwACmVswP/pAQJsgOa5M9urL6EVK7sYco2Feo/gz89qQJXuqxAUZVQxST1/jf6TKZCZeV+Lmy+SvbFImGgAAAAEc3NoOg==",
    " anna@token\n"
);

#[test]
fn every_method_of_the_published_platform_class_works() {
    if !node::is_ready() || !has_keygen() {
        return;
    }
    let Some(https) = loopback_with_port_443() else {
        return;
    };
    let server = Server::start(&Options {
        https,
        ..Options::serve()
    });
    let cloud = server.cloud();
    let desk = Desk::new();
    let key = desk.make("key", &["-t", "ed25519"]).unwrap();
    let result = node::run(
        "platform_methods.cjs",
        &[
            ("ADDRESS", &format!("https://{}", server.https().ip())),
            ("NODE_EXTRA_CA_CERTS", server.ca()),
            ("ACCOUNT_ID", &cloud.account_id),
            ("TOKEN", &cloud.token),
            ("SSH_KEY", &key),
            ("FINGERPRINT", &desk.fingerprint(&key)),
        ],
    );
    assert_eq!(result["methods"], 22);
    server.stop();
}

/// What the server says to a key.
enum Says {
    /// It takes it, and knows it by the fingerprint that `ssh-keygen -lf` prints.
    Yes,
    /// It refuses it, with these words.
    No(&'static str),
}

#[test]
fn keys_of_every_kind_are_taken_or_refused_with_the_reason() {
    if !has_keygen() {
        return;
    }
    let server = Server::serve();
    let cloud = server.cloud();
    let desk = Desk::new();
    let made = [
        (&["-t", "ed25519"][..], Says::Yes),
        (&["-t", "ecdsa", "-b", "256"], Says::Yes),
        (&["-t", "ecdsa", "-b", "384"], Says::Yes),
        (&["-t", "ecdsa", "-b", "521"], Says::Yes),
        (&["-t", "rsa", "-b", "2048"], Says::Yes),
        (&["-t", "rsa", "-b", "4096"], Says::Yes),
        (
            &["-t", "rsa", "-b", "1024"],
            Says::No("is an RSA key of 1024 bits, which is too weak"),
        ),
        // Newer versions of ssh-keygen do not make these any more.
        (&["-t", "dsa"], Says::No("is a DSA key, which is too weak")),
    ];
    for (number, (kind, says)) in made.into_iter().enumerate() {
        match desk.make(&format!("key{number}"), kind) {
            Some(key) => check(&cloud, &desk, &key, &says),
            None => assert_eq!(kind, ["-t", "dsa"], "ssh-keygen makes keys of this kind"),
        }
    }
    for key in [SK_ED25519, SK_ECDSA] {
        check(&cloud, &desk, key, &Says::Yes);
    }
    let keys = cloud.send(Request::get("/v1/user/ssh_keys")).must_be(200);
    assert_eq!(shape::results(&keys).len(), 8);
    server.stop();
}

#[test]
fn a_key_is_taken_as_people_paste_it() {
    if !has_keygen() {
        return;
    }
    let server = Server::serve();
    let cloud = server.cloud();
    let desk = Desk::new();
    let key = desk.make("key", &["-t", "ed25519"]).unwrap();
    let (kind, data) = key.trim().split_once(' ').unwrap();
    let data = data.split(' ').next().unwrap();
    for pasted in [
        key.clone(),
        key.trim().to_owned(),
        format!("{}\r\n", key.trim()),
        format!("\n  {}\n\n", key.trim()),
        format!("{kind} {data}"),
        format!("{kind} {data} Ännä's desk, with blanks"),
    ] {
        let added = check_taken(&cloud, &desk, &pasted);
        // The same key under another name, and with another comment, is the same key.
        let other = format!("{kind} {data} other");
        let again = add(&cloud, "other", &other);
        assert_eq!(again.status, 409, "{again:?}");
        let path = format!("/v1/user/ssh_keys/{}", added["id"]);
        cloud.send(Request::delete(path)).must_be(200);
    }
    server.stop();
}

#[test]
fn what_is_no_key_is_refused_with_what_to_do() {
    if !has_keygen() {
        return;
    }
    let server = Server::serve();
    let cloud = server.cloud();
    let desk = Desk::new();
    let key = desk.make("key", &["-t", "ed25519"]).unwrap();
    let rsa = desk.make("rsa", &["-t", "rsa", "-b", "2048"]).unwrap();
    let data = key.split(' ').nth(1).unwrap();
    let private = "is a private key, which must never leave your machine";
    let one_line = "must be one public key in one line";
    let no_key = "is not a public key in OpenSSH's form";

    let mut rows = vec![
        (desk.read("key"), private),
        (String::new(), "is required"),
        ("  \r\n ".into(), "is required"),
        (format!("{key}{rsa}"), one_line),
        (format!("# mine\n{key}"), one_line),
        (key.replace(' ', "\n"), one_line),
        (format!("{} {}", key.trim(), "x".repeat(20_000)), one_line),
        ("hello".into(), no_key),
        ("ssh-ed25519".into(), no_key),
        ("ssh-ed25519 AAAA".into(), no_key),
        (format!("ssh-rsa {data}"), no_key),
        (format!("ssh-ed25519 {}", &data[..data.len() - 4]), no_key),
        (format!("ssh-ed25519 {data}AAAA"), no_key),
        (format!("ssh-ed25519 {}", data.replace('A', "!")), no_key),
        (format!("ssh-unknown {data}"), no_key),
        (format!("command=\"date\" {key}"), no_key),
        (format!("no-pty,restrict {key}"), no_key),
        (format!("localhost {key}"), no_key),
        (desk.print(&["-e", "-f", "rsa.pub"]), one_line),
        (
            desk.print(&["-e", "-m", "PKCS8", "-f", "rsa.pub"]),
            one_line,
        ),
    ];
    for (name, more) in [
        ("encrypted", &["-t", "ed25519", "-N", "correct horse"][..]),
        ("pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
        ("pkcs8", &["-t", "ecdsa", "-m", "PKCS8"]),
    ] {
        desk.make(name, more).unwrap();
        rows.push((desk.read(name), private));
    }
    desk.make("authority", &["-t", "ed25519"]).unwrap();
    desk.print(&[
        "-q",
        "-s",
        "authority",
        "-I",
        "anna",
        "-n",
        "git",
        "key.pub",
    ]);
    rows.push((desk.read("key-cert.pub"), no_key));

    for (pasted, words) in rows {
        check_refused(&cloud, &pasted, words);
    }
    // Whatever is wrong is told at once.
    let both = add(&cloud, "", "hello").must_be(422);
    let properties = both["errors"].as_array().unwrap().iter();
    let mut properties: Vec<&str> = properties
        .map(|fault| fault["property"].as_str().unwrap())
        .collect();
    properties.sort_unstable();
    assert_eq!(properties, ["key", "name"]);
    for odd in [
        json!({"name": "x", "key": 5}),
        json!({"name": "x"}),
        json!([]),
        json!("ssh"),
    ] {
        let reply = cloud.send(Request::post("/v1/user/ssh_keys").json(&odd));
        assert!([400, 422].contains(&reply.status), "{odd}: {reply:?}");
    }
    let keys = cloud.send(Request::get("/v1/user/ssh_keys")).must_be(200);
    assert_eq!(keys, json!({"results": []}));
    server.stop();
}

fn add(cloud: &Cloud, name: &str, key: &str) -> pilvi_e2e::http::Reply {
    let body = json!({"name": name, "key": key});
    cloud.send(Request::post("/v1/user/ssh_keys").json(&body))
}

#[track_caller]
fn check(cloud: &Cloud, desk: &Desk, key: &str, says: &Says) {
    match says {
        Says::Yes => {
            check_taken(cloud, desk, key);
        }
        Says::No(words) => check_refused(cloud, key, words),
    }
}

#[track_caller]
fn check_taken(cloud: &Cloud, desk: &Desk, key: &str) -> Value {
    let fingerprint = desk.fingerprint(key);
    let added = add(cloud, &fingerprint, key).must_be(201);
    assert_eq!(text(&added, "/fingerprint"), fingerprint);
    let keys = cloud.send(Request::get("/v1/user/ssh_keys")).must_be(200);
    assert!(shape::results(&keys).contains(&added), "{keys}");
    added
}

#[track_caller]
fn check_refused(cloud: &Cloud, key: &str, words: &str) {
    let shown: String = key.chars().take(60).collect();
    let refused = add(cloud, "a name", key).must_be(422);
    let faults = refused["errors"].as_array().unwrap();
    assert_eq!(faults.len(), 1, "{shown:?}: {refused}");
    assert_eq!(faults[0]["property"], "key", "{shown:?}: {refused}");
    let message = text(&faults[0], "/message");
    assert!(message.contains(words), "{shown:?}: {message}");
    // A private key that was pasted by mistake does not come back.
    for line in key
        .lines()
        .filter(|line| line.len() > 40 && !line.starts_with("-----"))
    {
        assert!(!message.contains(line), "{message}");
    }
}

/// A folder with what `ssh-keygen` made.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Makes a pair of keys and returns the public one; none where this `ssh-keygen` does not make such keys.
    fn make(&self, name: &str, kind: &[&str]) -> Option<String> {
        let open = ["-N", ""];
        let password = if kind.contains(&"-N") { &[][..] } else { &open };
        let words = [&["-q", "-C", "anna@desk", "-f", name], password, kind].concat();
        let output = keygen(self.0.path(), &words);
        output
            .status
            .success()
            .then(|| self.read(&format!("{name}.pub")))
    }

    /// What `ssh-keygen` prints.
    #[track_caller]
    fn print(&self, words: &[&str]) -> String {
        let output = keygen(self.0.path(), words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// By which `ssh-keygen` knows a public key.
    #[track_caller]
    fn fingerprint(&self, key: &str) -> String {
        fs::write(self.path("asked.pub"), key).unwrap();
        let line = self.print(&["-l", "-E", "sha256", "-f", "asked.pub"]);
        line.split(' ').nth(1).unwrap().to_owned()
    }
}

fn keygen(folder: &Path, words: &[&str]) -> std::process::Output {
    let mut command = Command::new("ssh-keygen");
    command.args(words).current_dir(folder).output().unwrap()
}

fn has_keygen() -> bool {
    // There is no word that makes it do nothing; an unknown one makes it say so.
    let found = Command::new("ssh-keygen").arg("-?").output().is_ok();
    if !found {
        skip::report("ssh-keygen is not installed");
    }
    found
}
