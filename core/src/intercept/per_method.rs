//! What an interceptor keeps for each method of each backend, found without a lock.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::method::{Call, Method};

/// One value per method and backend, made when it is first asked for and kept for good.
///
/// Methods are `static`s and backends are few, so it does not grow without end.
#[derive(Debug)]
pub(super) struct PerMethod<V> {
    table: ArcSwap<Table<V>>,
    adding: Mutex<()>,
}

#[derive(Debug)]
struct Table<V> {
    places: HashMap<Key, usize, BuildHasherDefault<AddressHasher>>,
    values: Vec<Arc<V>>,
}

/// The addresses of the method and of the backend's name. Equal names at two addresses are two entries, which does no harm.
type Key = (usize, usize);

impl<V> PerMethod<V> {
    pub(super) fn new() -> Self {
        Self {
            table: ArcSwap::from_pointee(Table {
                places: HashMap::default(),
                values: Vec::new(),
            }),
            adding: Mutex::new(()),
        }
    }

    /// Uses the value for the method of `call`, and gives its place, by which [`at`](Self::at) finds it again.
    pub(super) fn of(&self, call: &Call<'_>, make: impl FnOnce() -> V, r#use: impl FnOnce(&V)) -> usize {
        let key = key(call);
        let table = self.table.load();
        let place = match table.places.get(&key) {
            Some(place) => *place,
            None => self.add(key, make),
        };
        match table.values.get(place) {
            Some(value) => r#use(value),
            None => self.at(place, r#use),
        }
        place
    }

    /// Uses the value at a place that [`of`](Self::of) gave.
    pub(super) fn at(&self, place: usize, r#use: impl FnOnce(&V)) {
        if let Some(value) = self.table.load().values.get(place) {
            r#use(value);
        }
    }

    #[cold]
    fn add(&self, key: Key, make: impl FnOnce() -> V) -> usize {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table.load();
        if let Some(place) = table.places.get(&key) {
            return *place;
        }
        let place = table.values.len();
        let mut places = table.places.clone();
        let mut values = table.values.clone();
        places.insert(key, place);
        values.push(Arc::new(make()));
        self.table.store(Arc::new(Table { places, values }));
        place
    }
}

fn key(call: &Call<'_>) -> Key {
    (
        std::ptr::from_ref::<Method>(call.method()).addr(),
        call.backend().as_ptr().addr(),
    )
}

/// Mixes two addresses; they are no secret and nobody outside chooses them, so nothing stronger is needed.
#[derive(Debug, Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        // The table takes its bits from both ends, and multiplying fills only the upper ones.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // The multiplier is 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming, 6.4).
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static GET: Method = Method::new("cache", "get", "cache.get");
    static SET: Method = Method::new("cache", "set", "cache.set");

    #[test]
    fn makes_one_value_for_each_method_and_backend() {
        let kept = PerMethod::<String>::new();
        let mut places = Vec::new();
        for (method, backend) in [(&GET, "one"), (&SET, "one"), (&GET, "two"), (&GET, "one")] {
            let call = Call::new(method, backend, None);
            let mut seen = String::new();
            let make = || format!("{} {backend}", method.label());
            places.push(kept.of(&call, make, |value| seen.clone_from(value)));
            assert_eq!(seen, format!("{} {backend}", method.label()));
        }
        assert_eq!(places, [0, 1, 2, 0]);
        kept.at(1, |value| assert_eq!(value, "cache.set one"));
    }

    #[test]
    fn threads_that_race_agree_on_the_place() {
        let kept = PerMethod::<u8>::new();
        let places: Vec<usize> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| kept.of(&Call::new(&GET, "one", None), || 0, |_| {})))
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(places, [0; 8]);
    }
}
