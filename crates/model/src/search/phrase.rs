//! Phrases: words and how they are put together.
//!
//! | written | means |
//! |---|---|
//! | `cat` | the word *cat*, whole and in any case |
//! | `cat*`, `*cat`, `*cat*` | a word that begins with, ends with, contains *cat* |
//! | `"black cat"` | these words one after the other in one text |
//! | `cat OR dog`, `cat dog` | one of them, unless the default operator is `AND` |
//! | `cat AND dog` | both, wherever in the object |
//! | `NOT cat`, `-cat` | none of the results has it |
//! | `+cat` | every result has it |
//! | `(…)` | a phrase in a phrase |
//! | `*` | every object |
//!
//! `AND` binds closer than `OR`. `&&` and `||` are other spellings of the operators, which are upper case. What
//! holds no letter and no digit is passed over.

use std::iter::Peekable;
use std::str::CharIndices;

use super::words::words;
use crate::{Error, Result};

pub const PHRASE_BYTES_MAX: usize = 2048;
/// Words of one phrase.
pub const WORDS_MAX: usize = 64;
/// Words that begin with a `*`: each stands for all words of the index that end so.
pub const OPEN_WORDS_MAX: usize = 8;
/// Letters that follow a `*`, at least.
pub const OPEN_LETTERS_MIN: usize = 2;
const DEPTH_MAX: usize = 16;

/// What joins words with nothing between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Or,
    And,
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase(Node);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Words(Words),
    /// Every object.
    Everything,
    Group(Group),
}

/// Words that follow each other in one text; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    pub words: Vec<String>,
    /// The first may be the end of a longer word.
    pub open_start: bool,
    /// The last may be the beginning of a longer word.
    pub open_end: bool,
}

/// All of `must`, or where there are none one of `should`, if there are any; and none of `not`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub must: Vec<Node>,
    pub should: Vec<Node>,
    pub not: Vec<Node>,
}

impl Phrase {
    /// Reads a phrase. Every fault is a bad request that says what to write.
    pub fn parse(text: &str, operator: Operator) -> Result<Self> {
        if text.len() > PHRASE_BYTES_MAX {
            return Err(Error::bad_request(format!(
                "search.phrase has at most {PHRASE_BYTES_MAX} bytes"
            )));
        }
        let mut parser = Parser {
            tokens: Tokens {
                text,
                characters: text.char_indices().peekable(),
            }
            .peekable(),
            operator,
            words: 0,
            open_words: 0,
        };
        let node = parser.disjunction(DEPTH_MAX)?;
        if let Some(token) = parser.tokens.next() {
            token?;
            return Err(Error::bad_request(
                "search.phrase closes a parenthesis that it does not open",
            ));
        }
        let node = node.ok_or_else(|| {
            Error::bad_request("search.phrase has no word to look for; write at least one")
        })?;
        Ok(Self(node))
    }

    pub fn root(&self) -> &Node {
        &self.0
    }

    /// Whether an object with these texts, each of them given as its words, has what is looked for.
    pub fn matches(&self, texts: &[Vec<String>]) -> bool {
        self.0.matches(texts)
    }
}

impl Node {
    fn matches(&self, texts: &[Vec<String>]) -> bool {
        match self {
            Self::Everything => true,
            Self::Words(words) => texts.iter().any(|text| words.are_in(text)),
            Self::Group(Group { must, should, not }) => {
                let is_wanted = match (must.is_empty(), should.is_empty()) {
                    (true, true) => true,
                    (true, false) => should.iter().any(|node| node.matches(texts)),
                    (false, _) => must.iter().all(|node| node.matches(texts)),
                };
                is_wanted && !not.iter().any(|node| node.matches(texts))
            }
        }
    }
}

impl Words {
    fn are_in(&self, text: &[String]) -> bool {
        text.windows(self.words.len())
            .any(|window| self.fit(window))
    }

