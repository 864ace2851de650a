//! What people see of the command line in a terminal: colours, widths, bars, and passwords that do not show. The
//! terminal is that of `script`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use pilvi_e2e::api::text;
use pilvi_e2e::cli::Cli;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::Server;
use serde_json::json;
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(60);
/// Pieces of output that may wait for the test.
const PIECES_MAX: usize = 1024;

/// A terminal of some width in which one command runs.
struct Terminal {
    child: Child,
    pieces: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// `words` are typed as they are.
    #[track_caller]
    fn run(cli: &Cli, columns: u16, words: &[&str], variables: &[(&str, &str)]) -> Self {
        let program = cli.command(words);
        let mut line = format!("stty cols {columns} rows 24 && exec");
        for word in std::iter::once(program.get_program()).chain(program.get_args()) {
            line += &format!(" '{}'", word.to_str().unwrap());
        }
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        command.envs(variables.iter().copied());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let (sender, pieces) = sync_channel(PIECES_MAX);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                if sender.send(piece[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            pieces,
            seen: String::new(),
        }
    }

    /// Waits until this stands on the screen.
    #[track_caller]
    fn expect(&mut self, words: &str) {
        let begun = Instant::now();
        while !self.seen.contains(words) {
            let left = WITHIN.saturating_sub(begun.elapsed());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => self.seen += &String::from_utf8_lossy(&piece),
                Err(_) => panic!("{words:?} did not come:\n{}", self.seen),
            }
        }
    }

    fn types(&mut self, line: &str) {
        let mut input = self.child.stdin.as_ref().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// Everything that was on the screen until the command ended well.
    #[track_caller]
    fn ended(mut self) -> String {
        let begun = Instant::now();
        while let Ok(piece) = self
            .pieces
            .recv_timeout(WITHIN.saturating_sub(begun.elapsed()))
        {
            self.seen += &String::from_utf8_lossy(&piece);
        }
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}:\n{}", self.seen);
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_table_has_colours_and_the_width_of_its_terminal() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    cli.run(&[
        "clouds",
        "create",
        "A cloud with a name that no terminal of this width can show",
    ]);
    let show = |variables: &[(&str, &str)]| Terminal::run(&cli, 72, &["clouds"], variables).ended();
    let screen = show(&[]);
    assert!(screen.contains("\x1b[1mID"), "{screen:?}");
    assert!(screen.contains("A cloud with"), "{screen:?}");
    for plain in [show(&[("NO_COLOR", "1")]), show(&[("TERM", "dumb")])] {
        assert!(!plain.contains('\x1b'), "{plain:?}");
        for line in plain.lines() {
            assert!(line.trim_end().chars().count() <= 72, "{line:?}");
        }
        assert!(plain.contains('…'), "{plain:?}");
    }
    let piped = cli.run(&["clouds"]).lines.join("\n");
    assert!(
        piped.contains("no terminal of this width can show"),
        "{piped:?}"
    );
    server.stop();
}

#[test]
fn a_password_does_not_show_while_it_is_typed() {
    const PASSWORD: &str = "correct horse battery";
    let server = Server::serve();
    let change = Request::put("/v1/user").json(&json!({ "password": PASSWORD }));
    let user = server.cloud().send(change).must_be(200);
    let home = TempDir::new().unwrap();
    let cli = Cli::of(&server);
    let at_home = cli.at_home(home.path());
    let email = text(&user, "/email");
    let words = ["login", "--url", cli.url(), "--email", &email];
    let mut terminal = Terminal::run(&at_home, 80, &words, &[]);
    terminal.expect("Password: ");
    terminal.types(PASSWORD);
    terminal.expect("Signed in to ");
    let screen = terminal.ended();
    assert!(!screen.contains("horse"), "{screen:?}");
    server.stop();
}

#[test]
fn whoever_removes_something_types_its_name() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let app = text(&cli.json(&["mar", "create", "echo"]), "/id");
    let remove = ["mar", "--app", &app, "remove"];
    let mut terminal = Terminal::run(&cli, 80, &remove, &[]);
    terminal.expect(&format!("Type {app} to go on:"));
    terminal.types("yes");
    terminal.expect("nothing was removed");
    drop(terminal);
    cli.run(&["instances", "show", &app]);
    let mut terminal = Terminal::run(&cli, 80, &remove, &[]);
    terminal.expect("to go on:");
    terminal.types(&app);
    terminal.ended();
    assert_eq!(cli.json(&["instances", "list"]), json!({"results": []}));
    server.stop();
}

#[test]
fn an_upload_shows_how_far_it_has_come_and_leaves_only_the_result() {
    let server = Server::serve();
    let cli = Cli::of(&server);
    let app = text(&cli.json(&["mar", "create", "echo"]), "/id");
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(at("app")).unwrap();
    fs::write(at("app/Procfile"), "web: sleep 1000\n").unwrap();
    let packed = Command::new("tar")
        .args(["czf", &at("slug.tgz"), "-C", &at("app"), "."])
        .status();
    assert!(packed.unwrap().success());
    let (slug, procfile) = (at("slug.tgz"), at("app/Procfile"));
    let upload = |tag| {
        let words = [
            "mar",
            "--app",
            &app,
            "slugs",
            "upload",
            "--slug",
            &slug,
            "--procfile",
            &procfile,
            "--tag",
            tag,
        ];
        words.map(str::to_owned)
    };
    let words = upload("v1");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let screen = Terminal::run(&cli, 80, &words, &[]).ended();
    assert!(screen.contains("Uploading ["), "{screen:?}");
    let last = screen
        .trim_end()
        .rsplit(['\r', '\n'])
        .next()
        .unwrap_or_default();
    assert!(last.contains("Uploaded v1."), "{screen:?}");
    let words = upload("v2");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let piped = cli.run(&words);
    assert_eq!(piped.errors, "", "nobody watches");
    server.stop();
}
