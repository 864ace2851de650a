//! Whole files, judged as a person would read the verdict.

use std::fs;
use std::path::PathBuf;

use clap::CommandFactory;
use tempfile::TempDir;

use super::*;
use crate::arguments::Command;

/// A folder with a settings file in it.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn with(text: &str) -> Self {
        let desk = Self {
            folder: TempDir::new().unwrap(),
        };
        fs::write(desk.path(), text).unwrap();
        desk
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("pilvi.toml")
    }

    fn load(&self) -> Result<File, Faults> {
        load(&self.path(), &Settings::of(&Arguments::command()))
    }

    /// All faults, a line each, without the path.
    #[track_caller]
    fn faults(&self) -> Vec<String> {
        let faults = self.load().expect_err("the file has a fault").faults;
        faults.iter().map(ToString::to_string).collect()
    }

    fn parse(&self, words: &[&str]) -> Arguments {
        let path = self.path();
        let named = ["pilvi", "--config", path.to_str().unwrap()];
        let words = named.iter().chain(words).map(OsString::from);
        parse(&words.collect::<Vec<_>>(), &Places(Vec::new())).unwrap()
    }
}

fn serve(arguments: Arguments) -> crate::arguments::ServeOptions {
    match arguments.command {
        Command::Serve(options) => options,
        _ => panic!("not serve"),
    }
}

#[test]
fn a_file_stands_in_for_options_that_are_left_out() {
    let desk = Desk::with(
        r#"
data = "/srv/pilvi"
https = "0.0.0.0:443"
own-name = ["Cloud.example.com", "two.example.com"]
smtp-url = "smtps://anna:hunter2@mail.example.org"

[apps]
domain = "apps.example.net"
boot-timeout = 30
"#,
    );
    let arguments = desk.parse(&["serve"]);
    assert_eq!(
        arguments.data_folder().unwrap(),
        PathBuf::from("/srv/pilvi")
    );
    assert!(!format!("{arguments:?}").contains("hunter2"));
    let options = serve(arguments);
    assert_eq!(options.https.to_string(), "0.0.0.0:443");
    assert_eq!(options.http.to_string(), "127.0.0.1:8080");
    assert_eq!(options.apps.apps_domain, "apps.example.net");
    assert_eq!(options.apps.apps_boot_timeout, 30);
    assert_eq!(
        options.apps.own_names,
        ["cloud.example.com", "two.example.com"]
    );

    let words = [
        "serve",
        "--data",
        "/other",
        "--own-name",
        "three.example.com",
        "--apps-boot-timeout",
        "7",
    ];
    let arguments = desk.parse(&words);
    assert_eq!(arguments.data_folder().unwrap(), PathBuf::from("/other"));
    let options = serve(arguments);
    assert_eq!(
        options.apps.own_names,
        ["three.example.com"],
        "the command line wins as a whole"
    );
    assert_eq!(options.apps.apps_boot_timeout, 7);
}

#[test]
fn all_faults_are_told_at_once_with_their_lines() {
    let desk = Desk::with(
        r#"apps-domian = "apps.example.net"
http = "everywhere"
http-port = 80
apps-boot-timeout = 0
ssh = ["127.0.0.1:22", "[::1]:22"]
registration = "sometimes"

[apps]
idle_timeout = 5
network = { range = "10.0.0.0/8" }
boot-timeout = 9

[[mail]]
from = "x"
"#,
    );
    assert_eq!(
        desk.faults(),
        [
            "line 1: `apps-domian` is not a setting; did you mean `apps-domain`?",
            "line 2: `http` cannot be \"everywhere\": invalid socket address syntax",
            "line 3: `http-port` is not a setting; did you mean `http`?",
            "line 4: `apps-boot-timeout` cannot be \"0\": 0 is not in 1..=3600",
            "line 5: `ssh` takes one value, not a list",
            "line 6: `registration` cannot be \"sometimes\": it must be one of closed, invited, open",
            "line 9: `apps-idle_timeout` is not a setting; did you mean `apps-idle-timeout`?",
            "line 10: `apps-network-range` is not a setting; did you mean `apps-network`?",
            "line 11: `apps-boot-timeout` is set on line 4 already",
            "line 13: `mail` cannot be a list of tables; write [mail] with single brackets",
        ]
    );
}

