//! Signing in and out, and what is remembered.

use serde_json::{Value, json};

use super::server::Server;
use super::{Desk, Seen};
use crate::connection::Environment;
use crate::failure::Code;
use pilvi_base::Secret;

fn anna() -> Value {
    json!({"id": "p1", "email": "anna@example.org", "name": "Anna"})
}

fn server() -> Server {
    Server::start().on("GET /v1/user", 200, anna()).on(
        "DELETE /v1/authorizations/17",
        200,
        json!({}),
    )
}

fn refused(reason: &str) -> Value {
    json!({"error": {"reason": reason, "message": "Not so."}})
}

/// `pilvi <words> --url …` without a token.
fn types(desk: &Desk, server: &Server, words: &[&str]) -> Seen {
    let url = server.url();
    desk.types_all(&[&["pilvi", words[0], "--url", &url], &words[1..]].concat())
}

fn authorizations(server: &Server, what: &str) -> Vec<Option<String>> {
    let asked = server.asked().into_iter();
    let asked = asked.filter(|asked| asked.what == what);
    asked.map(|asked| asked.authorization).collect()
}

const DEVICE: &str = "POST /v1/device_codes";
const POLL: &str = "POST /v1/device_codes/token";

fn device() -> Value {
    json!({
        "device_code": "hunter2", "user_code": "BCDF-GHJK", "interval": 0, "expires_in": 600,
        "verification_uri": "https://example.org/console/device",
        "verification_uri_complete": "https://example.org/console/device?code=BCDF-GHJK",
    })
}

#[test]
fn login_waits_for_the_approval_in_a_browser() {
    let server = server()
        .on(DEVICE, 200, device())
        .once(POLL, 201, json!({"id": 17, "access_token": "made-here"}))
        .once(POLL, 400, refused("AuthorizationPending"))
        .once(POLL, 400, refused("AuthorizationPending"));
    let desk = Desk::new();
    let seen = types(&desk, &server, &["login"]);
    let url = server.url();
    let host = server.address();
    assert_eq!(
        seen,
        Seen {
            code: 0,
            out: format!("Signed in to {url} as Anna (anna@example.org).\n"),
            err: format!(
                "To sign in, open this address in a browser on any machine:\n\
                 \x20 https://example.org/console/device\n\
                 and enter the code BCDF-GHJK there.\n\
                 It is remembered as the context {host}, which is the current one now.\n"
            ),
        }
    );
    assert_eq!(authorizations(&server, DEVICE), [None]);
    assert_eq!(authorizations(&server, POLL), [None, None, None]);
    assert_eq!(
        desk.settings(),
        format!(
            "current = \"{host}\"\n\n[contexts.\"{host}\"]\nurl = \"{url}\"\ntoken = \"made-here\"\ntoken-id = 17\n"
        )
    );
    // From here on no option is needed.
    let seen = desk.types_all(&["pilvi", "whoami"]);
    let expected = format!(
        "Name     Anna\nE-mail   anna@example.org\nId       p1\nServer   {url}\nContext  {host}\n\
         Token    from `pilvi login`\n"
    );
    assert_eq!(seen, Seen::good(&expected));
    let last = authorizations(&server, "GET /v1/user").pop().flatten();
    assert_eq!(last.as_deref(), Some("Bearer made-here"));
}

#[test]
fn a_sign_in_that_is_not_approved_leaves_nothing() {
    for (reason, what) in [
        (
            "AccessDenied",
            "error: the sign-in was refused in the browser\n",
        ),
        ("ExpiredToken", "error: nobody approved in time\n"),
    ] {
        let server = server()
            .on(DEVICE, 200, device())
            .on(POLL, 400, refused(reason));
        let desk = Desk::new();
        let seen = types(&desk, &server, &["login"]);
        assert_eq!((seen.code, &*seen.out), (Code::Denied as u8, ""));
        assert!(seen.err.contains(what), "{}", seen.err);
        assert!(!seen.err.contains("hunter2"), "{}", seen.err);
        assert_eq!(desk.settings(), "");
    }
}

#[test]
fn a_code_that_has_run_out_is_not_asked_about_for_ever() {
    let mut device = device();
    device["expires_in"] = 0.into();
    let server = server().on(DEVICE, 200, device);
    let seen = types(&Desk::new(), &server, &["login"]);
    assert!(
        seen.err.contains("error: nobody approved in time\n"),
        "{}",
        seen.err
    );
    assert_eq!(authorizations(&server, POLL), []);
}

