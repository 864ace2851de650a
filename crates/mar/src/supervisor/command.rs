//! What is run, and with which environment: plain data from plain data.

use std::collections::BTreeMap;

use super::recipe::Recipe;

/// What every process has unless its release or its owner says otherwise.
///
/// The certificates are those that the stack trusts and that of Pilvi's own doors; Node and OpenSSL look for them
/// there.
const BASE: [(&str, &str); 4] = [
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("LANG", "C.UTF-8"),
    ("NODE_EXTRA_CA_CERTS", EXTRA),
    ("SSL_CERT_FILE", TRUST),
];

/// Where sandboxes are shown what to trust.
const TRUST: &str = "/etc/pilvi/trust.pem";

/// The part of it that Node does not have itself: it reads the file at every start, and all of it takes 40 ms.
const EXTRA: &str = "/etc/pilvi/extra.pem";

/// The files of `.profile.d` in the order of their names, then the command in place of this shell, so that signals
/// reach it directly (`mar.md` §5). The command is an argument and never a part of the script.
const START: &str = r#"for file in /app/.profile.d/*; do if [ -f "$file" ]; then . "$file"; fi; done
unset file
exec bash -c "$0""#;

/// The argument list of a process with a command of the Procfile.
pub(super) fn of_process(command: &str) -> Vec<String> {
    ["bash", "-c", START, command].map(str::to_owned).to_vec()
}

/// The environment of a process: what every process has, then what the release says, then what differs between
/// processes or depends on how they are run.
pub(super) fn environment(recipe: &Recipe, process: &str, port: u16) -> Vec<(String, String)> {
    let port = port.to_string();
    let mut env: BTreeMap<&str, &str> = BASE.into_iter().collect();
    env.extend(
        recipe
            .vars
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    // `DYNO` is where programs of the era look for the name of their process.
    env.extend([
        ("PORT", port.as_str()),
        ("HOME", "/app"),
        ("MAR_PROCESS", process),
        ("DYNO", process),
    ]);
    env.into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::recipe::tests::recipe;

    #[test]
    fn a_release_may_change_defaults_and_nothing_of_pilvi() {
        let mut recipe = recipe();
        let vars = [
            ("PATH", "/app/bin"),
            ("STACK", "cedar-14"),
            ("PORT", "1"),
            ("HOME", "/"),
            ("A", "b"),
        ];
        recipe.vars = vars
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let expected = [
            ("A", "b"),
            ("DYNO", "web.1"),
            ("HOME", "/app"),
            ("LANG", "C.UTF-8"),
            ("MAR_PROCESS", "web.1"),
            ("NODE_EXTRA_CA_CERTS", EXTRA),
            ("PATH", "/app/bin"),
            ("PORT", "5000"),
            ("SSL_CERT_FILE", TRUST),
            ("STACK", "cedar-14"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(environment(&recipe, "web.1", 5000), expected);
    }

    #[test]
    fn the_command_is_data_for_the_script() {
        let argv = of_process("echo \"$(id)\" '; rm -rf /' `x`");
        assert_eq!(argv[..2], ["bash", "-c"]);
        assert_eq!(argv[3], "echo \"$(id)\" '; rm -rf /' `x`");
        assert!(!argv[2].contains("echo"));
    }
}