#[test]
fn a_file_that_is_no_settings_file_is_refused_whatever_it_is() {
    for (text, said) in [
        ("http = ", "line 1: this is not TOML: "),
        ("a = 1\nsmtp-url = \"hunter2", "line 2: this is not TOML: "),
        (
            "when = 2026-11-23",
            "line 1: `when` is text, a number, true or false, or a list of those",
        ),
        (
            "own-name = [[\"a\"]]",
            "line 1: `own-name` is text, a number, true or false, or a list of those",
        ),
        (
            "quite = \"unknown\"",
            "line 1: `quite` is not a setting; `pilvi config default` lists them all",
        ),
        ("config = \"/x\"", "line 1: `config` is not a setting"),
        ("json = true", "line 1: `json` is not a setting"),
    ] {
        let faults = Desk::with(text).faults();
        assert!(faults[0].starts_with(said), "{text}: {faults:?}");
        assert!(!faults[0].contains("hunter2"), "{faults:?}");
    }
    let desk = Desk::with("");
    fs::write(desk.path(), [0xFF, 0xFE]).unwrap();
    assert_eq!(desk.faults(), ["this file is not text in UTF-8"]);
    fs::write(desk.path(), "#".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(desk.faults(), ["this file is larger than 1 MiB"]);
    fs::remove_file(desk.path()).unwrap();
    assert_eq!(
        desk.faults(),
        ["there is no such file; `pilvi config default` prints one to begin with"]
    );
    fs::create_dir(desk.path()).unwrap();
    assert_eq!(desk.faults(), ["this is not a file"]);
}

#[test]
fn the_sample_holds_every_setting_and_changes_none() {
    let text = sample(&Sample { set: Vec::new() }).unwrap();
    let settings = Settings::of(&Arguments::command());
    assert!(settings.all.len() > 15, "{settings:?}");
    assert!(Desk::with(&text).load().unwrap().entries.is_empty());
    // With all comments taken away it says what is so anyway.
    let mut uncommented = String::new();
    for setting in &settings.all {
        let start = format!("#{} = ", setting.key);
        let line = text.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("{} is not in the sample", setting.key));
        if !setting.default.is_empty() {
            uncommented.push_str(&line[1..]);
            uncommented.push('\n');
        }
    }
    let desk = Desk::with(&uncommented);
    let with_file = format!("{:?}", serve(desk.parse(&["serve"])));
    let (without, _) = defaults();
    assert_eq!(with_file, format!("{without:?}"));
    let long = text.lines().find(|line| line.chars().count() > 120);
    assert_eq!(long, None);
}

#[test]
fn what_is_set_in_a_sample_is_set() {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let set = vec![
        pair("data", "/srv/a \"b\""),
        pair("own-name", "a.example"),
        pair("own-name", "b.example"),
        pair("apps-boot-timeout", "9"),
    ];
    let desk = Desk::with(&sample(&Sample { set }).unwrap());
    let arguments = desk.parse(&["serve"]);
    assert_eq!(
        arguments.data_folder().unwrap(),
        PathBuf::from("/srv/a \"b\"")
    );
    let options = serve(arguments);
    assert_eq!(options.apps.own_names, ["a.example", "b.example"]);
    assert_eq!(options.apps.apps_boot_timeout, 9);
    let unknown = Sample {
        set: vec![pair("colour", "red")],
    };
    assert!(sample(&unknown).is_err());
}

#[test]
fn every_setting_has_a_variable_and_an_explanation() {
    for setting in Settings::of(&Arguments::command()).all {
        let variable = setting.variable.unwrap_or_default();
        assert!(
            variable.starts_with("PILVI_"),
            "--{} has no variable",
            setting.key
        );
        assert!(
            setting.help.len() > 10,
            "--{} is not explained",
            setting.key
        );
    }
}

