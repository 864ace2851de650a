use proptest::prelude::*;
use serde_json::json;

use super::*;

fn phrase(text: &str) -> Result<Phrase> {
    Phrase::parse(text, Operator::Or)
}

fn holds(text: &str, document: &str) -> bool {
    let texts: Vec<Vec<String>> = vec![words::words(document).collect()];
    phrase(text).unwrap().matches(&texts)
}

fn search(search: Value) -> Search {
    Search::from_json(search).unwrap()
}

#[test]
fn words_are_whole_unless_a_star_says_otherwise() {
    assert!(holds("cat", "The Cat sat"));
    assert!(holds("CAT", "the cat sat"));
    assert!(!holds("cat", "a category of concatenation"));
    assert!(holds("cat*", "a category"));
    assert!(!holds("cat*", "a bobcat"));
    assert!(holds("*cat", "a bobcat"));
    assert!(!holds("*cat", "a category"));
    assert!(holds("*cat*", "concatenation"));
    assert!(holds("*cat*", "cat"));
    assert!(holds("*", "anything"));
    assert!(holds("example.com", "mail me@example.com today"));
    assert!(!holds("example.com", "com example"));
    assert!(holds("*ple.com", "at example.com"));
    assert!(holds("example.c*", "at example.com"));
}

#[test]
fn operators_bind_as_they_do_elsewhere() {
    assert!(holds("cat dog", "a dog"));
    assert!(holds("cat OR dog", "a dog"));
    assert!(!holds("cat AND dog", "a dog"));
    assert!(holds("bird OR cat AND dog", "a bird"));
    assert!(!holds("(bird OR cat) AND dog", "a bird"));
    assert!(holds("cat || dog && bird", "cat"));
    assert!(!holds("cat NOT dog", "cat and dog"));
    assert!(!holds("cat -dog", "cat and dog"));
    assert!(holds("cat -dog", "cat"));
    assert!(
        !holds("cat -dog", "bird"),
        "what is left out asks for nothing"
    );
    assert!(holds("-dog", "bird"));
    assert!(!holds("-dog", "dog"));
    assert!(holds("NOT NOT dog", "dog"));
    assert!(holds("cat AND NOT (dog OR bird)", "cat fish"));
    assert!(!holds("cat AND NOT (dog OR bird)", "cat bird"));
    assert!(!holds("+cat dog", "dog"));
    assert!(holds("+cat dog", "cat"));
    assert!(holds("well - known", "known"));
    assert!(holds("well -- known !", "known"));
    assert!(
        holds("e-mail", "an e-mail"),
        "a hyphen within a word is no operator"
    );
    assert!(holds("cat or dog", "or"), "operators are upper case");
    assert!(holds("\"black cat\"", "a black cat"));
    assert!(!holds("\"black cat\"", "a cat, black"));
    assert!(holds("\"black ca\"*", "a black category"));
    assert!(holds("*\"ack cat\"", "a black cat"));
    assert!(!holds("-\"black cat\"", "a black cat"));
    assert!(holds("\"NOT\" cat", "not"));
}

#[test]
fn the_default_operator_joins_what_has_nothing_between() {
    let texts = |text: &str| vec![words::words(text).collect::<Vec<_>>()];
    let both = Phrase::parse("cat dog", Operator::And).unwrap();
    assert!(both.matches(&texts("dog and cat")));
    assert!(!both.matches(&texts("dog")));
    let one = Phrase::parse("cat dog OR bird", Operator::And).unwrap();
    assert!(one.matches(&texts("bird")));
    assert!(!one.matches(&texts("dog")));
    let but = Phrase::parse("cat -dog", Operator::And).unwrap();
    assert!(but.matches(&texts("cat")));
    assert!(!but.matches(&texts("cat dog")));
}

#[test]
fn a_phrase_that_cannot_be_read_says_what_to_write() {
    let long = "a".repeat(phrase::PHRASE_BYTES_MAX + 1);
    let many = "a ".repeat(phrase::WORDS_MAX + 1);
    let deep = format!("{}a{}", "(".repeat(20), ")".repeat(20));
    let open = "*ab ".repeat(phrase::OPEN_WORDS_MAX + 1);
    let cases = [
        ("", "no word"),
        ("  !!! ", "no word"),
        ("()", "no word"),
        ("🎈", "no word"),
        ("cat OR", "for OR"),
        ("AND cat", "for AND"),
        ("cat AND OR dog", "for OR"),
        ("cat NOT", "for NOT"),
        ("(cat", "does not close"),
        ("cat)", "does not open"),
        ("\"cat", "does not close"),
        ("c*t", "not within"),
        ("*c", "at least 2 letters"),
        (&long, "at most"),
        (&many, "at most"),
        (&deep, "deeper"),
        (&open, "at most"),
    ];
    for (text, expected) in cases {
        let error = phrase(text).unwrap_err();
        assert_eq!(error.kind, crate::Kind::BadRequest);
        assert!(
            error.message.contains(expected),
            "{text}: {}",
            error.message
        );
    }
}

