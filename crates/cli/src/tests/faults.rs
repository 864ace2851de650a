//! What a user sees when something goes wrong: always two lines and a code, never a secret.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::server::Server;
use super::{APP, Desk, Seen, TOKEN};

fn refused(message: &str) -> Value {
    json!({"error": {"reason": "Any", "message": message}})
}

#[test]
fn a_server_that_is_not_there() {
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/v1", free.local_addr().unwrap());
    drop(free);
    let seen = Desk::new().types_all(&["pilvi", "mar", "--url", &url, "--token", "x", "list"]);
    let err = format!(
        "error: {url} cannot be reached: Connection refused (os error 111)\n\
         try: start a server with `pilvi serve`, or name one with --url or QTC_PLATFORM_URL\n"
    );
    assert_eq!(seen, Seen::bad(6, &err));
}

#[test]
fn no_token() {
    let server = Server::start();
    let url = server.url();
    let seen = Desk::new().types_all(&["pilvi", "mar", "--url", &url, "--token", "", "list"]);
    let err = format!(
        "error: there is no token to show to {url}\n\
         try: sign in with `pilvi login`, or set PILVI_TOKEN; the first start of `pilvi serve` prints a token\n"
    );
    assert_eq!(seen, Seen::bad(3, &err));
}

#[test]
fn a_token_that_is_refused_is_not_shown_even_if_the_server_repeats_it() {
    let said = format!("The token {TOKEN} is not known.");
    let server = Server::start().on("GET /v1/user/accounts", 401, refused(&said));
    let url = server.url();
    let err = format!(
        "error: {url} refuses the token: The token [secret] is not known\n\
         try: sign in again with `pilvi login`, or set PILVI_TOKEN to a token that is valid there\n"
    );
    assert_eq!(Desk::new().types(&server, "mar list"), Seen::bad(3, &err));
}

#[test]
fn a_token_that_may_not_list_accounts() {
    let server = Server::start().on(
        "GET /v1/user/accounts",
        403,
        refused("A person's token is needed."),
    );
    let err = "error: A person's token is needed\n\
               try: name the cloud by its id with --account; only a personal access token may list them\n";
    assert_eq!(Desk::new().types(&server, "mar list"), Seen::bad(7, err));
}

#[test]
fn an_app_that_is_not_there() {
    let server = Server::start().on_app("POST", "/restart", 404, refused("There is no such app."));
    let err = "error: There is no such app\ntry: see `pilvi instances list` for what there is\n";
    let seen = Desk::new().types(&server, &format!("mar --app {APP} restart"));
    assert_eq!(seen, Seen::bad(4, err));
}

#[test]
fn a_value_that_is_refused_is_not_shown() {
    let errors = json!({"errors": [
        {"reason": "Invalid", "property": "PORT", "message": "is the platform's own; hunter2 was not taken"},
    ]});
    let server = Server::start().on_app("PUT", "/env_vars", 422, errors);
    let seen = Desk::new().types(&server, &format!("mar --app {APP} envs set PORT=hunter2"));
    let err = "error: PORT: is the platform's own; [secret] was not taken\n\
               try: see `pilvi mar envs` for the vars that are set; some names are the platform's own\n";
    assert_eq!(seen, Seen::bad(5, err));
}

#[test]
fn a_text_that_happens_to_hold_a_short_value_stays_readable() {
    let errors = json!({"errors": [{"reason": "Invalid", "property": "1", "message": "at most 128 characters"}]});
    let server = Server::start().on_app("PUT", "/env_vars", 422, errors);
    let seen = Desk::new().types(&server, &format!("mar --app {APP} envs set 1=2"));
    assert!(
        seen.err.starts_with("error: 1: at most 128 characters\n"),
        "{}",
        seen.err
    );
}

