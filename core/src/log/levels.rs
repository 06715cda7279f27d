//! Levels by namespace, and the table that events are looked up in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracing::Metadata;
use tracing::level_filters::LevelFilter;

use crate::config::{Problems, Validate};

/// How important a line must be to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// Nothing at all.
    Off,
    /// What needs somebody's attention.
    Error,
    /// What may need attention.
    #[serde(alias = "warning")]
    Warn,
    /// What the service does, in large steps.
    Info,
    /// What helps to find a defect.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    pub(super) const fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// The levels of a log: one for everything, others by namespace. This part of the configuration can change while the
/// service runs, see [`Handle`](super::Handle).
///
/// A namespace's level holds for it and everything below it; the longest match wins. Names are written with or without the
/// root: in the service `im-gateway`, `user.auth` and `im-gateway.user.auth` are the same. A library is addressed by its
/// `tracing` target with dots, `hyper` or `hyper.client`, and its level holds in whatever namespace it is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Levels {
    /// The level of every namespace without one of its own.
    pub level: Level,
    /// Levels by namespace.
    #[serde(default)]
    pub levels: BTreeMap<String, Level>,
}

impl Levels {
    /// One level for everything.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self {
            level,
            levels: BTreeMap::new(),
        }
    }

    /// The same with a level for one namespace and those below it.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<String>, level: Level) -> Self {
        self.levels.insert(namespace.into(), level);
        self
    }
}

impl Validate for Levels {
    fn validate(&self, problems: &mut Problems) {
        problems.within("levels", |problems| {
            for name in self.levels.keys() {
                problems.ensure(
                    is_namespace(name),
                    name,
                    "not a namespace; write names joined with single dots, without white space",
                );
            }
        });
    }
}

/// Whether a name, or several joined with dots, can be a namespace.
pub(super) fn is_namespace(name: &str) -> bool {
    name.split('.')
        .all(|part| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control()))
}

/// The compiled form of [`Levels`].
#[derive(Debug)]
pub(super) struct Table {
    general: LevelFilter,
    /// Without the root, longest first.
    rules: Vec<(String, LevelFilter)>,
    most: LevelFilter,
    least: LevelFilter,
}

impl Table {
    pub(super) fn new(levels: &Levels, root: &str) -> Self {
        let mut general = levels.level.filter();
        let mut rules = Vec::new();
        for (name, level) in &levels.levels {
            let filter = level.filter();
            match below(name, root) {
                Some("") => general = filter,
                Some(rest) => rules.push((rest.to_owned(), filter)),
                None => rules.push((name.clone(), filter)),
            }
        }
        rules.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let all = || rules.iter().map(|(_, filter)| *filter).chain([general]);
        let (most, least) = (all().max().unwrap_or(general), all().min().unwrap_or(general));
        Self {
            general,
            most,
            least,
            rules,
        }
    }

    /// The most talkative level of all.
    pub(super) const fn most(&self) -> LevelFilter {
        self.most
    }

    /// The least talkative level of all.
    pub(super) const fn least(&self) -> LevelFilter {
        self.least
    }

    /// The level for an event of `target` within the namespace `scope`, which comes without the root.
    ///
    /// A library's own level comes first, then that of the scope; outside of scopes the target is the namespace.
    pub(super) fn level(&self, scope: Option<&str>, target: &str, root: &str) -> LevelFilter {
        if self.rules.is_empty() {
            return self.general;
        }
        let by_target = |target: &str| self.find(|name| target_below(target, name));
        let by_scope = |scope: &str| self.find(|name| below(scope, name).is_some());
        let found = match (in_service(target, root), scope) {
            (Some(_), Some(scope)) => by_scope(scope),
            (Some(module), None) => by_target(module),
            (None, Some(scope)) => by_target(target).or_else(|| by_scope(scope)),
            (None, None) => by_target(target),
        };
        found.unwrap_or(self.general)
    }

