//! From the JSON of `q` to a [`Filter`], with every refusal of the query language.

use regex::RegexBuilder;
use serde_json::{Map, Value};

use super::filter::{Comparison, Condition, Field, Filter, Pattern, Scalar, Test};
use super::geo;
use super::path::Path;
use crate::wrapper::{self, is_wrapper};
use crate::{Error, Result};

/// How deep the JSON of a filter may nest, the filter itself counted.
pub const DEPTH_MAX: usize = 20;
/// How many values the JSON of a filter may have, objects and arrays counted.
pub const VALUES_MAX: usize = 2000;
/// How many values one list of `$in`, `$nin` or `$all` may have.
pub const LIST_MAX: usize = 1000;
/// How many regular expressions one filter may have; each costs up to [`PATTERN_BYTES_MAX`].
pub const PATTERNS_MAX: usize = 10;
/// How many bytes a regular expression may be written in.
pub const PATTERN_TEXT_MAX: usize = 1000;
/// How much memory a compiled regular expression may take.
pub const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Filter {
    /// Reads the text of `q`.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_json(json("q", text)?)
    }

    /// Reads the JSON of `q`, an object.
    pub fn from_json(source: Value) -> Result<Self> {
        check_size(&source)?;
        let Value::Object(members) = &source else {
            return refuse("q must be a JSON object, such as {\"completed\":true}");
        };
        let condition = Parser::default().conditions(members)?;
        Ok(Self { condition, source })
    }
}

/// Reads the JSON text of a parameter.
pub(crate) fn json(parameter: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|fault| Error::bad_request(format!("{parameter} is not JSON: {fault}")))
}

/// The test behind `$pull`: which elements of an array an object of operators or conditions means.
pub(crate) fn element_test(operand: &Value) -> Result<Test> {
    check_size(operand)?;
    Parser::default().element(operand)
}

/// A name from outside, cut to a length that fits a message.
pub(crate) fn shorten(name: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let mut shown: String = name.chars().take(SHOWN_MAX).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown
}

fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::bad_request(message))
}

