//! The console in a real browser. What each script does is in `node/page_console*.cjs`.

use std::path::Path;
use std::time::Duration;

use pilvi_e2e::server::{Options, Server, loopback_with_port_443};
use pilvi_e2e::{browser, node};
use serde_json::json;
use tempfile::TempDir;

/// How long a script may take: it starts a browser, and others run beside it.
const DONE_WITHIN: Duration = Duration::from_secs(180);

/// A server on which everybody may sign up, and the folder of its mails.
struct House {
    server: Server,
    mails: String,
    _data: TempDir,
}

impl House {
    fn open(options: Options) -> Self {
        let data = TempDir::new().expect("a temporary folder can be made");
        let mails = data.path().join("mail");
        let options = Options {
            data: Some(data.path().to_owned()),
            more: vec!["--registration".to_owned(), "open".to_owned()],
            ..options
        };
        Self {
            server: Server::start(&options),
            mails: mails
                .to_str()
                .expect("a temporary folder has a plain name")
                .to_owned(),
            _data: data,
        }
    }
}

#[test]
fn somebody_signs_up_signs_in_and_makes_a_token_that_published_clients_use() {
    let Some(browser) = browser::find() else {
        return;
    };
    let mut options = Options::serve();
    let qtc = loopback_with_port_443();
    if let Some(https) = qtc {
        options.https = https;
    }
    let house = House::open(options);
    let server = &house.server;
    let cloud = server.cloud();
    let (http, https) = (
        format!("http://{}", server.http),
        qtc.map(|address| format!("https://{}", address.ip())),
    );
    let mut variables = vec![
        ("ADDRESS", http.as_str()),
        (
            "CHROMIUM",
            browser.to_str().expect("a program has a plain name"),
        ),
        ("MAILS", &house.mails),
        ("NODE_EXTRA_CA_CERTS", server.ca()),
        ("TOKEN", &cloud.token),
        ("ACCOUNT_ID", &cloud.account_id),
    ];
    variables.extend(https.as_deref().map(|address| ("HTTPS_ADDRESS", address)));
    let script = node::start("page_console.cjs", &variables);
    // For the sign-up, the invitation, the new password, and that it was set.
    assert_eq!(script.result(DONE_WITHIN), json!({"mails": 4}));
    let log = server.log();
    for secret in ["pilvi_pat_", "pilvi_ses_", "seven small cranes", "code="] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
    house.server.stop();
}

/// The pictures are left in `target/screenshots`, for people.
#[test]
fn the_pages_fit_every_window_and_can_be_read() {
    let Some(browser) = browser::find() else {
        return;
    };
    let house = House::open(Options::serve());
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
    let script = node::start(
        "page_console_pictures.cjs",
        &[
            ("ADDRESS", &format!("http://{}", house.server.http)),
            (
                "CHROMIUM",
                browser.to_str().expect("a program has a plain name"),
            ),
            (
                "PICTURES",
                pictures.to_str().expect("a target folder has a plain name"),
            ),
            ("TOKEN", &house.server.cloud().token),
        ],
    );
    assert_eq!(script.result(DONE_WITHIN), json!({"pictures": 54}));
    house.server.stop();
}
