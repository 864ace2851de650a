//! What a push does: build, slug, release, run (`mar.md` §4).

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use pilvi_core::{Act, Actor};
use pilvi_git::{Deployer, Output, Push, Pusher, Rejected};
use pilvi_model::app::{ProcessTypes, SlugTag, StackName};
use pilvi_model::{AppId, Error, Kind, Result};
use pilvi_runtime::Stacks;
use pilvi_store::platform::{App, BuiltSlug, NewSlug, Origin, Slug};

use crate::folders::{Folders, host_uid};
use crate::pipeline::{BuildOrder, Built, Failed, Pipeline, Voice, remove_tree};
use crate::releases::{ReleasePlan, deploy_reason};
use crate::{Mar, Progress, env_vars};

/// Builds and runs what is pushed. Cloning gives another handle.
#[derive(Clone)]
pub struct Deploys {
    mar: Mar,
    pipeline: Pipeline,
    stacks: Stacks,
}

/// Why a push is rejected.
enum Refused {
    Build(Failed),
    /// The new processes cannot serve. What to say about it, the supervisor has said.
    Release(Error),
    /// With what was being done, for the log of the server.
    Other(&'static str, Error),
}

impl Deployer for Deploys {
    fn push(&self, push: Push, output: Output) -> BoxFuture<'_, std::result::Result<(), Rejected>> {
        Box::pin(async move {
            let mut voice = Voice::new(output, self.pipeline.shown_max());
            let app = push.app.clone();
            match self.deploy(push, &mut voice).await {
                Ok(()) => Ok(()),
                Err(refused) => {
                    self.explain(&app, refused, &mut voice).await;
                    // All is said, in the look of the log.
                    Err(Rejected(String::new()))
                }
            }
        })
    }
}

fn actor(pusher: &Pusher) -> Actor {
    match pusher {
        Pusher::Person { id, .. } => Actor::Person(*id),
        Pusher::Account { id, person } => Actor::Account {
            id: *id,
            person: *person,
        },
        Pusher::Instance(id) => Actor::Instance(id.clone()),
    }
}

impl Deploys {
    pub fn new(mar: Mar, pipeline: Pipeline, stacks: Stacks) -> Self {
        Self {
            mar,
            pipeline,
            stacks,
        }
    }

    async fn deploy(&self, push: Push, voice: &mut Voice) -> std::result::Result<(), Refused> {
        let id: AppId = push.app.parse().map_err(because("look for the app"))?;
        let app = self
            .mar
            .app(&id)
            .await
            .map_err(because("look for the app"))?;
        let room = self.mar.check_disk(app.account).await;
        room.map_err(because("look for room"))?;
        let stack = self.stack_of(&app).map_err(because("look for the stack"))?;
        let prepare = || because("prepare the build");
        let order = self.order(&app, &push, &stack).await.map_err(prepare())?;
        let repositories = &self.mar.parts().repositories;
        let source = repositories
            .archive(&push.app, &push.deploy.commit, &push.quarantine)
            .map_err(prepare())?;
        let built = self
            .pipeline
            .build(order, Box::new(source), voice)
            .await
            .map_err(Refused::Build)?;
        if push.abandoned.is_cancelled() {
            return Err(Refused::Build(Failed::abandoned()));
        }
        // From here on it takes its course: a release that is under way cannot be taken back half-way.
        let slug = self
            .keep(&app, &push.deploy.commit, stack, built)
            .await
            .map_err(because("store the slug"))?;
        voice.title("Deploying app").await;
        let dots = Dots::default();
        let plan = ReleasePlan {
            slug: slug.id,
            reason: deploy_reason(&slug.tag),
            author: push.pusher.to_string(),
        };
        self.mar
            .release(&app.id, plan, &dots)
            .await
            .map_err(Refused::Release)?;
        let act = Act::new(actor(&push.pusher), "app.push", &app.id)
            .in_account(app.account)
            .from_peer(push.peer)
            .with("tag", slug.tag.to_string());
        self.mar.note(act).await;
        voice
            .line(&format!("Uploading app container {} done.", dots.drawn()))
            .await;
        let url = self.mar.parts().settings.addresses.url(&app.id);
        voice.line(&format!("{} deployed to {url}", app.id)).await;
        Ok(())
    }