#[test]
fn a_password_comes_from_standard_input_and_is_never_shown() {
    let sign_in = "POST /v1/user/sign_in";
    let granted = json!({"id": 17, "access_token": "made-here"});
    let server = server().on(sign_in, 201, granted);
    let desk = Desk::new().with_input("hunter2\n");
    let seen = types(
        &desk,
        &server,
        &["login", "--email", "anna@example.org", "--context", "work"],
    );
    assert_eq!(seen.code, 0, "{seen:?}");
    let (what, body) = server.only("POST");
    assert_eq!((&*what, &body["password"]), (sign_in, &json!("hunter2")));
    assert!(
        body["client"].as_str().unwrap().starts_with("pilvi on "),
        "{body}"
    );
    assert!(
        desk.settings().contains("current = \"work\""),
        "{}",
        desk.settings()
    );
    assert!(!desk.settings().contains("hunter2"));

    let said = json!({"error": {"reason": "AccessDenied", "message": "hunter2 is wrong"}});
    let server = server.on(sign_in, 401, said);
    let desk = Desk::new().with_input("hunter2\n");
    let seen = types(&desk, &server, &["login", "--email", "anna@example.org"]);
    let err = "error: the address or the password is wrong\n\
               try: try again, or sign in with a browser: `pilvi login` without --email\n";
    assert_eq!(seen, Seen::bad(3, err));

    let seen = types(
        &Desk::new(),
        &server,
        &["login", "--email", "anna@example.org"],
    );
    assert_eq!(seen.code, 2, "{seen:?}");
    assert!(
        seen.err.starts_with("error: no password was given\n"),
        "{}",
        seen.err
    );
}

#[test]
fn a_token_of_ones_own_is_kept_and_not_revoked() {
    let server = server();
    let desk = Desk::new().with_input("  my-own \n");
    assert_eq!(types(&desk, &server, &["login", "--with-token"]).code, 0);
    assert!(
        desk.settings().contains("token = \"my-own\"\n"),
        "{}",
        desk.settings()
    );
    let seen = types(&desk, &server, &["logout"]);
    let out = format!(
        "Signed out of {}. The token is forgotten here and still valid; see `pilvi tokens` to remove it.\n",
        server.url()
    );
    assert_eq!(seen, Seen::good(&out));
    assert!(!desk.settings().contains("my-own"), "{}", desk.settings());
    assert_eq!(authorizations(&server, "DELETE /v1/authorizations/17"), []);
}

#[test]
fn a_token_that_the_server_does_not_know_is_not_kept() {
    let server = Server::start().on("GET /v1/user", 401, refused("AccessDenied"));
    let desk = Desk::new();
    let seen = types(&desk, &server, &["login", "--token", "hunter2"]);
    assert_eq!(seen.code, 3);
    assert!(!seen.err.contains("hunter2"), "{}", seen.err);
    assert_eq!(desk.settings(), "");
}

#[test]
fn a_token_of_a_cloud_is_good_enough() {
    let server = Server::start().on("GET /v1/user", 403, refused("Forbidden"));
    let desk = Desk::new();
    let seen = types(&desk, &server, &["login", "--token", "x"]);
    let out = format!(
        "Signed in to {} with the token of a cloud or an instance.\n",
        server.url()
    );
    assert_eq!((seen.code, seen.out), (0, out));
}

/// Signed in with a token that was made here.
fn signed_in(server: &Server) -> Desk {
    let desk = Desk::new().with_input("password\n");
    let seen = types(&desk, server, &["login", "--email", "anna@example.org"]);
    assert_eq!(seen.code, 0, "{seen:?}");
    desk
}

fn with_sign_in() -> Server {
    let granted = json!({"id": 17, "access_token": "made-here"});
    server().on("POST /v1/user/sign_in", 201, granted)
}

const PUT_USER: &str = "PUT /v1/user";

#[test]
fn a_profile_is_changed_and_no_password_is_shown() {
    let mut changed = anna();
    changed["awaitedEmail"] = "anna@work.example".into();
    let server = server().on(PUT_USER, 200, changed);
    let desk = Desk::new().with_input("hunter2\nhunter3hunter3\n");
    let words = "profile --name Anna --email anna@work.example --password";
    let said = "You are called Anna now. A mail to anna@work.example says how to confirm that address. \
                The new password holds from now on.\n";
    assert_eq!(desk.types(&server, words), Seen::good(said));
    let expected = json!({"name": "Anna", "email": "anna@work.example", "password": "hunter3hunter3",
                          "currentPassword": "hunter2"});
    assert_eq!(server.only("PUT").1, expected);
}

#[test]
fn whoever_has_no_password_yet_sets_one() {
    let server = server().on(PUT_USER, 200, anna());
    let desk = Desk::new().with_input("\nhunter3hunter3\n");
    let seen = desk.types(&server, "profile --password");
    assert_eq!(seen, Seen::good("The new password holds from now on.\n"));
    assert_eq!(server.only("PUT").1, json!({"password": "hunter3hunter3"}));
    let desk = Desk::new().with_input("hunter2\n");
    let seen = desk.types(&server, "profile --password");
    assert_eq!(seen.code, 2, "{seen:?}");
}

#[test]
fn a_password_that_the_server_repeats_is_not_shown() {
    let said = "hunter2 is not the present password";
    let server = server().on(
        PUT_USER,
        422,
        json!({"error": {"reason": "Invalid", "message": said}}),
    );
    let desk = Desk::new().with_input("hunter2\nhunter3hunter3\n");
    let seen = desk.types(&server, "profile --password");
    assert_eq!(seen.code, 5);
    assert!(!seen.err.contains("hunter"), "{}", seen.err);
}