/// Runs before anything else looks at the value, so that no later step recurses too deep.
fn check_size(json: &Value) -> Result<()> {
    let mut waiting = vec![(json, 1)];
    let mut count = 0;
    while let Some((value, depth)) = waiting.pop() {
        count += 1;
        if depth > DEPTH_MAX {
            return refuse(format!(
                "q nests deeper than {DEPTH_MAX} levels; flatten it"
            ));
        }
        if count > VALUES_MAX {
            return refuse(format!(
                "q has more than {VALUES_MAX} values; split it into several calls"
            ));
        }
        match value {
            Value::Array(items) => waiting.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => {
                waiting.extend(members.values().map(|member| (member, depth + 1)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Counts what must stay few over a whole filter.
#[derive(Default)]
struct Parser {
    patterns: usize,
    nears: usize,
    /// In how many operators we are that a result need not pass, or not as a whole.
    inside: usize,
}

impl Parser {
    fn conditions(&mut self, members: &Map<String, Value>) -> Result<Condition> {
        let mut conditions = members
            .iter()
            .map(|(name, value)| self.condition(name, value))
            .collect::<Result<Vec<_>>>()?;
        Ok(match conditions.len() {
            1 => conditions.remove(0),
            _ => Condition::All(conditions),
        })
    }

    fn condition(&mut self, name: &str, value: &Value) -> Result<Condition> {
        match name {
            "$and" => self.list(name, value).map(Condition::All),
            "$or" => self
                .within(|parser| parser.list(name, value))
                .map(Condition::Any),
            "$nor" => {
                let any = self
                    .within(|parser| parser.list(name, value))
                    .map(Condition::Any)?;
                Ok(Condition::Not(Box::new(any)))
            }
            "$not" => refuse(
                "`$not` stands behind a property, as in {\"n\":{\"$not\":{\"$gt\":5}}}; use $nor around conditions",
            ),
            operator if is_field_operator(operator) => refuse(format!(
                "`{operator}` stands behind a property, as in {{\"name\":{{\"{operator}\":…}}}}"
            )),
            unknown if unknown.starts_with('$') => refuse_operator(unknown),
            path => Ok(Condition::Field(Field {
                path: Path::parse(path, "filter by")?,
                test: self.test(value)?,
                source: Value::Object(Map::from_iter([(path.to_owned(), value.clone())])),
            })),
        }
    }

    fn list(&mut self, operator: &str, value: &Value) -> Result<Vec<Condition>> {
        let conditions = value.as_array().filter(|conditions| !conditions.is_empty());
        let Some(conditions) = conditions else {
            return refuse(format!(
                "`{operator}` needs an array of at least one condition"
            ));
        };
        let condition = |condition: &Value| match condition {
            Value::Object(members) => self.conditions(members),
            _ => refuse(format!("each condition in `{operator}` must be an object")),
        };
        conditions.iter().map(condition).collect()
    }

    /// What stands behind a property: operators, or the value to be equal to.
    fn test(&mut self, value: &Value) -> Result<Test> {
        match operators(value) {
            Some(members) => self.operators(members),
            None => Ok(Test::OneOf(vec![literal(value)?])),
        }
    }

    fn operators(&mut self, members: &Map<String, Value>) -> Result<Test> {
        if let Some(name) = members.keys().find(|name| !name.starts_with('$')) {
            return refuse(format!(
                "`{}` stands beside an operator; an object has either operators or plain members",
                shorten(name)
            ));
        }
        let has_near = members.contains_key("$near") || members.contains_key("$nearSphere");
        let mut tests = Vec::with_capacity(members.len());
        for (operator, operand) in members {
            match operator.as_str() {
                "$regex" => tests.push(self.pattern(operand, members.get("$options"))?),
                "$options" if members.contains_key("$regex") => {}
                "$options" => return refuse("`$options` needs a $regex beside it"),
                "$near" | "$nearSphere" => tests.push(self.near(operator, operand, members)?),
                "$maxDistance" | "$minDistance" if has_near => {}
                "$maxDistance" | "$minDistance" => {
                    return refuse(format!(
                        "`{operator}` needs a $near or $nearSphere beside it"
                    ));
                }
                _ => tests.push(self.operator(operator, operand)?),
            }
        }
        Ok(match tests.len() {
            1 => tests.remove(0),
            _ => Test::All(tests),
        })
    }

    fn operator(&mut self, operator: &str, operand: &Value) -> Result<Test> {
        let compare = |comparison| Ok(Test::Compare(comparison, scalar(operator, operand)?));
        match operator {
            "$eq" => Ok(Test::OneOf(vec![literal(operand)?])),
            "$ne" => Ok(not(Test::OneOf(vec![literal(operand)?]))),
            "$in" => literals(operator, operand).map(Test::OneOf),
            "$nin" => literals(operator, operand).map(|values| not(Test::OneOf(values))),
            "$lt" => compare(Comparison::Less),
            "$lte" => compare(Comparison::LessOrEqual),
            "$gt" => compare(Comparison::Greater),
            "$gte" => compare(Comparison::GreaterOrEqual),
            "$all" => self.all(operand),
            "$exists" => exists(operand),
            "$size" => size(operand),
            "$mod" => remainder(operand),
            "$elemMatch" => self.element(operand),
            "$within" | "$geoWithin" => geo::read_shape(operator, operand)
                .map(Test::Within)
                .map_err(Error::bad_request),
            "$not" => match operators(operand) {
                Some(members) => self.within(|parser| parser.operators(members)).map(not),
                None => refuse(
                    "`$not` needs an object of operators, such as {\"$gt\":5}; use $ne for a value",
                ),
            },
            "$and" | "$or" | "$nor" => refuse(format!(
                "`{operator}` does not stand behind a property; write it around whole conditions"
            )),
            unknown => refuse_operator(unknown),
        }
    }

    fn all(&mut self, operand: &Value) -> Result<Test> {
        let items = list_of("$all", operand)?;
        if items.is_empty() {
            // Nothing has all of nothing, as in the language this one follows.
            return Ok(Test::OneOf(Vec::new()));
        }
        let mut tests = Vec::with_capacity(items.len());
        for item in items {
            tests.push(match item.get("$elemMatch") {
                Some(operand) if operators(item).is_some_and(|members| members.len() == 1) => {
                    self.element(operand)?
                }
                _ => Test::OneOf(vec![literal(item)?]),
            });
        }
        Ok(Test::All(tests))
    }

    /// Reads what stands in an operator that a result need not pass, or not as a whole.
    fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.inside += 1;
        let read = read(self);
        self.inside -= 1;
        read
    }

    fn near(
        &mut self,
        operator: &str,
        operand: &Value,
        beside: &Map<String, Value>,
    ) -> Result<Test> {
        if self.inside > 0 {
            return refuse(format!(
                "`{operator}` stands only at the top of q, or in $and there, because it also sorts; \
                 use $within inside of other operators"
            ));
        }
        self.nears += 1;
        if self.nears > 1 {
            return refuse("q has more than one $near or $nearSphere; use $within for the others");
        }
        geo::read_near(operator, operand, beside)
            .map(Test::Near)
            .map_err(Error::bad_request)
    }

    fn element(&mut self, operand: &Value) -> Result<Test> {
        self.within(|parser| parser.element_inside(operand))
    }

    fn element_inside(&mut self, operand: &Value) -> Result<Test> {
        let Value::Object(members) = operand else {
            return refuse("`$elemMatch` needs an object of conditions or operators");
        };
        let on_values = members
            .keys()
            .next()
            .is_some_and(|name| is_field_operator(name));
        if on_values {
            let test = self.operators(members)?;
            return Ok(Test::ElementPasses(Box::new(test)));
        }
        Ok(Test::Element(Box::new(self.conditions(members)?)))
    }

    fn pattern(&mut self, pattern: &Value, options: Option<&Value>) -> Result<Test> {
        let Value::String(pattern) = pattern else {
            return refuse("`$regex` needs a text");
        };
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return refuse(format!(
                "q has more than {PATTERNS_MAX} regular expressions"
            ));
        }
        if pattern.len() > PATTERN_TEXT_MAX {
            return refuse(format!(
                "a regular expression may be written in at most {PATTERN_TEXT_MAX} bytes"
            ));
        }
        let mut builder = RegexBuilder::new(pattern);
        builder
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX);
        set_options(&mut builder, options)?;
        match builder.build() {
            Ok(regex) => Ok(Test::Matches(Pattern(regex))),
            Err(regex::Error::CompiledTooBig(_)) => {
                refuse("the regular expression is too costly; use smaller counted repetitions")
            }
            Err(fault) => {
                // The lines before repeat the whole pattern.
                let fault = fault.to_string();
                let reason = fault
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ");
                refuse(format!(
                    "`$regex` cannot be read; look-around and back-references are not supported: {reason}"
                ))
            }
        }
    }
}

fn set_options(builder: &mut RegexBuilder, options: Option<&Value>) -> Result<()> {
    let letters = match options {
        None => return Ok(()),
        Some(Value::String(letters)) => letters,
        Some(_) => return refuse("`$options` needs a text of the letters i, m, s and x"),
    };
    for letter in letters.chars() {
        match letter {
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            'x' => builder.ignore_whitespace(true),
            _ => return refuse("`$options` knows only the letters i, m, s and x"),
        };
    }
    Ok(())
}

fn is_field_operator(name: &str) -> bool {
    matches!(
        name,
        "$eq"
            | "$ne"
            | "$gt"
            | "$gte"
            | "$lt"
            | "$lte"
            | "$in"
            | "$nin"
            | "$all"
            | "$exists"
            | "$size"
            | "$elemMatch"
            | "$mod"
            | "$regex"
            | "$options"
            | "$not"
            | "$near"
            | "$nearSphere"
            | "$maxDistance"
            | "$minDistance"
            | "$within"
            | "$geoWithin"
    )
}

fn refuse_operator<T>(name: &str) -> Result<T> {
    match name {
        "$where" => refuse(
            "`$where` is refused: a query cannot run code; write the condition with $eq, $gt, $or and the like",
        ),
        _ => refuse(format!(
            "`{}` is not an operator; there are $and $or $nor $not $eq $ne $gt $gte $lt $lte $in $nin \
             $all $exists $size $elemMatch $mod $regex $near $nearSphere $within",
            shorten(name)
        )),
    }
}

fn not(test: Test) -> Test {
    Test::Not(Box::new(test))
}

/// The members of an object of operators; `None` for all that is a value to be equal to.
fn operators(value: &Value) -> Option<&Map<String, Value>> {
    let members = value.as_object()?;
    let any = members.keys().any(|name| name.starts_with('$'));
    (any && !is_wrapper(members)).then_some(members)
}

/// A value to be equal to: wrappers are opened, operators inside it refused.
fn literal(value: &Value) -> Result<Value> {
    match value {
        Value::Object(members) if is_wrapper(members) => wrapper::open(members)
            .map_err(|fault| Error::bad_request(format!("a typed value in q {fault}"))),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| match name.starts_with('$') {
                true => refuse(format!(
                    "`{}` stands inside a value; write the path before it, as in {{\"a.b\":{{\"$gt\":5}}}}",
                    shorten(name)
                )),
                false => Ok((name.clone(), literal(member)?)),
            })
            .collect::<Result<_>>()
            .map(Value::Object),
        Value::Array(items) => items.iter().map(literal).collect::<Result<_>>().map(Value::Array),
        Value::String(text) if text.contains('\0') => {
            refuse("a text in q contains the character NUL, which no object can hold")
        }
        plain => Ok(plain.clone()),
    }
}

fn list_of<'a>(operator: &str, operand: &'a Value) -> Result<&'a [Value]> {
    match operand {
        Value::Array(items) if items.len() > LIST_MAX => refuse(format!(
            "`{operator}` has more than {LIST_MAX} values; split it into several calls"
        )),
        Value::Array(items) => Ok(items),
        _ => refuse(format!("`{operator}` needs an array of values")),
    }
}

