//! Objects: the rules of creating, reading, changing and listing them (`eds.md` §4, §5).

use pilvi_model::query::Query;
use pilvi_model::{Error, Object, ObjectId, ObjectType, Properties, Result};
use pilvi_store::backend::Written;

use crate::Eds;
use crate::caller::Caller;

impl Eds {
    pub(crate) async fn create_object(
        &self,
        caller: &Caller,
        object_type: ObjectType,
        properties: Properties,
    ) -> Result<Object> {
        let now = self.now();
        let object = Object::create(self.0.ids.next(now), object_type, now, &properties);
        let written = caller
            .backend
            .insert_object(object, caller.origin(self))
            .await?;
        Ok(self.published(caller, written))
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
            .find_object(object_type, id)
            .await?
            .ok_or(missing)
    }

    pub(crate) async fn update_object(
        &self,
        caller: &Caller,
        object_type: ObjectType,
        id: ObjectId,
        changes: Properties,
    ) -> Result<Object> {
        let origin = caller.origin(self);
        let written = caller
            .backend
            .update_object(object_type, id, changes, self.now(), origin)
            .await?;
        Ok(self.published(caller, written))
    }

    pub(crate) async fn delete_object(
        &self,
        caller: &Caller,
        object_type: ObjectType,
        id: ObjectId,
    ) -> Result<()> {
        let written = caller
            .backend
            .delete_object(object_type, id, caller.origin(self))
            .await?;
        self.published(caller, written);
        Ok(())
    }

    /// The texts of the objects on the page.
    pub(crate) async fn list_objects(
        &self,
        caller: &Caller,
        object_type: ObjectType,
        query: Query,
    ) -> Result<Vec<String>> {
        caller
            .backend
            .list_objects(object_type, query.filter, query.sort, query.page)
            .await
    }

    pub(crate) async fn count_objects(
        &self,
        caller: &Caller,
        object_type: ObjectType,
        query: Query,
    ) -> Result<u64> {
        caller
            .backend
            .count_objects(object_type, query.filter)
            .await
    }

    /// The change is on disk with its deliveries; now somebody may start on them.
    fn published(&self, caller: &Caller, written: Written) -> Object {
        for webhook in written.webhooks {
            self.0.wakes.wake(caller.backend.id, webhook);
        }
        written.object
    }
}
