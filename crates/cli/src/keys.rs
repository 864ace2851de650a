//! `pilvi keys`: the SSH keys of the person whose token it is.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, results, text};
use crate::table::{Table, elastic, whole};
use crate::url::segment;

/// What OpenSSH calls the keys it makes, the best first.
const USUAL_FILES: [&str; 3] = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"];
/// Far more than any public key has.
const KEY_BYTES_MAX: u64 = 64 << 10;

#[derive(Args, Clone, Debug)]
pub struct Keys {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List your keys (this is what no verb does, too)
    List,
    /// Add a public key
    Add {
        /// The file with the public key [default: the first of id_ed25519.pub, id_ecdsa.pub, id_rsa.pub in ~/.ssh]
        file: Option<PathBuf>,
        /// Call it this [default: the key's own comment, or the name of its file]
        #[arg(long)]
        name: Option<String>,
    },
    /// Remove a key
    Remove {
        /// Its name or its id
        key: String,
    },
}

impl Keys {
    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        match &self.verb {
            None | Some(Verb::List) => list(session).await,
            Some(Verb::Add { file, name }) => add(session, file.as_deref(), name.as_deref()).await,
            Some(Verb::Remove { key }) => remove(session, key).await,
        }
    }
}

async fn list(session: &mut Session<'_, '_>) -> Outcome {
    let answer = session
        .client
        .get(&session.platform, "user/ssh_keys")
        .await?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    let keys = results(&answer);
    if keys.is_empty() {
        session
            .screen
            .note("There are no keys yet. Add yours with: pilvi keys add")?;
        return Ok(0);
    }
    let mut table = Table::new(&[whole("ID"), elastic("NAME"), elastic("FINGERPRINT")]);
    for key in keys {
        table.row([text(key, "id"), text(key, "name"), text(key, "fingerprint")]);
    }
    session.screen.table(&table)?;
    Ok(0)
}

async fn add(session: &mut Session<'_, '_>, file: Option<&Path>, name: Option<&str>) -> Outcome {
    let file = match file {
        Some(file) => session.place.folder.join(file),
        None => usual_file(session.place.home.as_deref())?,
    };
    let key = read_public_key(&file)?;
    let name = name.map_or_else(|| name_of(&key, &file), str::to_owned);
    let body = json!({"name": name, "key": key});
    let answer = session
        .client
        .post(&session.platform, "user/ssh_keys", &body)
        .await
        .map_err(|failure| {
            let next = "see `pilvi keys` for the keys that are there, or add another with `pilvi keys add FILE`";
            failure.on(Code::Refused, next)
        })?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    let fingerprint = text(&answer, "fingerprint");
    let known = if fingerprint.is_empty() {
        String::new()
    } else {
        format!(" ({fingerprint})")
    };
    session.screen.line(&format!(
        "Added the key {name}{known}. You can push with it now."
    ))?;
    Ok(0)
}

async fn remove(session: &mut Session<'_, '_>, key: &str) -> Outcome {
    let answer = session
        .client
        .get(&session.platform, "user/ssh_keys")
        .await?;
    let found: Vec<&Value> = results(&answer)
        .iter()
        .filter(|known| text(known, "id") == key || text(known, "name") == key)
        .collect();
    let next = "see `pilvi keys` for the keys that there are";
    let known = match found.as_slice() {
        [known] => known,
        [] => {
            let what = format!("you have no key with the name or id {key}");
            return Err(Failure::new(Code::NotFound, what, next));
        }
        _ => {
            let what = format!("several of your keys are called {key}");
            return Err(Failure::usage(
                what,
                "name it by its id, which `pilvi keys` shows",
            ));
        }
    };
    let resource = format!("user/ssh_keys/{}", segment(&text(known, "id")));
    let answer = session.client.delete(&session.platform, &resource).await?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    let name = text(known, "name");
    session.screen.line(&format!(
        "Removed the key {name}. Nobody can push with it any more."
    ))?;
    Ok(0)
}

fn usual_file(home: Option<&Path>) -> Result<PathBuf> {
    let folder = home.map(|home| home.join(".ssh"));
    let files = folder
        .iter()
        .flat_map(|folder| USUAL_FILES.map(|name| folder.join(name)));
    files
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(|| {
            Failure::usage(
                "there is no public key in the usual places below ~/.ssh",
                "make a pair with `ssh-keygen -t ed25519`, or name the file of your public key",
            )
        })
}

/// Reads a public key, and takes care that no private one leaves this machine.
fn read_public_key(file: &Path) -> Result<String> {
    let shown = file.display();
    let next = "name the file of the public key, which usually ends in .pub";
    let size = fs::metadata(file).map(|facts| facts.len());
    let text = match size {
        Ok(size) if size > KEY_BYTES_MAX => {
            return Err(Failure::usage(
                format!("{shown} is too large for a public key"),
                next,
            ));
        }
        _ => fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("{shown} cannot be read: {error}"), next))?,
    };
    if text.contains("PRIVATE KEY") {
        let what = format!(
            "{shown} holds a private key, which must not leave this machine; nothing was sent"
        );
        return Err(Failure::usage(what, next));
    }
    if text.trim().is_empty() {
        return Err(Failure::usage(format!("{shown} is empty"), next));
    }
    Ok(text)
}

/// The key's comment, or else the file's name.
fn name_of(key: &str, file: &Path) -> String {
    let comment = key.trim().splitn(3, ' ').nth(2).map(str::trim);
    let comment = comment.filter(|comment| !comment.is_empty());
    let stem = || {
        file.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    comment
        .map(str::to_owned)
        .or_else(stem)
        .unwrap_or_else(|| "key".into())
}
