//! Places on a map: what `$near`, `$nearSphere` and `$within` mean.
//!
//! A location is a pair of numbers, `[longitude, latitude]`, or a point of GeoJSON,
//! `{"type":"Point","coordinates":[longitude, latitude]}`; anything else is none and passes no geographic test.
//!
//! Two ways to measure exist, as in MongoDB. On the *plane* a location is any two numbers, and distances are in
//! their unit; longitudes do not wrap around. On the *sphere* a location has a longitude from -180 to 180 and a
//! latitude from -90 to 90, and distances run along the surface of a ball of [`EARTH_RADIUS_METRES`].
//!
//! | written as | measured on | distances in |
//! |---|---|---|
//! | `$near` with a pair | the plane | the unit of the coordinates |
//! | `$nearSphere` with a pair | the sphere | radians |
//! | `$near`, `$nearSphere` with a point of GeoJSON | the sphere | metres |
//! | `$box`, `$center`, `$polygon` | the plane | the unit of the coordinates |
//! | `$centerSphere` | the sphere | radians |
//!
//! Edges belong to what they enclose.

use serde_json::{Map, Value};

use super::evaluate::any_place;
use super::filter::{Condition, Field, Filter, Test};
use super::path::Path;
use crate::wrapper;

/// The radius that turns metres into radians; it is MongoDB's.
pub const EARTH_RADIUS_METRES: f64 = 6_378_100.0;

/// A position: `x` is the longitude, `y` the latitude. Both are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// What `$within` encloses.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Two opposite corners, the lesser coordinates first.
    Rectangle(Point, Point),
    Circle {
        centre: Point,
        radius: f64,
    },
    /// The part of the sphere within so many radians of its centre.
    Cap {
        centre: Point,
        radius: f64,
    },
    /// The corners in order; the last is joined to the first. There are at least three.
    Polygon(Vec<Point>),
}

/// The locations within some distance of a centre, which a list may also be sorted by.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    centre: Point,
    on: Surface,
    least: f64,
    /// Infinite when there is no limit.
    most: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Surface {
    Plane,
    Sphere,
}

/// What a list is sorted by when its filter asks for what is near.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    pub path: Path,
    pub near: Near,
    /// The condition as the JSON of a whole filter, for an engine that hands it to the evaluator.
    pub source: Value,
}

/// A rectangle of coordinates, edges included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    pub west: f64,
    pub east: f64,
    pub south: f64,
    pub north: f64,
}

/// Locations that every result must have.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    pub path: Path,
    /// Each of the wanted locations lies in one of these; `None` when they may be anywhere.
    pub bounds: Option<Vec<Bounds>>,
}

impl Point {
    /// The location that a stored value is.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Array(pair) if pair.len() == 2 => Self::from_numbers(pair),
            Value::Object(members) => {
                let numbers = members.get("coordinates")?.as_array()?;
                let is_point = members.get("type")?.as_str()? == "Point";
                // A third number is the height.
                (is_point && (2..=3).contains(&numbers.len()))
                    .then(|| Self::from_numbers(numbers))
                    .flatten()
            }
            _ => None,
        }
    }

    fn from_numbers(numbers: &[Value]) -> Option<Self> {
        Some(Self {
            x: numbers.first()?.as_f64()?,
            y: numbers.get(1)?.as_f64()?,
        })
    }

    fn is_on_earth(self) -> bool {
        (-180.0..=180.0).contains(&self.x) && (-90.0..=90.0).contains(&self.y)
    }

    fn distance_on_plane(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    /// The angle between two positions on the sphere, in radians; by haversines, which keep small ones exact.
    fn angle(self, other: Self) -> f64 {
        let half = |left: f64, right: f64| ((right - left).to_radians() / 2.0).sin().powi(2);
        let across = self.y.to_radians().cos() * other.y.to_radians().cos() * half(self.x, other.x);
        2.0 * (half(self.y, other.y) + across).min(1.0).sqrt().asin()
    }
}

impl Shape {
    pub fn contains(&self, point: Point) -> bool {
        match self {
            Self::Rectangle(least, most) => {
                (least.x..=most.x).contains(&point.x) && (least.y..=most.y).contains(&point.y)
            }
            Self::Circle { centre, radius } => centre.distance_on_plane(point) <= *radius,
            Self::Cap { centre, radius } => point.is_on_earth() && centre.angle(point) <= *radius,
            Self::Polygon(corners) => {
                Bounds::around(corners.iter().copied()).hold(point) && is_in_polygon(corners, point)
            }
        }
    }

