//! `pilvi completions`.

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

use crate::failure::Outcome;
use crate::screen::Screen;

const RECIPES: &str = "\
Load them once, such as:
  bash  pilvi completions bash > ~/.local/share/bash-completion/completions/pilvi
  zsh   pilvi completions zsh > ~/.zfunc/_pilvi    (with ~/.zfunc in fpath)
  fish  pilvi completions fish > ~/.config/fish/completions/pilvi.fish";

#[derive(Args, Clone, Debug)]
#[command(after_help = RECIPES)]
pub struct Completions {
    /// The shell that completes
    shell: Kind,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(crate) fn print(&self, screen: &mut Screen<'_>, mut grammar: Command) -> Outcome {
        let shell = match self.shell {
            Kind::Bash => Shell::Bash,
            Kind::Zsh => Shell::Zsh,
            Kind::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut grammar, "pilvi", &mut script);
        screen.raw(&String::from_utf8_lossy(&script))?;
        Ok(0)
    }
}
