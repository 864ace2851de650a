//! Releases: how a slug and the config vars become what runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pilvi_model::app::{STACK_VAR, SlugTag};
use pilvi_model::{AppId, Error, Result};
use pilvi_store::platform::{NewRelease, Release};
use tokio::sync::OwnedMutexGuard;

use crate::env_vars::{self, Vars};
use crate::journal::PLATFORM;
use crate::slugs::Drafts;
use crate::{Mar, Progress};

/// Whose turn it is to make a release of an app: they are made one after the other, so that none is built on what
/// another one is about to replace.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// A plain mutex: held for finding one app's turn, never across an await.
    by_app: Mutex<HashMap<AppId, Arc<AppTurn>>>,
}

#[derive(Debug, Default)]
struct AppTurn {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Somebody waits to make a release of changed config vars, and will see all changes made until then.
    refresh_waits: AtomicBool,
}

impl Turns {
    fn of(&self, app: &AppId) -> Arc<AppTurn> {
        let mut by_app = self.by_app.lock().unwrap_or_else(PoisonError::into_inner);
        if by_app.len() > 1000 {
            by_app
                .retain(|_, turn| Arc::strong_count(turn) > 1 || Arc::strong_count(&turn.lock) > 1);
        }
        Arc::clone(by_app.entry(app.clone()).or_default())
    }
}

/// What a release is made of and why.
#[derive(Clone, Debug)]
pub struct ReleasePlan {
    /// The slug's number.
    pub slug: i64,
    /// For people: `Deploy 1a2b3c4`.
    pub reason: String,
    pub author: String,
}

impl Mar {
    /// Makes a release of a slug with the app's config vars and runs it. When its processes cannot serve, the error
    /// says why, in words for people, and what ran before goes on.
    ///
    /// To be run to its end whoever waits for it, as within [`pilvi_core::complete`].
    pub async fn release(
        &self,
        app: &AppId,
        plan: ReleasePlan,
        progress: &dyn Progress,
    ) -> Result<Release> {
        let _turn = self.turn(app).await;
        self.release_in_turn(app, plan, progress).await
    }

    /// Makes a release of the changed config vars, in the background and after whatever is being deployed. Nothing
    /// happens before the first deploy.
    pub(crate) fn release_vars(&self, app: &AppId, author: String) {
        let turn = self.0.turns.of(app);
        if turn.refresh_waits.swap(true, Ordering::AcqRel) {
            return;
        }
        let (mar, app) = (self.clone(), app.clone());
        self.parts().tasks.spawn("release config vars", async move {
            let guard = Arc::clone(&turn.lock).lock_owned().await;
            turn.refresh_waits.store(false, Ordering::Release);
            if let Err(error) = mar.refresh_in_turn(&app, author).await {
                tracing::warn!(%app, error = &error as &dyn std::error::Error, "changed config vars are not in use");
                let text = format!("The changed config vars are not in use yet: {error}.");
                mar.parts().journal.say(&app, PLATFORM, &text);
            }
            drop(guard);
        });
    }

    /// Waits until no release of the app is being made.
    pub(crate) async fn turn(&self, app: &AppId) -> OwnedMutexGuard<()> {
        let lock = Arc::clone(&self.0.turns.of(app).lock);
        lock.lock_owned().await
    }

    async fn refresh_in_turn(&self, app: &AppId, author: String) -> Result<()> {
        let Some(current) = self.store().find_current_release(app).await? else {
            return Ok(());
        };
        let parts = self.parts();
        let wanted = env_vars::config_vars(&parts.store, &parts.keyring, app).await?;
        let mut used = env_vars::open(&parts.keyring, app, &current.vars)?;
        // It goes with the slug, and is no change of anybody's.
        used.remove(STACK_VAR);
        let Some(reason) = difference(&used, &wanted) else {
            return Ok(());
        };
        let slug = current
            .slug
            .ok_or_else(|| Error::conflict("the slug that runs was removed"))?;
        let plan = ReleasePlan {
            slug,
            reason,
            author,
        };
        self.release_in_turn(app, plan, &()).await.map(drop)
    }

