//! Times and browsers as people read them.

use maud::{Markup, html};
use pilvi_model::Timestamp;

/// A moment to the minute. Without a script nobody knows where the reader is, so it is UTC, and says so.
pub(crate) fn moment(at: Timestamp) -> Markup {
    let exact = at.to_string();
    let shown = match (exact.get(..10), exact.get(11..16)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => exact.clone(),
    };
    html! { time datetime=(exact) { (shown) } }
}

/// The day of a moment.
pub(crate) fn day(at: Timestamp) -> Markup {
    let exact = at.to_string();
    let shown = exact.get(..10).unwrap_or(&exact);
    html! { time datetime=(exact) { (shown) } }
}

/// Which browser on which system calls itself so, as well as that can be told.
pub(crate) fn browser(agent: &str) -> String {
    let known = |names: &[(&str, &'static str)]| {
        let found = names.iter().find(|(mark, _)| agent.contains(mark));
        found.map(|(_, name)| *name)
    };
    // Browsers name those they want to pass for, too; the one that says most about itself comes first.
    let browser = known(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("Chrom", "Chrome"),
        ("CriOS/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = known(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        _ if agent.is_empty() => "A browser that says nothing of itself".to_owned(),
        _ => agent.chars().take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_have_their_names() {
        let linux = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)";
        let table = [
            (format!("{linux} Chrome/126.0 Safari/537.36"), "Chrome on Linux"),
            (format!("{linux} Chrome/126.0 Safari/537.36 Edg/126.0"), "Edge on Linux"),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1 Version/17.5 Safari/604.1"
                    .to_owned(),
                "Safari on iPhone",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; rv:127.0) Gecko/20100101 Firefox/127.0".to_owned(),
                "Firefox on Windows",
            ),
            ("curl/8.0".to_owned(), "curl/8.0"),
            (String::new(), "A browser that says nothing of itself"),
        ];
        for (agent, name) in table {
            assert_eq!(browser(&agent), name);
        }
    }

    #[test]
    fn a_moment_is_shown_to_the_minute() {
        let at = Timestamp::from_millis(1_426_669_200_123);
        assert!(moment(at).into_string().contains(">2015-03-18 09:00 UTC<"));
        assert!(day(at).into_string().contains(">2015-03-18<"));
    }
}