#[test]
fn the_machine_has_one_file_and_the_user_another() {
    let folder = TempDir::new().unwrap();
    let places = Places::usual(Some(folder.path().to_owned()), None);
    assert_eq!(places.0[0], PathBuf::from(SYSTEM_FILE));
    let own = folder.path().join("pilvi/pilvi.toml");
    assert_eq!(places.0[1], own);
    let mine = Places(places.0[1..].to_vec());
    assert_eq!(mine.find(), None);
    fs::create_dir(own.parent().unwrap()).unwrap();
    fs::write(&own, "apps-boot-timeout = 11").unwrap();
    assert_eq!(mine.find(), Some(own));
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let found = parse(&words(&["pilvi", "serve"]), &mine).unwrap();
    assert_eq!(serve(found).apps.apps_boot_timeout, 11);
    // A demo has nothing to do with a server's settings.
    let Command::Demo(options) = parse(&words(&["pilvi", "demo"]), &mine).unwrap().command else {
        panic!("not demo")
    };
    assert_eq!(options.apps.apps_boot_timeout, 60);
}

/// What is said about settings, each line with its weight and its setting.
fn judged(line: &[&str]) -> Vec<String> {
    let data: &[&str] = match line.contains(&"--data") {
        true => &[],
        false => &["--data", "/srv/pilvi"],
    };
    let words = ["pilvi", "serve"].iter().chain(data).chain(line);
    let words: Vec<_> = words.map(OsString::from).collect();
    let arguments = parse(&words, &Places(Vec::new())).unwrap();
    let data = arguments.data_folder().unwrap();
    let findings = judge(&serve(arguments), &data);
    let lines = findings
        .iter()
        .map(|finding| format!("{:?} {}", finding.weight, finding.setting));
    lines.collect()
}

#[test]
fn what_must_not_come_together_is_found() {
    let none: &[&str] = &[];
    let own = "--own-name=cloud.example.com";
    for (line, said) in [
        (&[][..], none),
        (&["--http", "127.0.0.1:8443"], &["Fault https"]),
        (
            &["--datacenter", "eu-1=A,us-1,eu-1=B"],
            &["Fault datacenter"],
        ),
        (
            &[
                "--http",
                "0.0.0.0:2222",
                own,
                "--apps-domain",
                "apps.example.net",
            ],
            &["Fault ssh"],
        ),
        (&["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"], none),
        (&["--http", "127.0.0.2:8443"], none),
        (
            &["--https", "0.0.0.0:443"],
            &["Warning apps-domain", "Warning own-name"],
        ),
        (&[own, "--apps-domain", "example.com"], &["Fault own-name"]),
        (
            &[own, "--apps-domain", "cloud.example.com"],
            &["Fault own-name"],
        ),
        (
            &[own, "--apps-domain", "apps.example.com"],
            &["Fault apps-domain"],
        ),
        (
            &[own, "--apps-domain", "apps.cloud.example.com"],
            &["Fault apps-domain"],
        ),
        (&[own, "--apps-domain", "example.net"], none),
        (&[own, "--apps-domain", "notcloud.example.org"], none),
        // Two registrants below one public suffix.
        (&["--own-name=a.co.uk", "--apps-domain", "b.co.uk"], none),
        (
            &["--own-name=x.a.co.uk", "--apps-domain", "y.a.co.uk"],
            &["Fault apps-domain"],
        ),
        (&["--apps-domain", "not a domain"], &["Fault apps-domain"]),
        (&["--require-layer", "all,memory-limit"], none),
        (&["--require-layer", "memory"], &["Fault require-layer"]),
        (&["--smtp-url", "gopher://x"], &["Fault smtp-url"]),
        (&["--mail-from", "nobody"], &["Fault mail-from"]),
        (&["--data", "here"], &["Warning data"]),
    ] {
        assert_eq!(judged(line), said, "{line:?}");
    }
}
