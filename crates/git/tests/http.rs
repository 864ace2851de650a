//! The HTTP door, byte by byte: what a reply looks like beside what git makes of it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;

use common::{APP, Mood, Server, TOKEN, soon};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `any:<token>` in base64 is what the header wants; curl and git make it, here it is made by hand.
fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {pair}\r\n")
}

/// Sends a head and a body as they are, and reads until the server hangs up.
async fn send(server: &Server, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut reply = Vec::new();
    soon("a reply", stream.read_to_end(&mut reply))
        .await
        .unwrap();
    String::from_utf8_lossy(&reply).into_owned()
}

async fn get(server: &Server, path: &str, headers: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    send(server, &head, b"").await
}

async fn post(server: &Server, service: &str, headers: &str, body: &[u8]) -> String {
    let head = format!(
        "POST /git/{APP}/{service} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n{}{headers}\r\n",
        body.len(),
        basic("any", TOKEN)
    );
    send(server, &head, body).await
}

fn refs(service: &str) -> String {
    format!("/git/{APP}/info/refs?service={service}")
}

fn assert_reply(reply: &str, status: u16, words: &str) {
    assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
    let kind = "content-type: text/plain; charset=utf-8";
    assert!(status == 200 || reply.contains(kind), "{reply}");
    assert!(reply.contains(words), "{words}: {reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_the_password_of_any_user_or_the_user_or_a_bearer() {
    let server = Server::start().await;
    let advertised = "# service=git-receive-pack\n0000";
    for headers in [
        basic("any", TOKEN),
        basic("", TOKEN),
        basic(TOKEN, ""),
        format!("Authorization: Bearer {TOKEN}\r\n"),
    ] {
        let reply = get(&server, &refs("git-receive-pack"), &headers).await;
        assert_reply(&reply, 200, advertised);
        assert!(
            reply.contains("content-type: application/x-git-receive-pack-advertisement"),
            "{reply}"
        );
        assert!(reply.contains("cache-control: no-cache"), "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_git_is_asked_for_one() {
    let server = Server::start().await;
    for headers in [
        String::new(),
        basic("any", "wrong"),
        basic("", ""),
        "Authorization: Basic %%%\r\n".to_owned(),
        "Authorization: Digest x\r\n".to_owned(),
    ] {
        let reply = get(&server, &refs("git-upload-pack"), &headers).await;
        assert_reply(&reply, 401, "www-authenticate: Basic realm=\"Pilvi\"");
        let reply = get(
            &server,
            "/git/mar-eu-1-00000000/info/refs?service=git-upload-pack",
            &headers,
        )
        .await;
        assert_reply(&reply, 401, "www-authenticate");
    }
    server.work("work").await;
    let wrong = server.http_url().replace(TOKEN, "wrong");
    let said = server.fails("work", &["push", &wrong, "master"]).await;
    assert!(
        said.contains("remote: This token is not valid, or not any more."),
        "{said}"
    );
    assert!(said.contains("Authentication failed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_of_git_is_refused_in_words() {
    let server = Server::start().await;
    let token = basic("any", TOKEN);
    for (path, status) in [
        (format!("/git/{APP}/info/refs"), 403),
        (refs("git-upload-archive"), 403),
        (refs("sh"), 403),
        (format!("/git/{APP}/HEAD"), 404),
        (format!("/git/{APP}/objects/info/packs"), 404),
        (format!("/git/{APP}"), 404),
        (
            "/git/../etc/info/refs?service=git-upload-pack".to_owned(),
            404,
        ),
        (
            "/git/%2e%2e/info/refs?service=git-upload-pack".to_owned(),
            404,
        ),
        ("/git/A/info/refs?service=git-upload-pack".to_owned(), 404),
        (format!("/git/{APP}/git-receive-pack"), 405),
    ] {
        assert_reply(&get(&server, &path, &token).await, status, "\r\n\r\n");
    }
    let kind = "Content-Type: application/x-git-upload-pack-request\r\n";
    for (service, headers, status) in [
        ("git-upload-pack", "", 415),
        ("git-receive-pack", kind, 415),
        ("git-upload-archive", kind, 404),
        ("info/refs?service=git-upload-pack", kind, 405),
    ] {
        assert_reply(
            &post(&server, service, headers, b"0000").await,
            status,
            ".\n",
        );
    }
    let zip = format!("{kind}Content-Encoding: br\r\n");
    assert_reply(
        &post(&server, "git-upload-pack", &zip, b"0000").await,
        415,
        "gzip",
    );
    let broken = format!("{kind}Content-Encoding: gzip\r\n");
    let reply = post(&server, "git-upload-pack", &broken, b"this is not gzip").await;
    assert_reply(&reply, 400, "Content-Encoding");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_question_is_answered_like_a_plain_one() {
    let server = Server::start().await;
    server.work("work").await;
    server
        .ok("work", &["push", &server.http_url(), "master"])
        .await;
    let line = "command=ls-refs\n";
    let question = format!("{:04x}{line}0000", line.len() + 4);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(question.as_bytes()).unwrap();
    let compressed = encoder.finish().unwrap();
    let common =
        "Content-Type: application/x-git-upload-pack-request\r\nGit-Protocol: version=2\r\n";
    let gzip = format!("{common}Content-Encoding: gzip\r\n");
    let head = server.head_of("work").await;
    for (headers, body) in [(common, question.as_bytes()), (&gzip, &compressed)] {
        let reply = post(&server, "git-upload-pack", headers, body).await;
        assert_reply(&reply, 200, &format!("{head} refs/heads/master"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_leave_to_send_gets_it() {
    let server = Server::start().await;
    let kind = "Content-Type: application/x-git-upload-pack-request\r\nGit-Protocol: version=2\r\n";
    let head = format!(
        "POST /git/{APP}/git-upload-pack HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 24\r\n\
         Expect: 100-continue\r\n{kind}{}\r\n",
        basic("any", TOKEN)
    );
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    soon("leave to send", stream.read_exact(&mut leave))
        .await
        .unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
        .write_all(b"0014command=ls-refs\n0000")
        .await
        .unwrap();
    let mut reply = String::new();
    soon("a reply", stream.read_to_string(&mut reply))
        .await
        .unwrap();
    assert_reply(&reply, 200, "0000");
    // One who may not send hears so at once.
    let refused = head.replace(&basic("any", TOKEN), "");
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    stream.write_all(refused.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    soon("a refusal", stream.read_exact(&mut start))
        .await
        .unwrap();
    assert_eq!(&start, b"HTTP/1.1 401");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_taken_in_one_piece_or_in_chunks() {
    let server = Server::start().await;
    server.work("work").await;
    for (text, buffer) in [
        ("chunked", "http.postBuffer=65536"),
        ("whole", "http.postBuffer=8388608"),
    ] {
        let noise: Vec<u8> = (0..1 << 16)
            .flat_map(|_| pilvi_base::secret::random_bytes::<8>())
            .collect();
        std::fs::write(server.path("work/noise.bin"), noise).unwrap();
        server.commit("work", "text.txt", text).await;
        let arguments = ["-c", buffer, "push", &server.http_url(), "master"];
        let mut command = server.git("work", &arguments);
        command
            .env("GIT_TRACE_CURL", "1")
            .env("GIT_TRACE_CURL_NO_DATA", "1");
        let trace = common::succeeded(&soon("a push", command.output()).await.unwrap());
        let chunked = trace
            .to_lowercase()
            .contains("transfer-encoding: chunked\n")
            && trace.contains("=> Send header: Transfer-Encoding: chunked");
        assert_eq!(chunked, text == "chunked", "{trace}");
        assert_eq!(
            server.served("refs/heads/master").await.unwrap(),
            server.head_of("work").await
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_push_is_no_push() {
    let server = Server::start().await;
    server.work("work").await;
    server.mood(Mood::Accept);
    let commit = server.head_of("work").await;
    let command = format!(
        "{} {commit} refs/heads/master\0report-status",
        "0".repeat(40)
    );
    let packet = format!("{:04x}{command}0000PACK", command.len() + 4);
    let head = format!(
        "POST /git/{APP}/git-receive-pack HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\
         Content-Type: application/x-git-receive-pack-request\r\n{}\r\n",
        basic("any", TOKEN)
    );
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(packet.as_bytes()).await.unwrap();
    drop(stream);
    server.quiet().await;
    assert!(server.deployed().is_empty());
    assert_eq!(server.served("refs/heads/master").await, None);
}
