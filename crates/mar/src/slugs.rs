//! Slugs: what can be deployed, whether it was pushed or uploaded (`mar.md` §2.6).

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use axum::body::Body;
use pilvi_base::Secret;
use pilvi_core::{Act, Actor, Resource, complete};
use pilvi_model::app::{ProcessTypes, SlugTag};
use pilvi_model::{AccountId, AppId, Error, Provider, RequestId, Result, Timestamp};
use pilvi_store::platform::{
    App, BuiltSlug, NewSlug, Origin, Release, ReleaseState, Slug, SlugState,
};

use crate::caller::Caller;
use crate::folders::{host_uid, remove_tree};
use crate::releases::{ReleasePlan, deploy_reason};
use crate::{Mar, archive, upload};

/// Releases whose files stay unpacked: the one that runs and the one whose processes may still be stopping.
const TREES_KEPT: usize = 2;

/// The right to upload one slug, as it stands in an address. It says nothing about any other slug, and nothing once
/// the slug is there.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub slug: i64,
    /// Milliseconds since 1970.
    pub expires: u64,
    pub signature: Secret,
}

impl Mar {
    /// Announces a slug; its bytes are expected at the address that the ticket is part of.
    pub(crate) async fn announce_slug(
        &self,
        caller: &Caller,
        tag: SlugTag,
        process_types: ProcessTypes,
    ) -> Result<(Slug, Ticket)> {
        self.check_disk(caller.account).await?;
        let new = NewSlug {
            app: caller.app.clone(),
            tag,
            origin: Origin::Upload,
            process_types,
            stack: None,
            created_at: self.now(),
        };
        let slug = self.store().reserve_slug(new).await?;
        self.note(
            caller
                .act("app.slug.create")
                .with("tag", slug.tag.to_string()),
        )
        .await;
        let within = self.parts().settings.limits.upload_within;
        let expires = self.now().plus(within).as_millis();
        let ticket = Ticket {
            slug: slug.id,
            expires,
            signature: self.signature(&caller.app, slug.id, expires),
        };
        Ok((slug, ticket))
    }

    /// Refuses what would take more of the disk, when the account's apps have as much as they may.
    pub(crate) async fn check_disk(&self, account: AccountId) -> Result<()> {
        let quotas = &self.0.quotas;
        quotas.check_measured(account, Resource::AppDiskBytes).await
    }

    /// Takes the bytes of an announced slug from whoever has the ticket, which does not say who that is.
    pub(crate) async fn receive_slug(
        &self,
        app: &AppId,
        ticket: &Ticket,
        body: Body,
        from: (RequestId, IpAddr),
    ) -> Result<()> {
        let is_known = self.signature(app, ticket.slug, ticket.expires) == ticket.signature;
        let is_current = self.now() < Timestamp::from_millis(ticket.expires);
        let instance = self
            .parts()
            .directory
            .find(Provider::Mar, app.as_str())
            .await?;
        let instance = instance.filter(|_| is_known && is_current).ok_or_else(|| {
            Error::forbidden(
                "this address for an upload is not valid, or no longer; announce the slug again",
            )
        })?;
        self.check_disk(instance.account).await?;
        // One at a time for each app, so that none keeps the others out.
        let place = self.0.uploads.enter(app, 1).ok_or_else(|| {
            Error::over_limit(
                "another slug of this app is being uploaded; try again once that has ended",
            )
        })?;
        let slug = self.awaited(app, ticket.slug).await?;
        let limits = self.parts().settings.limits;
        let room = self.0.rooms.enter(instance.account).await?;
        let draft =
            upload::receive(&self.parts().folders.slugs(app), body, limits.slug_bytes).await?;
        let mar = self.clone();
        complete(&self.parts().tasks, "take a slug", async move {
            let _place = place;
            let act = Act::new(Actor::Nobody, "app.slug.upload", &slug.app)
                .in_account(instance.account)
                .asked_by(&from.0, Some(from.1))
                .with("tag", slug.tag.to_string());
            mar.accept(slug, draft, room).await?;
            mar.note(act).await;
            Ok(())
        })
        .await
    }

