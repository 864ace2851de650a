use pilvi_model::query::Parameters;
use pilvi_model::{ObjectId, Properties, RequestId, Timestamp};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::{Author, Mutation, SchemaChange};
use super::*;
use crate::{Limits, Store};

fn author(asker: Asker) -> Author {
    Author {
        asker,
        request: RequestId::from_bytes([1; 16]),
        at: Timestamp::from_millis(1_700_000_000_000),
    }
}

fn notes() -> ObjectType {
    ObjectType::custom("notes").unwrap()
}

fn id(number: u64) -> ObjectId {
    format!("{number:024x}").parse().unwrap()
}

struct World {
    backend: Backend,
    words: KnownWords,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Limits::default()).await.unwrap();
        let id = ObjectId::from_bytes([1; 12]);
        store.create_backend(id).await.unwrap();
        Self {
            backend: store.backend(id),
            words: KnownWords::default(),
            _folder: folder,
        }
    }

    async fn put(&self, object_type: &ObjectType, number: u64, properties: Json) {
        let mutation = Mutation::Create {
            id: id(number),
            object_type: object_type.clone(),
            properties: Properties::from_json(properties).unwrap(),
        };
        self.write(mutation).await;
    }

    async fn change(&self, number: u64, properties: Json) {
        let mutation = Mutation::Update {
            object_type: notes(),
            id: id(number),
            changes: Properties::from_json(properties).unwrap(),
        };
        self.write(mutation).await;
    }

    async fn delete(&self, number: u64) {
        let mutation = Mutation::Delete {
            object_type: notes(),
            id: id(number),
        };
        self.write(mutation).await;
    }

    async fn write(&self, mutation: Mutation) {
        let written = self.backend.write(mutation, author(Asker::Admin)).await;
        written.unwrap();
    }

    async fn write_all(&self, mutations: Vec<Mutation>) {
        let written = self.backend.write_all(mutations, author(Asker::Admin));
        written.await.unwrap();
    }

    async fn describe(&self, schema: Json) {
        let schema = schema.as_object().unwrap().clone();
        let described = self.backend.describe_collection(
            "objects.notes".into(),
            schema,
            SchemaChange::Merge,
            author(Asker::Admin),
        );
        described.await.unwrap();
    }

    /// Has the index catch up with everything; says in how many steps.
    async fn catch_up(&self) -> usize {
        let (mut known, mut steps) = (0, 1);
        loop {
            let indexed = self.backend.index_some(known, &self.words).await.unwrap();
            if indexed.is_done {
                return steps;
            }
            (known, steps) = (indexed.upto, steps + 1);
            assert!(steps < 1000, "it never ends");
        }
    }

    async fn begin(&self, types: &[ObjectType]) {
        let prospect = self.prospect(types).await;
        self.backend.begin_indexes(prospect.new).await.unwrap();
        self.catch_up().await;
    }

    async fn prospect(&self, types: &[ObjectType]) -> Prospect {
        let prospect = self.backend.search_prospect(Asker::Admin, types.to_vec());
        prospect.await.unwrap()
    }

    async fn list(
        &self,
        asker: Asker,
        types: &[ObjectType],
        search: Json,
        query: &Query,
    ) -> Vec<u64> {
        let search = Search::from_json(search).unwrap();
        let texts =
            self.backend
                .search_objects(asker.clone(), types.to_vec(), search.clone(), query);
        let texts = texts.await.unwrap();
        let count = self
            .backend
            .count_found(asker, types.to_vec(), search, query);
        if query.page == pilvi_model::query::Page::default() {
            assert_eq!(count.await.unwrap(), texts.len() as u64);
        }
        let numbers = texts.iter().map(|text| {
            let object: Json = serde_json::from_str(text).unwrap();
            u64::from_str_radix(object["id"].as_str().unwrap(), 16).unwrap()
        });
        numbers.collect()
    }

    /// The numbers of what is found, sorted.
    async fn found(&self, search: Json) -> Vec<u64> {
        let mut found = self
            .list(Asker::Admin, &[notes()], search, &Query::default())
            .await;
        found.sort_unstable();
        found
    }

    async fn finds(&self, phrase: &str) -> Vec<u64> {
        self.found(json!({ "phrase": phrase })).await
    }

    async fn count_tables(&self) -> u32 {
        let count = self.backend.database.read(|connection| {
            let sql = "SELECT count(*) FROM sqlite_master WHERE name GLOB 'search_[0-9w]*'";
            Ok(connection.query_row(sql, [], |row| row.get(0))?)
        });
        count.await.unwrap()
    }
}

