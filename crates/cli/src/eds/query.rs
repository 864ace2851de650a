//! `pilvi eds query`, `count` and `get`.

use clap::Args;
use serde_json::{Map, Value, json};

use super::collection::{Collection, shown, table};
use super::fields::Filter;
use super::target::Backend;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, results};
use crate::url::segment;

/// The largest page that a server gives.
const PAGE_MAX: u32 = 1000;

#[derive(Args, Clone, Debug)]
pub(super) struct Query {
    /// The object type, such as todos, users or usergroups
    #[arg(value_name = "TYPE")]
    collection: Collection,
    #[command(flatten)]
    filter: Filter,
    /// Sort by these properties, such as `title` or `-createdAt,title`; a hyphen turns the order round
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    sort: Vec<String>,
    /// Print at most so many [default: 100; with --lines all]
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Leave out so many of the first
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// Put objects in the place of the references at these properties, such as `author,list`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    include: Vec<String>,
    /// The columns of the table, such as `title,author.name`
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        conflicts_with = "lines"
    )]
    fields: Vec<String>,
    /// Print one object a line as JSON, page after page, as `pilvi eds insert TYPE -` reads them
    #[arg(long)]
    lines: bool,
}

impl Query {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        if self.lines {
            self.print_lines(session, backend).await?;
            return Ok(0);
        }
        let limit = self.limit.unwrap_or(100);
        let page = u32::try_from(limit).ok().filter(|page| *page <= PAGE_MAX);
        let page = page.ok_or_else(|| {
            Failure::usage(
                format!("a table holds at most {PAGE_MAX} objects"),
                "print more of them with --lines",
            )
        })?;
        let answer = backend.get(&self.resource(page, self.offset, None)).await?;
        if session.screen.wants_json() {
            session.screen.json(&answer)?;
            return Ok(0);
        }
        self.print_table(session, &answer)?;
        Ok(0)
    }

    fn print_table(&self, session: &mut Session<'_, '_>, answer: &Value) -> Result<()> {
        let objects = results(answer);
        if objects.is_empty() {
            let note = format!("There are no such {}.", self.collection.short());
            return Ok(session.screen.note(&note)?);
        }
        let (table, left_out) = table(objects, &self.fields);
        session.screen.table(&table)?;
        if !left_out.is_empty() {
            let names = left_out.join(", ");
            let note = format!("There is more in them: {names}. Choose columns with --fields.");
            session.screen.note(&note)?;
        }
        // A full page carries a cursor; whether anything follows it nobody has looked yet.
        if answer.get("next").is_some() {
            let note = "There may be more: --limit and --offset choose others, --lines prints all.";
            session.screen.note(note)?;
        }
        Ok(())
    }

    /// Page after page, so that neither side holds more than one of them.
    async fn print_lines(&self, session: &mut Session<'_, '_>, backend: &Backend) -> Result<()> {
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut offset = self.offset;
        let mut after: Option<String> = None;
        while left > 0 {
            let page = u32::try_from(left).map_or(PAGE_MAX, |left| left.min(PAGE_MAX));
            let resource = self.resource(page, offset, after.as_deref());
            let answer = backend.get(&resource).await?;
            for object in results(&answer) {
                session.screen.raw(&format!("{object}\n"))?;
            }
            left = left.saturating_sub(results(&answer).len() as u64);
            // The cursor says where to go on; an offset would count twice.
            offset = 0;
            after = answer["next"].as_str().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn resource(&self, limit: u32, offset: u64, after: Option<&str>) -> String {
        let mut resource = format!("{}?limit={limit}", self.collection.path);
        let mut add = |name: &str, value: &str| {
            resource += &format!("&{name}={}", segment(value));
        };
        let filter = self.filter.to_object();
        if !filter.is_empty() {
            add("q", &Value::Object(filter).to_string());
        }
        if !self.sort.is_empty() {
            add("sort", &sort(&self.sort).to_string());
        }
        if !self.include.is_empty() {
            add("include", &include(&self.include).to_string());
        }
        if offset > 0 {
            add("offset", &offset.to_string());
        }
        if let Some(after) = after {
            add("after", after);
        }
        resource
    }
}

/// `-createdAt` is the newest first.
pub(super) fn sort(names: &[String]) -> Value {
    let keys = names.iter().map(|name| match name.strip_prefix('-') {
        Some(name) => json!({"sortBy": name, "direction": "desc"}),
        None => json!({"sortBy": name, "direction": "asc"}),
    });
    keys.collect()
}

pub(super) fn include(names: &[String]) -> Value {
    let members = names.iter().map(|name| (name.clone(), json!({})));
    Value::Object(members.collect())
}

#[derive(Args, Clone, Debug)]
pub(super) struct Count {
    /// The object type, such as todos, users or usergroups
    #[arg(value_name = "TYPE")]
    collection: Collection,
    #[command(flatten)]
    filter: Filter,
}

impl Count {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let mut resource = format!("{}?count=1", self.collection.path);
        let filter = self.filter.to_object();
        if !filter.is_empty() {
            resource += &format!("&q={}", segment(&Value::Object(filter).to_string()));
        }
        let answer = backend.get(&resource).await?;
        if session.screen.wants_json() {
            session.screen.json(&answer)?;
        } else {
            session.screen.line(&answer["count"].to_string())?;
        }
        Ok(0)
    }
}

#[derive(Args, Clone, Debug)]
pub(super) struct Get {
    /// The object type, such as todos, users or usergroups
    #[arg(value_name = "TYPE")]
    collection: Collection,
    /// The object's id
    id: String,
    /// Put objects in the place of the references at these properties, such as `author,list`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    include: Vec<String>,
}

impl Get {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let mut resource = self.collection.object(&self.id);
        if !self.include.is_empty() {
            resource += &format!("?include={}", segment(&include(&self.include).to_string()));
        }
        let answer = backend.get(&resource).await.map_err(|failure| {
            let next = format!(
                "see `pilvi eds query {}` for those that there are",
                self.collection.short()
            );
            failure.on(Code::NotFound, next)
        })?;
        print(session, &answer)?;
        Ok(0)
    }
}

/// One object: as JSON, or a property a line.
pub(super) fn print(session: &mut Session<'_, '_>, object: &Value) -> Result<()> {
    if session.screen.wants_json() {
        return Ok(session.screen.json(object)?);
    }
    let none = Map::new();
    let members = object.as_object().unwrap_or(&none).iter();
    let facts: Vec<(&str, String)> = members
        .map(|(name, value)| (name.as_str(), shown(value)))
        .collect();
    Ok(session.screen.facts(&facts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hyphen_turns_the_order_round() {
        assert_eq!(
            sort(&["-createdAt".into(), "title".into()]),
            json!([
                {"sortBy": "createdAt", "direction": "desc"},
                {"sortBy": "title", "direction": "asc"},
            ])
        );
    }
}
