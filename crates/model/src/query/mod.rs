//! The query language of Enginio Data Storage: what a list call asks for (`eds.md` §5).
//!
//! [`Filter`] and [`Sort`] are parsed once, from the JSON of `q` and `sort`, and checked fully: whoever holds one
//! holds something that every engine can carry out. They also evaluate in memory, and **that evaluator is the
//! specification**: `pilvi-store` compiles the same trees to SQL and a property test holds the SQL to it.
//!
//! Where to read: [`filter`] is the tree, [`parse`] its making and every refusal, [`evaluate`] the meaning of a
//! filter, [`value`] what *equal* and *less* mean, [`geo`] what *near* means, [`sort`] and [`page`] the rest of a call.

#[cfg(test)]
mod bad_input;
pub mod cursor;
pub mod evaluate;
pub mod filter;
pub mod geo;
pub mod include;
pub mod page;
pub mod parse;
pub mod path;
pub mod sort;
pub mod value;

use serde_json::{Map, Value, json};

use crate::{Error, Result};

pub use cursor::After;
pub use filter::{Comparison, Condition, Field, Filter, Pattern, Scalar, Test};
pub use geo::{Bounds, Nearest, Region};
pub use include::Include;
pub use page::Page;
pub use path::{Path, Segment};
pub use sort::{Direction, Position, Sort, SortKey};

/// The parameters of a list call as the request carries them, decoded. Empty text means *not given*
/// (`eds.md` §2.4).
#[derive(Clone, Copy, Debug, Default)]
pub struct Parameters<'a> {
    pub q: Option<&'a str>,
    pub sort: Option<&'a str>,
    pub limit: Option<&'a str>,
    pub offset: Option<&'a str>,
    pub after: Option<&'a str>,
    pub include: Option<&'a str>,
}

/// What a list call asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    pub filter: Filter,
    pub sort: Sort,
    pub page: Page,
    /// Where the page before this one ended.
    pub after: Option<After>,
    /// The references to expand.
    pub include: Include,
    /// The same as sent, for the echo.
    include_json: Option<Value>,
    /// The sort order as sent, for the echo.
    sort_json: Option<Value>,
}

impl Query {
    /// Reads the parameters of a list call. Every fault is a bad request that names the parameter.
    pub fn parse(parameters: &Parameters<'_>) -> Result<Self> {
        let filter = match given(parameters.q) {
            Some(text) => Filter::parse(text)?,
            None => Filter::default(),
        };
        let sort_json = given(parameters.sort)
            .map(|text| parse::json("sort", text))
            .transpose()?;
        let sort = match &sort_json {
            Some(json) => Sort::from_json(json)?,
            None => Sort::default(),
        };
        let include_json = given(parameters.include)
            .map(|text| parse::json("include", text))
            .transpose()?;
        let include = match &include_json {
            Some(json) => Include::from_json(json)?,
            None => Include::default(),
        };
        let mut query = Self {
            sort: sort.or_nearest(&filter),
            filter,
            page: Page::parse(given(parameters.limit), given(parameters.offset))?,
            after: None,
            include,
            include_json,
            sort_json,
        };
        if let Some(text) = given(parameters.after) {
            if query.page.offset > 0 {
                return Err(Error::bad_request(
                    "after and offset cannot stand together; leave offset out, `after` says where to go on",
                ));
            }
            query.after = Some(query.read_cursor(text)?);
        }
        Ok(query)
    }

    /// What a reply repeats under `query`: the parsed filter at `query`, then `limit` and `offset`, then `sort`
    /// and `include` when they were given (`eds.md` §5.2).
    pub fn echo(&self) -> Value {
        let mut echo = Map::new();
        echo.insert("query".into(), self.filter.source().clone());
        echo.insert("limit".into(), json!(self.page.limit));
        echo.insert("offset".into(), json!(self.page.offset));
        if let Some(sort) = &self.sort_json {
            echo.insert("sort".into(), sort.clone());
        }
        if let Some(include) = &self.include_json {
            echo.insert("include".into(), include.clone());
        }
        Value::Object(echo)
    }
}

fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_parameters_asks_for_the_first_hundred_of_everything() {
        let query = Query::parse(&Parameters {
            q: Some(""),
            sort: Some(""),
            limit: Some(""),
            ..Parameters::default()
        })
        .unwrap();
        assert_eq!(query, Query::default());
        assert_eq!(
            query.echo(),
            json!({"query": {}, "limit": 100, "offset": 0})
        );
        assert!(query.filter.matches(&json!({"id": "1"})));
    }

    #[test]
    fn the_echo_repeats_what_was_sent() {
        let query = Query::parse(&Parameters {
            q: Some(r#"{"name":"x","n":{"$gt":1}}"#),
            sort: Some(r#"{"sortBy":"name"}"#),
            limit: Some("2"),
            offset: Some("4"),
            after: None,
            include: Some(r#"{"creator":{}}"#),
        })
        .unwrap();
        assert_eq!(
            query.echo().to_string(),
            concat!(
                r#"{"query":{"name":"x","n":{"$gt":1}},"limit":2,"offset":4,"#,
                r#""sort":{"sortBy":"name"},"include":{"creator":{}}}"#
            )
        );
    }

    #[test]
    fn a_parameter_that_cannot_be_read_is_named() {
        let cases = [
            (
                Parameters {
                    q: Some("{"),
                    ..Parameters::default()
                },
                "q is not JSON",
            ),
            (
                Parameters {
                    q: Some("[]"),
                    ..Parameters::default()
                },
                "q must be a JSON object",
            ),
            (
                Parameters {
                    sort: Some("name"),
                    ..Parameters::default()
                },
                "sort is not JSON",
            ),
            (
                Parameters {
                    limit: Some("-1"),
                    ..Parameters::default()
                },
                "limit must be",
            ),
            (
                Parameters {
                    offset: Some("x"),
                    ..Parameters::default()
                },
                "offset must be",
            ),
            (
                Parameters {
                    include: Some("[]"),
                    ..Parameters::default()
                },
                "include must be a JSON object",
            ),
            (
                Parameters {
                    include: Some("{x}"),
                    ..Parameters::default()
                },
                "include is not JSON",
            ),
        ];
        for (parameters, expected) in cases {
            let error = Query::parse(&parameters).unwrap_err();
            assert_eq!(error.kind, crate::Kind::BadRequest);
            assert!(error.message.starts_with(expected), "{}", error.message);
        }
    }
}
