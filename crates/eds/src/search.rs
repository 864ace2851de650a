//! Full-text search (`eds.md` §11), and what keeps the index of words up.
//!
//! A type is searchable from the first search that names it: that search has an index begun and waits for it, but not
//! for ever. From then on an *indexer*, one task for each backend that was searched since the start, follows the
//! outbox. A search waits until the index has whatever was on disk when it came, so that everybody finds what they
//! just wrote; when that takes too long it answers with what there is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pilvi_base::TaskGroup;
use pilvi_model::query::Query;
use pilvi_model::search::Search;
use pilvi_model::{BackendId, Error, ObjectType, Result};
use pilvi_store::backend::{Indexed, KnownWords, Prospect};
use pilvi_store::{Backend, Store};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::Eds;
use crate::caller::Caller;
use crate::include::Listed;

/// Types that one search may name.
pub(crate) const TYPES_MAX: usize = 16;
/// How long a search waits for the first index of a type.
const MAKING_PATIENCE: Duration = Duration::from_secs(5);
/// How long a search waits until the index has what was written just before.
const BEHIND_PATIENCE: Duration = Duration::from_millis(500);
/// How long changes are collected before they are put into an index for which nobody waits: many at once cost less.
const COLLECTING: Duration = Duration::from_millis(100);
/// With nothing to do for so long, an indexer gives back the memory that makes it quicker.
const FORGETTING: Duration = Duration::from_secs(10);
/// Indexers that are at work at the same time.
const AT_WORK_MAX: usize = 2;
/// How long to wait when the store does not do its part: at first, and at most.
const STORE_RETRY: Duration = Duration::from_millis(250);
const STORE_RETRY_MAX: Duration = Duration::from_secs(8);

/// What a search call asks for.
#[derive(Clone, Debug)]
pub(crate) struct SearchCall {
    pub types: Vec<ObjectType>,
    pub search: Search,
    /// The other parameters of a list call.
    pub query: Query,
}

impl Eds {
    /// The objects on the page. There is no cursor: what fits best changes with every write.
    pub(crate) async fn search(&self, caller: &Caller, call: SearchCall) -> Result<Listed> {
        self.await_index(caller, &call.types).await?;
        let SearchCall {
            types,
            search,
            query,
        } = call;
        let asker = caller.asker.clone();
        let texts = caller.backend.search_objects(asker, types, search, &query);
        let listed = self.listed(caller, &query, texts.await?).await?;
        Ok(Listed {
            next: None,
            ..listed
        })
    }

    /// How many there are.
    pub(crate) async fn count_found(&self, caller: &Caller, call: SearchCall) -> Result<u64> {
        self.await_index(caller, &call.types).await?;
        let asker = caller.asker.clone();
        let SearchCall { types, search, .. } = call;
        let found = caller
            .backend
            .count_found(asker, types, search, &call.query);
        found.await
    }

    /// Waits until there is an index for each of the types that has what was written before.
    async fn await_index(&self, caller: &Caller, types: &[ObjectType]) -> Result<()> {
        let backend = &caller.backend;
        let look = || backend.search_prospect(caller.asker.clone(), types.to_vec());
        let mut prospect = look().await?;
        let goal = prospect.newest;
        if prospect.new.is_empty() && prospect.is_unnoted {
            // A search needs no write that is refused.
            let _ = backend.begin_indexes(types.to_vec()).await;
        }
        let indexer = self.0.indexers.of_backend(&self.0.store, backend);
        let mut progress = indexer.upto.subscribe();
        let started = Instant::now();
        loop {
            // Its index may have given its place to another's meanwhile, or its first object have come.
            if !prospect.new.is_empty() {
                backend.begin_indexes(types.to_vec()).await?;
                prospect = look().await?;
            }
            let upto = (*progress.borrow_and_update()).max(prospect.indexed);
            let is_made = prospect.new.is_empty() && prospect.being_made.is_none();
            if is_made && upto >= goal {
                return Ok(());
            }
            let patience = if is_made {
                BEHIND_PATIENCE
            } else {
                MAKING_PATIENCE
            };
            indexer.nudge.notify_one();
            let waited = timeout_at(started + patience, progress.changed()).await;
            match (waited, is_made) {
                (Ok(Ok(())), _) => prospect = look().await?,
                // The index is behind, and better than none.
                (_, true) => return Ok(()),
                (_, false) => return Err(being_made(&prospect)),
            }
        }
    }
}

