//! Fragments of text with the words found marked. Pure functions over the same analysis that indexed the text.

use infra_core::search::Highlighting;
use infra_core::{Error, Result};
use serde_json::Value;

use crate::analysis::{Class, Needle, Units};

/// The longest fragment that may be asked for, in characters.
const MAX_FRAGMENT_CHARS: usize = 100_000;

/// How much of a text is looked at for matches, in bytes: a longer text costs no more than this.
const MAX_ANALYSED_BYTES: usize = 256 * 1024;

/// Refuses a highlighting that cannot be done.
pub(crate) fn check(highlighting: &Highlighting) -> Result<()> {
    if (1..=MAX_FRAGMENT_CHARS).contains(&highlighting.fragment_chars) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "a highlighted fragment of {} characters is outside 1 to {MAX_FRAGMENT_CHARS}",
        highlighting.fragment_chars
    )))
}

/// The marked fragments of a document, by field; fields without a match have none.
pub(crate) fn fragments(
    body: &Value,
    fields: &[String],
    needles: &[Needle],
    highlighting: &Highlighting,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for field in fields {
        let values = match body.get(field) {
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
            None => continue,
        };
        let fragment = values
            .iter()
            .filter_map(Value::as_str)
            .find_map(|text| fragment(text, needles, highlighting));
        found.extend(fragment.map(|fragment| (field.clone(), fragment)));
    }
    found
}

/// The best fragment of a text, or `None` when no word of the query is in it.
fn fragment(text: &str, needles: &[Needle], highlighting: &Highlighting) -> Option<String> {
    let text = &text[..text.floor_char_boundary(MAX_ANALYSED_BYTES)];
    let matches = matches(text, needles);
    let (from, to) = window(text, &matches, highlighting.fragment_chars)?;
    let mut out = String::with_capacity(to - from + 64);
    let mut at = from;
    for (start, end) in matches {
        if start < from || end > to {
            continue;
        }
        escape(&mut out, &text[at..start]);
        out.push_str(&highlighting.before);
        escape(&mut out, &text[start..end]);
        out.push_str(&highlighting.after);
        at = end;
    }
    escape(&mut out, &text[at..to]);
    Some(out)
}

/// Where the words occur, in bytes of the text: in order, not overlapping.
fn matches(text: &str, needles: &[Needle]) -> Vec<(usize, usize)> {
    let units = Units::of(text);
    let mut spans: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    while at < units.len() {
        let longest = needles
            .iter()
            .filter_map(|needle| match_at(&units, at, needle))
            .max();
        if let Some(to) = longest
            && let (Some(first), Some(last)) = (units.get(at), units.get(to - 1))
        {
            match spans.last_mut() {
                Some(span) if first.start < span.1 => span.1 = span.1.max(last.end),
                _ => spans.push((first.start, last.end)),
            }
        }
        at += 1;
    }
    spans
}

/// The unit after the needle, if it occurs at `at`.
fn match_at(units: &Units, at: usize, needle: &Needle) -> Option<usize> {
    match needle {
        Needle::Word(word) => {
            let unit = units.get(at)?;
            if !units.folded(at, units.len()).starts_with(word.as_str()) {
                return None;
            }
            let end = match unit.class {
                Class::Emoji => at + 1,
                Class::Alphabetic if starts_word(units, at) => units.run_end(at, |a, b| a == b),
                _ => return None,
            };
            (units.folded(at, end) == word || word.len() + 4 > crate::analysis::MAX_WORD_BYTES).then_some(end)
        }
        Needle::Characters(characters) => {
            for (offset, character) in characters.iter().enumerate() {
                let unit = units.get(at + offset)?;
                let joined = offset == 0 || unit.joined;
                if !joined || units.folded(at + offset, at + offset + 1) != character {
                    return None;
                }
            }
            Some(at + characters.len())
        }
    }
}

fn starts_word(units: &Units, at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| units.get(before));
    let joined = units.get(at).is_some_and(|unit| unit.joined);
    !joined || before.is_none_or(|before| before.class != Class::Alphabetic)
}

/// The part of the text to show: it begins a little before the place with most matches, and is `chars` long at most.
fn window(text: &str, matches: &[(usize, usize)], chars: usize) -> Option<(usize, usize)> {
    let positions: Vec<usize> = text
        .char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .collect();
    let char_of = |byte: usize| positions.partition_point(|at| *at < byte);
    let count = positions.len() - 1;
    let spans: Vec<(usize, usize)> = matches
        .iter()
        .map(|(from, to)| (char_of(*from), char_of(*to)))
        .collect();
    let mut best: Option<(usize, usize, usize)> = None;
    let mut end = 0;
    for (index, (start, first_end)) in spans.iter().enumerate() {
        end = end.max(index);
        while spans.get(end).is_some_and(|(_, to)| *to <= start + chars) {
            end += 1;
        }
        let inside = end - index;
        if best.is_none_or(|(most, _, _)| inside > most) {
            let last = spans
                .get(end.saturating_sub(1))
                .map_or(*first_end, |(_, to)| *to)
                .max(*first_end);
            best = Some((inside, *start, last));
        }
    }
    let (_, start, last) = best?;
    let spare = chars.saturating_sub(last - start);
    let from = start.saturating_sub(spare / 2).min(count.saturating_sub(chars));
    let from = from.min(start);
    Some((positions[from], positions[(from + chars).min(count)]))
}

/// Escapes what HTML gives a meaning to.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::needles;

    fn marked(text: &str, query: &str, chars: usize) -> Option<String> {
        let highlighting = Highlighting::default().with_fragment_chars(chars);
        fragment(text, &needles(query), &highlighting)
    }

    #[test]
    fn words_of_many_scripts_are_marked_and_html_is_escaped() {
        for (text, query, expected) in [
            ("今天天气很好", "天气", "今天<em>天气</em>很好"),
            ("a <b> & Café", "cafe", "a &lt;b&gt; &amp; <em>Café</em>"),
            ("scatter cat", "cat", "scatter <em>cat</em>"),
            ("오늘 날씨가 좋네요", "날씨", "오늘 <em>날씨</em>가 좋네요"),
            ("ＡＢＣ！", "abc", "<em>ＡＢＣ</em>！"),
            ("ok 👍🏽!", "👍", "ok <em>👍🏽</em>!"),
            (
                "<script>alert('x')</script>",
                "script",
                "&lt;<em>script</em>&gt;alert(&#39;x&#39;)&lt;/<em>script</em>&gt;",
            ),
        ] {
            assert_eq!(marked(text, query, 150).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(marked("nothing here", "天气", 150), None);
    }

    #[test]
    fn a_long_text_is_cut_around_the_matches() {
        let text = format!("{}天气{}", "前".repeat(500), "后".repeat(500));
        let fragment = marked(&text, "天气", 20).unwrap();
        assert!(fragment.contains("前<em>天气</em>后"), "{fragment}");
        assert_eq!(
            fragment.replace("<em>", "").replace("</em>", "").chars().count(),
            20
        );
    }

    proptest! {
        #[test]
        fn fragments_are_never_longer_than_asked(text in "\\PC{0,80}", query in "\\PC{1,6}", chars in 1usize..40) {
            let highlighting = Highlighting::default().with_marks("", "").with_fragment_chars(chars);
            let found = needles(&query);
            if let Some((from, to)) = window(&text, &matches(&text, &found), chars) {
                prop_assert!(text[from..to].chars().count() <= chars);
            }
            let _unpanicked = fragment(&text, &found, &highlighting);
        }
    }
}
