//! What depends on the terminal, and the command line itself.

use clap::CommandFactory;
use serde_json::json;

use super::server::Server;
use super::{Desk, Line};
use crate::screen::Look;

#[test]
fn the_command_line_is_consistent() {
    <Line as CommandFactory>::command().debug_assert();
}

#[test]
fn the_help_tells_every_exit_code() {
    use crate::failure::{CODES, Code};
    for code in [
        Code::NobodyReads,
        Code::Failed,
        Code::Usage,
        Code::Denied,
        Code::NotFound,
        Code::Refused,
        Code::Unreachable,
        Code::Forbidden,
    ] {
        assert!(CODES.contains(&format!("\n  {}  ", code as u8)), "{code:?}");
    }
}

#[test]
fn a_table_fits_a_narrow_terminal() {
    let name = "an app with a name that is longer than most terminals are wide, and then some";
    let app =
        json!({"id": "mar-eu-1-twwto7g0", "name": name, "tags": [], "config": {"runtimeSize": 1}});
    let server = Server::start().on(
        "GET /v1/accounts/46738209/instances?provider=mar",
        200,
        json!({"results": [app]}),
    );
    let desk = Desk {
        look: Look {
            width: Some(60),
            ..Look::default()
        },
        ..Desk::new()
    };
    let seen = desk.types(&server, "mar list");
    assert_eq!(
        seen.out,
        "ID                 NAME                  SIZE           TAGS\n\
         mar-eu-1-twwto7g0  an app with a name …  mini (256 MB)\n"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    use clap::Parser as _;
    let server = Server::start();
    let url = server.url();
    let words = [
        "pilvi", "mar", "--url", &url, "--token", "x", "list", "--json",
    ];
    let server = server.on(
        "GET /v1/accounts/46738209/instances?provider=mar",
        200,
        json!({"results": []}),
    );
    let command = Line::try_parse_from(words).unwrap().command();
    let (mut out, mut err) = (Closed, Vec::new());
    let mut screen = crate::screen::Screen::new(&mut out, &mut err, Look::default(), true);
    assert_eq!(crate::run_at(&command, &mut screen, Desk::new().place()), 0);
    assert_eq!(err, b"");
    drop(server);
}