    /// The stack that this release and its processes keep, whatever an old name stands for later.
    fn stack_of(&self, app: &App) -> Result<StackName> {
        self.stacks.resolve(app.stack.as_str()).parse()
    }

    async fn order(&self, app: &App, push: &Push, stack: &StackName) -> Result<BuildOrder> {
        let parts = self.mar.parts();
        let vars = env_vars::config_vars(&parts.store, &parts.keyring, &app.id).await?;
        let root = self
            .stacks
            .root(stack.as_str())
            .map_err(|error| Error::unavailable(error.to_string()))?;
        let draft = pilvi_base::secret::random_hex::<8>();
        Ok(BuildOrder {
            app: app.id.clone(),
            uid: host_uid(app),
            stack_name: app.stack.clone(),
            stack: root,
            commit: Some(push.deploy.commit.clone()),
            vars,
            cache: parts.folders.cache(&app.id),
            scratch: builds(&parts.folders, &app.id).join(draft),
            abandoned: push.abandoned.clone(),
        })
    }

    /// First the files are in their place, then the slug is there.
    async fn keep(&self, app: &App, commit: &str, stack: StackName, built: Built) -> Result<Slug> {
        let parts = self.mar.parts();
        let new = NewSlug {
            app: app.id.clone(),
            tag: commit.parse::<SlugTag>()?,
            origin: Origin::Git,
            process_types: ProcessTypes::default(),
            stack: Some(stack),
            created_at: self.mar.now(),
        };
        let slug = parts.store.reserve_slug(new).await?;
        let facts = BuiltSlug {
            bytes: built.tarball_bytes,
            process_types: Some(built.process_types.clone()),
            default_vars: built.default_vars.clone(),
        };
        let tree = parts.folders.tree(&app.id, slug.id);
        let tarball = parts.folders.tarball(&app.id, slug.id);
        let kept = match built.move_to(&tree, &tarball).await {
            Ok(()) => parts.store.finish_slug(slug.id, facts).await,
            Err(error) => Err(Error::internal(error)),
        };
        match kept {
            Ok(Some(slug)) => Ok(slug),
            failed => {
                parts.store.abandon_slug(slug.id).await?;
                remove_all(vec![tree, tarball]).await;
                failed?;
                Err(Error::conflict("the app was removed while it was built"))
            }
        }
    }

    /// Tells the pusher why nothing was deployed, and the log of the server where the fault is the server's.
    async fn explain(&self, app: &str, refused: Refused, voice: &mut Voice) {
        if let Some((act, error)) = refused.fault() {
            tracing::error!(
                app,
                act,
                error,
                "a push was rejected by a fault of the server"
            );
        }
        voice.show_tail().await;
        voice.remark(&refused.to_string()).await;
        // Of a release that cannot serve, the supervisor has said this too.
        if !matches!(refused, Refused::Release(_))
            && let Some(number) = self.current_release(app).await
        {
            voice
                .remark(&format!(
                    "Nothing was deployed. Release v{number} goes on running."
                ))
                .await;
        }
    }

    async fn current_release(&self, app: &str) -> Option<u32> {
        let found = self
            .mar
            .store()
            .find_current_release(&app.parse().ok()?)
            .await;
        Some(found.ok()??.number)
    }
}

impl Refused {
    /// What was being done and what went wrong with it, when the operator should hear of it.
    fn fault(&self) -> Option<(&'static str, &(dyn std::error::Error + 'static))> {
        match self {
            Self::Build(failed) => failed.is_ours().then_some(("build", failed as _)),
            Self::Release(error) => {
                (error.kind == Kind::Internal).then_some(("release", error as _))
            }
            Self::Other(act, error) => (error.kind == Kind::Internal).then_some((*act, error as _)),
        }
    }
}

/// In words for the pusher.
impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Build(failed) => failed.fmt(f),
            Self::Release(error) => f.write_str(&error.message),
            Self::Other(act, error) => {
                write!(
                    f,
                    "Pilvi could not {act}: {}.",
                    error.message.trim_end_matches('.')
                )
            }
        }
    }
}

impl std::fmt::Debug for Deploys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deploys").finish_non_exhaustive()
    }
}

