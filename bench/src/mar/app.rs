//! An app on a running server, as its developer and its visitors see it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::project::{self, Project};
use crate::http::client::Client;
use crate::http::request::Request;
use crate::peers::pilvi::{self, Pilvi};
use crate::server::Server;
use crate::world::World;

/// How long an app may take to answer, of which compiling is no part.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// An app with its token. It outlives the server that it was made on.
#[derive(Clone)]
pub(super) struct App {
    id: String,
    token: String,
    pub(super) address: SocketAddr,
}

/// How long a push took.
pub(super) struct Pushed {
    /// From the start of `git push` to its end.
    pub(super) push: Duration,
    /// From the start of `git push` to the first answer of what was pushed.
    pub(super) answered: Duration,
}

impl App {
    pub(super) fn create(pilvi: &Pilvi, name: &str) -> Result<Self> {
        let instance = pilvi.create("mar", name)?;
        Ok(Self {
            id: instance.id,
            token: instance.token,
            address: pilvi.server.address,
        })
    }

    /// The name that visitors ask for.
    pub(super) fn host(&self) -> String {
        format!("{}.localhost", self.id)
    }

    /// Pushes what is committed and asks the app until what was pushed answers.
    pub(super) fn push(&self, project: &Project) -> Result<Pushed> {
        let start = Instant::now();
        let remote = format!("http://any:{}@{}/git/{}", self.token, self.address, self.id);
        let output = project
            .git()
            .args(["push", &remote, "HEAD:refs/heads/master"])
            .stdin(Stdio::null())
            .output()
            .context("git could not be started")?;
        let push = start.elapsed();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("git push of {} failed:\n{said}", project.name());
        }
        self.wait_for(&project.greeting())?;
        Ok(Pushed {
            push,
            answered: start.elapsed(),
        })
    }

    /// Asks until the app's page holds these words.
    pub(super) fn wait_for(&self, words: &str) -> Result<()> {
        let start = Instant::now();
        let mut last = String::new();
        while start.elapsed() < ANSWERS_WITHIN {
            match self.page() {
                Ok((200, page)) if page.contains(words) => return Ok(()),
                Ok((status, page)) => last = format!("{status}: {page}"),
                Err(error) => last = format!("{error:#}"),
            }
            std::thread::sleep(LOOK_EVERY);
        }
        bail!("{} does not answer with {words:?}, but {last}", self.id)
    }

    /// Status and text of the app's page, on a connection of its own.
    fn page(&self) -> Result<(u16, String)> {
        let request = Request::get_at(&self.host(), "/");
        let answer = Client::connect(self.address)?.send(request)?;
        Ok((
            answer.status,
            String::from_utf8_lossy(&answer.body).into_owned(),
        ))
    }

    /// Has so many web processes run.
    pub(super) fn scale(&self, count: u32) -> Result<()> {
        let path = format!("/v1/apps/{}/scale", self.id);
        let request =
            Request::post(&path).header("Authorization", &format!("Bearer {}", self.token));
        Client::connect(self.address)?
            .ask(request.json(&json!({"web": count})))
            .map(drop)
    }
}

/// Apps on a server that can be started again on the same data.
pub(super) fn again(world: &World, apps: &mut [App]) -> Result<(Server, Instant)> {
    let folder = world.folder().join("pilvi");
    let start = Instant::now();
    let server = pilvi::serve(world, &folder)?;
    for app in apps {
        app.address = server.address;
    }
    Ok((server, start))
}

/// A copy of an example in a repository of its own.
pub(super) fn project(world: &World, kind: project::Kind) -> Result<Project> {
    let folder = world.empty_folder(&format!("project-{}", kind.name()))?;
    Project::copy(kind, &folder)
}
