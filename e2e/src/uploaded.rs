//! Apps that are uploaded, not pushed: made and looked at through the API alone, with a program that starts at once.

use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{Cloud, text};
use crate::http::{Connection, Reply, Request};
use crate::wait;

/// A server that any Debian can run: its smallest Perl. It answers `hi`.
const SERVER: &str = r#"use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalPort => $ENV{PORT}, Listen => 9, ReuseAddr => 1) or die $!;
print STDOUT "listening on port $ENV{PORT}\n";
STDOUT->flush();
while (my $client = $listener->accept()) {
    while (<$client>) { last if /^\r?\n$/ }
    print $client "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    close $client;
}
"#;

/// How long the processes of an app may take to start.
pub const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// An app with a web process that answers `hi`, and a worker that does nothing.
pub struct Uploaded {
    pub id: String,
    cloud: Cloud,
    http: SocketAddr,
    /// Where the slug that was announced last goes: path and query.
    place: RefCell<String>,
}

impl Uploaded {
    /// Makes an app, without anything in it.
    #[track_caller]
    pub fn create(cloud: &Cloud, http: SocketAddr) -> Self {
        let path = format!("/v1/accounts/{}/instances", cloud.account_id);
        let body = json!({"name": "uploaded", "serviceProviderId": "mar"});
        let made = cloud.send(Request::post(path).json(&body)).must_be(201);
        Self {
            id: text(&made, "/id"),
            cloud: cloud.clone(),
            http,
            place: RefCell::default(),
        }
    }

    /// The same app on a server that was started again.
    pub fn at(&self, cloud: &Cloud, http: SocketAddr) -> Self {
        Self {
            id: self.id.clone(),
            cloud: cloud.clone(),
            http,
            place: RefCell::default(),
        }
    }

    /// Has one web process running.
    #[track_caller]
    pub fn run(&self) {
        let shown = self.send(Request::get(self.path(""))).must_be(200);
        if shown["release"].is_null() {
            self.deploy("first");
        }
        wait::until("the app's web process runs", STARTED_WITHIN, || {
            let status = self.send(Request::get(self.path("/status"))).must_be(200);
            (status["processes"][0]["state"] == "running").then_some(())
        });
    }

    /// Announces, uploads and deploys a slug.
    #[track_caller]
    pub fn deploy(&self, tag: &str) {
        self.add_slug(tag);
        let path = self.path(&format!("/slugs/{tag}/deploy"));
        let deployed = self.send(Request::post(path).body("{}")).must_be(200);
        assert_eq!(deployed["state"], "running");
    }

    /// Announces and uploads a slug.
    #[track_caller]
    pub fn add_slug(&self, tag: &str) {
        self.announce(tag);
        self.upload().must_be(200);
    }

    /// Announces a slug.
    #[track_caller]
    pub fn announce(&self, tag: &str) {
        let types = json!({"web": "perl x.pl", "worker": "sleep 1000"});
        let body = json!({"tag": tag, "process_types": types});
        let request = Request::post(self.path("/slugs")).json(&body);
        self.keep_place(&self.send(request).must_be(201));
    }

    /// Remembers where an announced slug goes as the classic client does: path and query of the address count, scheme
    /// and port do not.
    #[track_caller]
    pub fn keep_place(&self, announced: &Value) {
        let url = text(announced, "/blob/url");
        let rest = url.split_once("://").expect("the address is a URL").1;
        let start = rest.find('/').expect("the address has a path");
        *self.place.borrow_mut() = rest[start..].to_owned();
    }

    /// Path and query of the address for the slug that was announced last.
    pub fn place(&self) -> String {
        self.place.borrow().clone()
    }

    /// Sends a slug, without a token and in the classic client's words.
    #[track_caller]
    pub fn upload(&self) -> Reply {
        let request = Request::put(self.place())
            .header("Content-Type", "application/octet-stream")
            .header("Connection", "close")
            .body(packed());
        request.send(self.http)
    }

    /// Asks the app itself, under this host name; none means its own.
    #[track_caller]
    pub fn visit(&self, host: Option<&str>) -> Reply {
        let own = format!("{}.localhost", self.id);
        let mut connection = Connection::open(self.http);
        connection.write(&Request::get("/").bytes(host.unwrap_or(&own)));
        connection.reply()
    }

    /// Sends with the person's token.
    #[track_caller]
    pub fn send(&self, request: Request) -> Reply {
        self.cloud.send(request)
    }

    /// The full path of something of the app.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/apps/{}{rest}", self.id)
    }
}

/// A gzip tar, made by the tool that people make it with.
#[track_caller]
fn packed() -> Vec<u8> {
    let folder = TempDir::new().expect("a temporary folder can be made");
    fs::write(folder.path().join("x.pl"), SERVER).expect("a file can be written");
    let output = Command::new("tar")
        .args(["--create", "--gzip", "--file=-", "--directory"])
        .arg(folder.path())
        .arg(".")
        .output()
        .expect("tar can be started");
    assert!(output.status.success());
    output.stdout
}