fn query(sort: &str, limit: &str, offset: &str) -> Query {
    Query::parse(&Parameters {
        sort: Some(sort),
        limit: Some(limit),
        offset: Some(offset),
        ..Parameters::default()
    })
    .unwrap()
}

#[tokio::test]
async fn a_search_finds_what_was_there_and_what_came_later() {
    let world = World::new().await;
    world
        .put(&notes(), 1, json!({"title": "a black cat"}))
        .await;
    assert_eq!(
        world.count_tables().await,
        0,
        "what nobody searches costs nothing"
    );
    assert_eq!(world.prospect(&[notes()]).await.new, [notes()]);
    world.begin(&[notes()]).await;
    assert_eq!(world.finds("cat").await, [1]);
    world
        .put(
            &notes(),
            2,
            json!({"title": "a dog", "tags": ["cat", "mouse"]}),
        )
        .await;
    world.put(&notes(), 3, json!({"title": "a category"})).await;
    let prospect = world.prospect(&[notes()]).await;
    assert!(prospect.indexed < prospect.newest);
    world.catch_up().await;
    assert_eq!(world.finds("cat").await, [1, 2]);
    assert_eq!(world.finds("cat*").await, [1, 2, 3]);
    assert_eq!(world.finds("*gory").await, [3]);
    assert_eq!(world.finds("*ous*").await, [2]);
    assert_eq!(world.finds("NOT dog").await, [1, 3]);
    world.change(1, json!({"title": "a white horse"})).await;
    world.delete(2).await;
    world.catch_up().await;
    assert_eq!(world.finds("cat").await, Vec::<u64>::new());
    assert_eq!(world.finds("\"white horse\"").await, [1]);
    let prospect = world.prospect(&[notes()]).await;
    assert_eq!((prospect.new, prospect.being_made), (vec![], None));
}

#[tokio::test]
async fn what_is_deleted_is_gone_at_once_and_nobody_inherits_its_words() {
    let world = World::new().await;
    world.put(&notes(), 1, json!({"title": "secret"})).await;
    world.begin(&[notes()]).await;
    world.delete(1).await;
    // SQLite gives the number of the last row away again.
    world.put(&notes(), 2, json!({"title": "harmless"})).await;
    assert_eq!(world.finds("secret").await, Vec::<u64>::new());
    world.catch_up().await;
    assert_eq!(world.finds("secret").await, Vec::<u64>::new());
    assert_eq!(world.finds("harmless").await, [2]);
}

#[tokio::test]
async fn only_what_may_be_read_is_found_and_counted() {
    let world = World::new().await;
    world.put(&notes(), 1, json!({"title": "cat"})).await;
    let mine = Author {
        asker: Asker::User {
            id: id(77),
            groups: Vec::new(),
        },
        ..author(Asker::Admin)
    };
    world
        .describe(
            json!({"accessControlListTemplate": {"read": [], "update": [], "delete": [],
            "admin": [{"id": "creator", "objectType": "aclSubject"}]}}),
        )
        .await;
    let create = Mutation::Create {
        id: id(2),
        object_type: notes(),
        properties: Properties::from_json(json!({"title": "cat"})).unwrap(),
    };
    world.backend.write(create, mine.clone()).await.unwrap();
    world.begin(&[notes()]).await;
    let sees = async |asker: Asker| {
        let search = json!({"phrase": "cat"});
        let mut seen = world
            .list(asker, &[notes()], search, &Query::default())
            .await;
        seen.sort_unstable();
        seen
    };
    assert_eq!(sees(Asker::Admin).await, [1, 2]);
    assert_eq!(sees(Asker::Anonymous).await, [1]);
    assert_eq!(sees(mine.asker.clone()).await, [1, 2]);
    let other = Asker::User {
        id: id(78),
        groups: Vec::new(),
    };
    assert_eq!(sees(other).await, [1]);
    // What was shared a moment ago needs no index.
    world
        .describe(json!({"accessControlList": {"read": [], "create": []}}))
        .await;
    let prospect = world
        .backend
        .search_prospect(Asker::Anonymous, vec![notes()]);
    assert_eq!(
        prospect.await.unwrap_err().kind,
        pilvi_model::Kind::Unauthenticated
    );
}