#[test]
fn logout_revokes_what_login_had_made() {
    let server = with_sign_in();
    let desk = signed_in(&server);
    let seen = desk.types_all(&["pilvi", "logout"]);
    let out = format!("Signed out of {}. The token is revoked.\n", server.url());
    assert_eq!(seen, Seen::good(&out));
    assert_eq!(
        authorizations(&server, "DELETE /v1/authorizations/17"),
        [Some("Bearer made-here".to_owned())]
    );
    assert!(
        !desk.settings().contains("made-here"),
        "{}",
        desk.settings()
    );
    assert!(
        desk.settings().contains("url = "),
        "the server is still known"
    );
    let seen = desk.types_all(&["pilvi", "logout"]);
    assert_eq!(seen.code, 3);
    assert!(
        seen.err.starts_with("error: no token is remembered for"),
        "{}",
        seen.err
    );
}

#[test]
fn a_token_that_could_not_be_revoked_is_kept_unless_that_is_meant() {
    let server = with_sign_in().on(
        "DELETE /v1/authorizations/17",
        500,
        refused("InternalError"),
    );
    let desk = signed_in(&server);
    let seen = desk.types_all(&["pilvi", "logout"]);
    assert_eq!(seen.code, 1);
    assert!(
        seen.err
            .ends_with("try: try again, or forget it here only with --local\n"),
        "{}",
        seen.err
    );
    assert!(desk.settings().contains("made-here"));
    assert_eq!(desk.types_all(&["pilvi", "logout", "--local"]).code, 0);
    assert!(!desk.settings().contains("made-here"));
}

#[test]
fn a_token_that_is_gone_already_is_forgotten() {
    let server = with_sign_in().on("DELETE /v1/authorizations/17", 401, refused("AccessDenied"));
    let desk = signed_in(&server);
    let seen = desk.types_all(&["pilvi", "logout"]);
    let out = format!(
        "Signed out of {}. The token was revoked already.\n",
        server.url()
    );
    assert_eq!(seen, Seen::good(&out));
}

#[test]
fn signing_in_again_revokes_the_old_token() {
    let server = with_sign_in();
    let desk = signed_in(&server);
    let server = server.on(
        "POST /v1/user/sign_in",
        201,
        json!({"id": 18, "access_token": "newer"}),
    );
    assert_eq!(
        types(&desk, &server, &["login", "--email", "anna@example.org"]).code,
        0
    );
    assert_eq!(
        authorizations(&server, "DELETE /v1/authorizations/17"),
        [Some("Bearer made-here".to_owned())]
    );
    assert!(desk.settings().contains("newer"));
}

#[test]
fn a_remembered_token_goes_to_its_own_server_only() {
    let desk = signed_in(&with_sign_in());
    let other = server();
    let seen = types(&desk, &other, &["whoami"]);
    assert_eq!(seen.code, 3, "{seen:?}");
    assert_eq!(other.asked(), []);
    let desk = Desk {
        environment: Environment {
            url: Some(other.url()),
            ..Environment::default()
        },
        ..desk
    };
    assert_eq!(desk.types_all(&["pilvi", "whoami"]).code, 3);
    assert_eq!(other.asked(), []);
}

#[test]
fn the_environment_goes_ahead_and_login_says_so() {
    let server = with_sign_in();
    let desk = Desk {
        environment: Environment {
            url: Some(server.url()),
            token: Some(Secret::new("from-outside")),
            ..Environment::default()
        },
        ..Desk::new().with_input("password\n")
    };
    let seen = desk.types_all(&["pilvi", "login", "--email", "anna@example.org"]);
    assert!(
        seen.err.starts_with("PILVI_TOKEN is set and goes ahead"),
        "{}",
        seen.err
    );
    desk.types_all(&["pilvi", "whoami"]);
    let last = authorizations(&server, "GET /v1/user").pop().flatten();
    assert_eq!(last.as_deref(), Some("Bearer from-outside"));
}

#[test]
fn a_server_without_a_console_says_what_to_do() {
    let server = Server::start();
    let seen = types(&Desk::new(), &server, &["login"]);
    let err = format!(
        "error: {} offers no such way to sign in\ntry: make a token there and give it to `pilvi login --with-token`; \
         see also whether the address ends in /v1\n",
        server.url()
    );
    assert_eq!(seen, Seen::bad(4, &err));
}

#[test]
fn a_context_that_is_not_there_is_refused() {
    let server = with_sign_in();
    let desk = signed_in(&server);
    let seen = desk.types_all(&["pilvi", "whoami", "--context", "wrok"]);
    let err = format!(
        "error: no context is called wrok; there are {}\n\
         try: make it with `pilvi login --context NAME`, or choose another with `pilvi config use NAME`\n",
        server.address()
    );
    assert_eq!(seen, Seen::bad(2, &err));
}
