//! Apps with their releases, slugs, vars, domains and certificates.

use std::collections::BTreeMap;

use pilvi_model::app::{Domain, ProcessTypes, Size, StackName};
use pilvi_model::{AppId, Kind, Provider};
use tokio::task::JoinSet;

use super::{MANY, World, now};
use crate::platform::{
    BuiltSlug, Certificate, NewRelease, NewSlug, Origin, Release, ReleaseState, SealedVar, Slug,
    SlugState, VarBounds, Wanted,
};
use crate::{Limits, Store};

const ID: &str = "mar-eu-1-aaaaaaaa";
const OTHER: &str = "mar-eu-1-bbbbbbbb";

const BOUNDS: VarBounds = VarBounds {
    count_max: 3,
    bytes_max: 100,
};

fn app(id: &str) -> AppId {
    id.parse().unwrap()
}

fn types(procfile: &str) -> ProcessTypes {
    ProcessTypes::from_procfile(procfile).unwrap()
}

impl World {
    async fn add_app(&self, id: &str) -> AppId {
        self.add_instance(id, Provider::Mar).await;
        let id = app(id);
        let stack = StackName::default();
        self.store
            .insert_app(&id, Size::MINI, &stack)
            .await
            .unwrap();
        id
    }

    async fn reserve(&self, app: &AppId, tag: &str, origin: Origin, procfile: &str) -> Slug {
        self.try_reserve(app, tag, origin, procfile).await.unwrap()
    }

    async fn try_reserve(
        &self,
        app: &AppId,
        tag: &str,
        origin: Origin,
        procfile: &str,
    ) -> pilvi_model::Result<Slug> {
        let new = NewSlug {
            app: app.clone(),
            tag: tag.parse().unwrap(),
            origin,
            process_types: types(procfile),
            stack: None,
            created_at: now(),
        };
        self.store.reserve_slug(new).await
    }

    async fn add_slug(&self, app: &AppId, tag: &str, procfile: &str) -> Slug {
        let slug = self.reserve(app, tag, Origin::Git, procfile).await;
        let finished = self.store.finish_slug(slug.id, BuiltSlug::default()).await;
        finished.unwrap().unwrap()
    }

    async fn begin(&self, slug: &Slug) -> Release {
        self.try_begin(slug).await.unwrap()
    }

    async fn try_begin(&self, slug: &Slug) -> pilvi_model::Result<Release> {
        let new = NewRelease {
            app: slug.app.clone(),
            slug: slug.id,
            vars: b"sealed".to_vec(),
            reason: "Deploy".to_owned(),
            author: "operator".to_owned(),
            created_at: now(),
        };
        self.store.begin_release(new).await
    }

    async fn deploy(&self, slug: &Slug) -> Release {
        let release = self.begin(slug).await;
        let activated = self
            .store
            .activate_release(&slug.app, release.number, now())
            .await;
        assert!(activated.unwrap());
        release
    }

    async fn states(&self, app: &AppId) -> Vec<(u32, ReleaseState)> {
        let releases = self.store.list_releases(app, 100).await.unwrap();
        releases
            .into_iter()
            .map(|release| (release.number, release.state))
            .collect()
    }

    async fn formation(&self, app: &AppId) -> Vec<(String, u32)> {
        let formation = self.store.formation(app).await.unwrap();
        formation
            .into_iter()
            .map(|(name, count)| (name.to_string(), count))
            .collect()
    }
}

