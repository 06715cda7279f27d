//! How deep a document nests, told before a reader that calls itself sees it. Looks at text only.

/// Block structures of YAML that are indented further than this many columns are refused.
pub(super) const MAX_YAML_INDENT: usize = 256;
/// Keys of more parts than this are refused, in TOML documents and in names of environment variables.
pub(super) const MAX_KEY_PARTS: usize = 64;

/// The number of the first line whose block structure is nested too deep.
pub(super) fn deep_yaml_line(text: &str) -> Option<usize> {
    let structure = |line: &str| line.len() - line.trim_start_matches([' ', '-', '?', ':']).len();
    text.lines()
        .position(|line| structure(line) > MAX_YAML_INDENT)
        .map(|position| position + 1)
}

/// The number of the first line of a TOML document with a dotted key of too many parts.
pub(super) fn deep_toml_line(text: &str) -> Option<usize> {
    let (mut line, mut dots) = (1, 0);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => quoted_length(rest, first),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        match first {
            '.' => dots += 1,
            '"' | '\'' | ' ' | '\t' | '-' | '_' => {}
            _ if first.is_alphanumeric() => {}
            _ => dots = 0,
        }
        if dots >= MAX_KEY_PARTS {
            return Some(line);
        }
        line += token.matches('\n').count();
        rest = after;
    }
    None
}

/// The bytes of the TOML string that `text` begins with, or of all text where it does not end.
fn quoted_length(text: &str, quote: char) -> usize {
    let long = [quote; 3].iter().collect::<String>();
    let closing = if text.starts_with(&long) {
        long
    } else {
        quote.to_string()
    };
    let mut at = closing.len();
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(&closing) {
            return at + closing.len();
        }
        if closing.len() == 1 && rest.starts_with('\n') {
            // Only the long forms reach over lines: this one is not valid, and the next line begins anew.
            return at;
        }
        let mut characters = rest.chars();
        let first = characters.next().map_or(1, char::len_utf8);
        let escaped = characters
            .next()
            .filter(|_| quote == '"' && rest.starts_with('\\'));
        at += first + escaped.map_or(0, char::len_utf8);
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_many_parts_are_found_wherever_they_stand() {
        let key = vec!["a"; MAX_KEY_PARTS + 1].join(".");
        let quoted = vec!["\"a.\\\"b\""; MAX_KEY_PARTS + 1].join(" . ");
        for (text, line) in [
            (format!("{key} = 1"), 1),
            (format!("x = 1\n[{key}]"), 2),
            (format!("x = '''\n\n'''\ny = {{ {quoted} = 1 }}"), 4),
            (format!("x = 'open\n{key} = 1"), 2),
        ] {
            assert_eq!(deep_toml_line(&text), Some(line), "{text}");
        }
    }

    #[test]
    fn dots_elsewhere_are_no_keys() {
        let dots = ".".repeat(3 * MAX_KEY_PARTS);
        let numbers = vec!["1.5"; 3 * MAX_KEY_PARTS].join(", ");
        let key = vec!["a"; MAX_KEY_PARTS].join(".");
        for text in [
            format!("# {dots}\nx = 1 # {dots}"),
            format!("x = \"{dots}\\\"{dots}\"\ny = '{dots}\\'\nz = \"\"\"\n\"{dots}\n\"\"\""),
            format!("x = [{numbers}]\n{key} = 1\n[{key}]"),
        ] {
            assert_eq!(deep_toml_line(&text), None, "{text}");
        }
    }
}
