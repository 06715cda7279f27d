//! Where things are kept: the names of keys.

use infra_core::config::Compat;

/// Writes the keys of one client.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// As it stands before every key.
    prefix: String,
    /// As it stands before the keys of sorted sets.
    sorted_prefix: String,
}

impl Keys {
    pub(crate) fn new(compat: Compat, prefix: &str) -> Self {
        let separated = match compat {
            // im-infra puts a colon between a prefix and a key, and forgets it for sorted sets.
            Compat::GoChat if !prefix.is_empty() && !prefix.ends_with(':') => format!("{prefix}:"),
            _ => prefix.to_owned(),
        };
        Self {
            prefix: separated,
            sorted_prefix: prefix.to_owned(),
        }
    }

    /// The keys that begin with this client's prefix, then `scope` and a colon.
    pub(crate) fn scoped(&self, scope: &str) -> Self {
        Self {
            prefix: format!("{}{scope}:", self.prefix),
            sorted_prefix: format!("{}{scope}:", self.prefix),
        }
    }

    /// What stands before every key.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn key(&self, key: &str) -> String {
        [&self.prefix, key].concat()
    }

    /// The key of a sorted set.
    pub(crate) fn sorted(&self, key: &str) -> String {
        [&self.sorted_prefix, key].concat()
    }

    /// The caller's name of a key that the server returned.
    pub(crate) fn strip<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(&self.prefix)
    }

    /// A pattern for all keys that begin with `prefix`, every character of which is literal.
    pub(crate) fn pattern(&self, prefix: &str) -> String {
        let literal = self.key(prefix);
        let mut pattern = String::with_capacity(literal.len() + 1);
        for character in literal.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern.push('*');
        pattern
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_stands_before_every_key_and_gochats_forgets_its_colon_before_sorted_sets() {
        let native = Keys::new(Compat::Native, "im");
        assert_eq!(
            (native.key("a").as_str(), native.sorted("a").as_str()),
            ("ima", "ima")
        );
        let gochat = Keys::new(Compat::GoChat, "im");
        assert_eq!(
            (gochat.key("a").as_str(), gochat.sorted("a").as_str()),
            ("im:a", "ima")
        );
        assert_eq!(Keys::new(Compat::GoChat, "im:").key("a"), "im:a");
        assert_eq!(Keys::new(Compat::GoChat, "").key("a"), "a");
        assert_eq!(native.scoped("users").strip("imusers:7"), Some("7"));
    }

    #[test]
    fn a_pattern_takes_every_character_of_a_prefix_literally() {
        assert_eq!(Keys::new(Compat::Native, "p:").pattern("a*[b]"), r"p:a\*\[b\]*");
    }
}