fn counted(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
    pairs
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[tokio::test]
async fn an_app_is_what_its_instance_says_and_more() {
    let world = World::new().await;
    let id = world.add_app(ID).await;
    let found = world.store.find_app(&id).await.unwrap().unwrap();
    assert_eq!(
        (
            found.name.as_str(),
            found.account,
            found.wanted,
            found.release
        ),
        ("chat", world.account, Wanted::Running, None)
    );
    assert_eq!(
        world.store.list_apps().await.unwrap(),
        std::slice::from_ref(&found)
    );

    world
        .store
        .set_app_wanted(&id, Wanted::Stopped)
        .await
        .unwrap();
    let stack: StackName = "debian-12".parse().unwrap();
    world.store.set_app_stack(&id, &stack).await.unwrap();
    let changed = world.store.find_app(&id).await.unwrap().unwrap();
    assert_eq!(
        (changed.wanted, changed.stack),
        (Wanted::Stopped, stack.clone())
    );
    // Made again, it stays as it is.
    world
        .store
        .insert_app(&id, Size::MINI, &StackName::default())
        .await
        .unwrap();
    let same = world.store.find_app(&id).await.unwrap().unwrap();
    assert_eq!(same.stack, stack);

    let error = world
        .store
        .set_app_wanted(&app(OTHER), Wanted::Running)
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
}

#[tokio::test]
async fn the_number_of_an_app_is_never_used_again() {
    let world = World::new().await;
    let first = world.add_app(ID).await;
    let number = world.store.find_app(&first).await.unwrap().unwrap().number;
    world.store.delete_app(&first).await.unwrap();
    assert_eq!(world.store.find_app(&first).await.unwrap(), None);
    world.store.delete_app(&first).await.unwrap();
    let second = world.add_app(OTHER).await;
    let next = world.store.find_app(&second).await.unwrap().unwrap().number;
    assert!(next > number);
}

#[tokio::test]
async fn everything_of_an_app_goes_with_its_instance() {
    let world = World::new().await;
    let id = world.add_app(ID).await;
    let slug = world.add_slug(&id, "one", "web: x").await;
    world.deploy(&slug).await;
    let domain: Domain = "www.example.com".parse().unwrap();
    world
        .store
        .insert_domain(&id, domain.clone(), 5, now())
        .await
        .unwrap();
    let var = SealedVar {
        name: "A".parse().unwrap(),
        value: b"x".to_vec(),
    };
    world
        .store
        .change_app_vars(&id, vec![var], vec![], BOUNDS)
        .await
        .unwrap();
    let certificate = Certificate {
        chain: "chain".to_owned(),
        key: b"sealed".to_vec(),
        expires_at: now(),
    };
    world
        .store
        .put_certificate(&id, certificate.clone())
        .await
        .unwrap();
    assert_eq!(
        world.store.find_certificate(&id).await.unwrap(),
        Some(certificate)
    );

    world.store.retire_instance(ID).await.unwrap().unwrap();
    let late = world.try_begin(&slug).await.unwrap_err();
    assert_eq!(
        late.kind,
        Kind::NotFound,
        "what is being removed starts nothing"
    );
    assert_eq!(world.store.list_apps().await.unwrap(), []);
    world.store.delete_instance(ID).await.unwrap();
    assert_eq!(world.store.find_app(&id).await.unwrap(), None);
    assert_eq!(world.store.find_certificate(&id).await.unwrap(), None);
    assert_eq!(world.states(&id).await, []);
    assert_eq!(world.store.list_slug_ids(&id).await.unwrap(), [0; 0]);
    assert_eq!(world.store.list_app_vars(&id).await.unwrap(), []);
    // Its domain is free for another app.
    let other = world.add_app(OTHER).await;
    world
        .store
        .insert_domain(&other, domain, 5, now())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_release_becomes_current_in_one_step() {
    let world = World::new().await;
    let id = world.add_app(ID).await;
    let slug = world.add_slug(&id, "one", "web: x\nworker: y").await;
    let first = world.begin(&slug).await;
    assert_eq!((first.number, first.state), (1, ReleaseState::Pending));
    assert_eq!(first.process_types, slug.process_types);
    assert_eq!(world.formation(&id).await, []);
    assert_eq!(world.store.find_current_release(&id).await.unwrap(), None);

    assert!(world.store.activate_release(&id, 1, now()).await.unwrap());
    assert!(!world.store.activate_release(&id, 1, now()).await.unwrap());
    assert!(!world.store.fail_release(&id, 1).await.unwrap());
    let found = world.store.find_app(&id).await.unwrap().unwrap();
    assert_eq!(found.release, Some(1));
    assert_eq!(
        world.formation(&id).await,
        counted(&[("web", 1), ("worker", 0)])
    );
    let deployed = world.store.find_slug(slug.id).await.unwrap().unwrap();
    assert_eq!(deployed.deployed_at, Some(now()));

    let second = world.begin(&slug).await;
    assert!(world.store.fail_release(&id, second.number).await.unwrap());
    assert!(
        !world
            .store
            .activate_release(&id, second.number, now())
            .await
            .unwrap()
    );
    world.deploy(&slug).await;
    assert_eq!(
        world.states(&id).await,
        [
            (3, ReleaseState::Current),
            (2, ReleaseState::Failed),
            (1, ReleaseState::Old)
        ]
    );
    let current = world
        .store
        .find_current_release(&id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(current.number, 3);
}

#[tokio::test]
async fn counts_follow_the_types_of_a_release() {
    let world = World::new().await;
    let id = world.add_app(ID).await;
    let error = world
        .store
        .scale(&id, vec![("web".parse().unwrap(), 2)], MANY, u64::MAX)
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Invalid);
    let slug = world.add_slug(&id, "one", "worker: y\nold: z").await;
    world.deploy(&slug).await;
    let counts = [("worker", 3), ("old", 1)].map(|(name, count)| (name.parse().unwrap(), count));
    world
        .store
        .scale(&id, counts.to_vec(), MANY, u64::MAX)
        .await
        .unwrap();

    let slug = world
        .add_slug(&id, "two", "clock: c\nweb: x\nworker: y")
        .await;
    world.deploy(&slug).await;
    let expected = counted(&[("clock", 0), ("web", 1), ("worker", 3)]);
    assert_eq!(world.formation(&id).await, expected);

    // All or none.
    let counts = [("worker", 5), ("old", 1)].map(|(name, count)| (name.parse().unwrap(), count));
    let error = world
        .store
        .scale(&id, counts.to_vec(), MANY, u64::MAX)
        .await
        .unwrap_err();
    assert_eq!(error.fields[0].property, "old");
    assert!(
        error.message.contains("clock, web, worker"),
        "{}",
        error.message
    );
    assert_eq!(world.formation(&id).await, expected);
}

#[tokio::test]
async fn what_a_crash_left_pending_is_given_up_at_the_next_start() {
    let world = World::new().await;
    let id = world.add_app(ID).await;
    let slug = world.add_slug(&id, "one", "web: x").await;
    world.deploy(&slug).await;
    world.begin(&slug).await;
    let build = world.reserve(&id, "two", Origin::Git, "web: x").await;
    let upload = world.reserve(&id, "three", Origin::Upload, "web: x").await;
    let World { store, folder, .. } = world;
    drop(store);

    let store = Store::open(folder.path(), Limits::default()).await.unwrap();
    assert_eq!(
        store.fail_pending_releases().await.unwrap(),
        [(id.clone(), 2)]
    );
    assert_eq!(store.fail_pending_releases().await.unwrap(), []);
    let current = store.find_current_release(&id).await.unwrap().unwrap();
    assert_eq!(current.number, 1);
    store.abandon_unfinished_slugs().await.unwrap();
    assert_eq!(store.find_slug(build.id).await.unwrap(), None);
    // Whoever announced an upload may still send it.
    assert!(store.find_slug(upload.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_tag_names_one_slug() {
    let world = World::new().await;
    let id = world.add_app(ID).await;
    let tag = "1a2b3c".parse().unwrap();
    let first = world.add_slug(&id, "1a2b3c", "web: x").await;
    // Built again, the new one has the tag; the old one stays what its release needs.
    let second = world.add_slug(&id, "1a2b3c", "web: x").await;
    let found = world
        .store
        .find_slug_by_tag(&id, &tag)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.id, second.id);
    let renamed = world.store.find_slug(first.id).await.unwrap().unwrap();
    assert_eq!(renamed.tag.as_str(), format!("1a2b3c~{}", first.id));
    // An upload with a tag that is taken is refused.
    let error = world
        .try_reserve(&id, "1a2b3c", Origin::Upload, "web: x")
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Conflict);
    // One that was announced and never came is replaced.
    let never_came = world.reserve(&id, "v1", Origin::Upload, "web: x").await;
    let again = world.reserve(&id, "v1", Origin::Upload, "web: y").await;
    assert_eq!(world.store.find_slug(never_came.id).await.unwrap(), None);
    assert_eq!(again.state, SlugState::Awaiting);
    assert_eq!(
        world
            .store
            .finish_slug(never_came.id, BuiltSlug::default())
            .await
            .unwrap(),
        None
    );
    // Another app has tags of its own.
    let other = world.add_app(OTHER).await;
    world
        .reserve(&other, "1a2b3c", Origin::Upload, "web: x")
        .await;
    assert_eq!(world.store.list_slugs(&id).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_build_is_known_once_it_is_whole() {
    let world = World::new().await;
    let id = world.add_app(ID).await;
    let slug = world.reserve(&id, "one", Origin::Git, "").await;
    assert_eq!(world.store.list_slugs(&id).await.unwrap(), []);
    assert_eq!(
        world.try_begin(&slug).await.unwrap_err().kind,
        Kind::Conflict
    );
    let built = BuiltSlug {
        bytes: 7,
        process_types: Some(types("web: x")),
        default_vars: BTreeMap::from([("LANG".to_owned(), "C".to_owned())]),
    };
    let done = world
        .store
        .finish_slug(slug.id, built.clone())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (done.state, done.bytes, done.process_types.len()),
        (SlugState::Ready, 7, 1)
    );
    assert_eq!(done.default_vars, built.default_vars);
    assert_eq!(world.store.list_slugs(&id).await.unwrap(), [done]);
    // A failed build leaves nothing, and a finished one cannot be abandoned.
    world.store.abandon_slug(slug.id).await.unwrap();
    assert!(world.store.find_slug(slug.id).await.unwrap().is_some());
    let failed = world.reserve(&id, "two", Origin::Git, "").await;
    world.store.abandon_slug(failed.id).await.unwrap();
    assert_eq!(world.store.list_slug_ids(&id).await.unwrap(), [slug.id]);
}

#[tokio::test]
async fn what_runs_is_neither_removed_nor_pruned() {
    let world = World::new().await;
    let id = world.add_app(ID).await;
    for tag in ["early", "before"] {
        let slug = world.add_slug(&id, tag, "web: x").await;
        world.deploy(&slug).await;
    }
    let running = world.add_slug(&id, "running", "web: x").await;
    world.deploy(&running).await;
    let starting = world.add_slug(&id, "starting", "web: x").await;
    world.begin(&starting).await;
    for slug in [&running, &starting] {
        let error = world.store.delete_slug(&id, &slug.tag).await.unwrap_err();
        assert_eq!(error.kind, Kind::Conflict, "{}", slug.tag);
    }
    let uploaded = world.reserve(&id, "v1", Origin::Upload, "web: x").await;
    world
        .store
        .finish_slug(uploaded.id, BuiltSlug::default())
        .await
        .unwrap();
    let mut built = Vec::new();
    for number in 0..4 {
        built.push(
            world
                .add_slug(&id, &format!("b{number}"), "web: x")
                .await
                .id,
        );
    }
    let gone = world.store.prune_slugs(&id, 2).await.unwrap();
    assert_eq!(gone.len(), 3);
    assert!(built[..2].iter().all(|id| gone.contains(id)));
    let listed = world.store.list_slugs(&id).await.unwrap();
    let left: Vec<&str> = listed.iter().map(|slug| slug.tag.as_str()).collect();
    assert_eq!(left, ["b3", "b2", "v1", "starting", "running", "before"]);
    assert_eq!(world.store.prune_slugs(&id, 2).await.unwrap(), [0; 0]);

    world.store.delete_slug(&id, &uploaded.tag).await.unwrap();
    let error = world
        .store
        .delete_slug(&id, &uploaded.tag)
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    // A release outlives its slug.
    assert!(world.store.fail_release(&id, 4).await.unwrap());
    world.store.delete_slug(&id, &starting.tag).await.unwrap();
    let release = world.store.find_release(&id, 4).await.unwrap().unwrap();
    assert_eq!((release.slug, release.tag), (None, starting.tag));
}

#[tokio::test]
async fn uploads_are_bounded() {
    let world = World::new().await;
    let id = world.add_app(ID).await;
    for number in 0..10 {
        world
            .reserve(&id, &format!("v{number}"), Origin::Upload, "web: x")
            .await;
    }
    let error = world
        .try_reserve(&id, "one-more", Origin::Upload, "web: x")
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::OverLimit);
    // One that replaces another adds none.
    world.reserve(&id, "v3", Origin::Upload, "web: x").await;
}

#[tokio::test]
async fn vars_are_merged_and_bounded() {
    let world = World::new().await;
    let id = world.add_app(ID).await;
    let var = |name: &str, length: usize| SealedVar {
        name: name.parse().unwrap(),
        value: vec![7; length],
    };
    let change = async |set: Vec<SealedVar>, unset: &[&str]| {
        let unset = unset.iter().map(|name| name.parse().unwrap()).collect();
        world.store.change_app_vars(&id, set, unset, BOUNDS).await
    };
    change(vec![var("A", 1), var("B", 2)], &[]).await.unwrap();
    change(vec![var("B", 3), var("C", 4)], &["A", "NEVER_SET"])
        .await
        .unwrap();
    let expected = [var("B", 3), var("C", 4)];
    assert_eq!(world.store.list_app_vars(&id).await.unwrap(), expected);

    for (set, word) in [
        (vec![var("D", 1), var("E", 1)], "more than 3"),
        (vec![var("B", 100)], "more than 100 bytes"),
    ] {
        let error = change(set, &[]).await.unwrap_err();
        assert_eq!(error.kind, Kind::Invalid);
        assert!(error.message.contains(word), "{}", error.message);
        assert_eq!(world.store.list_app_vars(&id).await.unwrap(), expected);
    }
    // What is removed makes room for what is set.
    change(vec![var("D", 1), var("E", 1)], &["B"])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_domain_belongs_to_one_app() {
    let world = World::new().await;
    let (own, other) = (world.add_app(ID).await, world.add_app(OTHER).await);
    let domain: Domain = "www.example.com".parse().unwrap();
    let mut takers = JoinSet::new();
    for app in [own.clone(), other.clone()] {
        let (store, domain) = (world.store.clone(), domain.clone());
        takers.spawn(async move { store.insert_domain(&app, domain, 5, now()).await });
    }
    let outcomes = takers.join_all().await;
    let refused: Vec<Kind> = outcomes
        .iter()
        .filter_map(|outcome| Some(outcome.as_ref().err()?.kind))
        .collect();
    assert_eq!(refused, [Kind::Conflict]);

    let owner = match world.store.list_domains(&own).await.unwrap().is_empty() {
        true => &other,
        false => &own,
    };
    let error = world
        .store
        .insert_domain(owner, domain.clone(), 5, now())
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Conflict);
    let more = "more.example.com".parse().unwrap();
    let error = world
        .store
        .insert_domain(owner, more, 1, now())
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::OverLimit);
    assert!(world.store.delete_domain(owner, &domain).await.unwrap());
    assert!(!world.store.delete_domain(owner, &domain).await.unwrap());
}

#[tokio::test]
async fn an_app_has_one_certificate() {
    let world = World::new().await;
    let id = world.add_app(ID).await;
    let certificate = |chain: &str| Certificate {
        chain: chain.to_owned(),
        key: b"sealed".to_vec(),
        expires_at: now(),
    };
    for chain in ["one", "two"] {
        world
            .store
            .put_certificate(&id, certificate(chain))
            .await
            .unwrap();
        let found = world.store.find_certificate(&id).await.unwrap();
        assert_eq!(found, Some(certificate(chain)));
    }
    assert!(world.store.delete_certificate(&id).await.unwrap());
    assert!(!world.store.delete_certificate(&id).await.unwrap());
    let error = world
        .store
        .put_certificate(&app(OTHER), certificate("x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
}
