//! From a phrase to an expression of FTS5.
//!
//! Words consist of letters and digits, so between quotes they mean nothing else. Where the index cannot say what is
//! meant, the expression lets too many through and says so; what must not be there is then left to the evaluator.

use pilvi_model::query::Path;
use pilvi_model::search::{Group, Node, Search, Words};
use rusqlite::{Connection, params_from_iter};

use super::{COLUMNS, REST, places};
use crate::error::Result;

/// Words of the index that one word with a `*` before it may stand for.
const EXPANDED_MAX: usize = 1024;

/// The objects among which all results are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidates {
    pub(super) which: Which,
    /// Whether all of them are results.
    pub(super) is_exact: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    None,
    All,
    /// Those that match an expression.
    Matching(String),
    /// Those that do not: FTS5 has no way to say it by itself.
    AllBut(String),
}

pub(super) fn candidates(
    connection: &Connection,
    number: i64,
    search: &Search,
) -> Result<Candidates> {
    let scope = match &search.properties {
        None => Scope::Everywhere,
        Some(paths) => Scope::of(&places(connection, number)?, paths),
    };
    let compiler = Compiler {
        connection,
        number,
        scope,
    };
    let mut candidates = compiler.node(search.phrase.root())?;
    if search.near.is_some() && candidates.which != Which::None {
        candidates.is_exact = false;
    }
    Ok(candidates)
}

impl Candidates {
    fn exactly(which: Which) -> Self {
        Self {
            which,
            is_exact: true,
        }
    }

    fn roughly(which: Which) -> Self {
        Self {
            which,
            is_exact: false,
        }
    }
}

/// Which columns are looked at.
enum Scope {
    Everywhere,
    Nowhere,
    Columns {
        /// As FTS5 writes them before an expression.
        filter: String,
        /// Whether they hold the texts of the wanted properties and no others.
        is_exact: bool,
    },
}

impl Scope {
    fn of(places: &[(String, usize)], paths: &[Path]) -> Self {
        let (mut columns, mut is_exact) = (Vec::new(), true);
        for path in paths {
            let name = &path.segments()[0].name;
            match places.iter().find(|(property, _)| property == name) {
                Some((_, place)) => {
                    columns.push(*place);
                    is_exact &= path.segments().len() == 1;
                }
                // Once all columns are taken, further properties share the last.
                None if places.len() >= REST => {
                    columns.push(REST);
                    is_exact = false;
                }
                None => {}
            }
        }
        if columns.is_empty() {
            return Self::Nowhere;
        }
        columns.sort_unstable();
        columns.dedup();
        debug_assert!(columns.iter().all(|column| *column < COLUMNS));
        let columns: Vec<String> = columns.iter().map(|column| format!("p{column}")).collect();
        Self::Columns {
            filter: format!("{{{}}} : ", columns.join(" ")),
            is_exact,
        }
    }
}

struct Compiler<'a> {
    connection: &'a Connection,
    number: i64,
    scope: Scope,
}