    /// Rectangles that hold all of the shape, and a little more than that.
    fn bounds(&self) -> Vec<Bounds> {
        match self {
            Self::Rectangle(least, most) => vec![Bounds::around([*least, *most])],
            Self::Circle { centre, radius } => vec![Bounds::around_circle(*centre, *radius)],
            Self::Cap { centre, radius } => Bounds::around_cap(*centre, *radius),
            Self::Polygon(corners) => vec![Bounds::around(corners.iter().copied())],
        }
    }
}

/// Counts how often a line from the point eastwards crosses an edge; and looks at the edges themselves.
fn is_in_polygon(corners: &[Point], point: Point) -> bool {
    let mut inside = false;
    let mut from = corners[corners.len() - 1];
    for &to in corners {
        let side = (to.x - from.x) * (point.y - from.y) - (to.y - from.y) * (point.x - from.x);
        let between = |left: f64, right: f64, value: f64| {
            left.min(right) <= value && value <= left.max(right)
        };
        if side == 0.0 && between(from.x, to.x, point.x) && between(from.y, to.y, point.y) {
            return true;
        }
        if (from.y > point.y) != (to.y > point.y) {
            let crosses_east = (side > 0.0) == (to.y > from.y);
            inside ^= crosses_east;
        }
        from = to;
    }
    inside
}

impl Near {
    /// How far a location is, if it is a location within the limits; in the unit that the surface measures in.
    fn distance(&self, value: &Value) -> Option<f64> {
        let point = Point::of(value)?;
        let distance = match self.on {
            Surface::Plane => self.centre.distance_on_plane(point),
            Surface::Sphere if point.is_on_earth() => self.centre.angle(point),
            Surface::Sphere => return None,
        };
        (distance.is_finite() && self.least <= distance && distance <= self.most)
            .then_some(distance)
    }

    pub(super) fn accepts(&self, value: &Value) -> bool {
        self.distance(value).is_some()
    }

    fn bounds(&self) -> Option<Vec<Bounds>> {
        self.most.is_finite().then(|| match self.on {
            Surface::Plane => vec![Bounds::around_circle(self.centre, self.most)],
            Surface::Sphere => Bounds::around_cap(self.centre, self.most),
        })
    }
}

impl Nearest {
    /// The distance of the document's closest location that is within the limits.
    pub fn distance(&self, document: &Value) -> Option<f64> {
        let mut closest: Option<f64> = None;
        let mut visit = |value: &Value| {
            if let Some(distance) = self.near.distance(value) {
                closest = Some(closest.map_or(distance, |closest| closest.min(distance)));
            }
        };
        any_place(document, self.path.segments(), &mut |place| {
            match place {
                Some(value @ Value::Array(items)) => {
                    visit(value);
                    items.iter().for_each(&mut visit);
                }
                Some(value) => visit(value),
                None => {}
            }
            false
        });
        closest
    }

    /// Circles to look in one after the other: if enough objects are within one, the closest of them are the closest
    /// of all. Each has its radius and its bounds, and is narrower than what the query itself says.
    pub fn rings(&self) -> impl Iterator<Item = (f64, Vec<Bounds>)> {
        let radii = match self.near.on {
            // 6, 64 and 640 kilometres.
            Surface::Sphere => [1e-3, 1e-2, 1e-1],
            Surface::Plane => [0.05, 0.5, 5.0],
        };
        radii
            .into_iter()
            .filter(|radius| *radius < self.near.most)
            .filter_map(|most| {
                let near = Near {
                    most,
                    ..self.near.clone()
                };
                Some((most, near.bounds()?))
            })
    }
}

impl Bounds {
    /// Everything that a calculation with doubles may be off by, and more. On the earth it is a hand's breadth.
    const SLACK_DEGREES: f64 = 1e-6;

    fn around(points: impl IntoIterator<Item = Point>) -> Self {
        let nothing = Self {
            west: f64::INFINITY,
            east: f64::NEG_INFINITY,
            south: f64::INFINITY,
            north: f64::NEG_INFINITY,
        };
        points.into_iter().fold(nothing, |bounds, point| Self {
            west: bounds.west.min(point.x),
            east: bounds.east.max(point.x),
            south: bounds.south.min(point.y),
            north: bounds.north.max(point.y),
        })
    }