    async fn release_in_turn(
        &self,
        app: &AppId,
        plan: ReleasePlan,
        progress: &dyn Progress,
    ) -> Result<Release> {
        let parts = self.parts();
        let facts = self.app(app).await?;
        self.unpacked(&facts, plan.slug).await?;
        let mut vars = env_vars::config_vars(&parts.store, &parts.keyring, app).await?;
        // Programs see the name that was asked for, as builds do; which files stand behind it, the release knows.
        vars.insert(STACK_VAR.to_owned(), facts.stack.to_string());
        let new = NewRelease {
            app: app.clone(),
            slug: plan.slug,
            vars: env_vars::seal(&parts.keyring, app, &vars)?,
            reason: plan.reason,
            author: plan.author,
            created_at: self.now(),
        };
        let release = parts.store.begin_release(new).await?;
        let deployed = parts.processes.deploy(app, release.number, progress).await;
        if let Err(error) = deployed {
            // Usually failed already, by whoever found out why.
            parts.store.fail_release(app, release.number).await?;
            return Err(error);
        }
        tracing::info!(%app, number = release.number, reason = release.reason, "a release runs");
        if let Err(error) = self.tidy_slugs(app, Drafts::Keep).await {
            tracing::warn!(%app, error = &error as &dyn std::error::Error, "old slugs could not be cleared away");
        }
        let found = parts.store.find_release(app, release.number).await?;
        Ok(found.unwrap_or(release))
    }
}

/// What a deploy of a slug is called.
pub(crate) fn deploy_reason(tag: &SlugTag) -> String {
    const HASH_SHOWN: usize = 7;
    let tag = tag.as_str();
    let is_hash = matches!(tag.len(), 40 | 64) && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_hash {
        true => format!("Deploy {}", &tag[..HASH_SHOWN]),
        false => format!("Deploy {tag}"),
    }
}

/// `Set A, B; remove C`: what leads from the vars in use to the wanted ones. `None`: nothing.
fn difference(used: &Vars, wanted: &Vars) -> Option<String> {
    let set = wanted
        .iter()
        .filter(|(name, value)| used.get(*name) != Some(*value));
    let removed = used.keys().filter(|name| !wanted.contains_key(*name));
    let mut acts = Vec::new();
    for (act, names) in [
        ("set", set.map(|(name, _)| name).collect::<Vec<_>>()),
        ("remove", removed.collect()),
    ] {
        if !names.is_empty() {
            acts.push(format!("{act} {}", listed(&names)));
        }
    }
    let text = acts.join("; ");
    let first = text.get(..1)?.to_uppercase();
    Some(format!("{first}{}", &text[1..]))
}

fn listed(names: &[&String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(|name| name.as_str()).collect();
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_release_of_vars_says_which() {
        let used = vars(&[("A", "1"), ("B", "1"), ("C", "1")]);
        for (wanted, reason) in [
            (vars(&[("A", "1"), ("B", "1"), ("C", "1")]), None),
            (vars(&[("A", "2"), ("B", "1"), ("C", "1")]), Some("Set A")),
            (vars(&[("A", "1"), ("D", "1")]), Some("Set D; remove B, C")),
            (vars(&[("A", "1")]), Some("Remove B, C")),
        ] {
            assert_eq!(difference(&used, &wanted).as_deref(), reason, "{wanted:?}");
        }
        let many: Vec<String> = (0..8).map(|number| format!("V{number}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
        assert_eq!(
            difference(&vars(&[]), &vars(&many)).unwrap(),
            "Set V0, V1, V2, V3, V4 and 3 more"
        );
    }

    #[test]
    fn a_commit_is_shown_short() {
        let tag: SlugTag = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        assert_eq!(deploy_reason(&tag), "Deploy 0123456");
        assert_eq!(deploy_reason(&"v1.2".parse().unwrap()), "Deploy v1.2");
    }
}