fn being_made(prospect: &Prospect) -> Error {
    let Some(making) = &prospect.being_made else {
        return Error::unavailable("this search cannot be carried out yet; try again soon");
    };
    Error::unavailable(format!(
        "{} is being made searchable, which a first search begins, and {} objects of it are done; try again soon",
        making.object_type, making.done
    ))
}

/// The indexers of all backends that were searched.
#[derive(Debug)]
pub(crate) struct Indexers {
    tasks: TaskGroup,
    at_work: Arc<Semaphore>,
    /// A plain mutex: held for a look-up.
    running: Arc<Running>,
}

type Running = Mutex<HashMap<BackendId, Arc<Indexer>>>;

#[derive(Debug)]
struct Indexer {
    /// Somebody waits.
    nudge: Notify,
    /// Up to which change the index is; sent anew after each step.
    upto: watch::Sender<u64>,
}

impl Indexers {
    pub(crate) fn new(tasks: TaskGroup) -> Self {
        Self {
            tasks,
            at_work: Arc::new(Semaphore::new(AT_WORK_MAX)),
            running: Arc::default(),
        }
    }

    /// The indexer of a backend, which is started if need be.
    fn of_backend(&self, store: &Store, backend: &Backend) -> Arc<Indexer> {
        let mut running = lock(&self.running);
        if let Some(indexer) = running.get(&backend.id) {
            return Arc::clone(indexer);
        }
        let indexer = Arc::new(Indexer {
            nudge: Notify::new(),
            upto: watch::Sender::new(0),
        });
        running.insert(backend.id, Arc::clone(&indexer));
        let work = Work {
            backend: backend.clone(),
            changes: store.changes(backend.id),
            at_work: Arc::clone(&self.at_work),
            tasks: self.tasks.clone(),
            words: KnownWords::default(),
            listed: Listing {
                running: Arc::clone(&self.running),
                id: backend.id,
                indexer: Arc::clone(&indexer),
            },
        };
        self.tasks.spawn("search-indexer", work.run());
        indexer
    }
}

fn lock(running: &Running) -> MutexGuard<'_, HashMap<BackendId, Arc<Indexer>>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An indexer on the list, off it however it ends.
struct Listing {
    running: Arc<Running>,
    id: BackendId,
    indexer: Arc<Indexer>,
}

impl Drop for Listing {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.id);
    }
}

/// What one indexer does.
struct Work {
    backend: Backend,
    changes: watch::Receiver<u64>,
    at_work: Arc<Semaphore>,
    tasks: TaskGroup,
    words: KnownWords,
    listed: Listing,
}

impl Work {
    async fn run(mut self) {
        let (mut known, mut retry, mut is_warm) = (0, STORE_RETRY, false);
        while !self.tasks.is_stopping() {
            // A file that was replaced by another one is read from where that one is.
            if *self.changes.borrow_and_update() == u64::MAX {
                known = 0;
            }
            match self.step(known).await {
                Ok(indexed) => {
                    (known, retry) = (indexed.upto, STORE_RETRY);
                    self.listed.indexer.upto.send_replace(known);
                    if !indexed.is_done {
                        continue;
                    }
                }
                // The backend is gone.
                Err(_) if self.changes.has_changed().is_err() => return,
                Err(error) => {
                    let backend = self.backend.id;
                    tracing::warn!(
                        %backend,
                        error = &error as &dyn std::error::Error,
                        "an index of words is not kept up"
                    );
                    if !self.rest(retry).await {
                        return;
                    }
                    retry = (retry * 2).min(STORE_RETRY_MAX);
                    continue;
                }
            }
            tokio::select! {
                changed = self.changes.changed() => {
                    // Nobody changes a backend that is gone.
                    if changed.is_err() || !self.collect().await {
                        return;
                    }
                    is_warm = true;
                }
                () = self.listed.indexer.nudge.notified() => is_warm = true,
                () = self.tasks.stopping() => return,
                () = tokio::time::sleep(FORGETTING), if is_warm => {
                    self.words.clear();
                    is_warm = false;
                }
            }
        }
    }

    async fn step(&self, known: u64) -> Result<Indexed> {
        let turn = self.at_work.acquire().await;
        let _turn = turn.map_err(Error::internal)?;
        self.backend.index_some(known, &self.words).await
    }

    /// Waits a little for more to come, unless somebody waits for what there is; `false`: the server is stopping.
    async fn collect(&self) -> bool {
        tokio::select! {
            () = self.listed.indexer.nudge.notified() => true,
            rested = self.rest(COLLECTING) => rested,
        }
    }

    async fn rest(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.tasks.stopping() => false,
        }
    }
}
