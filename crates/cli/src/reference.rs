//! `pilvi reference`: all commands as Markdown, which is kept in `docs/cli.md`.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use crate::connection::HEADING;
use crate::failure::{CODES, Outcome};
use crate::screen::Screen;

const INTRODUCTION: &str = "\
# Command line

*This page is printed by `pilvi reference`; do not edit it.*

`pilvi` is the server and the developer's tool in one. A developer's command talks to a server over its public API.
Which server, and as whom, is said on the command line, in the environment or in the settings that `pilvi login` keeps,
in this order. The token, the cloud and the certificate authority of a context are used for its own server only.

Results go to standard output, everything else to standard error. `--json` prints the server's own answer. Tables fit
the terminal; into a file or a pipe every line goes in full and without colours, which `NO_COLOR` turns off elsewhere.
";

/// A list of so many lines may stand there twice.
const REPEATED_MAX: usize = 10;

pub(crate) fn print(screen: &mut Screen<'_>, mut grammar: Command) -> Outcome {
    // Gives every command its full name and the options that it inherits.
    grammar.build();
    screen.raw(&page(&grammar))?;
    Ok(0)
}

fn page(grammar: &Command) -> String {
    let mut page = INTRODUCTION.to_owned();
    let commands: Vec<&Command> = shown(grammar).collect();
    page.push_str("\n## Commands\n\n");
    for command in &commands {
        let name = command.get_name();
        let _ = writeln!(
            page,
            "- [`pilvi {name}`](#pilvi-{name}): {}",
            about(command)
        );
    }
    page.push_str("\n## Options of every command that talks to a server\n\n");
    if let Some(example) = commands.iter().find(|command| is_client(command)) {
        let options = example.get_arguments().filter(|arg| is_connection(arg));
        page.push_str(&list(options));
    }
    page.push_str("\n## Options of the server's own commands\n\n");
    page.push_str(&list(grammar.get_arguments().filter(|arg| is_told(arg))));
    let _ = write!(
        page,
        "\n## Exit codes\n\n```text\n{}\n```\n",
        CODES.trim_start_matches("Exit codes:\n")
    );
    let mut told = Vec::new();
    for command in commands {
        let name = format!("pilvi {}", command.get_name());
        describe(command, &name, 2, &mut told, &mut page);
    }
    page
}

/// A list that has been told, and where.
type Told = (String, String);

fn describe(command: &Command, name: &str, depth: usize, told: &mut Vec<Told>, page: &mut String) {
    let heading = "#".repeat(depth);
    let _ = write!(page, "\n{heading} {name}\n\n{}.\n", about(command));
    let _ = write!(page, "\n```text\n{}\n```\n", usage(command, name));
    let arguments = list(own_arguments(command, depth));
    let elsewhere = told.iter().find(|(_, list)| *list == arguments);
    if let Some((other, _)) = elsewhere.filter(|_| arguments.lines().count() > REPEATED_MAX) {
        let anchor = other.replace(' ', "-");
        let _ = write!(page, "\nThe options are those of [`{other}`](#{anchor}).\n");
    } else if !arguments.is_empty() {
        let _ = write!(page, "\n{arguments}");
        told.push((name.to_owned(), arguments));
    }
    let more = command.get_after_help().map(ToString::to_string);
    if let Some(more) = more.filter(|more| more != CODES) {
        let _ = write!(page, "\n```text\n{}\n```\n", more.trim_end());
    }
    for below in shown(command) {
        let name = format!("{name} {}", below.get_name());
        // More than six levels Markdown does not know.
        describe(below, &name, (depth + 1).min(6), told, page);
    }
}

/// What is not told elsewhere: what the verbs of a noun share is told at the noun.
fn own_arguments(command: &Command, depth: usize) -> impl Iterator<Item = &Arg> {
    let positional = command.get_positionals();
    let options = command.get_arguments().filter(move |arg| {
        let is_shared = arg.is_global_set();
        !arg.is_positional()
            && (!is_shared || depth == 2 && !is_connection(arg) && !is_servers(arg))
    });
    positional.chain(options).filter(|arg| is_told(arg))
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set() && below.get_name() != "help")
}

fn is_client(command: &Command) -> bool {
    command.get_arguments().any(is_connection)
}

fn is_connection(arg: &Arg) -> bool {
    arg.get_help_heading() == Some(HEADING)
}

/// Inherited from the very top.
fn is_servers(arg: &Arg) -> bool {
    ["config", "data", "log"].contains(&arg.get_id().as_str())
}

fn is_told(arg: &Arg) -> bool {
    let is_help = matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort | ArgAction::Version
    );
    !arg.is_hide_set() && !is_help
}

/// On one line and without the full stop.
fn about(command: &Command) -> String {
    let text = command.get_about().map(ToString::to_string);
    one_line(&text.unwrap_or_default())
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.trim_end_matches('.').to_owned()
}

fn usage(command: &Command, name: &str) -> String {
    let usage = command.clone().bin_name(name).render_usage().to_string();
    usage.trim_start_matches("Usage:").trim().to_owned()
}

fn list<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    let lines = args.map(|arg| format!("- `{}`: {}\n", signature(arg), explanation(arg)));
    lines.collect()
}

/// `-f, --follow`, `--limit <LIMIT>`, `<NAME>`.
fn signature(arg: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(arg.get_short().map(|short| format!("-{short}")));
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    for alias in arg.get_visible_aliases().unwrap_or_default() {
        names.push(format!("--{alias}"));
    }
    let name = names.join(", ");
    if !takes_value(arg) {
        return name;
    }
    let values = arg.get_value_names().unwrap_or_default();
    let values: Vec<String> = values.iter().map(|value| format!("<{value}>")).collect();
    let mut value = values.join(" ");
    if arg.is_positional() && !arg.is_required_set() {
        value = format!("[{}]", value.trim_matches(['<', '>']));
    }
    if arg
        .get_num_args()
        .is_some_and(|count| count.max_values() > 1)
        && values.len() < 2
    {
        value.push_str("...");
    }
    format!("{name} {value}").trim().to_owned()
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn explanation(arg: &Arg) -> String {
    let mut text = one_line(&arg.get_help().map(ToString::to_string).unwrap_or_default());
    let choices = arg.get_possible_values();
    let choices: Vec<&str> = choices
        .iter()
        .filter(|choice| !choice.is_hide_set())
        .map(clap::builder::PossibleValue::get_name)
        .collect();
    if takes_value(arg) && !choices.is_empty() {
        let _ = write!(text, " [one of: {}]", choices.join(", "));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, " [env: {}]", variable.to_string_lossy());
    }
    let defaults = arg.get_default_values().iter();
    let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    if takes_value(arg) && !defaults.is_empty() {
        let _ = write!(text, " [default: {}]", defaults.join(", "));
    }
    text
}
