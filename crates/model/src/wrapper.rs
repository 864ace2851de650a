//! Typed values as the Node client writes them: `{"$type":"time","$value":…}` (`eds.md` §4.8).
//!
//! They exist only on the way in. What is stored, compared and returned is the plain value inside: a reference
//! of two members, a time as an ISO text in UTC with milliseconds, a location as the pair `[longitude, latitude]`.

use serde_json::{Map, Value, json};
use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

use crate::query::value::Reference;

/// Whether the members are those of a wrapper: `$type` and `$value`, and no others.
pub(crate) fn is_wrapper(members: &Map<String, Value>) -> bool {
    members.len() == 2 && members.contains_key("$type") && members.contains_key("$value")
}

/// The value that a wrapper stands for. The message of a refusal continues the name of where it stood.
pub(crate) fn open(members: &Map<String, Value>) -> Result<Value, String> {
    let value = &members["$value"];
    match members["$type"].as_str() {
        Some("ref") => open_reference(value),
        Some("time") => open_time(value),
        Some("geoloc") => open_location(value),
        _ => Err(
            "has a `$type` that is unknown; there are \"ref\", \"time\" and \"geoloc\", with a `$value` beside it"
                .into(),
        ),
    }
}

/// Opens every wrapper in a value, at whatever depth. The caller has bounded the depth.
pub(crate) fn open_all(value: Value) -> Result<Value, String> {
    match value {
        Value::Object(members) if is_wrapper(&members) => open(&members),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, member)| Ok((name, open_all(member)?)))
            .collect::<Result<_, _>>()
            .map(Value::Object),
        Value::Array(items) => items
            .into_iter()
            .map(open_all)
            .collect::<Result<_, _>>()
            .map(Value::Array),
        plain => Ok(plain),
    }
}

/// Puts the reference back where a client sends the object that an `include` had put in its place
/// (`eds.md` §6). Only where a reference of two members is stored, or an array of them.
pub(crate) fn reduce_expanded(stored: &Value, sent: &mut Value) {
    match sent {
        Value::Object(members) if members.len() > 2 && is_plain_reference(stored) => {
            if let Some(reference) = Reference::of(sent).map(Reference::to_json) {
                *sent = reference;
            }
        }
        Value::Array(items) => {
            let references = stored.as_array().filter(|stored| !stored.is_empty());
            let Some(stored) = references.filter(|items| items.iter().all(is_plain_reference))
            else {
                return;
            };
            // Which of the stored ones it was does not matter: they all are references.
            items
                .iter_mut()
                .for_each(|item| reduce_expanded(&stored[0], item));
        }
        _ => {}
    }
}

fn is_plain_reference(value: &Value) -> bool {
    value.as_object().is_some_and(|members| members.len() == 2) && Reference::of(value).is_some()
}

fn open_reference(value: &Value) -> Result<Value, String> {
    Reference::of(value).map(Reference::to_json).ok_or_else(|| {
        "is no reference; its `$value` must be {\"id\":\"…24 hex characters…\",\"objectType\":\"objects.…\"}".into()
    })
}

fn open_time(value: &Value) -> Result<Value, String> {
    let moment = match value {
        Value::String(text) => read_moment(text),
        Value::Number(_) => whole_millis(value).and_then(moment_of_millis),
        _ => None,
    };
    moment.map(|moment| write_moment(moment).into()).ok_or_else(|| {
        "is no time; its `$value` must be a text such as \"2013-06-28T16:38:32.369Z\" or whole milliseconds \
         since 1970, in the years 0 to 9999"
            .into()
    })
}

/// Whether a text is a time, in one of the spellings that a typed one may have.
pub(crate) fn is_moment(text: &str) -> bool {
    read_moment(text).is_some()
}

/// Whether a text is a time exactly as a typed one is stored.
pub(crate) fn is_stored_moment(text: &str) -> bool {
    text.len() == 24 && read_moment(text).is_some_and(|moment| write_moment(moment) == text)
}

fn whole_millis(value: &Value) -> Option<i64> {
    // Some clients write every number as a real one. Every date is far below 2^53 milliseconds.
    const FAR: f64 = 9_007_199_254_740_992.0;
    let whole = |real: &f64| real.fract() == 0.0 && real.abs() < FAR;
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(whole).map(|real| real as i64))
}

fn moment_of_millis(millis: i64) -> Option<OffsetDateTime> {
    in_range(OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()?)
}

fn in_range(moment: OffsetDateTime) -> Option<OffsetDateTime> {
    (0..=9999).contains(&moment.year()).then_some(moment)
}