    fn find(&self, matches: impl Fn(&str) -> bool) -> Option<LevelFilter> {
        let rule = self.rules.iter().find(|(name, _)| matches(name));
        rule.map(|(_, filter)| *filter)
    }
}

/// What follows `prefix` and its dot in `name`; empty when they are equal.
fn below<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(prefix)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('.')
    }
}

/// The same comparison for a target, whose parts are joined with `::` where the rule's are with dots.
fn target_below(target: &str, prefix: &str) -> bool {
    let mut parts = target.split("::").flat_map(|part| part.split('.'));
    prefix.split('.').all(|wanted| parts.next() == Some(wanted))
}

/// The module within the service's own crate, `im_gateway` for the service `im-gateway`; `None` for another crate's target.
fn in_service<'a>(target: &'a str, root: &str) -> Option<&'a str> {
    let (krate, module) = target.split_once("::").unwrap_or((target, ""));
    let own = krate.len() == root.len()
        && krate
            .bytes()
            .zip(root.bytes())
            .all(|(a, b)| a == b || (a == b'_' && b == b'-'));
    own.then_some(module)
}

/// The full namespace of an event: the root, then the scope it runs in, or else where its target says it is.
pub(super) fn full_namespace(scope: Option<&str>, metadata: &Metadata<'_>, root: &str) -> String {
    let mut namespace = root.to_owned();
    let mut push = |part: &str| {
        if !part.is_empty() {
            namespace.push('.');
            namespace.push_str(part);
        }
    };
    match scope {
        Some(scope) => push(scope),
        None => {
            let target = metadata.target();
            in_service(target, root)
                .unwrap_or(target)
                .split("::")
                .for_each(push);
        }
    }
    namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_wins_and_libraries_keep_their_own() {
        let levels = Levels::new(Level::Info)
            .with_namespace("user", Level::Warn)
            .with_namespace("im-gateway.user.auth", Level::Trace)
            .with_namespace("hyper", Level::Error);
        let table = Table::new(&levels, "im-gateway");
        for (scope, target, expected) in [
            (None, "im_gateway", LevelFilter::INFO),
            (None, "im_gateway::user", LevelFilter::WARN),
            (None, "im_gateway::user::auth::token", LevelFilter::TRACE),
            (None, "im_gateway::users", LevelFilter::INFO),
            (Some("user"), "im_gateway::x", LevelFilter::WARN),
            (Some("user.auth"), "im_gateway", LevelFilter::TRACE),
            (Some("user.authors"), "im_gateway", LevelFilter::WARN),
            (Some("other"), "im_gateway", LevelFilter::INFO),
            (None, "hyper::client", LevelFilter::ERROR),
            (Some("other"), "hyper::client", LevelFilter::ERROR),
            (Some("user.auth"), "hyper::client", LevelFilter::ERROR),
            (Some("user.auth"), "h2::client", LevelFilter::TRACE),
            (Some("other"), "im_gateway::user", LevelFilter::INFO),
            (None, "hyperion", LevelFilter::INFO),
        ] {
            assert_eq!(
                table.level(scope, target, "im-gateway"),
                expected,
                "{scope:?} {target}"
            );
        }
        assert_eq!(
            (table.most(), table.least()),
            (LevelFilter::TRACE, LevelFilter::ERROR)
        );
        let root = Levels::new(Level::Info).with_namespace("im-gateway", Level::Off);
        assert_eq!(
            Table::new(&root, "im-gateway").level(None, "x", "im-gateway"),
            LevelFilter::OFF
        );
    }

    #[test]
    fn names_that_are_no_namespaces_are_refused() {
        for name in ["", ".", "a.", "a..b", "a b", "a\n"] {
            assert!(
                Levels::new(Level::Info)
                    .with_namespace(name, Level::Warn)
                    .check()
                    .is_err(),
                "{name:?}"
            );
        }
        assert!(
            Levels::new(Level::Info)
                .with_namespace("a.b-c_d", Level::Warn)
                .check()
                .is_ok()
        );
    }
}
