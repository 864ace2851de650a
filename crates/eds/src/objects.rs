//! Objects: creating, reading, changing and listing them (`eds.md` §4, §5). Who may is decided by the store, in the
//! transaction that reads or writes.

use pilvi_model::query::Query;
use pilvi_model::{Error, Object, ObjectId, ObjectType, Result};
use pilvi_store::backend::{Mutation, Once, OnceKey, Written};

use crate::Eds;
use crate::caller::Caller;
use crate::include::Listed;

impl Eds {
    /// An id for something new. Ids ascend.
    pub(crate) fn new_id(&self) -> ObjectId {
        self.0.ids.next(self.now())
    }

    /// Carries out a create, once for each key, and gives the text of what was created.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        mutation: Mutation,
        once: Option<OnceKey>,
    ) -> Result<String> {
        let Some(key) = once else {
            return Ok(self.write(caller, mutation).await?.object.text);
        };
        let done = caller
            .backend
            .write_once(mutation, caller.author(self), key);
        Ok(match done.await? {
            Once::Now(written) => self.published(caller, written).object.text,
            Once::Before(text) => text,
        })
    }

    /// Carries out one change.
    pub(crate) async fn write(&self, caller: &Caller, mutation: Mutation) -> Result<Written> {
        let written = caller.backend.write(mutation, caller.author(self)).await?;
        Ok(self.published(caller, written))
    }

    /// Carries out all changes, or none.
    pub(crate) async fn write_all(
        &self,
        caller: &Caller,
        mutations: Vec<Mutation>,
    ) -> Result<Vec<Written>> {
        let all = caller
            .backend
            .write_all(mutations, caller.author(self))
            .await?;
        all.iter()
            .for_each(|written| self.announce(caller, written));
        Ok(all)
    }

    pub(crate) async fn get_object(
        &self,
        caller: &Caller,
        object_type: ObjectType,
        id: ObjectId,
    ) -> Result<Object> {
        let missing = Error::not_found(format!("there is no object {id} of type {object_type}"));
        caller
            .backend
            .find_object(caller.asker.clone(), object_type, id)
            .await?
            .ok_or(missing)
    }

    /// The objects on the page.
    pub(crate) async fn list_objects(
        &self,
        caller: &Caller,
        object_type: ObjectType,
        query: Query,
    ) -> Result<Listed> {
        let asker = caller.asker.clone();
        let texts = caller
            .backend
            .list_objects(asker, object_type, &query)
            .await?;
        self.listed(caller, &query, texts).await
    }

    pub(crate) async fn count_objects(
        &self,
        caller: &Caller,
        object_type: ObjectType,
        query: Query,
    ) -> Result<u64> {
        let asker = caller.asker.clone();
        caller
            .backend
            .count_objects(asker, object_type, query.filter)
            .await
    }

    /// Announces a change that is on disk.
    pub(crate) fn published(&self, caller: &Caller, written: Written) -> Written {
        self.announce(caller, &written);
        written
    }

    /// The deliveries are on disk with the change; now somebody may start on them.
    fn announce(&self, caller: &Caller, written: &Written) {
        for webhook in &written.webhooks {
            self.0.wakes.wake(caller.backend.id, *webhook);
        }
        // What names a file may have put it where variants are asked for.
        if written.object.text.contains(r#""objectType":"files""#) {
            self.0.variants.wake(caller.backend.id);
        }
    }
}