    fn hold(self, point: Point) -> bool {
        (self.west..=self.east).contains(&point.x) && (self.south..=self.north).contains(&point.y)
    }

    fn around_circle(centre: Point, radius: f64) -> Self {
        // Relative to the largest number involved, since the coordinates of a plane may be of any size.
        let largest = centre.x.abs().max(centre.y.abs()).max(radius);
        let reach = radius + largest * 1e-12 + Self::SLACK_DEGREES;
        Self {
            west: centre.x - reach,
            east: centre.x + reach,
            south: centre.y - reach,
            north: centre.y + reach,
        }
    }

    /// The cap's rectangle; two of them when it lies across the meridian of 180 degrees.
    fn around_cap(centre: Point, radius: f64) -> Vec<Self> {
        let reach = radius.to_degrees() + Self::SLACK_DEGREES;
        let (south, north) = (centre.y - reach, centre.y + reach);
        let band = |west, east| Self {
            west,
            east,
            south,
            north,
        };
        // A cap with a pole in it lies around all meridians.
        if south <= -90.0 || north >= 90.0 {
            return vec![band(-180.0, 180.0)];
        }
        let sine = reach.to_radians().sin() / centre.y.to_radians().cos();
        if sine >= 1.0 {
            return vec![band(-180.0, 180.0)];
        }
        let aside = sine.asin().to_degrees() + Self::SLACK_DEGREES;
        let (west, east) = (centre.x - aside, centre.x + aside);
        match (west < -180.0, east > 180.0) {
            (false, false) => vec![band(west, east)],
            (true, false) => vec![band(west + 360.0, 180.0), band(-180.0, east)],
            (false, true) => vec![band(west, 180.0), band(-180.0, east - 360.0)],
            (true, true) => vec![band(-180.0, 180.0)],
        }
    }
}

impl Filter {
    /// The `$near` of the filter, of which there is at most one.
    pub fn nearest(&self) -> Option<Nearest> {
        let mut nearest = None;
        each_required(&self.condition, &mut |field, test| {
            if let Test::Near(near) = test {
                nearest = Some(Nearest {
                    path: field.path.clone(),
                    near: near.clone(),
                    source: field.source.clone(),
                });
            }
        });
        nearest
    }

    /// Where every result must have locations: what an index of locations can narrow the search by.
    pub fn regions(&self) -> Vec<Region> {
        let mut regions = Vec::new();
        each_required(&self.condition, &mut |field, test| {
            let bounds = match test {
                Test::Near(near) => near.bounds(),
                Test::Within(shape) => Some(shape.bounds()),
                _ => return,
            };
            regions.push(Region {
                path: field.path.clone(),
                bounds,
            });
        });
        regions
    }
}

/// Visits the tests that every result passes.
fn each_required(condition: &Condition, visit: &mut dyn FnMut(&Field, &Test)) {
    match condition {
        Condition::All(conditions) => conditions
            .iter()
            .for_each(|condition| each_required(condition, visit)),
        Condition::Field(field) => each_test(field, &field.test, visit),
        Condition::Any(_) | Condition::Not(_) => {}
    }
}

fn each_test(field: &Field, test: &Test, visit: &mut dyn FnMut(&Field, &Test)) {
    match test {
        Test::All(tests) => tests.iter().for_each(|test| each_test(field, test, visit)),
        test => visit(field, test),
    }
}

