//! What an interceptor keeps for each method of each backend, found without a lock.

use std::sync::OnceLock;

use super::method::{Call, Method};

/// Places in the first table; a power of two, as those of all tables are.
const FIRST_TABLE: usize = 256;
/// So many places are tried in one table before the next one is.
const PROBES: usize = 8;

/// One value per method and backend, made when it is first asked for and kept for good.
///
/// Methods are `static`s and backends are few, so it does not grow without end. Nothing is ever removed or moved, so that
/// finding a value is one atomic load and one comparison; a full table is followed by a larger one.
#[derive(Debug)]
pub(super) struct PerMethod<V> {
    places: Box<[OnceLock<Entry<V>>]>,
    larger: OnceLock<Box<Self>>,
}

#[derive(Debug)]
struct Entry<V> {
    key: Key,
    value: V,
}

/// The addresses of the method and of the backend's name. Equal names at two addresses are two entries, which does no harm.
type Key = (usize, usize);

impl<V> PerMethod<V> {
    pub(super) fn new() -> Self {
        Self::with_places(FIRST_TABLE)
    }

    fn with_places(places: usize) -> Self {
        Self {
            places: std::iter::repeat_with(OnceLock::new).take(places).collect(),
            larger: OnceLock::new(),
        }
    }

    /// The value for the method and the backend of `call`.
    pub(super) fn of(&self, call: &Call<'_>, make: impl Fn() -> V) -> &V {
        let key = (
            std::ptr::from_ref::<Method>(call.method()).addr(),
            call.backend().as_ptr().addr(),
        );
        let mut table = self;
        loop {
            if let Some(value) = table.find(key, &make) {
                return value;
            }
            let twice = table.places.len() * 2;
            table = table.larger.get_or_init(|| Box::new(Self::with_places(twice)));
        }
    }

    /// The value in this table, made if there is room for it; `None` if it belongs into the next one.
    #[inline]
    fn find(&self, key: Key, make: &impl Fn() -> V) -> Option<&V> {
        let home = spread(key);
        for step in 0..PROBES {
            let place = self
                .places
                .get(home.wrapping_add(step) & (self.places.len() - 1))?;
            // Of two that race for a place, one makes the value and the other looks whether it is the one it wants.
            let entry = place.get_or_init(|| Entry { key, value: make() });
            if entry.key == key {
                return Some(&entry.value);
            }
        }
        None
    }
}

/// Mixes two addresses, which are no secret and which nobody outside chooses. The multiplier is 2^64 divided by the
/// golden ratio (Knuth, The Art of Computer Programming, 6.4); it fills the upper bits.
fn spread((method, backend): Key) -> usize {
    let mixed = (method as u64 ^ (backend as u64).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    static GET: Method = Method::new("cache", "get", "cache.get");
    static SET: Method = Method::new("cache", "set", "cache.set");

    #[test]
    fn makes_one_value_for_each_method_and_backend() {
        let kept = PerMethod::<String>::new();
        for _ in 0..2 {
            for (method, backend) in [(&GET, "one"), (&SET, "one"), (&GET, "two")] {
                let call = Call::new(method, backend, None);
                let value = kept.of(&call, || format!("{} {backend}", method.label()));
                assert_eq!(*value, format!("{} {backend}", method.label()));
            }
        }
        let made = kept.places.iter().filter(|place| place.get().is_some()).count();
        assert_eq!((made, kept.larger.get().is_some()), (3, false));
    }

    #[test]
    fn a_full_table_is_followed_by_a_larger_one() {
        let kept = PerMethod::<usize>::new();
        let methods: &'static [Method] = Box::leak((0..1000).map(|_| Method::new("c", "m", "c.m")).collect());
        for round in 0..2 {
            for (number, method) in methods.iter().enumerate() {
                let value = *kept.of(&Call::new(method, "one", None), || number + 5000 * round);
                assert_eq!(value, number, "found again in round {round}");
            }
        }
        assert!(kept.larger.get().is_some());
    }

    #[test]
    fn threads_that_race_share_one_value() {
        let kept = PerMethod::<u8>::new();
        let values: Vec<usize> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|number| {
                    let kept = &kept;
                    scope.spawn(move || {
                        std::ptr::from_ref(kept.of(&Call::new(&GET, "one", None), || number)).addr()
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert!(values.iter().all(|value| *value == values[0]));
    }
}
