//! Named places, every refusal, and what holds for all of the sphere.

use proptest::prelude::{ProptestConfig, Strategy, prop_assert, proptest};
use serde_json::json;

use super::*;

const HELSINKI: [f64; 2] = [24.9384, 60.1699];
const TALLINN: [f64; 2] = [24.7536, 59.4370];
const OULU: [f64; 2] = [25.4651, 65.0121];

fn filter(q: &Value) -> Filter {
    Filter::from_json(q.clone()).unwrap_or_else(|error| panic!("{q}: {error}"))
}

#[track_caller]
fn check(test: &Value, inside: &[Value], outside: &[Value]) {
    let filter = filter(&json!({ "at": test }));
    for place in inside {
        assert!(
            filter.matches(&json!({ "at": place })),
            "{test} holds {place}"
        );
    }
    for place in outside {
        assert!(
            !filter.matches(&json!({ "at": place })),
            "{test} does not hold {place}"
        );
    }
}

#[test]
fn a_location_is_a_pair_or_a_point() {
    check(
        &json!({"$within": {"$box": [[0, 0], [2, 2]]}}),
        &[
            json!([1, 1.5]),
            json!({"type": "Point", "coordinates": [1, 1]}),
            json!({"type": "Point", "coordinates": [1, 1, 500]}),
            json!([[9, 9], [1, 1]]),
            json!([{"type": "Point", "coordinates": [1, 1]}]),
        ],
        &[
            json!(null),
            json!(1),
            json!("1,1"),
            json!([]),
            json!([1]),
            json!([1, 1, 1]),
            json!(["1", "1"]),
            json!([[[1, 1]]]),
            json!({"type": "LineString", "coordinates": [1, 1]}),
            json!({"coordinates": [1, 1]}),
            json!({"type": "Point", "coordinates": [1]}),
        ],
    );
}

#[test]
fn paths_lead_to_locations_as_to_all_else() {
    let filter = filter(&json!({"stops.at": {"$within": {"$center": [[0, 0], 1]}}}));
    assert!(filter.matches(&json!({"stops": [{"at": [5, 5]}, {"at": [0, 1]}]})));
    assert!(!filter.matches(&json!({"stops": [{"at": [5, 5]}]})));
    assert!(!filter.matches(&json!({"stops": [0, 0]})));
}

#[test]
fn shapes_hold_their_edges() {
    check(
        &json!({"$within": {"$box": [[2, 2], [0, 0]]}}),
        &[json!([0, 0]), json!([2, 2]), json!([0, 1])],
        &[json!([2.000_000_1, 1]), json!([-0.1, 1])],
    );
    check(
        &json!({"$geoWithin": {"$center": [[1, 1], 1]}}),
        &[json!([1, 2]), json!([0, 1])],
        &[json!([0.2, 0.2]), json!([1, 2.000_000_1])],
    );
    // A U, whose hollow is outside.
    check(
        &json!({"$within": {"$polygon": [[0, 0], [3, 0], [3, 3], [2, 3], [2, 1], [1, 1], [1, 3], [0, 3]]}}),
        &[
            json!([0.5, 2]),
            json!([2.5, 2]),
            json!([1.5, 0.5]),
            json!([1, 2]),
            json!([0, 0]),
            json!([1.5, 1]),
        ],
        &[
            json!([1.5, 2]),
            json!([1.5, 1.1]),
            json!([4, 1]),
            json!([-1, 0]),
            json!([3.1, 3]),
        ],
    );
}

#[test]
fn a_cap_is_round_on_the_sphere() {
    let degrees = |degrees: f64| degrees.to_radians();
    check(
        &json!({"$within": {"$centerSphere": [[179.5, 0], degrees(1.0)]}}),
        &[
            json!([-179.6, 0]),
            json!([180, 0.5]),
            json!([-180, 0]),
            json!([178.6, 0]),
        ],
        &[
            json!([-179.4, 0]),
            json!([178.4, 0]),
            json!([181, 0]),
            json!([179.5, 90.5]),
        ],
    );
    // Over the pole and down on the other side.
    check(
        &json!({"$within": {"$centerSphere": [[10, 89], degrees(2.5)]}}),
        &[json!([-170, 89]), json!([100, 89]), json!([0, 90])],
        &[json!([-170, 88]), json!([10, 86])],
    );
    check(
        &json!({"$within": {"$centerSphere": [[0, 0], 4]}}),
        &[json!([180, 0]), json!([-180, -90])],
        &[json!([200, 0])],
    );
}

