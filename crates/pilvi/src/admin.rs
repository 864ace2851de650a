//! `pilvi admin`: what is done to a data folder that no server uses.

use std::io::{BufRead, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, bail};
use pilvi_base::secret::Exchange;
use pilvi_base::{Clock, Secret, TaskGroup};
use pilvi_core::mail::Post;
use pilvi_core::passwords::Cost;
use pilvi_core::{Audit, Directory, Identity, Mailer, Passwords};
use pilvi_platform::{Platform, TokenDraft};
use pilvi_store::Store;
use pilvi_store::platform::Person;

use crate::arguments::AdminCommand;
use crate::keys;

/// Longer than every password that is taken.
const PASSWORD_BYTES_MAX: u64 = 4096;

pub(crate) async fn run(command: &AdminCommand, data: &Path) -> anyhow::Result<()> {
    let house = House::open(data).await?;
    match command {
        AdminCommand::CreatePerson {
            email,
            name,
            operator,
        } => {
            let name = name.as_deref().unwrap_or(email);
            let person = house
                .platform
                .create_person(email.clone(), name.to_owned())
                .await?;
            if *operator {
                house.store.set_operator(person, true).await?;
            }
            println!("Added {email}.");
            println!("Give them a way in: pilvi admin create-token {email}");
        }
        AdminCommand::CreateToken { email, name } => {
            let person = house.person(email).await?;
            let draft = TokenDraft {
                name: Some(name.clone()),
                ..TokenDraft::default()
            };
            let token = house.platform.create_person_token(person.id, draft).await?;
            println!("{}", token.secret.expose());
        }
        AdminCommand::MakeOperator { email, undo } => {
            let person = house.person(email).await?;
            house.store.set_operator(person.id, !undo).await?;
            match undo {
                false => println!("{email} looks after this server now."),
                true => println!("{email} no longer looks after this server."),
            }
        }
        AdminCommand::SetPassword { email } => {
            let person = house.person(email).await?;
            let password = read_password(email)?;
            house.platform.set_password(person.id, &password).await?;
            println!("{email} can sign in with the new password; all their sessions have ended.");
        }
        AdminCommand::RotateKey { tokens } => house.rotate_key(data, *tokens).await?,
    }
    Ok(())
}

/// What the commands need of a server.
struct House {
    store: Store,
    platform: Platform,
}

impl House {
    async fn open(data: &Path) -> anyhow::Result<Self> {
        if !data.join("pilvi.db").exists() {
            bail!(
                "there is no server's data in `{}`; start one with `pilvi serve`, or say where with --data",
                data.display()
            );
        }
        let store = Store::open(data, pilvi_store::Limits::default()).await?;
        let keyring = keys::open(data)?;
        let (clock, tasks) = (Clock::system(), TaskGroup::new());
        let mailer = Mailer::new(
            Post::Folder(data.join("mail")),
            "Pilvi <pilvi@localhost>",
            clock.clone(),
            tasks.clone(),
        )?;
        let platform = Platform::new(pilvi_platform::Parts {
            identity: Identity::new(store.clone()).with_clock(clock.clone()),
            directory: Directory::new(store.clone(), tasks.clone()),
            passwords: Passwords::new(Cost::default())?,
            audit: Audit::new(store.clone(), clock.clone(), tasks.clone()),
            settings: pilvi_platform::Settings::default(),
            provisioners: Vec::new(),
            store: store.clone(),
            keyring,
            clock,
            tasks,
            mailer,
        });
        Ok(Self { store, platform })
    }

    async fn person(&self, email: &str) -> anyhow::Result<Person> {
        let found = self.store.find_person_by_email(email.to_owned()).await?;
        found.with_context(|| {
            format!("there is no person with the address {email}; add one with `pilvi admin create-person`")
        })
    }

    async fn rotate_key(&self, data: &Path, tokens: bool) -> anyhow::Result<()> {
        let exchange = match tokens {
            false => Exchange::Seals,
            true => Exchange::SealsAndTokens,
        };
        let done = keys::exchange(&self.store, data, exchange).await.context(
            "the keys were not exchanged; nothing is lost, and the same command goes on where this one stopped",
        )?;
        println!(
            "The keys are exchanged. Backups that were made before open with the old ones only."
        );
        if tokens {
            println!(
                "{} account tokens and security tokens changed; whoever uses one has to read it again.",
                done.tokens
            );
        }
        if done.unopened > 0 {
            println!(
                "{} sealed values opened with none of the keys, and are as they were: config vars, certificates or \
                 webhooks that have to be set again.",
                done.unopened
            );
        }
        Ok(())
    }
}

/// Reads a password: hidden from a terminal, or as the first line of standard input.
fn read_password(email: &str) -> anyhow::Result<Secret> {
    if std::io::stdin().is_terminal() {
        let read = |prompt: String| rpassword::prompt_password(prompt).map(Secret::new);
        let first = read(format!("New password of {email}: "))?;
        let again = read("The same again: ".to_owned())?;
        if first != again {
            bail!("the two are not the same; nothing was changed");
        }
        return Ok(first);
    }
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .take(PASSWORD_BYTES_MAX)
        .read_line(&mut line)
        .context("could not read the password from standard input")?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}
