//! `pilvi eds search`.

use clap::Args;
use serde_json::json;

use super::collection::{Collection, table};
use super::query::{include, sort};
use super::target::Backend;
use crate::failure::Outcome;
use crate::session::{Session, results};
use crate::url::segment;

/// The largest page that a server gives.
const PAGE_MAX: u64 = 1000;

#[derive(Args, Clone, Debug)]
pub(super) struct Search {
    /// The object types to look through, such as todos or `todos,notes`
    #[arg(
        value_name = "TYPES",
        value_delimiter = ',',
        num_args = 1,
        required = true
    )]
    collections: Vec<Collection>,
    /// What to look for: words, with OR, AND, NOT, quotes, parentheses, and `*` at the ends of words
    phrase: String,
    /// Look only at these properties, such as `title,text`
    #[arg(long = "in", value_name = "NAMES", value_delimiter = ',')]
    properties: Vec<String>,
    /// Find objects that have all the words, where nothing stands between them; otherwise one is enough
    #[arg(long)]
    all_words: bool,
    /// Sort by these properties, such as `title` or `-createdAt,title`; the best come first otherwise
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    sort: Vec<String>,
    /// Print at most so many
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=PAGE_MAX))]
    limit: u64,
    /// Leave out so many of the first
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// Put objects in the place of the references at these properties, such as `author,list`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    include: Vec<String>,
    /// The columns of the table, such as `objectType,title`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    fields: Vec<String>,
    /// Print only how many there are
    #[arg(long)]
    count: bool,
}

impl Search {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let answer = backend.get(&self.resource()).await?;
        if session.screen.wants_json() {
            session.screen.json(&answer)?;
        } else if self.count {
            session.screen.line(&answer["count"].to_string())?;
        } else if results(&answer).is_empty() {
            session.screen.note("Nothing was found.")?;
        } else {
            let (table, _) = table(results(&answer), &self.fields);
            session.screen.table(&table)?;
            if results(&answer).len() as u64 == self.limit {
                let note = "There may be more: --limit and --offset choose others, --count counts them all.";
                session.screen.note(note)?;
            }
        }
        Ok(0)
    }

    fn resource(&self) -> String {
        let types: Vec<&str> = self
            .collections
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        let mut search = json!({ "phrase": self.phrase });
        if !self.properties.is_empty() {
            search["properties"] = json!(self.properties);
        }
        if self.all_words {
            search["defaultOperator"] = json!("AND");
        }
        let mut resource = format!(
            "search?objectTypes={}&search={}",
            segment(&types.join(",")),
            segment(&search.to_string())
        );
        if self.count {
            return resource + "&count=1";
        }
        let mut add = |name: &str, value: &str| {
            resource += &format!("&{name}={}", segment(value));
        };
        add("limit", &self.limit.to_string());
        if self.offset > 0 {
            add("offset", &self.offset.to_string());
        }
        if !self.sort.is_empty() {
            add("sort", &sort(&self.sort).to_string());
        }
        if !self.include.is_empty() {
            add("include", &include(&self.include).to_string());
        }
        resource
    }
}
