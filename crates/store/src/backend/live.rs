//! What those need who follow a backend and show to somebody what that one may see.

use pilvi_model::query::{Filter, Sort};
use pilvi_model::{Asker, ObjectType, Result};

use super::indexes::Purpose;
use super::objects::{self, Part};
use super::outbox::{self, Position};
use super::{Backend, geo, visible};

/// Everything that matched at one point of the feed.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The texts of the objects, in order of their ids.
    pub objects: Vec<String>,
    /// Whether there are more than were asked for.
    pub is_cut: bool,
    /// The point: what happened behind it is not in the objects, everything else is.
    pub position: Position,
}

impl Backend {
    /// Fails unless the asker may list the type.
    pub async fn check_list(&self, asker: Asker, object_type: ObjectType) -> Result<()> {
        self.database
            .read(move |connection| Self::require_list(connection, &asker, &object_type))
            .await
    }

    /// The objects that match and that the asker may read, and where in the feed that is: both from one state of the
    /// file.
    pub async fn snapshot(
        &self,
        asker: Asker,
        object_type: ObjectType,
        filter: Filter,
        limit: u32,
    ) -> Result<Snapshot> {
        let plain = filter == Filter::default();
        let sort = Sort::default();
        let most = limit as usize + 1;
        let (of, asked) = (object_type.clone(), (filter, sort.clone()));
        self.read_query(of, asked, Purpose::Page, move |connection, compiled| {
            let compiled = Part::Whole.narrow(connection, &asker, &object_type, compiled)?;
            let compiled = visible::only(connection, &asker, &object_type, &compiled, plain)?;
            let mut objects =
                geo::list_by_distance(connection, &sort, &compiled, most, |compiled| {
                    let mut values = compiled.bound_for(object_type.as_str());
                    values.push(i64::try_from(most).unwrap_or(i64::MAX).into());
                    values.push(0.into());
                    objects::collect_page(connection, &compiled.page(), values)
                })?;
            let is_cut = objects.len() == most;
            objects.truncate(limit as usize);
            Ok(Snapshot {
                objects,
                is_cut,
                position: outbox::end(connection)?,
            })
        })
        .await
    }
}