/// Reads the operand of `$near` or `$nearSphere`; `beside` are the operators that it stands among.
pub(super) fn read_near(
    operator: &str,
    operand: &Value,
    beside: &Map<String, Value>,
) -> Result<Near, String> {
    let inside = operand.get("$geometry").and(operand.as_object());
    if let Some(other) = inside.and_then(|members| {
        let known = ["$geometry", "$maxDistance", "$minDistance"];
        members.keys().find(|name| !known.contains(&name.as_str()))
    }) {
        return Err(format!(
            "`{}` stands in `{operator}`, which knows $geometry, $maxDistance and $minDistance",
            super::parse::shorten(other)
        ));
    }
    let target = operand.get("$geometry").unwrap_or(operand);
    let geometry = inside.is_some() || target.get("coordinates").is_some();
    let centre = read_point(target)
        .filter(|_| inside.is_none() || target.is_object())
        .ok_or_else(|| {
            format!(
                "`{operator}` needs a place: [longitude, latitude], or \
             {{\"$geometry\":{{\"type\":\"Point\",\"coordinates\":[longitude, latitude]}}}}"
            )
        })?;
    let on = match operator {
        "$near" if !geometry => Surface::Plane,
        _ => Surface::Sphere,
    };
    if on == Surface::Sphere && !centre.is_on_earth() {
        return Err(format!(
            "`{operator}` needs a longitude from -180 to 180 and a latitude from -90 to 90, in this order"
        ));
    }
    let unit = if geometry { EARTH_RADIUS_METRES } else { 1.0 };
    let distance = |name: &str| {
        let value = inside
            .and_then(|members| members.get(name))
            .or_else(|| beside.get(name));
        let distance = value.map(|value| read_distance(name, value)).transpose()?;
        Ok::<_, String>(distance.map(|distance| distance / unit))
    };
    Ok(Near {
        centre,
        on,
        least: distance("$minDistance")?.unwrap_or(0.0),
        most: distance("$maxDistance")?.unwrap_or(f64::INFINITY),
    })
}

/// Reads the operand of `$within` or `$geoWithin`.
pub(super) fn read_shape(operator: &str, operand: &Value) -> Result<Shape, String> {
    let members = operand.as_object().filter(|members| members.len() == 1);
    let Some((name, value)) = members.and_then(|members| members.iter().next()) else {
        return Err(format!(
            "`{operator}` needs an object with one of $box, $center, $centerSphere and $polygon"
        ));
    };
    match name.as_str() {
        "$box" => match read_points(value).as_deref() {
            Some(&[one, other]) => {
                let bounds = Bounds::around([one, other]);
                let (least, most) = ((bounds.west, bounds.south), (bounds.east, bounds.north));
                Ok(Shape::Rectangle(
                    Point {
                        x: least.0,
                        y: least.1,
                    },
                    Point {
                        x: most.0,
                        y: most.1,
                    },
                ))
            }
            _ => Err(
                "`$box` needs two opposite corners, [[longitude, latitude], [longitude, latitude]]"
                    .into(),
            ),
        },
        "$polygon" => match read_points(value) {
            Some(corners) if corners.len() >= 3 => Ok(Shape::Polygon(corners)),
            _ => Err(
                "`$polygon` needs an array of at least three corners, each [longitude, latitude]"
                    .into(),
            ),
        },
        "$center" | "$centerSphere" => {
            let parts = value.as_array().map(Vec::as_slice);
            let Some([centre, radius]) = parts else {
                return Err(format!(
                    "`{name}` needs a centre and a radius, [[longitude, latitude], radius]"
                ));
            };
            let centre = read_point(centre)
                .ok_or_else(|| format!("the centre of `{name}` must be [longitude, latitude]"))?;
            let radius = read_distance(name, radius)?;
            match name.as_str() {
                "$center" => Ok(Shape::Circle { centre, radius }),
                _ if centre.is_on_earth() => Ok(Shape::Cap { centre, radius }),
                _ => Err("`$centerSphere` needs a longitude from -180 to 180 and a latitude from -90 to 90, \
                     in this order"
                    .into()),
            }
        }
        "$geometry" => Err(format!(
            "`{operator}` knows no $geometry; write the corners as {{\"$polygon\":[[longitude, latitude], …]}}"
        )),
        other => Err(format!(
            "`{}` is no shape for `{operator}`; there are $box, $center, $centerSphere and $polygon",
            super::parse::shorten(other)
        )),
    }
}

fn read_points(value: &Value) -> Option<Vec<Point>> {
    value.as_array()?.iter().map(read_point).collect()
}

/// A place in a query; it may also be wrapped as the Node client does.
fn read_point(value: &Value) -> Option<Point> {
    match value
        .as_object()
        .filter(|members| wrapper::is_wrapper(members))
    {
        Some(members) => Point::of(&wrapper::open(members).ok()?),
        None => Point::of(value),
    }
}

fn read_distance(name: &str, value: &Value) -> Result<f64, String> {
    let distance = value.as_f64().filter(|distance| *distance >= 0.0);
    distance.ok_or_else(|| format!("`{name}` needs a distance, a number from 0 upwards"))
}

#[cfg(test)]
mod tests;
