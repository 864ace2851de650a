//! What can be said to `pilvi admin`.

use clap::Subcommand;

/// What an operator can do on the server's machine. No server may use the data folder meanwhile.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Add a person, who then needs a token or a password
    CreatePerson {
        /// Their e-mail address
        email: String,
        /// What they are called
        #[arg(long)]
        name: Option<String>,
        /// Let them look after the whole server
        #[arg(long)]
        operator: bool,
    },
    /// Make a personal access token for somebody, such as an operator who lost theirs, and print it
    CreateToken {
        /// The e-mail address of the person; operator@localhost is whom the first start makes
        email: String,
        /// What the token is called
        #[arg(long, default_value = "pilvi admin")]
        name: String,
    },
    /// Let somebody look after the whole server, or no longer
    MakeOperator {
        /// The e-mail address of the person
        email: String,
        /// Take it away
        #[arg(long)]
        undo: bool,
    },
    /// Give somebody a password, which is asked for, or read from standard input
    SetPassword {
        /// The e-mail address of the person
        email: String,
    },
    /// Exchange the keys with which secrets are sealed; it can be interrupted and is then finished by the next try
    RotateKey {
        /// Exchange those of tokens, too: every account token and security token changes
        #[arg(long)]
        tokens: bool,
    },
}