    async fn awaited(&self, app: &AppId, id: i64) -> Result<Slug> {
        let found = self.store().find_slug(id).await?;
        match found.filter(|slug| slug.app == *app) {
            Some(slug) if slug.state == SlugState::Awaiting => Ok(slug),
            Some(_) => Err(Error::conflict("this slug has been uploaded already")),
            None => Err(removed()),
        }
    }

    /// First the file is whole under its name, then the slug is there. What is there stays as it is.
    pub(crate) async fn accept(
        &self,
        slug: Slug,
        draft: upload::Draft,
        room: upload::Room,
    ) -> Result<()> {
        let bounds = archive::Bounds::from(&self.parts().settings.limits);
        let (draft, contents) = upload::on_a_thread(move || {
            let contents = archive::check(draft.path(), bounds)?;
            Ok((draft, contents))
        })
        .await?;
        let process_types = match slug.process_types.is_empty() {
            false => None,
            true => contents
                .procfile
                .as_deref()
                .map(ProcessTypes::from_procfile)
                .transpose()?,
        };
        // A deploy may take its time, and others need not wait for it.
        drop(room);
        let _turn = self.turn(&slug.app).await;
        let slug = self.awaited(&slug.app, slug.id).await?;
        let tarball = self.parts().folders.tarball(&slug.app, slug.id);
        let kept_as = tarball.clone();
        let bytes = upload::on_a_thread(move || draft.keep_as(&kept_as)).await?;
        let built = BuiltSlug {
            bytes,
            process_types,
            ..BuiltSlug::default()
        };
        if self.store().finish_slug(slug.id, built).await?.is_none() {
            remove_tree(tarball).await?;
            return Err(removed());
        }
        Ok(())
    }

    /// Runs a slug. `None`: it takes longer than a request may, and goes on by itself.
    pub(crate) async fn deploy_slug(
        &self,
        caller: &Caller,
        tag: &SlugTag,
    ) -> Result<Option<Release>> {
        let found = self.store().find_slug_by_tag(&caller.app, tag).await?;
        let slug = found.ok_or_else(no_such_slug)?;
        let act = caller.act("app.deploy").with("tag", slug.tag.to_string());
        let reason = deploy_reason(&slug.tag);
        self.run(caller, slug, reason, act).await
    }

    /// Runs the slug of an earlier release, with today's config vars.
    pub(crate) async fn roll_back(&self, caller: &Caller, number: u32) -> Result<Option<Release>> {
        let found = self.store().find_release(&caller.app, number).await?;
        let release = found.ok_or_else(|| Error::not_found("there is no such release"))?;
        if release.state == ReleaseState::Current {
            return Err(Error::conflict("this release runs already"));
        }
        let slug = match release.slug {
            Some(slug) => self.store().find_slug(slug).await?,
            None => None,
        };
        let slug = slug.ok_or_else(|| {
            Error::conflict("the slug of this release was removed; push its commit again")
        })?;
        let act = caller.act("app.rollback").with("release", number);
        self.run(caller, slug, format!("Roll back to v{number}"), act)
            .await
    }