/// Reads the common spellings of ISO 8601: a date, or a date and a time with or without seconds, fraction and
/// offset. Without an offset it is UTC. Digits beyond milliseconds are dropped.
fn read_moment(text: &str) -> Option<OffsetDateTime> {
    if !text.is_ascii() {
        return None;
    }
    let date = read_date(text.get(..10)?)?;
    let Some(rest) = text.get(10..).filter(|rest| !rest.is_empty()) else {
        return in_range(OffsetDateTime::new_utc(date, Time::MIDNIGHT));
    };
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let clock_end = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, offset) = rest.split_at(clock_end);
    let local =
        OffsetDateTime::new_utc(date, read_clock(clock)?).replace_offset(read_offset(offset)?);
    in_range(local.checked_to_offset(UtcOffset::UTC)?)
}

fn read_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = Month::try_from(u8::try_from(digits(parts.next()?, 2)?).ok()?).ok()?;
    let day = u8::try_from(digits(parts.next()?, 2)?).ok()?;
    Date::from_calendar_date(i32::try_from(year).ok()?, month, day).ok()
}

fn read_clock(text: &str) -> Option<Time> {
    let (whole, fraction) = match text.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let mut parts = whole.split(':');
    let small = |part: Option<&str>| u8::try_from(digits(part?, 2)?).ok();
    let (hour, minute) = (small(parts.next())?, small(parts.next())?);
    let second = match (parts.next(), fraction) {
        (None, Some(_)) => return None,
        (None, None) => 0,
        (part, _) => small(part)?,
    };
    let millis = match fraction {
        Some(fraction)
            if fraction.bytes().all(|byte| byte.is_ascii_digit()) && !fraction.is_empty() =>
        {
            format!("{fraction:0<3}").get(..3)?.parse().ok()?
        }
        Some(_) => return None,
        None => 0,
    };
    parts.next().is_none().then_some(())?;
    Time::from_hms_milli(hour, minute, second, millis).ok()
}

fn read_offset(text: &str) -> Option<UtcOffset> {
    let sign = match text.chars().next() {
        None => return Some(UtcOffset::UTC),
        Some('Z' | 'z') => return (text.len() == 1).then_some(UtcOffset::UTC),
        Some('-') => -1,
        Some(_) => 1,
    };
    let numbers = text.get(1..)?.replacen(':', "", 1);
    let (hours, minutes) = match numbers.len() {
        2 => (digits(&numbers, 2)?, 0),
        _ => (digits(numbers.get(..2)?, 2)?, digits(numbers.get(2..)?, 2)?),
    };
    let small = |number: u32| i8::try_from(number).ok().map(|number| sign * number);
    UtcOffset::from_hms(small(hours)?, small(minutes)?, 0).ok()
}