#[tokio::test]
async fn the_best_come_first_unless_somebody_sorts() {
    let world = World::new().await;
    let cats = ObjectType::custom("cats").unwrap();
    for number in 1..=20 {
        world
            .put(
                &notes(),
                number,
                json!({"n": 100 - number, "title": "nothing of interest"}),
            )
            .await;
    }
    world
        .put(
            &notes(),
            30,
            json!({"n": 3, "title": "one cat among very many other animals of all kinds"}),
        )
        .await;
    world
        .put(&notes(), 31, json!({"n": 2, "title": "cat cat cat"}))
        .await;
    world
        .put(&cats, 32, json!({"n": 1, "title": "a cat"}))
        .await;
    for number in 40..=60 {
        world
            .put(&cats, number, json!({"title": "something else"}))
            .await;
    }
    let types = [notes(), cats];
    world.begin(&types).await;
    let search = json!({"phrase": "cat"});
    let best = world
        .list(Asker::Admin, &types, search.clone(), &Query::default())
        .await;
    assert_eq!(best.len(), 3);
    assert_eq!(best.last(), Some(&30), "{best:?}");
    let sorted = query(r#"[{"sortBy":"n","direction":"asc"}]"#, "", "");
    assert_eq!(
        world
            .list(Asker::Admin, &types, search.clone(), &sorted)
            .await,
        [32, 31, 30]
    );
    let second = query(r#"{"sortBy":"n"}"#, "1", "1");
    assert_eq!(
        world
            .list(Asker::Admin, &types, search.clone(), &second)
            .await,
        [31]
    );
    let filtered = Query::parse(&Parameters {
        q: Some(r#"{"n":{"$gt":1}}"#),
        ..Parameters::default()
    });
    let mut few = world
        .list(Asker::Admin, &types, search, &filtered.unwrap())
        .await;
    few.sort_unstable();
    assert_eq!(few, [30, 31]);
}

#[tokio::test]
async fn the_schema_says_what_is_searched_and_a_change_of_it_makes_the_index_anew() {
    let world = World::new().await;
    world
        .put(&notes(), 1, json!({"title": "cat", "text": "dog"}))
        .await;
    world.begin(&[notes()]).await;
    assert_eq!(world.finds("dog").await, [1]);
    world
        .describe(json!({"properties": [{"name": "title", "indexed": true}, {"name": "text"}]}))
        .await;
    assert_eq!(world.prospect(&[notes()]).await.new, [notes()]);
    world.begin(&[notes()]).await;
    assert_eq!(world.finds("dog").await, Vec::<u64>::new());
    assert_eq!(world.finds("cat").await, [1]);
    world.describe(json!({"settings": {"search": "all"}})).await;
    // The indexer sees it as well, without a search.
    world.catch_up().await;
    assert_eq!(world.prospect(&[notes()]).await.new, []);
    assert_eq!(world.finds("dog").await, [1]);
    world
        .describe(json!({"settings": {"search": "none"}}))
        .await;
    world.catch_up().await;
    assert_eq!(world.count_tables().await, 0);
    assert_eq!(world.finds("cat").await, Vec::<u64>::new());
    assert_eq!(world.prospect(&[notes()]).await.new, []);
}

#[tokio::test]
async fn an_index_is_made_in_pieces_and_goes_on_where_it_was() {
    let world = World::new().await;
    let text = "word ".repeat(4000);
    for number in 1..=60 {
        world
            .put(
                &notes(),
                number,
                json!({"text": text, "n": format!("n{number}")}),
            )
            .await;
    }
    let prospect = world.prospect(&[notes()]).await;
    world.backend.begin_indexes(prospect.new).await.unwrap();
    let first = world.backend.index_some(0, &world.words).await.unwrap();
    assert!(!first.is_done);
    let making = world.prospect(&[notes()]).await.being_made.unwrap();
    assert!((1..60).contains(&making.done), "{making:?}");
    world.put(&notes(), 61, json!({"text": "late"})).await;
    world.delete(60).await;
    // Whoever goes on knows nothing of who began.
    assert!(world.catch_up().await > 2);
    assert_eq!(world.finds("word").await, (1..=59).collect::<Vec<_>>());
    assert_eq!(world.finds("late OR n59 OR n60").await, [59, 61]);
}

#[tokio::test]
async fn a_word_is_listed_once_and_again_in_a_file_that_came_in_place_of_this_one() {
    let world = World::new().await;
    world.put(&notes(), 1, json!({"title": "category"})).await;
    world.begin(&[notes()]).await;
    let backend = &world.backend;
    let forget = |sql: &'static str| async move {
        let write = backend.database.write(move |connection| {
            connection.execute_batch(sql)?;
            Ok(())
        });
        write.await.unwrap();
    };
    forget("DELETE FROM search_words_1").await;
    world.put(&notes(), 2, json!({"title": "category"})).await;
    world.catch_up().await;
    assert_eq!(world.finds("category").await, [1, 2]);
    let listed = world.finds("*gory").await;
    assert_eq!(listed, Vec::<u64>::new(), "it is listed once");
    // A copy from before these changes.
    forget("UPDATE consumers SET seq = seq - 1 WHERE name = 'search'").await;
    world.put(&notes(), 3, json!({"title": "category"})).await;
    world.catch_up().await;
    assert_eq!(world.finds("*gory").await, [1, 2, 3]);
}

#[tokio::test]
async fn what_must_not_be_there_needs_no_look_at_the_objects() {
    let world = World::new().await;
    world.put(&notes(), 1, json!({"title": "cat"})).await;
    world.begin(&[notes()]).await;
    for phrase in [
        "NOT cat",
        "-cat -dog",
        "(NOT cat) OR dog",
        "(NOT cat) AND (NOT dog)",
    ] {
        let search = Search::from_json(json!({ "phrase": phrase })).unwrap();
        let candidates = world
            .backend
            .database
            .read(move |connection| expression::candidates(connection, 1, &search));
        let candidates = candidates.await.unwrap();
        assert!(candidates.is_exact, "{phrase}");
        let which = candidates.which;
        assert!(
            matches!(which, expression::Which::AllBut(_)),
            "{phrase}: {which:?}"
        );
    }
}

#[tokio::test]
async fn an_outbox_that_no_longer_reaches_back_has_everything_read_anew() {
    let world = World::new().await;
    world.put(&notes(), 1, json!({"text": "old"})).await;
    world.begin(&[notes()]).await;
    world.put(&notes(), 2, json!({"text": "between"})).await;
    world.change(1, json!({"text": "changed"})).await;
    let prune = world.backend.database.write(|connection| {
        connection.execute("DELETE FROM outbox", [])?;
        Ok(())
    });
    prune.await.unwrap();
    world.put(&notes(), 3, json!({"text": "new"})).await;
    world.catch_up().await;
    assert_eq!(world.finds("between OR changed OR new").await, [1, 2, 3]);
    assert_eq!(world.finds("old").await, Vec::<u64>::new());
}

#[tokio::test]
async fn a_quotation_stays_within_one_text() {
    let world = World::new().await;
    let texts = json!({"a": ["black", "cat"], "b": {"c": "white", "d": "dog"}, "z": "a black"});
    world.put(&notes(), 1, texts).await;
    // Beyond the columns that properties have of their own, texts of several properties are in one.
    let many: serde_json::Map<String, Json> = (0..20)
        .map(|number| {
            (
                format!("p{number:02}"),
                json!(["black", "white"][number % 2]),
            )
        })
        .collect();
    world.put(&notes(), 2, Json::Object(many)).await;
    world
        .put(&notes(), 3, json!({"a": ["x", "a black cat"]}))
        .await;
    world.begin(&[notes()]).await;
    assert_eq!(world.finds("\"black cat\"").await, [3]);
    for nowhere in [
        "\"white dog\"",
        "\"black white\"",
        "\"white black\"",
        "\"x a\"",
    ] {
        assert_eq!(world.finds(nowhere).await, Vec::<u64>::new(), "{nowhere}");
    }
}

#[tokio::test]
async fn indexes_are_bounded() {
    let world = World::new().await;
    let types: Vec<ObjectType> = (0..=INDEXES_MAX)
        .map(|number| ObjectType::custom(&format!("t{number}")).unwrap())
        .collect();
    for (number, object_type) in types.iter().enumerate() {
        world
            .put(object_type, number as u64 + 1, json!({"a": "x"}))
            .await;
    }
    let refused = world.backend.begin_indexes(types).await.unwrap_err();
    assert_eq!(refused.kind, pilvi_model::Kind::Conflict);
    assert_eq!(world.count_tables().await, 0, "all or none");
    // A type that nobody used gets none, and neither does one that has no objects.
    world.begin(&[ObjectType::custom("never").unwrap()]).await;
    world.describe(json!({"settings": {"search": "all"}})).await;
    world.begin(&[notes()]).await;
    world.backend.begin_indexes(vec![notes()]).await.unwrap();
    assert_eq!(world.count_tables().await, 0);
}

#[tokio::test]
async fn the_index_of_a_type_that_nobody_described_gives_its_place_to_another() {
    let world = World::new().await;
    world.describe(json!({"settings": {"search": "all"}})).await;
    let plain = ObjectType::custom("plain").unwrap();
    for (number, object_type) in [(1, notes()), (2, plain.clone())] {
        world.put(&object_type, number, json!({"a": "cat"})).await;
        world.begin(&[object_type]).await;
    }
    for number in 0..40 {
        let junk = ObjectType::custom(&format!("junk{number}")).unwrap();
        world.put(&junk, 100 + number, json!({"a": "cat"})).await;
        world.begin(&[junk]).await;
    }
    assert_eq!(world.prospect(&[notes()]).await.new, []);
    assert_eq!(world.finds("cat").await, [1]);
    let types = [plain, notes()];
    world.begin(&types).await;
    let (search, query) = (json!({"phrase": "cat"}), Query::default());
    let found = world.list(Asker::Admin, &types, search, &query).await;
    assert_eq!(found, [1, 2]);
}

#[tokio::test]
async fn properties_beyond_the_columns_are_told_apart_all_the_same() {
    let world = World::new().await;
    let many: serde_json::Map<String, Json> = (0..30)
        .map(|number| (format!("p{number}"), json!(format!("word{number}"))))
        .collect();
    world.put(&notes(), 1, Json::Object(many)).await;
    world
        .put(
            &notes(),
            2,
            json!({"p29": {"inner": "word28"}, "p28": "word29"}),
        )
        .await;
    world.begin(&[notes()]).await;
    for number in 0..30 {
        let phrase = format!("word{number}");
        let own = world
            .found(json!({"phrase": phrase, "properties": [format!("p{number}")]}))
            .await;
        assert_eq!(own, [1], "{number}");
    }
    assert_eq!(
        world
            .found(json!({"phrase": "word29", "properties": "p28"}))
            .await,
        [2]
    );
    assert_eq!(
        world
            .found(json!({"phrase": "word28", "properties": "p29.inner"}))
            .await,
        [2]
    );
    assert_eq!(
        world
            .found(json!({"phrase": "word28", "properties": "p29.other"}))
            .await,
        Vec::<u64>::new()
    );
    assert_eq!(
        world
            .found(json!({"phrase": "word1", "properties": "nowhere"}))
            .await,
        Vec::<u64>::new()
    );
}

#[tokio::test]
async fn a_star_that_stands_for_very_many_words_is_answered_by_the_evaluator() {
    let world = World::new().await;
    let put = async |numbers: std::ops::RangeInclusive<u64>| {
        for number in numbers {
            let words: Vec<String> = (0..50)
                .map(|place| format!("a{number}b{place}ing"))
                .collect();
            world
                .put(&notes(), number, json!({"text": words.join(" ")}))
                .await;
        }
    };
    put(1..=20).await;
    world.put(&notes(), 50, json!({"text": "sings"})).await;
    world.begin(&[notes()]).await;
    // A thousand words, which the index is asked for; and then twice as many.
    for all in [20, 40] {
        assert_eq!(world.finds("*ing").await.len(), all);
        assert_eq!(world.finds("*ing*").await.len(), all + 1);
        assert_eq!(world.finds("sings -*ing").await, [50]);
        let limited = json!({"phrase": "*ing", "properties": ["text"]});
        assert_eq!(world.found(limited).await.len(), all);
        assert_eq!(world.finds("*b7ing AND *b9ing").await.len(), all);
        let open: Vec<String> = (1..9).map(|place| format!("*{place}ing")).collect();
        assert_eq!(world.finds(&open.join(" AND ")).await.len(), all);
        if all == 20 {
            put(21..=40).await;
            world.catch_up().await;
        }
    }
}

const WORDS: [&str; 8] = [
    "cat",
    "cats",
    "bobcat",
    "dog",
    "Über",
    "οδος",
    "東京",
    "me@example.com",
];

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..6)
        .prop_map(|words| words.join(" "))
}