    /// Begins a release; that is the act.
    async fn run(
        &self,
        caller: &Caller,
        slug: Slug,
        reason: String,
        act: Act,
    ) -> Result<Option<Release>> {
        let refuse = |message: &str| Err(Error::invalid("tag", message));
        if slug.state == SlugState::Awaiting {
            return refuse("names a slug whose bytes have not arrived; upload it again");
        }
        if slug.process_types.is_empty() {
            return refuse("names a slug without process types; upload it with a Procfile");
        }
        let plan = ReleasePlan {
            slug: slug.id,
            reason,
            author: caller.author(self).await?,
        };
        self.note(act).await;
        let (mar, app) = (self.clone(), caller.app.clone());
        let deploy = complete(&self.parts().tasks, "deploy a slug", async move {
            mar.release(&app, plan, &()).await
        });
        match tokio::time::timeout(self.parts().settings.limits.deploy_wait, deploy).await {
            Ok(outcome) => outcome.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Removes a slug that does not run.
    pub(crate) async fn remove_slug(&self, caller: &Caller, tag: &SlugTag) -> Result<()> {
        let slug = self.store().delete_slug(&caller.app, tag).await?;
        self.note(caller.act("app.slug.remove").with("tag", tag.to_string()))
            .await;
        let folders = &self.parts().folders;
        remove_tree(folders.tarball(&slug.app, slug.id)).await?;
        remove_tree(folders.tree(&slug.app, slug.id)).await
    }

    /// The files of a slug, unpacked from its tarball when they are not there.
    pub(crate) async fn unpacked(&self, app: &App, slug: i64) -> Result<PathBuf> {
        let folders = &self.parts().folders;
        let (tarball, tree) = (folders.tarball(&app.id, slug), folders.tree(&app.id, slug));
        let bounds = archive::Bounds::from(&self.parts().settings.limits);
        let uid = host_uid(app);
        upload::on_a_thread(move || {
            if !tree.is_dir() {
                archive::unpack(&tarball, &tree, uid, bounds)?;
            }
            Ok(tree)
        })
        .await
    }

    /// Removes builds beyond those that are kept, and the files of slugs that are gone or that no process needs. To be
    /// called by whoever has the app's turn.
    pub(crate) async fn tidy_slugs(&self, app: &AppId, drafts: Drafts) -> Result<()> {
        let (store, parts) = (self.store(), self.parts());
        store
            .prune_slugs(app, parts.settings.limits.slugs_kept)
            .await?;
        let known: HashSet<i64> = store.list_slug_ids(app).await?.into_iter().collect();
        let releases = store.list_releases(app, 50).await?;
        let pending = releases
            .iter()
            .filter(|release| release.state == ReleaseState::Pending);
        let served = releases
            .iter()
            .filter(|release| matches!(release.state, ReleaseState::Current | ReleaseState::Old));
        // What was built and waits to be released is newer than everything that was.
        let newest = releases.iter().filter_map(|release| release.slug).max();
        let unpacked: HashSet<i64> = pending
            .chain(served.take(TREES_KEPT))
            .filter_map(|release| release.slug)
            .collect();
        for (path, file) in list(&parts.folders.slugs(app)).await? {
            let is_needed = match file {
                File::Tarball(slug) => known.contains(&slug),
                File::Tree(slug) => {
                    unpacked.contains(&slug) || (known.contains(&slug) && Some(slug) > newest)
                }
                File::Other => drafts == Drafts::Keep,
            };
            if !is_needed {
                remove_tree(path).await?;
            }
        }
        Ok(())
    }

    fn signature(&self, app: &AppId, slug: i64, expires: u64) -> Secret {
        let purpose = format!("mar upload {app} {slug} {expires}");
        self.parts().keyring.derive_token(&purpose)
    }
}

fn removed() -> Error {
    Error::not_found("the slug was removed before its bytes came")
}

fn no_such_slug() -> Error {
    Error::not_found("there is no such slug; list those that there are with `mar slug:list`")
}

/// What becomes of files that have no slug's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drafts {
    /// Somebody may be writing them.
    Keep,
    /// Nobody does: the server has just started.
    Remove,
}

/// What lies in the folder of slugs.
enum File {
    Tarball(i64),
    Tree(i64),
    Other,
}

async fn list(folder: &Path) -> Result<Vec<(PathBuf, File)>> {
    let folder = folder.to_owned();
    upload::on_a_thread(move || {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::internal)?,
        };
        let files = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let file = match (name.strip_suffix(".tgz"), name.parse()) {
                (Some(slug), _) => slug.parse().map_or(File::Other, File::Tarball),
                (None, Ok(slug)) => File::Tree(slug),
                (None, Err(_)) => File::Other,
            };
            Some((path, file))
        });
        Ok(files.collect())
    })
    .await
}
