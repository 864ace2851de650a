//! Writes as plain data, so that one and a batch of them are carried out alike: in one transaction, with the rights
//! decided in it.

use pilvi_model::update::Update;
use pilvi_model::{
    AccessChange, AccessList, Error, Object, ObjectId, ObjectType, Properties, Result, WebhookId,
};
use rusqlite::Connection;

use super::author::Author;
use super::idempotency::{self, Once, OnceKey};
use super::{Backend, access, facts, inferred, objects};
use crate::error;

/// A change that somebody wants.
#[derive(Clone, Debug)]
pub enum Mutation {
    Create {
        id: ObjectId,
        object_type: ObjectType,
        properties: Properties,
    },
    /// Sets the named properties.
    Update {
        object_type: ObjectType,
        id: ObjectId,
        changes: Properties,
    },
    /// Carries out operators where the object is stored.
    Atomic {
        object_type: ObjectType,
        id: ObjectId,
        update: Update,
    },
    Delete {
        object_type: ObjectType,
        id: ObjectId,
    },
    Access {
        object_type: ObjectType,
        id: ObjectId,
        change: AccessChange,
    },
}

/// A change that is on disk.
#[derive(Clone, Debug)]
pub struct Written {
    /// The object after the change; for a delete, as it last was.
    pub object: Object,
    /// The object's own list, after a change of that.
    pub access: Option<AccessList>,
    /// The webhooks that now have something to deliver.
    pub webhooks: Vec<WebhookId>,
}

impl Backend {
    /// Carries out one change.
    pub async fn write(&self, mutation: Mutation, author: Author) -> Result<Written> {
        if mutation.works_when_low() {
            let write = move |connection: &Connection| mutation.apply(connection, &author);
            return self.database.write_when_low(write).await;
        }
        self.database
            .write(move |connection| mutation.apply(connection, &author))
            .await
    }

    /// Carries out one change unless the same was carried out before under this key.
    pub async fn write_once(
        &self,
        mutation: Mutation,
        author: Author,
        key: OnceKey,
    ) -> Result<Once> {
        self.database
            .write(move |connection| {
                if let Some(reply) = idempotency::find(connection, &key, author.at)? {
                    return Ok(Once::Before(reply));
                }
                let written = mutation.apply(connection, &author)?;
                idempotency::remember(connection, &key, &written.object, author.at)?;
                Ok(Once::Now(written))
            })
            .await
    }

    /// Carries out all changes in their order, or none. A fault says which one it was, counted from 0.
    pub async fn write_all(
        &self,
        mutations: Vec<Mutation>,
        author: Author,
    ) -> Result<Vec<Written>> {
        let frees = mutations.iter().all(Mutation::works_when_low);
        let write = move |connection: &Connection| {
            let mut bytes = 0;
            let mut all = Vec::with_capacity(mutations.len());
            for (place, mutation) in mutations.into_iter().enumerate() {
                let written = mutation
                    .apply(connection, &author)
                    .map_err(|error| error.in_operation(place))?;
                bytes += written.object.text.len();
                if bytes > objects::PAGE_MAX_BYTES {
                    let message =
                        "the objects of this batch have more than 32 MiB together; send several";
                    return Err(Error::too_large(message).into());
                }
                all.push(written);
            }
            Ok(all)
        };
        match frees {
            true => self.database.write_when_low(write).await,
            false => self.database.write(write).await,
        }
    }
}

impl Mutation {
    /// Deleting frees space and a right can be taken away, however full the disk is.
    fn works_when_low(&self) -> bool {
        matches!(
            self,
            Self::Delete { .. }
                | Self::Access {
                    change: AccessChange::Withdraw(_),
                    ..
                }
        )
    }

    /// Decides whether the author may, and does it.
    pub(super) fn apply(self, connection: &Connection, author: &Author) -> error::Result<Written> {
        match self {
            Self::Create {
                id,
                object_type,
                properties,
            } => {
                let creator = author.asker.user();
                objects::create(connection, author, id, &object_type, creator, &properties)
            }
            Self::Update {
                object_type,
                id,
                changes,
            } => {
                let new = inferred::unknown_of(connection, &object_type, &changes)?;
                let written = objects::update(connection, author, &object_type, id, |object| {
                    object.update_by(author.at, author.asker.user(), changes)
                })?;
                inferred::add(connection, &object_type, &new)?;
                Ok(written)
            }
            Self::Atomic {
                object_type,
                id,
                update,
            } => {
                let (_, facts) = facts::facts(connection, &object_type)?;
                let mut new = Vec::new();
                let written = objects::update(connection, author, &object_type, id, |object| {
                    let properties = object.properties()?.after(&update)?;
                    new = inferred::unknown(&facts, &object_type, &properties);
                    object.rewrite(author.at, author.asker.user(), &properties)
                })?;
                inferred::add(connection, &object_type, &new)?;
                Ok(written)
            }
            Self::Delete { object_type, id } => {
                objects::delete(connection, author, &object_type, id)
            }
            Self::Access {
                object_type,
                id,
                change,
            } => access::change(connection, author, &object_type, id, change),
        }
    }
}
