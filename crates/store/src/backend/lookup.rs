//! Many objects of any types at once, by their references.

use std::collections::HashMap;

use pilvi_model::{Asker, Error as DomainError, ObjectId, ObjectType, Result};

use super::{Backend, access, objects};

/// What a reference names.
pub type Target = (ObjectType, ObjectId);

impl Backend {
    /// The texts of those objects that are there and that the asker may read, from one state of the file. More than
    /// `bytes_max` together are refused.
    pub async fn find_objects(
        &self,
        asker: Asker,
        targets: Vec<Target>,
        bytes_max: usize,
    ) -> Result<HashMap<Target, String>> {
        self.database
            .read(move |connection| {
                let (mut found, mut bytes) = (HashMap::new(), 0);
                // Most objects have one of few audiences.
                let mut audiences: HashMap<i64, bool> = HashMap::new();
                for target in &targets {
                    let Some(stored) = objects::find(connection, &target.0, target.1)? else {
                        continue;
                    };
                    let known = audiences.get(&stored.readers).copied();
                    let may_read = match known {
                        Some(may_read) => may_read,
                        None => access::may_read(connection, stored.readers, &asker)?,
                    };
                    audiences.insert(stored.readers, may_read);
                    if !may_read {
                        continue;
                    }
                    bytes += stored.object.text.len();
                    if bytes > bytes_max {
                        let message = "the objects that `include` asks for are too large together; include less, \
                                       or ask for fewer with `limit`";
                        return Err(DomainError::too_large(message).into());
                    }
                    found.insert(target.clone(), stored.object.text);
                }
                Ok(found)
            })
            .await
    }
}
