//! `pilvi mar ssl`: the certificate for the app's own host names.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use pilvi_base::Secret;
use serde_json::json;

use super::target::{App, Target};
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, text};

#[derive(Args, Clone, Debug)]
pub(super) struct Ssl {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Use a certificate of your own; it replaces an earlier one
    Add {
        /// The private key, as PEM
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The certificate, as PEM
        #[arg(long, value_name = "FILE")]
        cert: PathBuf,
        /// The certificates between it and its authority, as PEM
        #[arg(long, value_name = "FILE")]
        chain: Option<PathBuf>,
    },
    /// Use the server's own certificate again
    Remove,
}

impl Ssl {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        target: &Target,
    ) -> Outcome {
        let app = target.find(session).await?;
        match &self.verb {
            None => show(session, &app).await,
            Some(Verb::Add { key, cert, chain }) => {
                add(session, &app, key, cert, chain.as_deref()).await
            }
            Some(Verb::Remove) => remove(session, &app).await,
        }
    }
}

async fn show(session: &mut Session<'_, '_>, app: &App) -> Outcome {
    let facts = app.get(session, "").await?;
    let certificate = &facts["sslCertificate"];
    if session.screen.wants_json() {
        session.screen.json(certificate)?;
    } else if certificate.is_null() {
        let note = "The app has no certificate of its own. Add one with: pilvi mar ssl add --key FILE --cert FILE";
        session.screen.note(note)?;
    } else {
        let line = format!(
            "An uploaded certificate, valid until {}",
            text(certificate, "expiresAt")
        );
        session.screen.line(&line)?;
    }
    Ok(0)
}

async fn add(
    session: &mut Session<'_, '_>,
    app: &App,
    key: &Path,
    cert: &Path,
    chain: Option<&Path>,
) -> Outcome {
    let folder = session.place.folder.clone();
    let key = read(&folder.join(key))?;
    session.client.hide(Secret::new(key.trim()));
    let mut body = json!({
        "name": app.id,
        "privateKey": key,
        "certificateBody": read(&folder.join(cert))?,
    });
    if let Some(chain) = chain {
        body["certificateChain"] = read(&folder.join(chain))?.into();
    }
    let answer = app
        .post(session, "ssl_certificate", &body)
        .await
        .map_err(|failure| {
            let next = "see whether the files are PEM, belong to each other, and have not expired";
            failure.on(Code::Refused, next)
        })?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
    } else {
        let line = "The app shows this certificate from now on.";
        session.screen.line(line)?;
    }
    Ok(0)
}

async fn remove(session: &mut Session<'_, '_>, app: &App) -> Outcome {
    let answer = app.delete(session, "ssl_certificate").await?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
    } else {
        let line = "The app shows the server's own certificate again.";
        session.screen.line(line)?;
    }
    Ok(0)
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).map_err(|error| {
        Failure::usage(
            format!("{} cannot be read: {error}", file.display()),
            "name files in PEM form, which begin with -----BEGIN",
        )
    })
}
