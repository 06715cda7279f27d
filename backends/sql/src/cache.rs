//! A bounded map for what is worked out once per statement text.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// Keeps about as many entries as it is told, the recently used ones.
///
/// Two generations: what is used moves to the young one; when that is full, the old one is dropped and the young one
/// becomes old. A hit in the young generation takes a shared lock only.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    half: usize,
    generations: RwLock<Generations<V>>,
}

#[derive(Debug)]
struct Generations<V> {
    young: HashMap<Box<str>, V>,
    old: HashMap<Box<str>, V>,
}

/// A longer text is worked out each time: whoever builds such texts does not repeat them.
const LONGEST_KEY: usize = 64 * 1024;

impl<V: Clone> Cache<V> {
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            half: (entries / 2).max(1),
            generations: RwLock::new(Generations {
                young: HashMap::new(),
                old: HashMap::new(),
            }),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<V> {
        let found = {
            let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(value) = generations.young.get(key) {
                return Some(value.clone());
            }
            generations.old.get(key).cloned()
        };
        if let Some(value) = &found {
            self.insert(key, value.clone());
        }
        found
    }

    pub(crate) fn insert(&self, key: &str, value: V) {
        if key.len() > LONGEST_KEY {
            return;
        }
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= self.half && !generations.young.contains_key(key) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key.into(), value);
    }

    pub(crate) fn clear(&self) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        generations.young.clear();
        generations.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_bounded_and_keeps_what_is_used() {
        let cache = Cache::new(8);
        for number in 0..1000 {
            cache.insert(&format!("filler {number}"), number);
            cache.insert("kept", -1);
            assert_eq!(cache.get("kept"), Some(-1));
        }
        let generations = cache.generations.read().expect("not poisoned");
        assert!(generations.young.len() + generations.old.len() <= 8);
        drop(generations);
        assert_eq!(cache.get("filler 0"), None);
        cache.insert(&"x".repeat(LONGEST_KEY + 1), 1);
        assert_eq!(cache.get(&"x".repeat(LONGEST_KEY + 1)), None);
        cache.clear();
        assert_eq!(cache.get("kept"), None);
    }
}