    fn fit(&self, window: &[String]) -> bool {
        let last = self.words.len() - 1;
        let pairs = self.words.iter().zip(window).enumerate();
        pairs.into_iter().all(|(place, (wanted, word))| {
            let open_start = self.open_start && place == 0;
            let open_end = self.open_end && place == last;
            match (open_start, open_end) {
                (false, false) => word == wanted,
                (false, true) => word.starts_with(wanted),
                (true, false) => word.ends_with(wanted),
                (true, true) => word.contains(wanted),
            }
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Open,
    Close,
    And,
    Or,
    Not,
    Must,
    /// As written, with its stars.
    Word(&'a str),
    /// What stands between quotes, and whether a star touches the first and the last one.
    Quoted(&'a str, bool, bool),
}

struct Tokens<'a> {
    text: &'a str,
    characters: Peekable<CharIndices<'a>>,
}

impl<'a> Tokens<'a> {
    /// Whether what follows an operator's sign belongs to it.
    fn sign(&mut self, token: Token<'a>) -> Option<Token<'a>> {
        let follows = self.characters.peek().map(|(_, character)| *character);
        follows
            .is_some_and(|character| !character.is_whitespace() && !")-+".contains(character))
            .then_some(token)
    }

    fn quoted(&mut self, start: usize, open_start: bool) -> Result<Token<'a>> {
        let inner = start + 1;
        let end = self.text[inner..].find('"').map(|place| inner + place);
        let end = end.ok_or_else(|| {
            Error::bad_request("search.phrase opens a quotation that it does not close")
        })?;
        while self
            .characters
            .next_if(|(place, _)| *place <= end)
            .is_some()
        {}
        let open_end = self.characters.next_if(|(_, c)| *c == '*').is_some();
        Ok(Token::Quoted(&self.text[inner..end], open_start, open_end))
    }

    fn word(&mut self, start: usize) -> Token<'a> {
        let ends = |character: char| character.is_whitespace() || "()\"".contains(character);
        while self.characters.next_if(|(_, c)| !ends(*c)).is_some() {}
        let end = self
            .characters
            .peek()
            .map_or(self.text.len(), |(place, _)| *place);
        match &self.text[start..end] {
            "AND" | "&&" => Token::And,
            "OR" | "||" => Token::Or,
            "NOT" => Token::Not,
            word => Token::Word(word),
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Result<Token<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (start, character) = self.characters.next()?;
            let token = match character {
                '(' => Token::Open,
                ')' => Token::Close,
                '"' => return Some(self.quoted(start, false)),
                '*' if self.text[start + 1..].starts_with('"') => {
                    self.characters.next();
                    return Some(self.quoted(start + 1, true));
                }
                '-' => match self.sign(Token::Not) {
                    Some(token) => token,
                    None => continue,
                },
                '+' => match self.sign(Token::Must) {
                    Some(token) => token,
                    None => continue,
                },
                character if character.is_whitespace() => continue,
                _ => self.word(start),
            };
            return Some(Ok(token));
        }
    }
}

struct Parser<'a> {
    tokens: Peekable<Tokens<'a>>,
    operator: Operator,
    words: usize,
    open_words: usize,
}

/// How a clause counts in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Must,
    Should,
    Not,
}

/// `None` where there is nothing to look for, such as a lone hyphen.
type Clause = Option<(Role, Node)>;

impl<'a> Parser<'a> {
    fn next_is(&mut self, wanted: &[Token<'_>]) -> bool {
        matches!(self.tokens.peek(), Some(Ok(token)) if wanted.contains(token))
    }

    fn is_at_end(&mut self) -> bool {
        self.tokens.peek().is_none() || self.next_is(&[Token::Close])
    }

    fn disjunction(&mut self, depth: usize) -> Result<Option<Node>> {
        let mut clauses = Vec::new();
        while !self.is_at_end() {
            clauses.extend(self.conjunction(depth)?);
            if self.next_is(&[Token::Or]) {
                self.operator_between("OR")?;
            }
        }
        Ok(joined(clauses, Role::Should).map(|(_, node)| node))
    }

    fn conjunction(&mut self, depth: usize) -> Result<Clause> {
        let mut clauses = Vec::new();
        clauses.extend(self.clause(depth)?);
        loop {
            if self.next_is(&[Token::And]) {
                self.operator_between("AND")?;
            } else if self.operator == Operator::Or
                || self.next_is(&[Token::Or])
                || self.is_at_end()
            {
                break;
            }
            clauses.extend(self.clause(depth)?);
        }
        Ok(joined(clauses, Role::Must))
    }

    /// Takes an operator that has something on both of its sides.
    fn operator_between(&mut self, name: &str) -> Result<()> {
        self.tokens.next().transpose()?;
        if self.is_at_end() {
            return Err(dangling(name));
        }
        Ok(())
    }

    fn clause(&mut self, depth: usize) -> Result<Clause> {
        let mut role = Role::Should;
        loop {
            let token = self.tokens.next().transpose()?;
            let node = match token {
                Some(Token::Not) => {
                    role = if role == Role::Not {
                        Role::Should
                    } else {
                        Role::Not
                    };
                    continue;
                }
                Some(Token::Must) => {
                    role = if role == Role::Not {
                        Role::Not
                    } else {
                        Role::Must
                    };
                    continue;
                }
                Some(Token::And) => return Err(dangling("AND")),
                Some(Token::Or) => return Err(dangling("OR")),
                None | Some(Token::Close) => return Err(dangling("NOT")),
                Some(Token::Open) => self.parenthesis(depth)?,
                Some(Token::Word(word)) => self.word(word)?,
                Some(Token::Quoted(text, open_start, open_end)) => {
                    self.take_words(text, open_start, open_end)?
                }
            };
            return Ok(node.map(|node| (role, node)));
        }
    }

    fn parenthesis(&mut self, depth: usize) -> Result<Option<Node>> {
        let depth = depth.checked_sub(1).ok_or_else(|| {
            Error::bad_request(format!(
                "search.phrase nests parentheses deeper than {DEPTH_MAX}; write it with fewer"
            ))
        })?;
        let inner = self.disjunction(depth)?;
        match self.tokens.next().transpose()? {
            Some(Token::Close) => Ok(inner),
            _ => Err(Error::bad_request(
                "search.phrase opens a parenthesis that it does not close",
            )),
        }
    }

    fn word(&mut self, word: &'a str) -> Result<Option<Node>> {
        let inner = word.trim_matches('*');
        if inner.is_empty() {
            return Ok(Some(Node::Everything));
        }
        if inner.contains('*') {
            return Err(Error::bad_request(
                "in search.phrase a `*` stands at the beginning or at the end of a word, not within it",
            ));
        }
        self.take_words(inner, word.starts_with('*'), word.ends_with('*'))
    }

    fn take_words(&mut self, text: &str, open_start: bool, open_end: bool) -> Result<Option<Node>> {
        let words: Vec<String> = words(text).collect();
        let Some(first) = words.first() else {
            return Ok(None);
        };
        self.words += words.len();
        if self.words > WORDS_MAX {
            return Err(Error::bad_request(format!(
                "search.phrase has at most {WORDS_MAX} words"
            )));
        }
        if open_start {
            self.open_words += 1;
            if first.chars().count() < OPEN_LETTERS_MIN {
                return Err(Error::bad_request(format!(
                    "in search.phrase at least {OPEN_LETTERS_MIN} letters follow a `*` at the beginning of a word"
                )));
            }
            if self.open_words > OPEN_WORDS_MAX {
                return Err(Error::bad_request(format!(
                    "search.phrase has at most {OPEN_WORDS_MAX} words that begin with a `*`"
                )));
            }
        }
        Ok(Some(Node::Words(Words {
            words,
            open_start,
            open_end,
        })))
    }
}

fn dangling(name: &str) -> Error {
    Error::bad_request(format!(
        "search.phrase has nothing for {name} to stand with; write `{}`, or \"{name}\" in quotes for the word",
        match name {
            "NOT" => "NOT cat".to_owned(),
            name => format!("cat {name} dog"),
        }
    ))
}

/// Makes one clause of several, whose plain ones count as `plain`.
fn joined(mut clauses: Vec<(Role, Node)>, plain: Role) -> Clause {
    // A single clause keeps its role for the group around it. One that is left over at the very end is still a group.
    if clauses.len() == 1 && (plain == Role::Must || clauses[0].0 != Role::Not) {
        return clauses.pop();
    }
    if clauses.is_empty() {
        return None;
    }
    let mut group = Group::default();
    for (role, node) in clauses {
        match (role, plain) {
            (Role::Not, _) => group.not.push(node),
            (Role::Must, _) | (Role::Should, Role::Must) => group.must.push(node),
            (Role::Should, _) => group.should.push(node),
        }
    }
    Some((Role::Should, Node::Group(group)))
}
