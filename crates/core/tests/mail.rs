//! Mail by SMTP, against a small server of our own on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use pilvi_base::{Clock, Secret, TaskGroup};
use pilvi_core::mail::{Mail, Mailer, Post};

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every connection, and hands out what was said and sent in it.
struct Server {
    address: SocketAddr,
    sessions: Receiver<Session>,
}

#[derive(Debug, Default)]
struct Session {
    commands: Vec<String>,
    data: String,
}

/// How a session answers `DATA`'s end.
type Verdict = &'static str;

impl Server {
    /// One connection for each verdict, in order.
    fn start(verdicts: Vec<Verdict>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (hand_out, sessions) = sync_channel(verdicts.len());
        std::thread::spawn(move || {
            for verdict in verdicts {
                let (stream, _) = listener.accept().unwrap();
                serve(&stream, verdict, &hand_out);
            }
        });
        Self { address, sessions }
    }

    fn next(&self) -> Session {
        self.sessions.recv_timeout(PATIENCE).unwrap()
    }
}

fn serve(mut stream: &TcpStream, verdict: Verdict, hand_out: &SyncSender<Session>) {
    let mut session = Session::default();
    stream.write_all(b"220 test\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(line)) = lines.next() {
        let answer = match line.split(' ').next().unwrap_or_default() {
            "EHLO" => "250-test\r\n250 AUTH PLAIN",
            "AUTH" => "235 yes",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 yes",
        };
        stream
            .write_all(format!("{answer}\r\n").as_bytes())
            .unwrap();
        if line == "DATA" {
            for line in lines
                .by_ref()
                .map(Result::unwrap)
                .take_while(|line| line != ".")
            {
                session.data.push_str(&line);
                session.data.push('\n');
            }
            stream
                .write_all(format!("{verdict}\r\n").as_bytes())
                .unwrap();
        }
        session.commands.push(line);
    }
    hand_out.send(session).unwrap();
}

fn mailer(server: &Server, tasks: &TaskGroup) -> Mailer {
    let url = format!("smtp://anna:hunter2@{}", server.address);
    Mailer::new(
        Post::Smtp(Secret::new(url)),
        "app@example.org",
        Clock::system(),
        tasks.clone(),
    )
    .unwrap()
    .with_pauses([Duration::from_millis(1); 4])
}

fn mail() -> Mail {
    Mail {
        to: "bea@example.org".to_owned(),
        subject: "Hello".to_owned(),
        text: "Your code:\n\n.0123\n".to_owned(),
    }
}

#[tokio::test]
async fn a_mail_reaches_the_server_whole() {
    let (server, tasks) = (Server::start(vec!["250 taken"]), TaskGroup::new());
    mailer(&server, &tasks).send(mail()).unwrap();
    let session = tokio::task::spawn_blocking(move || server.next())
        .await
        .unwrap();
    let said = |start: &str| session.commands.iter().any(|line| line.starts_with(start));
    assert!(said("AUTH PLAIN "), "{session:?}");
    assert!(said("MAIL FROM:<app@example.org>"), "{session:?}");
    assert!(said("RCPT TO:<bea@example.org>"), "{session:?}");
    for line in ["Subject: Hello\n", "To: bea@example.org\n", "\n..0123\n"] {
        assert!(
            session.data.contains(line),
            "{line:?} is not in {session:?}"
        );
    }
    assert!(tasks.drain(PATIENCE).await);
}

#[tokio::test]
async fn a_mail_is_tried_again_until_it_is_taken() {
    let verdicts = vec!["451 later", "421 busy", "250 taken"];
    let (server, tasks) = (Server::start(verdicts), TaskGroup::new());
    mailer(&server, &tasks).send(mail()).unwrap();
    let sessions =
        tokio::task::spawn_blocking(move || [server.next(), server.next(), server.next()]);
    let [first, _, last] = sessions.await.unwrap();
    assert_eq!(first.data, last.data, "it is the same mail each time");
    assert!(tasks.drain(PATIENCE).await);
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_is_not_tried_again() {
    let (server, tasks) = (Server::start(vec!["550 no", "250 taken"]), TaskGroup::new());
    mailer(&server, &tasks).send(mail()).unwrap();
    let (server, first) = tokio::task::spawn_blocking(move || {
        let first = server.next();
        (server, first)
    })
    .await
    .unwrap();
    assert!(first.data.contains("0123"));
    // The task has come to its end, so nothing is under way any more.
    assert!(tasks.drain(PATIENCE).await);
    assert!(server.sessions.try_recv().is_err());
}
