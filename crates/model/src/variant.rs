//! Variants of images: what a schema asks to be made of a file (`eds.md` §10.5).
//!
//! A property that refers to files may have processors: `[{"type": "image", "variants": {"thumbnail": {"crop":
//! "20x20"}}}]`. Here they are only read; the images are made elsewhere.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

/// Pixels along an edge of a variant, at most.
pub const EDGE_MAX: u32 = 4096;
/// Variants of one property, over all of its processors.
pub const VARIANTS_MAX: usize = 16;
const NAME_CHARS_MAX: usize = 64;

/// How a variant comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recipe {
    /// Exactly this size: scaled until it covers the box, and cut around its centre.
    Crop(Frame),
    /// Scaled down until the box holds it whole. One that is smaller stays as large as it is.
    Fit(Frame),
}

/// A box of pixels, neither edge of which is 0 or more than [`EDGE_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    width: u32,
    height: u32,
}

impl Frame {
    /// `None` when an edge is 0 or more than [`EDGE_MAX`].
    pub fn new(width: u32, height: u32) -> Option<Self> {
        let fits = |edge: u32| (1..=EDGE_MAX).contains(&edge);
        (fits(width) && fits(height)).then_some(Self { width, height })
    }

    pub fn width(self) -> u32 {
        self.width
    }

    pub fn height(self) -> u32 {
        self.height
    }
}

impl FromStr for Frame {
    type Err = String;

    /// `20x20`, the width first.
    fn from_str(text: &str) -> Result<Self, String> {
        let edge = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().ok(),
            false => None,
        };
        let frame = text
            .split_once(['x', 'X'])
            .and_then(|(width, height)| Self::new(edge(width)?, edge(height)?));
        frame.ok_or_else(|| {
            format!("must be a width and a height in pixels, such as 100x100, of at most {EDGE_MAX} each")
        })
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl Recipe {
    /// How many pixels the variant has, at most.
    pub fn pixels(self) -> u64 {
        let (Self::Crop(frame) | Self::Fit(frame)) = self;
        u64::from(frame.width) * u64::from(frame.height)
    }

    /// What the one member of a variant says, such as `{"crop": "20x20"}`.
    fn read(value: &Value) -> Result<Self, String> {
        let members = value.as_object().filter(|members| members.len() == 1);
        let Some((verb, frame)) = members.and_then(|members| members.iter().next()) else {
            return Err(r#"it must say one thing, such as {"crop": "100x100"}"#.to_owned());
        };
        let frame: Frame = match frame.as_str() {
            Some(text) => text.parse().map_err(|fault| format!("{verb} {fault}"))?,
            None => return Err(format!("{verb} must be a text such as \"100x100\"")),
        };
        Self::of(verb, frame).ok_or_else(|| {
            format!(
                "{verb:?} is no recipe; there are \"crop\", which cuts, and \"fit\", which does not"
            )
        })
    }

    fn of(verb: &str, frame: Frame) -> Option<Self> {
        match verb {
            "crop" => Some(Self::Crop(frame)),
            "fit" => Some(Self::Fit(frame)),
            _ => None,
        }
    }
}

/// `crop 20x20`: how a recipe is kept.
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crop(frame) => write!(f, "crop {frame}"),
            Self::Fit(frame) => write!(f, "fit {frame}"),
        }
    }
}

impl FromStr for Recipe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |text: &str| {
            let (verb, frame) = text.split_once(' ')?;
            Self::of(verb, frame.parse().ok()?)
        };
        read(text).ok_or_else(|| format!("{text:?} is not a recipe"))
    }
}

/// The variants that the `processors` of a property ask for, by their names. What is wrong with them is said in words
/// that follow the name of the property.
pub fn recipes(processors: &Value) -> Result<Vec<(String, Recipe)>, String> {
    let processors = match processors {
        Value::Null => return Ok(Vec::new()),
        Value::Array(processors) => processors,
        _ => return Err("has processors that are not an array".to_owned()),
    };
    let mut all = Vec::new();
    for processor in processors {
        for (name, value) in variants_of(processor)? {
            check_name(name)?;
            if all.iter().any(|(other, _)| other == name) {
                return Err(format!("has two variants named {name}"));
            }
            if all.len() == VARIANTS_MAX {
                return Err(format!("has more than {VARIANTS_MAX} variants"));
            }
            let recipe = Recipe::read(value)
                .map_err(|fault| format!("has a wrong variant {name}: {fault}"))?;
            all.push((name.clone(), recipe));
        }
    }
    Ok(all)
}

