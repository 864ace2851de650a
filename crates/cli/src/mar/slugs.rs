//! `pilvi mar slugs`: what was built, and what was built elsewhere and brought here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http_body_util::BodyExt;
use serde_json::json;

use super::releases::deployed;
use super::target::{App, Target};
use crate::failure::{Code, Failure, Outcome, Result};
use crate::file_body::FileBody;
use crate::progress::Progress;
use crate::session::{Session, results, text};
use crate::table::{Table, elastic, whole};
use crate::url::{Base, segment};

#[derive(Args, Clone, Debug)]
pub(super) struct Slugs {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Bring a slug that was built elsewhere: an app folder as a gzipped tar
    Upload {
        /// The slug
        #[arg(long, value_name = "FILE")]
        slug: PathBuf,
        /// Its Procfile
        #[arg(long, value_name = "FILE")]
        procfile: PathBuf,
        /// What it will be called, such as v1.2
        #[arg(long)]
        tag: String,
    },
    /// Run a slug
    Deploy { tag: String },
    /// Remove a slug that does not run
    Remove { tag: String },
}

impl Slugs {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        target: &Target,
    ) -> Outcome {
        let app = target.find(session).await?;
        match &self.verb {
            None => list(session, &app).await,
            Some(Verb::Upload {
                slug,
                procfile,
                tag,
            }) => upload(session, &app, slug, procfile, tag).await,
            Some(Verb::Deploy { tag }) => deploy(session, &app, tag).await,
            Some(Verb::Remove { tag }) => remove(session, &app, tag).await,
        }
    }
}

async fn list(session: &mut Session<'_, '_>, app: &App) -> Outcome {
    let answer = app.get(session, "slugs").await?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    let slugs = results(&answer);
    if slugs.is_empty() {
        session
            .screen
            .note("There are no slugs yet. The first push makes one.")?;
        return Ok(0);
    }
    let mut table = Table::new(&[whole("TAG"), elastic("CREATED"), elastic("DEPLOYED")]);
    for slug in slugs {
        table.row([
            text(slug, "tag"),
            text(slug, "createdAt"),
            text(slug, "deployedAt"),
        ]);
    }
    session.screen.table(&table)?;
    Ok(0)
}

async fn upload(
    session: &mut Session<'_, '_>,
    app: &App,
    slug: &Path,
    procfile: &Path,
    tag: &str,
) -> Outcome {
    let folder = session.place.folder.clone();
    let process_types = read_procfile(&folder.join(procfile))?;
    let (file, length) = open_slug(&folder.join(slug))?;
    let body = json!({"tag": tag, "process_types": process_types});
    let answer = app.post(session, "slugs", &body).await.map_err(|failure| {
        failure.on(
            Code::Refused,
            "see `pilvi mar slugs` for the tags that are taken",
        )
    })?;
    let address = answer["blob"]["url"].as_str().unwrap_or_default();
    let (base, target) = blob(address)?;
    let progress = Progress::of_bytes(session.screen, "Uploading", Some(length));
    let body = FileBody { file, progress };
    session
        .client
        .upload(&base, target, length, body.boxed_unsync())
        .await
        // The address carries its own permission, so it is not shown.
        .map_err(|failure| failure.on(Code::NotFound, "call the command again with another tag"))?;
    if session.screen.wants_json() {
        session.screen.json(&json!({ "tag": tag }))?;
    } else {
        let line = format!("Uploaded {tag}. Run it with: pilvi mar slugs deploy {tag}");
        session.screen.line(&line)?;
    }
    Ok(0)
}

async fn deploy(session: &mut Session<'_, '_>, app: &App, tag: &str) -> Outcome {
    let resource = format!("slugs/{}/deploy", segment(tag));
    let waiting = Progress::of_waiting(session.screen, "Deploying");
    let answer = app
        .post(session, &resource, &json!({}))
        .await
        .map_err(|failure| {
            let next = "see `pilvi mar slugs` for those that there are, and `pilvi mar logs` for how it went";
            failure.on(Code::NotFound, next).on(Code::Refused, next)
        });
    drop(waiting);
    let answer = answer?;
    session.done(&answer, &deployed(tag, &answer))
}

async fn remove(session: &mut Session<'_, '_>, app: &App, tag: &str) -> Outcome {
    let resource = format!("slugs/{}", segment(tag));
    let answer = app.delete(session, &resource).await.map_err(|failure| {
        let next = "see `pilvi mar slugs` for those that there are; the one that runs stays";
        failure.on(Code::NotFound, next).on(Code::Refused, next)
    })?;
    session.done(&answer, &format!("Removed {tag}."))
}

/// A YAML map of process types to commands, which `name: command` lines usually are.
fn read_procfile(file: &Path) -> Result<BTreeMap<String, String>> {
    let next = "name a file with lines such as `web: ./server`";
    let fail =
        |why: String| Failure::usage(format!("{} is of no use: {why}", file.display()), next);
    let text = fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
    let types = serde_saphyr::from_str(&text)
        .ok()
        .or_else(|| lines_of(&text))
        .filter(|types: &BTreeMap<String, String>| !types.is_empty());
    types.ok_or_else(|| fail("it names no process types".into()))
}

/// Commands may hold what YAML takes for its own, such as `web: node a: b`.
fn lines_of(text: &str) -> Option<BTreeMap<String, String>> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let types = lines.map(|line| {
        let (name, command) = line.split_once(':')?;
        Some((name.trim().to_owned(), command.trim().to_owned()))
    });
    types.collect()
}

fn open_slug(file: &Path) -> Result<(File, u64)> {
    let opened = File::open(file).and_then(|opened| Ok((opened.metadata()?.len(), opened)));
    let (length, opened) = opened.map_err(|error| {
        let what = format!("{} cannot be read: {error}", file.display());
        Failure::usage(what, "make a slug with: tar czf slug.tgz -C APP_FOLDER .")
    })?;
    Ok((opened, length))
}

/// Where to send the bytes: the server, and the path with its query.
fn blob(address: &str) -> Result<(Base, &str)> {
    let fail = || {
        let what = "the server names no place to send the slug to";
        Failure::failed(what, "tell the server's operator")
    };
    let after_scheme = address.find("://").map(|at| at + 3).ok_or_else(fail)?;
    let path = address[after_scheme..].find('/').ok_or_else(fail)? + after_scheme;
    let base = Base::parse(&address[..path]).map_err(|_| fail())?;
    Ok((base, &address[path..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_procfile_is_read_as_yaml_or_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Procfile");
        for (text, web) in [
            ("web: node server.js\nworker: x\n", "node server.js"),
            ("web: \"node server.js\"\n", "node server.js"),
            ("# mine\nweb: sh -c 'a: b'\n", "sh -c 'a: b'"),
            ("web: [ -f x ] && ./y\n", "[ -f x ] && ./y"),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(read_procfile(&file).unwrap()["web"], web);
        }
        fs::write(&file, "\n# nothing\n").unwrap();
        assert_eq!(read_procfile(&file).unwrap_err().code, Code::Usage);
    }

    #[test]
    fn the_place_for_a_slug_is_taken_as_it_is() {
        let (base, target) = blob("http://127.0.0.1:8080/blobs/a%20b?signature=x&y=1").unwrap();
        assert_eq!(base.to_string(), "http://127.0.0.1:8080");
        assert_eq!(target, "/blobs/a%20b?signature=x&y=1");
        for address in ["", "/blobs/x", "ftp://host/x", "http://host"] {
            assert!(blob(address).is_err(), "{address}");
        }
    }
}
