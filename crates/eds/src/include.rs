//! Expanding references: an object in the place of `{"id","objectType"}` (`eds.md` §6).
//!
//! All references of one level are looked up together, in one read; what they lead to is the next level. What is
//! not there, or not for this caller, leaves no trace: its property is taken out, because an explicit `null` breaks
//! an old client. What is no reference stays as it is.

use std::collections::{HashMap, HashSet};

use pilvi_model::query::value::Reference;
use pilvi_model::query::{Include, Query};
use pilvi_model::{Error, Result};
use pilvi_store::backend::Target;
use serde_json::{Map, Value};

use crate::Eds;
use crate::caller::Caller;
use crate::files::Shown;

/// How many references one reply may expand, each place counted.
const PLACES_MAX: usize = 10_000;
/// How large a reply may become.
const REPLY_BYTES_MAX: usize = 32 << 20;

/// An object whose references are to be expanded, and which ones.
type Open<'a> = (&'a mut Map<String, Value>, &'a Include);

/// The objects of a page, and where the next one starts.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The texts of the objects.
    pub results: Vec<String>,
    /// What `after` of the next call says; `None` when this page is the last.
    pub next: Option<String>,
}

impl Eds {
    /// Makes a page of what was found: says where it ends, and expands what the query includes.
    pub(crate) async fn listed(
        &self,
        caller: &Caller,
        query: &Query,
        texts: Vec<String>,
    ) -> Result<Listed> {
        let full = texts.len() == query.page.limit as usize;
        let last = texts
            .last()
            .filter(|_| full)
            .map(|text| serde_json::from_str(text));
        let last: Option<Value> = last.transpose().map_err(Error::internal)?;
        let next = query.next(texts.len(), last.as_ref());
        let results = expand(self, caller, &query.include, texts).await?;
        Ok(Listed { results, next })
    }

    /// One object with what the call includes in it.
    pub(crate) async fn with_included(
        &self,
        caller: &Caller,
        include: &Include,
        text: String,
    ) -> Result<String> {
        let mut texts = expand(self, caller, include, vec![text]).await?;
        texts
            .pop()
            .ok_or_else(|| Error::internal("expanding lost an object"))
    }
}

/// Expands what `include` names in each of the objects.
async fn expand(
    eds: &Eds,
    caller: &Caller,
    include: &Include,
    texts: Vec<String>,
) -> Result<Vec<String>> {
    if include.is_empty() {
        return Ok(texts);
    }
    let mut objects = texts
        .iter()
        .map(|text| serde_json::from_str(text).map_err(Error::internal))
        .collect::<Result<Vec<Value>>>()?;
    let mut budget = Budget {
        places: PLACES_MAX,
        bytes: REPLY_BYTES_MAX.saturating_sub(texts.iter().map(String::len).sum()),
    };
    let mut level: Vec<Open<'_>> = objects
        .iter_mut()
        .filter_map(|object| Some((object.as_object_mut()?, include)))
        .collect();
    // The depth of `include` is bounded, and with it the number of rounds.
    while !level.is_empty() {
        let targets = targets(&level, &mut budget)?;
        let found = caller
            .backend
            .find_objects(caller.asker.clone(), targets, budget.bytes)
            .await?;
        let mut found = Found::new(found)?;
        found.show_files(eds, caller).await?;
        for (object, include) in &mut level {
            put_in_place(object, include, &found, &mut budget)?;
        }
        level = level
            .into_iter()
            .flat_map(|(object, include)| next_level(object, include))
            .collect();
    }
    Ok(objects.iter().map(Value::to_string).collect())
}

/// What a reply may still grow by.
struct Budget {
    places: usize,
    bytes: usize,
}

impl Budget {
    fn take_place(&mut self) -> Result<()> {
        self.places = self.places.checked_sub(1).ok_or_else(|| {
            Error::too_large(format!(
                "`include` would expand more than {PLACES_MAX} references; include less, or ask for fewer with `limit`"
            ))
        })?;
        Ok(())
    }

