//! What a new backend may begin with: the schemas of the four templates that the original's console offered.

use pilvi_model::id::IdMaker;
use pilvi_model::{Error, Result, Timestamp};
use pilvi_store::backend::NewCollection;

use super::exchange;

/// A template of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Template {
    Blank,
    Todos,
    ImageGallery,
    AddressBook,
}

impl Template {
    pub(crate) const ALL: [Self; 4] = [
        Self::Blank,
        Self::Todos,
        Self::ImageGallery,
        Self::AddressBook,
    ];

    /// As a configuration names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Todos => "todos",
            Self::ImageGallery => "image-gallery",
            Self::AddressBook => "address-book",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|template| template.as_str() == name)
    }

    /// The object types of a backend that begins with it.
    pub(crate) fn types(self, ids: &IdMaker, now: Timestamp) -> Result<Vec<NewCollection>> {
        let text = match self {
            Self::Blank => return Ok(Vec::new()),
            Self::Todos => include_str!("templates/todos.json"),
            Self::ImageGallery => include_str!("templates/image-gallery.json"),
            Self::AddressBook => include_str!("templates/address-book.json"),
        };
        let document = serde_json::from_str(text).map_err(Error::internal)?;
        Ok(exchange::read(document, ids, now)?.types)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_a_schema_without_a_fault() {
        let ids = IdMaker::new([1; 5]);
        let now = Timestamp::from_millis(1_000_000);
        for template in Template::ALL {
            assert_eq!(Template::parse(template.as_str()), Some(template));
            let types = template.types(&ids, now).unwrap();
            assert_eq!(types.is_empty(), template == Template::Blank);
            for new in types {
                pilvi_model::schema::check(&new.schema).unwrap();
            }
        }
    }
}