fn literals(operator: &str, operand: &Value) -> Result<Vec<Value>> {
    list_of(operator, operand)?.iter().map(literal).collect()
}

fn scalar(operator: &str, operand: &Value) -> Result<Scalar> {
    match literal(operand)? {
        Value::Null => Ok(Scalar::Null),
        Value::Bool(flag) => Ok(Scalar::Boolean(flag)),
        Value::Number(number) => Ok(Scalar::Number(number)),
        Value::String(text) => Ok(Scalar::Text(text)),
        Value::Array(_) | Value::Object(_) => refuse(format!(
            "`{operator}` compares with a number, a text or a boolean"
        )),
    }
}

fn exists(operand: &Value) -> Result<Test> {
    match (operand.as_bool(), whole_number(operand)) {
        (Some(true), _) | (_, Some(1)) => Ok(Test::Exists),
        (Some(false), _) | (_, Some(0)) => Ok(not(Test::Exists)),
        _ => refuse("`$exists` needs true or false"),
    }
}

fn size(operand: &Value) -> Result<Test> {
    match whole_number(operand).map(u64::try_from) {
        Some(Ok(size)) => Ok(Test::Size(size)),
        _ => refuse("`$size` needs a whole number from 0 upwards"),
    }
}

fn remainder(operand: &Value) -> Result<Test> {
    let numbers = operand
        .as_array()
        .map(|numbers| numbers.iter().map(whole_number));
    let numbers: Option<Vec<i64>> = numbers.and_then(Iterator::collect);
    match numbers.as_deref() {
        Some([0, _]) => refuse("`$mod` cannot divide by 0"),
        Some(&[divisor, remainder]) => Ok(Test::Remainder { divisor, remainder }),
        _ => refuse("`$mod` needs an array of two whole numbers, the divisor and the remainder"),
    }
}

/// Some clients write every number as a real one, so `5.0` counts as whole.
fn whole_number(value: &Value) -> Option<i64> {
    // All doubles from here on are beyond i64; -2^63 itself is not worth a case.
    const FAR: f64 = 9_223_372_036_854_775_808.0;
    value.as_i64().or_else(|| {
        let real = value.as_f64()?;
        (real.fract() == 0.0 && real.abs() < FAR).then_some(real as i64)
    })
}

#[cfg(test)]
mod tests;