    fn take_bytes(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| {
            Error::too_large("this reply would be larger than 32 MiB; include less, or ask for fewer with `limit`")
        })?;
        Ok(())
    }
}

/// The objects of one level, with the length of their texts.
struct Found(HashMap<Target, (Value, usize)>);

impl Found {
    fn new(texts: HashMap<Target, String>) -> Result<Self> {
        let parse = |(target, text): (Target, String)| {
            let object = serde_json::from_str(&text).map_err(Error::internal)?;
            Ok((target, (object, text.len())))
        };
        texts
            .into_iter()
            .map(parse)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Files are shown as `GET /v1/files` shows them.
    async fn show_files(&mut self, eds: &Eds, caller: &Caller) -> Result<()> {
        let documents = || self.0.values().filter_map(|(object, _)| object.as_object());
        let shown = Shown::of(eds, caller, documents()).await?;
        let objects = self.0.values_mut();
        for document in objects.filter_map(|(object, _)| object.as_object_mut()) {
            shown.complete(document);
        }
        Ok(())
    }

    /// The object in the place of its reference; `None` where it is missing.
    fn expanded(&self, reference: Reference<'_>, budget: &mut Budget) -> Result<Option<Value>> {
        match target(reference).and_then(|target| self.0.get(&target)) {
            Some((object, bytes)) => {
                budget.take_bytes(*bytes)?;
                Ok(Some(object.clone()))
            }
            None => Ok(None),
        }
    }
}

fn target(reference: Reference<'_>) -> Option<Target> {
    Some((
        reference.object_type.parse().ok()?,
        reference.id.parse().ok()?,
    ))
}

/// What the level's references lead to, each once.
fn targets(level: &[Open<'_>], budget: &mut Budget) -> Result<Vec<Target>> {
    let mut targets = HashSet::new();
    for (object, include) in level {
        let included = object
            .iter()
            .filter(|(name, _)| include.under(name).is_some());
        for (_, value) in included {
            let items = match value {
                Value::Array(items) => items.as_slice(),
                single => std::slice::from_ref(single),
            };
            for target in items.iter().filter_map(Reference::of).filter_map(target) {
                budget.take_place()?;
                targets.insert(target);
            }
        }
    }
    Ok(targets.into_iter().collect())
}

fn put_in_place(
    object: &mut Map<String, Value>,
    include: &Include,
    found: &Found,
    budget: &mut Budget,
) -> Result<()> {
    let mut missing = Vec::new();
    for (name, value) in object.iter_mut() {
        if include.under(name).is_none() {
            continue;
        }
        if let Value::Array(items) = value {
            let mut expanded = Vec::with_capacity(items.len());
            for item in items.drain(..) {
                match Reference::of(&item) {
                    Some(reference) => expanded.extend(found.expanded(reference, budget)?),
                    None => expanded.push(item),
                }
            }
            *items = expanded;
        } else if let Some(reference) = Reference::of(value) {
            match found.expanded(reference, budget)? {
                Some(expanded) => *value = expanded,
                None => missing.push(name.clone()),
            }
        }
    }
    for name in missing {
        object.shift_remove(&name);
    }
    Ok(())
}

/// The expanded objects in which there is more to expand. Only references were replaced, so whatever has the members
/// of one is an expanded object.
fn next_level<'a>(
    object: &'a mut Map<String, Value>,
    include: &'a Include,
) -> impl Iterator<Item = Open<'a>> {
    object.iter_mut().flat_map(|(name, value)| {
        let inner = include.under(name).filter(|inner| !inner.is_empty());
        let items = match (inner, value) {
            (None, _) => &mut [],
            (Some(_), Value::Array(items)) => items.as_mut_slice(),
            (Some(_), single) => std::slice::from_mut(single),
        };
        items.iter_mut().filter_map(move |item| {
            let inner = inner.filter(|_| Reference::of(item).is_some())?;
            Some((item.as_object_mut()?, inner))
        })
    })
}
