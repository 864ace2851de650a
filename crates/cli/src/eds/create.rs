//! `pilvi eds create`.

use clap::{Args, ValueEnum};
use serde_json::Map;

use crate::failure::Outcome;
use crate::service::{Common, Kind, create};
use crate::session::Session;

#[derive(Args, Clone, Debug)]
pub(super) struct Create {
    #[command(flatten)]
    common: Common,
    /// Let everybody who knows its id read and change everything in it, as apps of 2014 expect
    #[arg(long)]
    open: bool,
    /// The object types that it begins with
    #[arg(long, value_name = "TEMPLATE", value_enum, default_value_t = Template::Blank)]
    template: Template,
    /// An id for programs that have one in their code: 24 hex characters; only operators of the server choose one
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// What the console of the original offered, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Template {
    /// None
    Blank,
    /// todos, with a title and whether they are completed
    Todos,
    /// image, whose file gets a thumbnail
    ImageGallery,
    /// addressbook, with names, e-mail, phone and address
    AddressBook,
}

impl Template {
    fn as_str(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Todos => "todos",
            Self::ImageGallery => "image-gallery",
            Self::AddressBook => "address-book",
        }
    }
}

impl Create {
    pub(super) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let openness = if self.open { "open" } else { "private" };
        let mut config = Map::from_iter([("openness".to_owned(), openness.into())]);
        if self.template != Template::Blank {
            config.insert("template".to_owned(), self.template.as_str().into());
        }
        create(session, Kind::Eds, &self.common, config, self.id.as_deref()).await
    }
}
