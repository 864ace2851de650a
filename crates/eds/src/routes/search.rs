//! Full-text search.

use axum::extract::State;
use pilvi_model::search::Search;
use pilvi_model::{Error, ObjectType};
use pilvi_web::Params;
use serde_json::{Value, json};

use super::{Answer, query};
use crate::caller::Caller;
use crate::search::{SearchCall, TYPES_MAX};
use crate::{Eds, wire};

pub(crate) async fn search(State(eds): State<Eds>, caller: Caller, params: Params) -> Answer {
    let call = SearchCall {
        types: object_types(&params)?,
        search: Search::parse(given(&params, "search")?)?,
        query: query(&params)?,
    };
    if call.query.after.is_some() {
        let message = "a search has no `after`; go on with `offset`, or narrow the search";
        return Err(Error::bad_request(message).into());
    }
    let echo = echo(&call);
    if params.has("count") {
        let count = eds.count_found(&caller, call).await?;
        return Ok(wire::count(&echo, count));
    }
    let results = eds.search(&caller, call).await?;
    Ok(wire::list(&echo, &results))
}

fn given<'a>(params: &'a Params, name: &str) -> Result<&'a str, Error> {
    params.given(name).ok_or_else(|| {
        Error::bad_request(format!(
            "a search needs `objectTypes` and `search`, as in /v1/search?objectTypes=objects.todos&search={}; `{name}` \
             is missing",
            r#"{"phrase":"milk"}"#
        ))
    })
}

/// Qt sends `objectTypes[]` once for each type, Node one `objectTypes` with commas between them.
fn object_types(params: &Params) -> Result<Vec<ObjectType>, Error> {
    let mut types: Vec<ObjectType> = Vec::new();
    let values = params
        .iter()
        .filter(|(name, _)| *name == "objectTypes" || name.starts_with("objectTypes["));
    for name in values.flat_map(|(_, value)| value.split(',')) {
        let name = name.trim();
        if name.is_empty() {
            continue;
        }
        let object_type: ObjectType = name.parse()?;
        if !types.contains(&object_type) {
            types.push(object_type);
        }
        if types.len() > TYPES_MAX {
            let message = format!("a search names at most {TYPES_MAX} object types");
            return Err(Error::bad_request(message));
        }
    }
    if types.is_empty() {
        given(params, "objectTypes").map(drop)?;
        return Err(Error::bad_request("`objectTypes` names no object type"));
    }
    Ok(types)
}

/// What the reply repeats of the call.
fn echo(call: &SearchCall) -> Value {
    let mut echo = call.query.echo();
    let names: Vec<&str> = call.types.iter().map(ObjectType::as_str).collect();
    echo["objectTypes"] = json!(names);
    echo["search"] = call.search.source().clone();
    echo
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn types(query: &str) -> Result<Vec<String>, Error> {
        let params = Params::decode(query, &HeaderMap::new());
        let types = object_types(&params)?;
        Ok(types.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn types_come_one_by_one_or_as_a_list() {
        let two = vec!["objects.a".to_owned(), "users".to_owned()];
        for query in [
            "objectTypes[]=objects.a&objectTypes[]=users",
            "objectTypes%5B%5D=objects.a&objectTypes%5B%5D=users",
            "objectTypes=objects.a,users",
            "objectTypes=objects.a,+users,,objects.a",
            "objectTypes[0]=objects.a&objectTypes[1]=users",
        ] {
            assert_eq!(types(query).unwrap(), two, "{query}");
        }
    }

    #[test]
    fn a_search_without_types_says_what_is_missing() {
        let many: String = (0..=TYPES_MAX).map(|n| format!("objects.t{n},")).collect();
        for (query, expected) in [
            ("", "`objectTypes` is missing"),
            ("objectTypes=", "`objectTypes` is missing"),
            ("objectTypes[]=", "`objectTypes` is missing"),
            ("objectTypes=,", "names no object type"),
            ("objectTypes=todos", "is no object type"),
            (&format!("objectTypes={many}"), "at most 16"),
        ] {
            let error = types(query).unwrap_err();
            assert!(
                error.message.contains(expected),
                "{query}: {}",
                error.message
            );
        }
    }
}