/// The recipes of a property that was checked when it was described; of one from before there was a check, none.
pub fn recipes_of(property: &Value) -> Vec<(String, Recipe)> {
    let is_of_files = property
        .get("objectType")
        .is_some_and(|name| name == "files");
    match property.get("processors") {
        Some(processors) if is_of_files => recipes(processors).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn variants_of(processor: &Value) -> Result<&Map<String, Value>, String> {
    let kind = processor.get("type").and_then(Value::as_str);
    if kind != Some("image") {
        return Err(
            r#"has a processor that is not of the type "image", the only one there is"#.to_owned(),
        );
    }
    let variants = processor.get("variants").and_then(Value::as_object);
    variants.ok_or_else(|| {
        r#"has a processor without variants, such as {"thumbnail": {"crop": "100x100"}}"#.to_owned()
    })
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
    let is_name = !name.is_empty() && name.chars().all(fits);
    match is_name && name.chars().count() <= NAME_CHARS_MAX {
        true => Ok(()),
        false => Err(format!(
            "has a variant with a name that is not 1 to {NAME_CHARS_MAX} letters, digits, _ and -"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frame(width: u32, height: u32) -> Frame {
        Frame::new(width, height).unwrap()
    }

    #[test]
    fn processors_say_which_variants_there_are() {
        let processors = json!([
            {"type": "image", "variants": {"thumbnail": {"crop": "20x20"}, "large": {"fit": "4096X1"}}},
            {"type": "image", "variants": {"größe_2-x": {"crop": "100x50"}}}]);
        let all = recipes(&processors).unwrap();
        assert_eq!(
            all,
            [
                ("thumbnail".to_owned(), Recipe::Crop(frame(20, 20))),
                ("large".to_owned(), Recipe::Fit(frame(4096, 1))),
                ("größe_2-x".to_owned(), Recipe::Crop(frame(100, 50))),
            ]
        );
        assert_eq!(recipes(&json!([])).unwrap(), []);
        assert_eq!(recipes(&Value::Null).unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let variants = |value: Value| json!([{"type": "image", "variants": value}]);
        let many: Map<String, Value> = (0..=VARIANTS_MAX)
            .map(|number| (format!("v{number}"), json!({"fit": "1x1"})))
            .collect();
        for (wrong, word) in [
            (json!({}), "not an array"),
            (json!([1]), "\"image\""),
            (json!([{"type": "video", "variants": {}}]), "\"image\""),
            (json!([{"type": "image"}]), "without variants"),
            (variants(json!([])), "without variants"),
            (variants(json!({"a b": {"crop": "1x1"}})), "name"),
            (variants(json!({"": {"crop": "1x1"}})), "name"),
            (variants(json!({"a": {}})), "must say one thing"),
            (
                variants(json!({"a": {"crop": "1x1", "fit": "1x1"}})),
                "must say one thing",
            ),
            (variants(json!({"a": "20x20"})), "must say one thing"),
            (variants(json!({"a": {"crop": 20}})), "must be a text"),
            (variants(json!({"a": {"turn": "1x1"}})), "\"turn\""),
            (variants(json!({"a": {"crop": "0x1"}})), "at most 4096"),
            (variants(json!({"a": {"crop": "4097x1"}})), "at most 4096"),
            (variants(json!({"a": {"crop": "+1x1"}})), "at most 4096"),
            (variants(json!({"a": {"crop": "1x"}})), "at most 4096"),
            (
                variants(json!({"a": {"crop": "99999999999x1"}})),
                "at most 4096",
            ),
            (variants(Value::Object(many)), "more than 16"),
            (
                json!([{"type": "image", "variants": {"a": {"fit": "1x1"}}},
                       {"type": "image", "variants": {"a": {"fit": "1x1"}}}]),
                "two variants",
            ),
        ] {
            let fault = recipes(&wrong).unwrap_err();
            assert!(fault.contains(word), "{wrong}: {fault}");
        }
    }

    #[test]
    fn only_references_to_files_have_variants() {
        let processors = json!([{"type": "image", "variants": {"a": {"crop": "1x1"}}}]);
        let of = |object_type: &str| {
            recipes_of(
                &json!({"name": "p", "type": "ref", "objectType": object_type, "processors": processors}),
            )
        };
        assert_eq!(of("files").len(), 1);
        assert_eq!(of("objects.notes"), []);
        assert_eq!(
            recipes_of(&json!({"name": "p", "objectType": "files", "processors": [7]})),
            []
        );
    }

    #[test]
    fn a_recipe_is_kept_as_a_text() {
        for recipe in [Recipe::Crop(frame(20, 30)), Recipe::Fit(frame(1, 4096))] {
            assert_eq!(recipe.to_string().parse(), Ok(recipe));
        }
        for wrong in ["", "crop", "crop 1", "turn 1x1", "crop 0x1"] {
            assert!(wrong.parse::<Recipe>().is_err(), "{wrong}");
        }
    }
}
