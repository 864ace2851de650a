//! The settings, and what every command makes of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Desk, Seen};
use crate::connection::Environment;

fn types(desk: &Desk, words: &str) -> Seen {
    let words: Vec<&str> = words.split_whitespace().collect();
    desk.types_all(&[&["pilvi", "config"], &*words].concat())
}

fn write(desk: &Desk, text: &str) {
    let folder = desk.path().join(".config/pilvi");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("config.toml");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

const TWO: &str = "\
current = \"work\"

[contexts.work]
url = \"https://api.example.org/v1\"
token = \"hunter2\"
token-id = 17
account = \"a1\"

[contexts.home]
url = \"http://127.0.0.1:8080/v1\"
";

#[test]
fn contexts_are_listed_without_their_tokens() {
    let desk = Desk::new();
    let seen = types(&desk, "list");
    assert_eq!(
        seen.err,
        "No server is remembered yet. Sign in to one with: pilvi login --url URL\n"
    );
    write(&desk, TWO);
    assert_eq!(
        types(&desk, "list"),
        Seen::good(
            "CONTEXT  CURRENT  SIGNED IN  URL                         CLOUD  CA\n\
             work     yes      yes        https://api.example.org/v1  a1\n\
             home                         http://127.0.0.1:8080/v1\n"
        )
    );
    let json = types(&desk, "list --json").out;
    assert!(!json.contains("hunter2"), "{json}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["results"][0]["token"], true);
}

#[test]
fn a_setting_is_read_and_changed() {
    let desk = Desk::new();
    write(&desk, TWO);
    assert_eq!(
        types(&desk, "get url"),
        Seen::good("https://api.example.org/v1\n")
    );
    assert_eq!(types(&desk, "get token"), Seen::good("hunter2\n"));
    assert_eq!(
        types(&desk, "--context home get url"),
        Seen::good("http://127.0.0.1:8080/v1\n")
    );
    assert_eq!(
        types(&desk, "--context home set account a2"),
        Seen::good("The account of the context home is a2 now.\n")
    );
    assert_eq!(
        types(&desk, "--context home get account"),
        Seen::good("a2\n")
    );
    assert_eq!(
        types(&desk, "unset account"),
        Seen::good("The context work has no account now.\n")
    );
    let err = "error: the context work has no account\ntry: set it with `pilvi config set account VALUE`\n";
    assert_eq!(types(&desk, "get account"), Seen::bad(4, err));
}

#[test]
fn another_server_gets_no_token_of_the_old_one() {
    let desk = Desk::new();
    write(&desk, TWO);
    let seen = types(&desk, "set url https://api.example.org/v1");
    assert_eq!(
        seen.out,
        "The url of the context work is https://api.example.org/v1 now.\n"
    );
    assert!(desk.settings().contains("hunter2"));
    let seen = types(&desk, "set url https://evil.example/v1");
    assert!(
        seen.out
            .ends_with("The token and the cloud of the old server are forgotten.\n"),
        "{}",
        seen.out
    );
    assert!(!desk.settings().contains("hunter2"), "{}", desk.settings());
}

#[test]
fn what_cannot_be_meant_is_refused_and_changes_nothing() {
    let desk = Desk::new();
    write(&desk, TWO);
    for (words, code) in [
        ("set token x", 2),
        ("set url nonsense", 2),
        ("set ca /no/such/file", 2),
        ("--context a\"b set url http://h/v1", 2),
        ("unset url", 2),
        ("use nowhere", 4),
        ("remove nowhere", 4),
        ("--context nowhere get url", 4),
    ] {
        let seen = types(&desk, words);
        assert_eq!((seen.code, &*seen.out), (code, ""), "{words}: {}", seen.err);
        assert_eq!(seen.err.lines().count(), 2, "{words}: {}", seen.err);
    }
    assert_eq!(desk.settings(), TWO);
}

#[test]
fn a_context_is_chosen_and_forgotten() {
    let desk = Desk::new();
    write(&desk, TWO);
    assert_eq!(
        types(&desk, "use home"),
        Seen::good("From now on home (http://127.0.0.1:8080/v1) is meant.\n")
    );
    assert!(desk.settings().starts_with("current = \"home\"\n"));
    assert_eq!(
        types(&desk, "remove home"),
        Seen::good("Forgot the context home.\n")
    );
    let seen = types(&desk, "get url");
    let err = "error: no context is chosen\ntry: sign in with `pilvi login`, or name one with --context\n";
    assert_eq!(seen, Seen::bad(4, err));
}

#[test]
fn the_first_setting_makes_a_context() {
    let desk = Desk::new();
    types(&desk, "set url http://127.0.0.1:9999/v1");
    let text = "current = \"default\"\n\n[contexts.default]\nurl = \"http://127.0.0.1:9999/v1\"\n";
    assert_eq!(desk.settings(), text);
}

#[test]
fn the_file_is_found_even_if_it_is_broken() {
    let desk = Desk::new();
    write(&desk, "[contexts.work]\ntoken = hunter2\n");
    let file = desk.path().join(".config/pilvi/config.toml");
    assert_eq!(
        types(&desk, "path"),
        Seen::good(&format!("{}\n", file.display()))
    );
    for words in [&["pilvi", "config", "list"][..], &["pilvi", "mar", "list"]] {
        let seen = desk.types_all(words);
        assert_eq!(seen.code, 2);
        assert!(seen.err.contains("line 2: "), "{}", seen.err);
        assert!(!seen.err.contains("hunter2"), "{}", seen.err);
    }
}

#[test]
fn another_folder_for_settings_is_taken_where_it_is_absolute() {
    let desk = |settings: &Path| Desk {
        environment: Environment {
            settings: Some(settings.into()),
            ..Environment::default()
        },
        ..Desk::new()
    };
    let seen = types(&desk(Path::new("/etc/xdg")), "path");
    assert_eq!(seen.out, "/etc/xdg/pilvi/config.toml\n");
    let desk = desk(Path::new("relative"));
    let seen = types(&desk, "path");
    assert!(
        seen.out.starts_with(desk.path().to_str().unwrap()),
        "{}",
        seen.out
    );
}

#[test]
fn a_file_that_others_may_read_is_warned_of() {
    let desk = Desk::new();
    write(&desk, TWO);
    let file = desk.path().join(".config/pilvi/config.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let seen = desk.types_all(&["pilvi", "logout", "--local"]);
    let warning = format!(
        "warning: others on this machine can read the tokens in {0}; close it with: chmod 600 {0}\n",
        file.display()
    );
    assert_eq!(seen.err, warning);
}
