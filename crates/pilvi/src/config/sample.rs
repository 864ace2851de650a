//! `pilvi config default`: a file to begin with. Every setting is in it, explained and commented out.

use anyhow::bail;
use clap::{Args, CommandFactory};

use super::settings::{Setting, Settings};
use crate::arguments::Arguments;

/// How wide a comment may be.
const WIDTH: usize = 100;

/// What can be said to `pilvi config default`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sample {
    /// Set this key in what is printed; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub set: Vec<(String, String)>,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("is not KEY=VALUE, such as data=/srv/pilvi")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// The text of the file.
pub(crate) fn sample(wish: &Sample) -> anyhow::Result<String> {
    let settings = Settings::of(&Arguments::command());
    for (key, _) in &wish.set {
        if settings.find(key).is_none() {
            bail!("`{key}` is not a setting; `pilvi config default` lists them all");
        }
    }
    let mut text = String::from(INTRODUCTION);
    let mut heading = "";
    for setting in &settings.all {
        if setting.heading != heading {
            heading = &setting.heading;
            text.push_str(&format!("\n\n# ---- {heading} ----\n"));
        }
        text.push('\n');
        text.push_str(&explained(setting));
        let set: Vec<_> = wish
            .set
            .iter()
            .filter(|(key, _)| *key == setting.key)
            .collect();
        match &set[..] {
            [] => text.push_str(&format!("#{} = {}\n", setting.key, example(setting))),
            chosen => {
                let values: Vec<_> = chosen.iter().map(|(_, value)| value.clone()).collect();
                text.push_str(&format!(
                    "{} = {}\n",
                    setting.key,
                    written(setting, &values)
                ));
            }
        }
    }
    Ok(text)
}

const INTRODUCTION: &str = "\
# The settings of a Pilvi server.
#
# Each is an option of `pilvi serve` too, under the same name. A variable of the environment wins over
# this file, and the command line over both. What is commented out shows the default, or what would
# stand there. Instead of `apps-domain = …` you may write `domain = …` below a line `[apps]`.
#
# Check what you wrote with `pilvi config check`; the server reads it when it starts.
";

fn explained(setting: &Setting) -> String {
    let mut lines = wrapped(&sentence(&setting.help));
    if !setting.choices.is_empty() {
        lines.push(format!("One of: {}", setting.choices.join(", ")));
    }
    if let Some(variable) = &setting.variable {
        lines.push(format!("Variable: {variable}"));
    }
    lines.iter().map(|line| format!("# {line}\n")).collect()
}

/// Help has no full stop; a comment of its own has.
fn sentence(help: &str) -> String {
    let one_line = help.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.ends_with(['.', ']', ':']) {
        true => one_line,
        false => one_line + ".",
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The default where there is one, and otherwise what could be there.
fn example(setting: &Setting) -> String {
    if !setting.default.is_empty() {
        return written(setting, &setting.default);
    }
    let stands_for = quoted(&setting.stands_for);
    match setting.is_many {
        true => format!("[{stands_for}]"),
        false => stands_for,
    }
}

/// Values as TOML has them.
fn written(setting: &Setting, values: &[String]) -> String {
    if setting.is_many {
        let words: Vec<_> = values.iter().map(|value| quoted(value)).collect();
        return format!("[{}]", words.join(", "));
    }
    let value = values.first().map(String::as_str).unwrap_or_default();
    match setting.is_switch || value.parse::<u64>().is_ok() {
        true => value.to_owned(),
        false => quoted(value),
    }
}

fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}
