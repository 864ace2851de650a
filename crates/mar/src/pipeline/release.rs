//! What a slug runs, from its Procfile and from what the buildpack says (`mar.md` §4.7, §4.8).

use std::collections::BTreeMap;
use std::fmt;

use pilvi_model::app::{PROCFILE_MAX_BYTES, ProcessTypes, VarName};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::Voice;
use super::detect::{Pack, words};
use super::outcome::{Cause, Failed, Step};
use super::workshop::{BUILD, CACHE, Workshop};

/// Release data and a Procfile together; more is no release data.
const ANSWER_MAX_BYTES: usize = 256 << 10;
const VARS_MAX: usize = 200;
const VAR_MAX_BYTES: usize = 32 << 10;

/// Runs `bin/release`, which newer buildpacks may lack, keeps what it says in the slug, and prints, parted by zero
/// bytes: whether there is anything to leave out of the slug, the release data, and the Procfile if there is one.
const READ: &str = r#"
set -eu
if [ -e "$1/bin/release" ]; then
    "$1/bin/release" "$2" "$3" >"$2/.release"
else
    : >"$2/.release"
fi
[ -s "$2/.slugignore" ] && printf slimmed || true
printf '\0'
cat "$2/.release"
if [ -f "$2/Procfile" ]; then
    printf '\0'
    cat "$2/Procfile"
fi
"#;

/// What a slug says about itself.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Release {
    /// All of them: the Procfile's, and those of the buildpack that it lacks.
    pub(super) process_types: ProcessTypes,
    /// What the Procfile declares, when there is one.
    pub(super) declared: Option<ProcessTypes>,
    /// What the buildpack declares.
    pub(super) defaults: ProcessTypes,
    pub(super) default_vars: BTreeMap<String, String>,
    /// Whether there is a `.slugignore`.
    pub(super) is_slimmed: bool,
}

/// `bin/release` prints this as YAML.
#[derive(Debug, Default, serde::Deserialize)]
struct ReleaseData {
    #[serde(default)]
    config_vars: Option<BTreeMap<String, Scalar>>,
    #[serde(default)]
    default_process_types: Option<InOrder>,
}

/// A map of texts in its own order, which is the one in which types are told.
#[derive(Debug, Default)]
struct InOrder(Vec<(String, String)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = InOrder;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of process types to commands")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(InOrder(pairs))
            }
        }
        deserializer.deserialize_map(Texts)
    }
}

/// A value of a config var, which YAML may take for something else than text.
#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
enum Scalar {
    Bool(bool),
    Whole(i64),
    Broken(f64),
    Text(String),
    Nothing,
}

/// Asks the buildpack, and reads the Procfile.
pub(super) async fn read(
    workshop: &mut Workshop,
    pack: &Pack,
    voice: &mut Voice,
) -> Result<Release, Failed> {
    let step = Step::Release;
    let argv = words(&["bash", "-c", READ, "release", &pack.folder, BUILD, CACHE]);
    let (exit, answer) = workshop.ask(&step, argv, ANSWER_MAX_BYTES, voice).await?;
    workshop.succeeded(&step, exit)?;
    release_of(&answer).map_err(|sentence| Failed::new(step, Cause::Unusable(sentence)))
}

fn release_of(answer: &[u8]) -> Result<Release, String> {
    if answer.len() >= ANSWER_MAX_BYTES {
        return Err(format!(
            "The Procfile and the buildpack's release data are too large: the Procfile may have {PROCFILE_MAX_BYTES} \
             bytes."
        ));
    }
    let mut parts = answer.splitn(3, |byte| *byte == 0);
    let is_slimmed = parts.next() == Some(b"slimmed");
    let data = data_of(parts.next().unwrap_or_default())?;
    let declared = match parts.next() {
        Some(procfile) => Some(types_of(procfile)?),
        None => None,
    };
    let mut defaults = ProcessTypes::default();
    for (name, command) in data.default_process_types.unwrap_or_default().0 {
        let added = name.parse().and_then(|name| defaults.add(name, &command));
        added.map_err(|error| {
            format!(
                "The buildpack's release data cannot be used: {}.",
                error.message
            )
        })?;
    }
    let mut process_types = declared.clone().unwrap_or_default();
    process_types.add_missing(&defaults);
    Ok(Release {
        process_types,
        declared,
        defaults,
        default_vars: vars_of(data.config_vars.unwrap_or_default()),
        is_slimmed,
    })
}

fn types_of(procfile: &[u8]) -> Result<ProcessTypes, String> {
    let text = str::from_utf8(procfile).map_err(|_| {
        "The Procfile is no UTF-8 text. Save it as UTF-8 and push again.".to_owned()
    })?;
    ProcessTypes::from_procfile(text).map_err(|error| format!("The {}.", error.message))
}

fn data_of(text: &[u8]) -> Result<ReleaseData, String> {
    let refuse =
        |reason: &str| format!("The buildpack's release data cannot be read as YAML: {reason}");
    let text = str::from_utf8(text).map_err(|_| refuse("it is no UTF-8 text."))?;
    if text.trim().is_empty() || text.trim() == "---" {
        return Ok(ReleaseData::default());
    }
    let data: Option<ReleaseData> =
        serde_saphyr::from_str(text).map_err(|error| refuse(&first_line(&error.to_string())))?;
    Ok(data.unwrap_or_default())
}

fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}

/// The proposed config vars that can be ones.
fn vars_of(vars: BTreeMap<String, Scalar>) -> BTreeMap<String, String> {
    let usable = vars.into_iter().filter_map(|(name, value)| {
        let parsed: VarName = name.parse().ok()?;
        let value = match value {
            Scalar::Bool(value) => value.to_string(),
            Scalar::Whole(value) => value.to_string(),
            Scalar::Broken(value) => value.to_string(),
            Scalar::Text(value) => value,
            Scalar::Nothing => String::new(),
        };
        let fits = value.len() <= VAR_MAX_BYTES && !value.contains('\0') && !parsed.is_reserved();
        fits.then_some((name, value))
    });
    usable.take(VARS_MAX).collect()
}

impl Release {
    /// Tells the pusher what will run.
    pub(super) async fn tell(&self, pack: &Pack, voice: &mut Voice) {
        voice.title("Discovering process types").await;
        if let Some(declared) = &self.declared {
            let types = joined(declared);
            voice
                .line(&format!("Procfile declares types -> {types}"))
                .await;
        }
        if !self.defaults.is_empty() {
            let types = joined(&self.defaults);
            voice
                .line(&format!(
                    "Default process types for {} -> {types}",
                    pack.name
                ))
                .await;
        }
        if self.process_types.is_empty() {
            voice
                .remark("Nothing of this app will run: add a Procfile with a line such as web: ./start and push again.")
                .await;
        }
    }
}

fn joined(types: &ProcessTypes) -> String {
    let names: Vec<_> = types.types().map(|name| name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(types: &ProcessTypes) -> Vec<(&str, &str)> {
        types
            .iter()
            .map(|(name, command)| (name.as_str(), command))
            .collect()
    }

    #[test]
    fn the_procfile_wins_and_the_buildpack_fills_the_gaps() {
        let answer = b"\0---\ndefault_process_types:\n  web: theirs\n  rake: bundle exec rake\n\0web: mine\n";
        let release = release_of(answer).unwrap();
        assert_eq!(
            pairs(&release.process_types),
            [("web", "mine"), ("rake", "bundle exec rake")]
        );
        assert_eq!(pairs(release.declared.as_ref().unwrap()), [("web", "mine")]);
        assert_eq!(joined(&release.defaults), "web, rake");
        assert!(!release.is_slimmed);
    }

    #[test]
    fn empty_release_data_says_nothing() {
        for data in [
            "",
            "--- {}\n",
            "---\n",
            "{}",
            "--- null\n",
            "addons:\n  - db\n",
            "config_vars:\n",
        ] {
            let answer = [b"slimmed\0", data.as_bytes()].concat();
            let release = release_of(&answer).unwrap_or_else(|error| panic!("{data:?}: {error}"));
            let expected = Release {
                is_slimmed: true,
                ..Release::default()
            };
            assert_eq!(release, expected, "{data:?}");
        }
    }

    #[test]
    fn config_vars_are_texts_whatever_yaml_takes_them_for() {
        let answer = "\0config_vars:\n  LANG: en_US.UTF-8\n  RACK_ENV: production\n  N: 1\n  F: 1.5\n  B: true\n  \
                      Q: \"1\"\n  E:\n  PORT: 99\n  not-a-name: x\n";
        let vars = release_of(answer.as_bytes()).unwrap().default_vars;
        let expected = [
            ("B", "true"),
            ("E", ""),
            ("F", "1.5"),
            ("LANG", "en_US.UTF-8"),
            ("N", "1"),
            ("Q", "1"),
            ("RACK_ENV", "production"),
        ];
        let found: Vec<_> = vars
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_be_read_is_told_in_a_sentence() {
        for (answer, part) in [
            (&b"\0a: [b"[..], "cannot be read as YAML"),
            (b"\0default_process_types:\n  we b: x\n", "we b"),
            (b"\0--- {}\n\0just words\n", "Procfile"),
            (b"\0--- {}\n\0web: \xff\xfe\n", "UTF-8"),
            (&vec![b'a'; ANSWER_MAX_BYTES], "too large"),
        ] {
            let sentence = release_of(answer).unwrap_err();
            assert!(sentence.contains(part), "{sentence}");
            assert!(
                sentence.ends_with('.') || sentence.contains("YAML"),
                "{sentence}"
            );
        }
    }

    #[test]
    fn aliases_that_would_grow_without_bound_are_refused_or_left_alone() {
        let mut data = String::from("addons:\n  a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            let row = [before.as_str(); 10].join(",");
            data.push_str(&format!("  a{level}: &a{level} [{row}]\n"));
        }
        let used = format!("{data}config_vars:\n  A: *a11\n");
        for data in [data, used] {
            // Whether it is refused or not: it must come to an end, and nothing of it may be used.
            if let Ok(release) = release_of(format!("\0{data}").as_bytes()) {
                assert_eq!(release, Release::default());
            }
        }
    }
}