fn digits(text: &str, length: usize) -> Option<u32> {
    (text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// The one spelling that is stored, so that sorting the texts sorts the moments.
fn write_moment(moment: OffsetDateTime) -> String {
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        moment.year(),
        u8::from(moment.month()),
        moment.day(),
        moment.hour(),
        moment.minute(),
        moment.second(),
        moment.millisecond()
    )
}

fn open_location(value: &Value) -> Result<Value, String> {
    let member = |names: [&str; 3]| names.iter().find_map(|name| value.get(name));
    let pair = match value {
        Value::Array(pair) => Some(pair.as_slice()),
        // A point of GeoJSON may have a height; a location has none.
        Value::Object(_) => value
            .get("coordinates")
            .and_then(Value::as_array)
            .map(|numbers| &numbers[..numbers.len().min(2)]),
        _ => None,
    };
    let numbers = match pair {
        Some([longitude, latitude]) => Some((longitude, latitude)),
        Some(_) => None,
        None => member(["longitude", "lon", "lng"]).zip(member(["latitude", "lat", "lat"])),
    };
    match numbers {
        Some((longitude, latitude)) if longitude.is_number() && latitude.is_number() => {
            Ok(json!([longitude, latitude]))
        }
        _ => Err("is no location; its `$value` must be the pair [longitude, latitude]".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "51cdbc08989e975ec300772a";

    fn opened(kind: &str, value: &Value) -> Result<Value, String> {
        open_all(json!({"$type": kind, "$value": value}))
    }

    #[test]
    fn a_time_becomes_one_spelling_whatever_it_was_written_in() {
        let cases = [
            (
                json!("2013-06-28T16:38:32.369Z"),
                "2013-06-28T16:38:32.369Z",
            ),
            (json!("2013-06-28T16:38:32Z"), "2013-06-28T16:38:32.000Z"),
            (json!("2013-06-28T16:38:32.3Z"), "2013-06-28T16:38:32.300Z"),
            (
                json!("2013-06-28T16:38:32.369999Z"),
                "2013-06-28T16:38:32.369Z",
            ),
            (json!("2013-06-28T16:38:32,5"), "2013-06-28T16:38:32.500Z"),
            (json!("2013-06-28 16:38"), "2013-06-28T16:38:00.000Z"),
            (json!("2013-06-28"), "2013-06-28T00:00:00.000Z"),
            (
                json!("2013-06-28T18:38:32+02:00"),
                "2013-06-28T16:38:32.000Z",
            ),
            (
                json!("2013-06-28T01:00:00+0230"),
                "2013-06-27T22:30:00.000Z",
            ),
            (json!("2013-06-28T01:00:00-11"), "2013-06-28T12:00:00.000Z"),
            (json!("1899-12-31T23:59:59z"), "1899-12-31T23:59:59.000Z"),
            (json!("0000-01-01"), "0000-01-01T00:00:00.000Z"),
            (json!(1_372_437_512_369_i64), "2013-06-28T16:38:32.369Z"),
            (json!(1_372_437_512_369.0), "2013-06-28T16:38:32.369Z"),
            (json!(0), "1970-01-01T00:00:00.000Z"),
            (json!(-1), "1969-12-31T23:59:59.999Z"),
            (json!(253_402_300_799_999_i64), "9999-12-31T23:59:59.999Z"),
        ];
        for (sent, stored) in cases {
            assert_eq!(opened("time", &sent), Ok(json!(stored)), "{sent}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for sent in [
            json!("now"),
            json!(""),
            json!("2013"),
            json!("2013-02-29"),
            json!("2013-06-28T25:00:00Z"),
            json!("2013-06-28T16:38:60Z"),
            json!("2013-06-28T16"),
            json!("2013-06-28T16:38.5Z"),
            json!("2013-06-28T16:38:32.Z"),
            json!("2013-06-28T16:38:32Zulu"),
            json!("2013-06-28T16:38:32+2:00"),
            json!("2013-06-28T16:38:32+99:00"),
            json!("2013-06-28T16:38:32:01Z"),
            json!("0000-01-01T00:00:00+01:00"),
            json!("9999-12-31T23:59:59-01:00"),
            json!("+2013-06-28"),
            json!("٢٠١٣-06-28"),
            json!(253_402_300_800_000_i64),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(1.5),
            json!(1e300),
            json!(null),
            json!(true),
            json!([]),
            json!({}),
        ] {
            let refusal = opened("time", &sent).expect_err(&sent.to_string());
            assert!(refusal.starts_with("is no time"), "{refusal}");
        }
    }

    #[test]
    fn a_reference_keeps_its_two_members() {
        let sent = json!({"objectType": "objects.todos", "id": ID, "title": "sent along"});
        assert_eq!(
            opened("ref", &sent).unwrap().to_string(),
            format!(r#"{{"id":"{ID}","objectType":"objects.todos"}}"#)
        );
        for sent in [
            json!(ID),
            json!({"id": ID}),
            json!({"id": 1, "objectType": "users"}),
            json!(null),
        ] {
            assert!(opened("ref", &sent).is_err(), "{sent}");
        }
    }

    #[test]
    fn a_location_becomes_the_pair() {
        for sent in [
            json!([25.5, 65]),
            json!({"type": "Point", "coordinates": [25.5, 65]}),
            json!({"type": "Point", "coordinates": [25.5, 65, 12]}),
            json!({"latitude": 65, "longitude": 25.5}),
            json!({"lat": 65, "lng": 25.5}),
        ] {
            assert_eq!(opened("geoloc", &sent), Ok(json!([25.5, 65])), "{sent}");
        }
        for sent in [
            json!([1]),
            json!([1, 2, 3]),
            json!(["1", "2"]),
            json!({}),
            json!(1),
            json!({"lat": 1}),
        ] {
            assert!(opened("geoloc", &sent).is_err(), "{sent}");
        }
    }

    #[test]
    fn wrappers_are_found_at_any_depth_and_nothing_else_is_touched() {
        let sent =
            json!({"a": [{"$type": "time", "$value": 0}], "$type": "time", "b": {"$value": 1}});
        let stored =
            json!({"a": ["1970-01-01T00:00:00.000Z"], "$type": "time", "b": {"$value": 1}});
        assert_eq!(open_all(sent), Ok(stored));
        assert!(
            opened("money", &json!(1))
                .unwrap_err()
                .contains("\"geoloc\"")
        );
    }

    #[test]
    fn an_expanded_object_goes_back_to_its_reference_where_one_is_stored() {
        let reference = json!({"id": ID, "objectType": "objects.todos"});
        let expanded = json!({"id": ID, "objectType": "objects.todos", "title": "x"});
        let reduced = |stored: &Value, sent: &Value| {
            let mut sent = sent.clone();
            reduce_expanded(stored, &mut sent);
            sent
        };
        assert_eq!(reduced(&reference, &expanded), reference);
        assert_eq!(
            reduced(&json!([reference]), &json!([expanded, 1, reference])),
            json!([reference, 1, reference])
        );
        for stored in [
            json!(null),
            json!(1),
            expanded.clone(),
            json!([]),
            json!([reference, 1]),
        ] {
            assert_eq!(reduced(&stored, &expanded), expanded, "{stored}");
            assert_eq!(
                reduced(&stored, &json!([expanded])),
                json!([expanded]),
                "{stored}"
            );
        }
        let plain = json!({"id": "x", "objectType": "objects.todos", "title": "x"});
        assert_eq!(reduced(&reference, &plain), plain);
    }
}