#[test]
fn a_server_that_has_too_much_to_do_says_how_long_to_wait() {
    // What the server says of the time is not said twice.
    let said = refused("Too many requests come with this token; try again in 3 s.");
    let server = Server::start().on_busy("GET /v1/user/accounts", 429, 3, said);
    let err = "error: Too many requests come with this token\ntry: wait 3 s and try again\n";
    assert_eq!(Desk::new().types(&server, "mar list"), Seen::bad(5, err));
    let too_many = || refused("Too many requests come with this token.");
    let server = Server::start().on_busy("GET /v1/user/accounts", 429, 3, too_many());
    let err = "error: Too many requests come with this token\ntry: wait 3 s and try again\n";
    assert_eq!(Desk::new().types(&server, "mar list"), Seen::bad(5, err));
    let server = Server::start().on("GET /v1/user/accounts", 429, too_many());
    let err = "error: Too many requests come with this token\ntry: wait a little and try again\n";
    assert_eq!(Desk::new().types(&server, "mar list"), Seen::bad(5, err));

    let busy = || refused("Too many others wait.");
    let server = Server::start().on_busy("GET /v1/user/accounts", 503, 10, busy());
    let url = server.url();
    let err = format!(
        "error: {url} cannot do it now: Too many others wait\ntry: wait 10 s and try again\n"
    );
    assert_eq!(Desk::new().types(&server, "mar list"), Seen::bad(6, &err));
}

#[test]
fn somebody_without_the_role_hears_whom_to_ask() {
    let said = refused("Only an owner may do this.");
    let server = Server::start().on("POST /v1/accounts/46738209/invitations", 403, said);
    let err = "error: Only an owner may do this\n\
               try: see `pilvi clouds show` for your role, and `pilvi clouds members` for whom to ask\n";
    let seen = Desk::new().types(&server, "clouds invite ben@example.org");
    assert_eq!(seen, Seen::bad(7, err));
}

#[test]
fn an_address_without_a_path_means_the_api() {
    let server = Server::start().on("GET /v1/user", 200, json!({"id": "p1", "name": "Anna"}));
    let url = format!("http://{}", server.address());
    let seen = Desk::new().types_all(&["pilvi", "whoami", "--url", &url, "--token", "x"]);
    assert_eq!(seen.code, 0, "{seen:?}");
    assert!(seen.out.contains(&server.url()), "{seen:?}");
}

#[test]
fn a_server_that_is_no_pilvi() {
    let server = Server::start().on("GET /v1/user/accounts", 200, "<html>hello</html>");
    let seen = Desk::new().types(&server, "mar list");
    assert_eq!(seen.code, 1);
    assert!(
        seen.err.contains("answered with something that is no JSON"),
        "{}",
        seen.err
    );
}

#[test]
fn what_a_server_says_cannot_steer_the_terminal() {
    let server = Server::start().on_app("POST", "/stop", 500, refused("\u{1b}[2Jgone\nerror: not"));
    let seen = Desk::new().types(&server, &format!("mar --app {APP} stop"));
    assert_eq!(seen.code, 1);
    assert!(!seen.err.contains('\u{1b}'), "{:?}", seen.err);
    assert_eq!(seen.err.lines().count(), 2, "{:?}", seen.err);
}

#[test]
fn a_redirect_takes_no_token_along() {
    let elsewhere = Server::start();
    let server = Server::start().on("GET /v1/user/accounts", 302, json!({}));
    let seen = Desk::new().types(&server, "mar list");
    assert_eq!(seen.code, 1);
    assert!(
        seen.err.contains("a token is not carried along"),
        "{}",
        seen.err
    );
    assert_eq!(elsewhere.asked(), []);
}

#[test]
fn an_id_that_is_none_is_not_sent() {
    let server = Server::start();
    let seen = Desk::new().types(&server, "mar --app ../user restart");
    assert_eq!(seen.code, 2);
    assert_eq!(server.asked(), []);
}

#[test]
fn a_datacenter_without_apps() {
    let server = Server::start();
    let seen = Desk::new().types(&server, "mar --app mar-us-9-twwto7g0 restart");
    assert_eq!(seen.code, 4);
    assert!(
        seen.err.contains("runs no apps where mar-us-9-twwto7g0 is"),
        "{}",
        seen.err
    );
}

#[test]
fn a_password_in_the_address_is_not_repeated() {
    let seen = Desk::new().types_all(&["pilvi", "mar", "--url", "https://a:hunter2@h/v1", "list"]);
    assert_eq!(seen.code, 2);
    assert!(!seen.err.contains("hunter2"), "{}", seen.err);
}

#[test]
fn nothing_prints_a_secret_of_the_command_line() {
    use clap::Parser as _;
    let line = [
        "pilvi",
        "mar",
        "--token",
        "hunter2",
        "envs",
        "set",
        "A=hunter3",
    ];
    let parsed = format!("{:?}", super::Line::try_parse_from(line).unwrap());
    assert!(!parsed.contains("hunter"), "{parsed}");
}
