//! Options of mail.

use std::path::Path;

use clap::Args;
use pilvi_base::Secret;
use pilvi_core::mail::Post;

use super::values::parse_secret;

/// How mails to the users of apps are sent.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Mail")]
pub(crate) struct MailOptions {
    /// Send mails through this server, such as smtps://user:password@host; without it they go to files below
    /// `mail` in the data folder. Prefer the environment: others can read a command line
    #[arg(
        long,
        value_name = "URL",
        env = "PILVI_SMTP_URL",
        hide_env_values = true,
        value_parser = parse_secret
    )]
    pub smtp_url: Option<Secret>,
    /// Send mails from this address
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "PILVI_MAIL_FROM",
        default_value = "Pilvi <pilvi@localhost>"
    )]
    pub mail_from: String,
}

impl MailOptions {
    /// Where mails go, given the data folder.
    pub(crate) fn post(&self, data: &Path) -> Post {
        match &self.smtp_url {
            Some(url) => Post::Smtp(url.clone()),
            None => Post::Folder(data.join("mail")),
        }
    }
}
