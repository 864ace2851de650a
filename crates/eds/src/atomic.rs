//! Atomic updates: operators that change an object where it is stored (`eds.md` §17).
//!
//! What the operators mean is `pilvi_model::update`. The object is read, changed and written in one transaction, so
//! that of many callers who count the same thing up none is lost.

use pilvi_model::update::Update;
use pilvi_model::{Object, Result};
use pilvi_store::backend::Mutation;
use serde_json::Value;

use crate::Eds;
use crate::caller::Caller;
use crate::routes::Target;

impl Eds {
    /// Carries out an update document on an object, and gives the whole object after it.
    pub(crate) async fn update_atomically(
        &self,
        caller: &Caller,
        target: Target,
        body: &Value,
    ) -> Result<Object> {
        let update = Update::from_json(body, &target.object_type)?;
        let mutation = Mutation::Atomic {
            object_type: target.object_type,
            id: target.id,
            update,
        };
        Ok(self.write(caller, mutation).await?.object)
    }
}