fn value() -> impl Strategy<Value = Json> {
    prop_oneof![
        4 => text().prop_map(Json::from),
        2 => proptest::collection::vec(text(), 0..4).prop_map(|texts| json!(texts)),
        1 => (text(), text()).prop_map(|(a, b)| json!({"a": a, "c": [b, 7, null]})),
        1 => Just(json!(7)),
        1 => Just(json!({"id": "51cdbc08989e975ec300772a", "objectType": "users", "name": "cat"})),
    ]
}

fn object() -> impl Strategy<Value = Json> {
    proptest::collection::btree_map("[a-d]", value(), 0..4).prop_map(|members| json!(members))
}

fn atom() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(&WORDS[..]);
    prop_oneof![
        4 => word.clone().prop_map(str::to_owned),
        1 => word.clone().prop_map(|word| format!("{word}*")),
        1 => word.clone().prop_map(|word| format!("*{word}")),
        1 => proptest::sample::select(&["*at*", "*og", "*xampl*", "ca*", "京", "*"][..]).prop_map(str::to_owned),
        3 => (word.clone(), word).prop_map(|(first, second)| format!("\"{first} {second}\"")),
    ]
}

fn phrase() -> impl Strategy<Value = String> {
    atom().prop_recursive(3, 12, 3, |inner| {
        let joined = |operator: &'static str| {
            proptest::collection::vec(inner.clone(), 2..4)
                .prop_map(move |parts| format!("({})", parts.join(operator)))
        };
        prop_oneof![
            joined(" AND "),
            joined(" OR "),
            joined(" "),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} -{b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND NOT {b})")),
            inner.clone().prop_map(|a| format!("(NOT {a})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("(+{a} {b})")),
        ]
    })
}

