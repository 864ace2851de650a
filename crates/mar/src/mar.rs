//! The service and what it is built from.

use std::sync::Arc;

use pilvi_base::{Clock, Keyring, TaskGroup};
use pilvi_core::quotas::Limits;
use pilvi_core::{Act, Audit, Directory, Identity, Quotas};
use pilvi_git::Repositories;
use pilvi_model::{AppId, Error, Result, Timestamp};
use pilvi_store::Store;
use pilvi_store::platform::App;
use pilvi_web::Site;

use crate::error::MarManners;
use crate::folders::Folders;
use crate::journal::Journal;
use crate::places::Places;
use crate::releases::Turns;
use crate::settings::Settings;
use crate::slugs::Drafts;
use crate::upload::Rooms;
use crate::{Processes, routes};

/// The service. Cloning gives another handle on the same one.
#[derive(Clone)]
pub struct Mar(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) parts: Parts,
    audit: Audit,
    pub(crate) quotas: Quotas,
    pub(crate) turns: Turns,
    /// Those who follow a log.
    pub(crate) followers: Places,
    /// Those who run a command.
    pub(crate) commands: Places,
    /// Those who upload a slug.
    pub(crate) uploads: Places,
    pub(crate) rooms: Rooms,
}

/// What the service is built from.
pub struct Parts {
    pub store: Store,
    pub identity: Identity,
    /// The one that all services share.
    pub directory: Directory,
    pub keyring: Keyring,
    pub clock: Clock,
    /// Runs what must come to its end although a client hangs up.
    pub tasks: TaskGroup,
    /// What runs the apps: the supervisor.
    pub processes: Arc<dyn Processes>,
    pub journal: Journal,
    pub repositories: Repositories,
    pub folders: Folders,
    pub settings: Settings,
}

impl Mar {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            quotas: Quotas::new(parts.store.clone(), Limits::default()),
            parts,
            audit: Audit::unkept(),
            turns: Turns::default(),
            followers: Places::default(),
            commands: Places::default(),
            uploads: Places::default(),
            rooms: Rooms::default(),
        }))
    }

    /// The quotas that all services share. Until this is called there are those of everybody.
    ///
    /// # Panics
    /// When there is another handle already.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        let inner = Arc::get_mut(&mut self.0).expect("nobody else has a handle yet");
        inner.quotas = quotas;
        self
    }

    /// Writes administrative acts into this log. Until this is called they are lines of the server's log only.
    ///
    /// # Panics
    /// When there is another handle already.
    #[must_use]
    pub fn with_audit(mut self, audit: Audit) -> Self {
        let inner = Arc::get_mut(&mut self.0).expect("nobody else has a handle yet");
        inner.audit = audit;
        self
    }

    /// Writes down an act that is done.
    pub(crate) async fn note(&self, act: Act) {
        self.0.audit.note(act).await;
    }

    /// What the door needs to serve this service.
    pub fn site(&self) -> Site {
        let manners = MarManners {
            slug_bytes: self.parts().settings.limits.slug_bytes,
        };
        Site {
            router: routes::table(self.clone()),
            manners: Arc::new(manners),
        }
    }

    /// Clears away what an earlier run of the server did not finish: releases whose processes never took over, slugs
    /// that were not packed, files that belong to nothing. To be called before anything runs and before the first
    /// request.
    pub async fn clear_unfinished(&self) -> Result<()> {
        let parts = self.parts();
        for (app, number) in parts.store.fail_pending_releases().await? {
            tracing::info!(%app, number, "an unfinished release was given up");
            parts.journal.say(
                &app,
                crate::journal::PLATFORM,
                &format!(
                    "Release v{number} was interrupted by a restart of the server and given up."
                ),
            );
        }
        parts.store.abandon_unfinished_slugs().await?;
        for app in parts.folders.list().map_err(Error::internal)? {
            let cleared = match parts.store.find_app(&app).await? {
                Some(_) => self.tidy_slugs(&app, Drafts::Remove).await,
                None => parts.folders.remove(&app).await,
            };
            if let Err(error) = cleared {
                tracing::error!(
                    %app,
                    error = &error as &dyn std::error::Error,
                    "what an earlier run left of an app could not be cleared away"
                );
            }
        }
        Ok(())
    }

    /// Takes up what an earlier run of the server had promised and not begun: config vars that were changed and that no
    /// release has yet. To be called once the processes of the current releases are on their way.
    pub async fn resume(&self) -> Result<()> {
        for app in self.store().list_apps().await? {
            self.release_vars(&app.id, "the server, after its restart".to_owned());
        }
        Ok(())
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0.parts
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.parts.store
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.parts().clock.now().into()
    }

    pub(crate) async fn app(&self, id: &AppId) -> Result<App> {
        let found = self.store().find_app(id).await?;
        found.ok_or_else(|| Error::not_found("there is no such app"))
    }
}

impl std::fmt::Debug for Mar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mar").finish_non_exhaustive()
    }
}
