//! Access lists of objects (`eds.md` §9.3).

use std::collections::HashMap;

use pilvi_model::{
    AccessChange, AccessList, Error, ObjectId, ObjectType, Permission, Result, Subject,
};
use pilvi_store::backend::Mutation;
use serde_json::{Map, Value};

use crate::Eds;
use crate::caller::Caller;
use crate::routes::Target;

/// An expanded list is put together in memory.
const EXPANDED_MAX_BYTES: usize = 32 << 20;

impl Eds {
    /// The list that the object has of its own. `expand`: users and usergroups are shown whole where the caller may
    /// read them.
    pub(crate) async fn get_access(
        &self,
        caller: &Caller,
        target: Target,
        expand: bool,
    ) -> Result<Value> {
        let asker = caller.asker.clone();
        let list = caller
            .backend
            .find_access(asker, target.object_type, target.id)
            .await?;
        match expand {
            true => self.show_expanded(caller, &list).await,
            false => Ok(list.to_json()),
        }
    }

    /// Changes the list and gives all of it.
    pub(crate) async fn change_access(
        &self,
        caller: &Caller,
        target: Target,
        change: AccessChange,
    ) -> Result<Value> {
        let mutation = Mutation::Access {
            object_type: target.object_type,
            id: target.id,
            change,
        };
        let written = self.write(caller, mutation).await?;
        let list = written
            .access
            .ok_or_else(|| Error::internal("a change of an access list gave none"))?;
        Ok(list.to_json())
    }

    async fn show_expanded(&self, caller: &Caller, list: &AccessList) -> Result<Value> {
        let subjects = Permission::ALL
            .iter()
            .flat_map(|permission| list.of(*permission).iter());
        let mut wanted: Vec<(ObjectType, ObjectId)> = subjects.filter_map(referred).collect();
        wanted.sort();
        wanted.dedup();
        let asker = caller.asker.clone();
        let found = caller
            .backend
            .find_objects(asker, wanted, EXPANDED_MAX_BYTES)
            .await?;
        let mut objects = HashMap::new();
        for ((object_type, id), text) in found {
            let object: Value = serde_json::from_str(&text).map_err(Error::internal)?;
            objects.insert(format!("{object_type}.{id}"), object);
        }
        let shown = |subject: &Subject| {
            let object = objects.get(&subject.to_string()).cloned();
            object.unwrap_or_else(|| subject.to_json())
        };
        let lists = Permission::ALL.map(|permission| {
            let subjects = list.of(permission).iter().map(shown);
            (permission.as_str().to_owned(), subjects.collect::<Value>())
        });
        Ok(Value::Object(Map::from_iter(lists)))
    }
}

/// The object that a subject is, if it is one.
fn referred(subject: &Subject) -> Option<(ObjectType, ObjectId)> {
    let (object_type, id) = subject.parts();
    Some((object_type.parse().ok()?, id.parse().ok()?))
}