#[test]
fn properties_are_an_array_or_a_list_with_commas() {
    let names = |value: Value| {
        let paths = search(json!({"phrase": "x", "properties": value})).properties;
        paths.map(|paths| paths.iter().map(Path::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        names(json!(["a", "b.c"])),
        Some(vec!["a".into(), "b.c".into()])
    );
    assert_eq!(names(json!("a, b.c")), Some(vec!["a".into(), "b.c".into()]));
    for nothing in [json!(null), json!(""), json!([]), json!([""]), json!(",")] {
        assert_eq!(names(nothing), None);
    }
    for wrong in [
        json!(1),
        json!([1]),
        json!({}),
        json!(["$a"]),
        json!(vec!["a"; 33]),
    ] {
        let search = json!({"phrase": "x", "properties": wrong});
        assert!(Search::from_json(search).is_err(), "{wrong}");
    }
}

#[test]
fn a_search_that_cannot_be_read_says_what_to_write() {
    let cases = [
        ("x", "search is not JSON"),
        ("[]", "search must be a JSON object"),
        ("{}", "search needs a `phrase`"),
        (r#"{"phrase":1}"#, "search needs a `phrase`"),
        (
            r#"{"phrase":"x","defaultOperator":"XOR"}"#,
            "search.defaultOperator",
        ),
        (r#"{"phrase":"x","near":{}}"#, "search.near"),
        (
            r#"{"phrase":"x","near":{"point":[1,2],"distance":-1}}"#,
            "search.near",
        ),
        (
            r#"{"phrase":"x","near":{"point":[400,2],"distance":1}}"#,
            "search.near",
        ),
    ];
    for (text, expected) in cases {
        let error = Search::parse(text).unwrap_err();
        assert!(
            error.message.starts_with(expected),
            "{text}: {}",
            error.message
        );
    }
}

#[test]
fn texts_are_found_wherever_they_are_but_not_in_what_the_server_says() {
    let document = json!({
        "id": "51cdbc08989e975ec300772a", "objectType": "objects.todos",
        "createdAt": "2013-06-28T16:38:32.369Z",
        "creator": {"id": "51cdbc08989e975ec300772b", "objectType": "users"},
        "title": "a cat", "tags": ["dog", {"name": "bird"}], "size": 7,
        "list": {"id": "51cdbc08989e975ec300772c", "objectType": "objects.lists"},
    });
    let finds = |phrase: &str, properties: Value| {
        let search = search(json!({"phrase": phrase, "properties": properties}));
        search.matches(&Searchable::Everything, &document)
    };
    assert!(finds("cat AND dog AND bird", json!(null)));
    for nowhere in [
        "todos",
        "objects",
        "lists",
        "users",
        "2013",
        "7",
        "51cdbc08989e975ec300772c",
    ] {
        assert!(!finds(nowhere, json!(null)), "{nowhere}");
    }
    assert!(finds("dog", json!("tags")));
    assert!(finds("bird", json!("tags.name")));
    assert!(!finds("dog", json!("tags.name")));
    assert!(!finds("dog", json!(["title", "none"])));
    assert!(
        !finds("\"cat dog\"", json!(null)),
        "a quotation stays within one text"
    );
    let titles = Searchable::Properties(vec!["title".into()]);
    assert!(search(json!({"phrase": "cat -dog"})).matches(&titles, &document));
    assert!(!search(json!({"phrase": "cat"})).matches(&Searchable::Nothing, &document));
}

#[test]
fn a_schema_says_what_is_searched() {
    let of = |schema: Value| Searchable::of_schema(schema.as_object().unwrap());
    let some =
        json!([{"name": "b", "indexed": true}, {"name": "a", "indexed": true}, {"name": "c"}]);
    let indexed = Searchable::Properties(vec!["a".into(), "b".into()]);
    assert_eq!(of(json!({})), Searchable::Everything);
    assert_eq!(of(json!({"properties": []})), Searchable::Everything);
    assert_eq!(of(json!({"properties": some})), indexed);
    assert_eq!(
        of(json!({"properties": [{"name": "a"}]})),
        Searchable::Nothing
    );
    let inferred = json!([{"name": "a", "indexed": false, "inferred": true}]);
    assert_eq!(of(json!({"properties": inferred})), Searchable::Everything);
    let set = |search: &str| of(json!({"properties": some, "settings": {"search": search}}));
    assert_eq!(set("all"), Searchable::Everything);
    assert_eq!(set("none"), Searchable::Nothing);
    assert_eq!(set("indexed"), indexed);
    for searchable in [Searchable::Everything, Searchable::Nothing, indexed] {
        assert_eq!(
            Searchable::from_text(&searchable.to_text()),
            Some(searchable)
        );
    }
}

#[test]
fn near_is_within_a_distance() {
    let helsinki = json!({"title": "harbour", "where": [24.95, 60.17], "n": 1});
    let finds = |near: Value| {
        search(json!({"phrase": "harbour", "near": near}))
            .matches(&Searchable::Everything, &helsinki)
    };
    assert!(finds(json!({"point": [24.95, 60.18], "distance": 2000})));
    assert!(!finds(json!({"point": [24.95, 60.20], "distance": 2000})));
    assert!(finds(
        json!({"point": [24.95, 60.18], "distance": 2000, "property": "where"})
    ));
    assert!(!finds(
        json!({"point": [24.95, 60.18], "distance": 2000, "property": "n"})
    ));
    assert!(finds(json!(null)));
}

proptest! {
    #[test]
    fn no_phrase_does_harm(text in "[a-c *\"()+!\\-&|ANDORT.]{0,60}") {
        if let Ok(phrase) = Phrase::parse(&text, Operator::And) {
            phrase.matches(&[vec!["a".into(), "b".into()], vec![]]);
        }
    }

    #[test]
    fn what_is_left_out_is_in_no_result(wanted in "[a-d]{1,2}", not in "[a-d]{1,2}", text in "[a-d ]{0,12}") {
        let found = holds(&format!("{wanted} -{not}"), &text);
        prop_assert_eq!(found, holds(&wanted, &text) && !holds(&not, &text));
    }
}