fn limited() -> impl Strategy<Value = Json> {
    proptest::sample::select(vec![
        json!(null),
        json!(null),
        json!("a"),
        json!(["a", "b"]),
        json!(["a.c", "d"]),
        json!("zzz"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is stored, changed and deleted: the index finds what the evaluator says.
    #[test]
    fn the_index_agrees_with_the_evaluator(
        objects in proptest::collection::vec(object(), 1..12),
        later in proptest::collection::vec(object(), 0..6),
        searches in proptest::collection::vec((phrase(), limited()), 24),
        schema in proptest::sample::select(vec![
            json!({}),
            json!({"properties": [{"name": "a", "indexed": true}, {"name": "c", "indexed": true}, {"name": "b"}]}),
        ]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let schema_map = schema.as_object().unwrap().clone();
            if !schema_map.is_empty() {
                world.describe(schema.clone()).await;
            }
            let create = |number: u64, object: &Json| Mutation::Create {
                id: id(number),
                object_type: notes(),
                properties: Properties::from_json(object.clone()).unwrap(),
            };
            let numbered = objects.iter().zip(1..).map(|(object, number)| create(number, object));
            world.write_all(numbered.collect()).await;
            world.begin(&[notes()]).await;
            let later = later.iter().zip(1..).map(|(object, number)| match number % 3 {
                _ if number > objects.len() as u64 => create(number, object),
                0 => Mutation::Delete { object_type: notes(), id: id(number) },
                _ => Mutation::Update {
                    object_type: notes(),
                    id: id(number),
                    changes: Properties::from_json(object.clone()).unwrap(),
                },
            });
            world.write_all(later.collect()).await;
            world.catch_up().await;
            let stored = world.backend.list_objects(Asker::Admin, notes(), &Query::default()).await.unwrap();
            let stored: Vec<Json> = stored.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            let searchable = Searchable::of_schema(&schema_map);
            for (phrase, properties) in &searches {
                let source = json!({"phrase": phrase, "properties": properties});
                let Ok(search) = Search::from_json(source.clone()) else {
                    continue;
                };
                let expected: Vec<u64> = stored
                    .iter()
                    .filter(|document| search.matches(&searchable, document))
                    .map(|document| u64::from_str_radix(document["id"].as_str().unwrap(), 16).unwrap())
                    .collect();
                let found = world.found(source.clone()).await;
                assert_eq!(found, expected, "{source} among {stored:?}");
            }
        });
    }
}