impl Compiler<'_> {
    fn node(&self, node: &Node) -> Result<Candidates> {
        match node {
            Node::Everything => Ok(Candidates::exactly(Which::All)),
            Node::Words(words) => self.words(words),
            Node::Group(group) => self.group(group),
        }
    }

    fn words(&self, words: &Words) -> Result<Candidates> {
        let (filter, is_exact) = match &self.scope {
            Scope::Nowhere => return Ok(Candidates::exactly(Which::None)),
            Scope::Everywhere => ("", true),
            Scope::Columns { filter, is_exact } => (filter.as_str(), *is_exact),
        };
        let found = |expression: String| Candidates {
            which: Which::Matching(format!("{filter}{expression}")),
            is_exact,
        };
        let [first, further @ ..] = words.words.as_slice() else {
            return Ok(Candidates::exactly(Which::None));
        };
        let star = if words.open_end { " *" } else { "" };
        if !words.open_start {
            return Ok(found(format!("\"{}\"{star}", words.words.join(" "))));
        }
        // Of a single word that is open at both ends, the list has the whole words.
        let is_within = further.is_empty() && words.open_end;
        let Some(expanded) = self.expanded(first, is_within)? else {
            return Ok(Candidates::roughly(Which::All));
        };
        if expanded.is_empty() {
            return Ok(Candidates::exactly(Which::None));
        }
        let star = if is_within { "" } else { star };
        let quoted = expanded.iter().map(|word| {
            let all: Vec<&str> = std::iter::once(word)
                .chain(further)
                .map(String::as_str)
                .collect();
            format!("\"{}\"{star}", all.join(" "))
        });
        Ok(found(format!(
            "({})",
            quoted.collect::<Vec<_>>().join(" OR ")
        )))
    }

    /// The words of the index that end with this one, or hold it; `None`: they are too many.
    fn expanded(&self, word: &str, is_within: bool) -> Result<Option<Vec<String>>> {
        let (condition, values) = match is_within {
            true => ("instr(word, ?) > 0", vec![word.to_owned()]),
            false => {
                let reversed: String = word.chars().rev().collect();
                // Behind all that begin so: the last of all characters is in no word.
                let below = format!("{reversed}\u{10ffff}");
                ("reversed >= ? AND reversed < ?", vec![reversed, below])
            }
        };
        let sql = format!(
            "SELECT word FROM search_words_{} WHERE {condition} LIMIT {}",
            self.number,
            EXPANDED_MAX + 1
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
        let words: Vec<String> = rows.collect::<std::result::Result<_, _>>()?;
        Ok((words.len() <= EXPANDED_MAX).then_some(words))
    }

    fn group(&self, Group { must, should, not }: &Group) -> Result<Candidates> {
        let wanted = match (must.is_empty(), should.is_empty()) {
            (true, true) => Candidates::exactly(Which::All),
            (true, false) => any(self.nodes(should)?),
            (false, _) => all(self.nodes(must)?),
        };
        let not = self.nodes(not)?;
        // Of what is only roughly unwanted some is wanted.
        let (unwanted, rough): (Vec<_>, Vec<_>) = not.into_iter().partition(|node| node.is_exact);
        let rest = without(wanted, any(unwanted));
        match rest.which {
            Which::None => Ok(rest),
            which => Ok(Candidates {
                which,
                is_exact: rest.is_exact && rough.is_empty(),
            }),
        }
    }

    fn nodes(&self, nodes: &[Node]) -> Result<Vec<Candidates>> {
        nodes.iter().map(|node| self.node(node)).collect()
    }
}

fn all(nodes: Vec<Candidates>) -> Candidates {
    let is_exact = nodes.iter().all(|node| node.is_exact);
    let (mut matching, mut not) = (Vec::new(), Vec::new());
    for node in nodes {
        match node.which {
            Which::None => return Candidates::exactly(Which::None),
            Which::All => {}
            Which::Matching(expression) => matching.push(expression),
            Which::AllBut(expression) => not.push(expression),
        }
    }
    let which = match (joined(matching, " AND "), joined(not, " OR ")) {
        (None, None) => Which::All,
        (Some(matching), None) => Which::Matching(matching),
        (None, Some(not)) => Which::AllBut(not),
        (Some(matching), Some(not)) => Which::Matching(but(&matching, &not)),
    };
    Candidates { which, is_exact }
}

fn any(nodes: Vec<Candidates>) -> Candidates {
    let is_exact = nodes.iter().all(|node| node.is_exact);
    if let Some(everything) = nodes
        .iter()
        .find(|node| node.which == Which::All && node.is_exact)
    {
        return everything.clone();
    }
    let (mut matching, mut not) = (Vec::new(), Vec::new());
    for node in nodes {
        match node.which {
            Which::None => {}
            Which::All => return Candidates::roughly(Which::All),
            Which::Matching(expression) => matching.push(expression),
            Which::AllBut(expression) => not.push(expression),
        }
    }
    let which = match (joined(matching, " OR "), joined(not, " AND ")) {
        (None, None) => return Candidates::exactly(Which::None),
        (Some(matching), None) => Which::Matching(matching),
        (None, Some(not)) => Which::AllBut(not),
        (Some(matching), Some(not)) => Which::AllBut(but(&not, &matching)),
    };
    Candidates { which, is_exact }
}

/// What is wanted without what is unwanted, which is exact.
fn without(wanted: Candidates, unwanted: Candidates) -> Candidates {
    let others = match unwanted.which {
        Which::None => Which::All,
        Which::All => Which::None,
        Which::Matching(expression) => Which::AllBut(expression),
        Which::AllBut(expression) => Which::Matching(expression),
    };
    all(vec![wanted, Candidates::exactly(others)])
}

fn but(wanted: &str, unwanted: &str) -> String {
    format!("({wanted} NOT {unwanted})")
}

fn joined(expressions: Vec<String>, operator: &str) -> Option<String> {
    match expressions.as_slice() {
        [] => None,
        [_] => expressions.into_iter().next(),
        several => Some(format!("({})", several.join(operator))),
    }
}
