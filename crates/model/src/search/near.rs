//! Searching only near a place.

use serde_json::{Value, json};

use crate::query::geo::Point;
use crate::query::{Filter, Path};
use crate::{Error, Result};

/// `near` of a search: within so many metres of a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    /// Where the location is; `None`: at any property of the object itself.
    property: Option<Path>,
    /// The condition on a location at `at`, or at the property.
    filter: Filter,
}

impl Near {
    /// Reads `{"point":[lon,lat],"distance":metres}`, with `property` where the location has to be at a certain one.
    pub(super) fn from_json(value: &Value) -> Result<Option<Self>> {
        if value.is_null() {
            return Ok(None);
        }
        let refuse = || {
            Error::bad_request(
                r#"search.near must be {"point":[longitude,latitude],"distance":metres}, with "property" to name one"#,
            )
        };
        let point = value.get("point").and_then(Point::of).ok_or_else(refuse)?;
        let distance = value.get("distance").and_then(Value::as_f64);
        let distance = distance
            .filter(|metres| *metres >= 0.0)
            .ok_or_else(refuse)?;
        let property = match value.get("property") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(Path::parse(name, "search near")?),
            Some(_) => return Err(refuse()),
        };
        let centre = json!({"type": "Point", "coordinates": [point.x, point.y]});
        let condition = json!({"$nearSphere": {"$geometry": centre, "$maxDistance": distance}});
        let name = property.as_ref().map_or("at".to_owned(), Path::to_string);
        let filter = Filter::from_json(json!({ name: condition })).map_err(|_| refuse())?;
        Ok(Some(Self { property, filter }))
    }

    pub(super) fn matches(&self, document: &Value) -> bool {
        if self.property.is_some() {
            return self.filter.matches(document);
        }
        let members = document.as_object();
        members.into_iter().flatten().any(|(_, value)| {
            (value.is_array() || value.is_object()) && self.filter.matches(&json!({ "at": value }))
        })
    }
}