#[test]
fn near_measures_in_three_units() {
    let metres = |most: f64| {
        let point = json!({"type": "Point", "coordinates": HELSINKI});
        json!({"$near": {"$geometry": point, "$maxDistance": most}})
    };
    check(
        &metres(85_000.0),
        &[json!(HELSINKI), json!(TALLINN)],
        &[json!(OULU)],
    );
    check(
        &metres(80_000.0),
        &[json!(HELSINKI)],
        &[json!(TALLINN), json!([200, 0])],
    );
    let point = json!({"type": "Point", "coordinates": HELSINKI});
    let beside = json!({"$nearSphere": point, "$maxDistance": 85_000, "$minDistance": 1});
    check(&beside, &[json!(TALLINN)], &[json!(HELSINKI), json!(OULU)]);
    let radians = json!({"$nearSphere": HELSINKI, "$maxDistance": 85_000.0 / EARTH_RADIUS_METRES});
    check(&radians, &[json!(TALLINN)], &[json!(OULU)]);
    let degrees = json!({"$near": HELSINKI, "$maxDistance": 0.8});
    check(&degrees, &[json!(TALLINN)], &[json!(OULU)]);
    check(
        &json!({"$near": [0, 0]}),
        &[json!([1e300, 0]), json!([0, 0])],
        &[json!(null), json!("x")],
    );
    let wrapped = json!({"$near": {"$type": "geoloc", "$value": HELSINKI}, "$maxDistance": 0.8});
    check(&wrapped, &[json!(TALLINN)], &[json!(OULU)]);
}