/// Removes what builds of an earlier run of the server left behind. To be called before the first push.
pub fn clear_interrupted_builds(folders: &Folders) -> std::io::Result<()> {
    for app in folders.list()? {
        let Ok(drafts) = std::fs::read_dir(builds(folders, &app)) else {
            continue;
        };
        for draft in drafts {
            tracing::info!(%app, "an interrupted build was cleared away");
            remove_tree(&draft?.path())?;
        }
    }
    Ok(())
}

/// Removes the unpacked slugs if the machine was started anew since they were made: after a loss of power some of their
/// files may be empty. Their tarballs are whole, and are unpacked again when they are needed. `boot` is what tells one
/// start of the machine from another, and `mark` is the file that remembers it.
pub fn clear_trees_of_another_boot(
    folders: &Folders,
    boot: &str,
    mark: &Path,
) -> std::io::Result<()> {
    if std::fs::read_to_string(mark).is_ok_and(|known| known == boot) {
        return Ok(());
    }
    for app in folders.list()? {
        let Ok(entries) = std::fs::read_dir(folders.slugs(&app)) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                remove_tree(&entry.path())?;
            }
        }
    }
    // Without the mark the next start unpacks once more than it must, which is no reason not to start.
    if let Err(error) = std::fs::write(mark, boot) {
        tracing::warn!(%error, "the start of the machine could not be remembered");
    }
    Ok(())
}

/// Where the builds of an app work.
fn builds(folders: &Folders, app: &AppId) -> std::path::PathBuf {
    folders.of(app).join("builds")
}

async fn remove_all(paths: Vec<std::path::PathBuf>) {
    let removed = tokio::task::spawn_blocking(move || {
        for path in paths {
            let removed = match path.is_dir() {
                true => remove_tree(&path),
                false => std::fs::remove_file(&path),
            };
            if let Err(error) = removed
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %path.display(), "what a deploy left could not be removed");
            }
        }
    });
    // A thread that panicked has told so itself.
    let _ = removed.await;
}

fn because(act: &'static str) -> impl FnOnce(Error) -> Refused {
    move |error| Refused::Other(act, error)
}

/// The dots of `Uploading app container ...`: one for each time that the deploy says it goes on.
#[derive(Default)]
struct Dots(AtomicUsize);

impl Dots {
    const MIN: usize = 2;
    const MAX: usize = 60;

    fn drawn(&self) -> String {
        ".".repeat(self.0.load(Ordering::Relaxed).clamp(Self::MIN, Self::MAX))
    }
}

impl Progress for Dots {
    fn tick(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_always_some_dots_and_never_a_line_full() {
        let dots = Dots::default();
        assert_eq!(dots.drawn(), "..");
        for _ in 0..6 {
            dots.tick();
        }
        assert_eq!(dots.drawn(), "......");
        for _ in 0..1000 {
            dots.tick();
        }
        assert_eq!(dots.drawn().len(), Dots::MAX);
    }

    #[test]
    fn trees_outlive_a_restart_of_the_server_but_not_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::open(&folder.path().join("mar")).unwrap();
        let app: AppId = "mar-eu-1-twwto7g0".parse().unwrap();
        let mark = folder.path().join("boot");
        let tree = folders.tree(&app, 1);
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(folders.tarball(&app, 1), "x").unwrap();
        clear_trees_of_another_boot(&folders, "first", &mark).unwrap();
        assert!(!tree.exists());
        std::fs::create_dir_all(&tree).unwrap();
        clear_trees_of_another_boot(&folders, "first", &mark).unwrap();
        assert!(tree.exists());
        clear_trees_of_another_boot(&folders, "second", &mark).unwrap();
        assert!(!tree.exists());
        assert!(folders.tarball(&app, 1).exists());
    }

    #[test]
    fn what_a_build_left_is_cleared_away_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::open(folder.path()).unwrap();
        let app: AppId = "mar-eu-1-twwto7g0".parse().unwrap();
        std::fs::create_dir_all(builds(&folders, &app).join("draft/build")).unwrap();
        std::fs::create_dir_all(folders.cache(&app)).unwrap();
        clear_interrupted_builds(&folders).unwrap();
        assert!(!builds(&folders, &app).join("draft").exists());
        assert!(folders.cache(&app).exists());
    }
}
