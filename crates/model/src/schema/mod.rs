//! What the schema of an object type says beyond who may do what: which values its properties may have, and what
//! happens to an object when another one goes that it refers to (`eds.md` §14.3).
//!
//! Nothing here looks at stored objects. [`Validators`] decide by a document alone; which of them need to know what
//! others hold ([`Rule::Unique`]) is for a store to ask.

mod dependency;
mod inferred;
mod validator;

pub use dependency::{Dependency, OnDelete};
pub use inferred::{Inferred, infer};
pub use validator::{PATTERNS_MAX, Rule, Validator, Validators, unique_key};

use serde_json::{Map, Value};

use crate::{Error, Result};

use crate::query::geo::Point;
use crate::query::value::Reference;
use crate::wrapper;

/// What kind of value a property is said to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyType {
    String,
    Number,
    Boolean,
    Time,
    Ref,
    Hash,
    ObjectId,
    Array,
    GeoLocation,
}

impl PropertyType {
    pub const ALL: [Self; 9] = [
        Self::String,
        Self::Number,
        Self::Boolean,
        Self::Time,
        Self::Ref,
        Self::Hash,
        Self::ObjectId,
        Self::Array,
        Self::GeoLocation,
    ];

    /// As schemas name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Time => "time",
            Self::Ref => "ref",
            Self::Hash => "hash",
            Self::ObjectId => "objectid",
            Self::Array => "array",
            Self::GeoLocation => "geoloc",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether a stored value is of this type.
    pub fn fits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Time => value.as_str().is_some_and(wrapper::is_moment),
            Self::Ref => Reference::of(value).is_some(),
            Self::Hash => value.is_object(),
            Self::ObjectId => {
                let id = value.as_str().map(str::parse::<crate::ObjectId>);
                id.is_some_and(|id| id.is_ok())
            }
            Self::Array => value.is_array(),
            Self::GeoLocation => Point::of(value).is_some(),
        }
    }
}

/// Bytes of a type's schema as JSON.
const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// Properties, and validators, that a type may have.
pub const ENTRIES_MAX: usize = 500;

/// Refuses a schema, as it is once it is put together, that is too large or that contradicts itself.
pub fn check(schema: &Map<String, Value>) -> Result<()> {
    let bytes = serde_json::to_string(schema).map_or(usize::MAX, |text| text.len());
    if bytes > SCHEMA_BYTES_MAX {
        return Err(Error::too_large(format!(
            "the schema of a type has at most {SCHEMA_BYTES_MAX} bytes"
        )));
    }
    let array = |name: &str| match schema.get(name) {
        Some(Value::Array(entries)) => entries.as_slice(),
        _ => &[],
    };
    for part in ["properties", "validators"] {
        if array(part).len() > ENTRIES_MAX {
            let message =
                format!("has more than {ENTRIES_MAX} entries together with those that were there");
            return Err(Error::invalid(part, message));
        }
    }
    let validators = Validators::of("", schema);
    if validators.patterns() > PATTERNS_MAX {
        let message = format!("has more than {PATTERNS_MAX} entries of type pattern");
        return Err(Error::invalid("validators", message));
    }
    for property in array("properties") {
        let Ok(Some(bound)) = Dependency::from_property(property) else {
            continue;
        };
        if bound.on_delete == OnDelete::Clear && validators.require(&bound.property) {
            let message = format!(
                "has `{}`, which is required and is to be cleared when what it refers to is deleted; it can only \
                 be one of both",
                bound.property
            );
            return Err(Error::invalid("properties", message));
        }
    }
    Ok(())
}