#[test]
fn near_sorts_by_the_closest_of_an_objects_locations() {
    use super::super::{Parameters, Query};
    let q = json!({"at": {"$near": [0, 0], "$minDistance": 1}}).to_string();
    let parse = |sort| {
        Query::parse(&Parameters {
            q: Some(&q),
            sort,
            ..Parameters::default()
        })
        .unwrap()
    };
    let mut documents = [
        json!({"id": "a", "at": [3, 0], "n": 1}),
        json!({"id": "b", "at": [[9, 0], [2, 0], [0.5, 0]], "n": 2}),
        json!({"id": "c", "at": [0, 2], "n": 3}),
        json!({"id": "d", "at": [0, 1], "n": 4}),
    ];
    let mut ids = |sort: &crate::query::Sort| {
        documents.sort_by(|left, right| sort.compare(left, right));
        documents
            .iter()
            .map(|document| document["id"].as_str().unwrap())
            .collect::<String>()
    };
    assert_eq!(ids(&parse(None).sort), "dbca");
    assert_eq!(
        ids(&parse(Some(r#"{"sortBy":"n"}"#)).sort),
        "abcd",
        "a sort of the call's own comes first"
    );
}

#[test]
fn what_is_no_place_is_refused() {
    let near = json!({"$near": [0, 0]});
    let point = json!({"type": "Point", "coordinates": [0, 0]});
    let cases = [
        (json!({"a": {"$near": 1}}), "`$near` needs a place"),
        (json!({"a": {"$near": [1, 2, 3]}}), "`$near` needs a place"),
        (json!({"a": {"$near": ["1", "2"]}}), "`$near` needs a place"),
        (
            json!({"a": {"$near": {"$geometry": [1, 2]}}}),
            "`$near` needs a place",
        ),
        (
            json!({"a": {"$near": {"$geometry": {"type": "Polygon", "coordinates": []}}}}),
            "`$near` needs a place",
        ),
        (
            json!({"a": {"$near": {"$geometry": point, "$x": 1}}}),
            "`$x` stands in `$near`",
        ),
        (
            json!({"a": {"$nearSphere": [0, 91]}}),
            "a latitude from -90 to 90",
        ),
        (
            json!({"a": {"$near": {"type": "Point", "coordinates": [181, 0]}}}),
            "a longitude from -180 to 180",
        ),
        (
            json!({"a": {"$near": [0, 0], "$maxDistance": -1}}),
            "`$maxDistance` needs a distance",
        ),
        (
            json!({"a": {"$near": [0, 0], "$minDistance": "1"}}),
            "`$minDistance` needs a distance",
        ),
        (
            json!({"a": {"$near": {"$geometry": point, "$maxDistance": []}}}),
            "`$maxDistance` needs a distance",
        ),
        (
            json!({"a": {"$maxDistance": 1}}),
            "`$maxDistance` needs a $near",
        ),
        (
            json!({"a": {"$minDistance": 1}}),
            "`$minDistance` needs a $near",
        ),
        (json!({"a": near, "b": near}), "more than one $near"),
        (
            json!({"a": {"$near": [0, 0], "$nearSphere": [0, 0]}}),
            "more than one $near",
        ),
        (json!({"$or": [{"a": near}]}), "stands only at the top of q"),
        (
            json!({"$nor": [{"a": near}]}),
            "stands only at the top of q",
        ),
        (json!({"a": {"$not": near}}), "stands only at the top of q"),
        (
            json!({"a": {"$elemMatch": near}}),
            "stands only at the top of q",
        ),
        (
            json!({"a": {"$elemMatch": {"b": near}}}),
            "stands only at the top of q",
        ),
        (json!({"$near": [0, 0]}), "`$near` stands behind a property"),
        (json!({"$within": {}}), "`$within` stands behind a property"),
        (
            json!({"a": {"$within": {}}}),
            "`$within` needs an object with one of",
        ),
        (
            json!({"a": {"$geoWithin": [1]}}),
            "`$geoWithin` needs an object with one of",
        ),
        (
            json!({"a": {"$within": {"$box": [[0, 0], [1, 1]], "$center": [[0, 0], 1]}}}),
            "with one of",
        ),
        (
            json!({"a": {"$within": {"$box": [[0, 0]]}}}),
            "`$box` needs two opposite corners",
        ),
        (
            json!({"a": {"$within": {"$box": [[0, 0], [1]]}}}),
            "`$box` needs two opposite corners",
        ),
        (
            json!({"a": {"$within": {"$polygon": [[0, 0], [1, 1]]}}}),
            "at least three corners",
        ),
        (
            json!({"a": {"$within": {"$center": [0, 0]}}}),
            "the centre of `$center`",
        ),
        (
            json!({"a": {"$within": {"$center": [[0, 0]]}}}),
            "`$center` needs a centre and a radius",
        ),
        (
            json!({"a": {"$within": {"$center": [[0, 0], -1]}}}),
            "`$center` needs a distance",
        ),
        (
            json!({"a": {"$within": {"$centerSphere": [[0, 100], 1]}}}),
            "a latitude from -90 to 90",
        ),
        (
            json!({"a": {"$within": {"$geometry": {}}}}),
            "`$within` knows no $geometry",
        ),
        (
            json!({"a": {"$within": {"$circle": 1}}}),
            "`$circle` is no shape",
        ),
    ];
    for (q, expected) in cases {
        let error = Filter::from_json(q.clone()).expect_err(&q.to_string());
        assert_eq!(error.kind, crate::Kind::BadRequest);
        assert!(error.message.contains(expected), "{q}: {error}");
    }
    for allowed in [
        json!({"$and": [{"a": near}, {"b": 1}]}),
        json!({"a": {"$not": {"$within": {"$center": [[0, 0], 1]}}}}),
        json!({"$or": [{"a": {"$within": {"$center": [[0, 0], 1]}}}]}),
    ] {
        filter(&allowed);
    }
}

fn anywhere() -> impl Strategy<Value = Point> {
    // Poles, meridians and their surroundings more often than chance would have it.
    let edge = |far: f64| {
        proptest::prop_oneof![
            4 => -far..=far,
            1 => proptest::sample::select(vec![-far, far, 0.0]),
            1 => (far - 1e-3)..=far,
            1 => -far..=(1e-3 - far),
        ]
    };
    (edge(180.0), edge(90.0)).prop_map(|(x, y)| Point { x, y })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    /// What an index leaves out must be outside: the bounds of a cap hold all of it.
    #[test]
    fn bounds_are_never_too_small(
        centre in anywhere(),
        point in anywhere(),
        radius in proptest::prop_oneof![0.0..0.01_f64, 0.0..3.2_f64],
    ) {
        for shape in [Shape::Cap { centre, radius }, Shape::Circle { centre, radius: radius * 50.0 }] {
            if shape.contains(point) {
                prop_assert!(shape.bounds().iter().any(|bounds| bounds.hold(point)), "{shape:?} {point:?}");
            }
        }
    }

    /// The same with the radius at which the point is just inside.
    #[test]
    fn bounds_hold_the_rim(centre in anywhere(), point in anywhere()) {
        let cap = Shape::Cap { centre, radius: centre.angle(point) };
        prop_assert!(cap.contains(point));
        prop_assert!(cap.bounds().iter().any(|bounds| bounds.hold(point)), "{cap:?} {point:?}");
        let circle = Shape::Circle { centre, radius: centre.distance_on_plane(point) };
        prop_assert!(circle.bounds().iter().any(|bounds| bounds.hold(point)), "{circle:?} {point:?}");
    }

    #[test]
    fn distances_are_symmetric_and_bounded(one in anywhere(), other in anywhere()) {
        let angle = one.angle(other);
        prop_assert!((0.0..=std::f64::consts::PI).contains(&angle));
        prop_assert!((angle - other.angle(one)).abs() < 1e-12);
    }
}
