//! A map cut into shards, each behind its own lock, so that readers on different tasks do not meet.
//! A shard's lock is held for one look-up or one insertion, never across I/O.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

use crate::sync::{PoisonError, RwLock};

const SHARDS: usize = 32;

/// A concurrent map from `K` to cheaply cloned values.
pub struct Shards<K, V> {
    hasher: RandomState,
    shards: [RwLock<HashMap<K, V>>; SHARDS],
}

impl<K: Eq + Hash, V: Clone> Default for Shards<K, V> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| RwLock::default()),
        }
    }
}

impl<K: Eq + Hash, V: Clone> Shards<K, V> {
    fn shard(&self, key: &K) -> &RwLock<HashMap<K, V>> {
        let index = usize::try_from(self.hasher.hash_one(key) >> 40).unwrap_or(0) % SHARDS;
        &self.shards[index]
    }

    /// The value under `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        self.shard(key)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    /// Looks at the value under `key` where it lies.
    pub fn look<R>(&self, key: &K, look: impl FnOnce(&V) -> R) -> Option<R> {
        self.shard(key)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .map(look)
    }

    /// Whether there is a value under `key`.
    pub fn contains(&self, key: &K) -> bool {
        self.shard(key)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(key)
    }

    /// Puts a value under `key`, giving back the one it replaces.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.shard(&key)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, value)
    }

    /// Takes the value under `key` out, if it is one that `which` picks.
    pub fn remove_if(&self, key: &K, which: impl FnOnce(&V) -> bool) -> Option<V> {
        let mut shard = self
            .shard(key)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if shard.get(key).is_some_and(which) {
            shard.remove(key)
        } else {
            None
        }
    }

    /// Changes the value under `key` in place, where there is one, and gives what the change answers.
    pub fn update<R>(&self, key: &K, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.shard(key)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(key)
            .map(change)
    }

    /// Changes the value under `key` in place, starting from an empty one where there is none.
    pub fn change(&self, key: K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        change(
            self.shard(&key)
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(key)
                .or_default(),
        );
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.shards
            .iter()
            .map(|s| s.read().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    /// Looks at every value, one shard at a time.
    pub fn for_each(&self, mut look: impl FnMut(&K, &V)) {
        for shard in &self.shards {
            for (key, value) in shard.read().unwrap_or_else(PoisonError::into_inner).iter() {
                look(key, value);
            }
        }
    }

    /// Drops what `keep` does not want and gives back the memory that most of it leaves; tells how many fell.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) -> usize {
        let mut fallen = 0;
        for shard in &self.shards {
            let mut map = shard.write().unwrap_or_else(PoisonError::into_inner);
            let before = map.len();
            map.retain(|key, value| keep(key, value));
            fallen += before - map.len();
            give_back(&mut map);
        }
        fallen
    }

    /// Gives back the memory of what was removed.
    pub fn give_back(&self) {
        for shard in &self.shards {
            give_back(&mut shard.write().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

fn give_back<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 64 && map.len() < map.capacity() / 4 {
        map.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_changed_and_dropped() {
        let map = Shards::<u32, u32>::default();
        for key in 0..1000 {
            assert_eq!(map.insert(key, key), None);
        }
        assert_eq!(map.count(), 1000);
        assert_eq!(map.update(&7, |v| std::mem::replace(v, 70)), Some(7));
        assert_eq!(map.get(&7), Some(70));
        map.change(7, |v| *v += 1);
        assert_eq!(map.get(&7), Some(71));
        assert_eq!(map.remove_if(&8, |v| *v > 8), None);
        assert_eq!(map.remove_if(&8, |v| *v == 8), Some(8));
        assert_eq!(map.look(&9, |v| v + 1), Some(10));
        assert!(!map.contains(&8));
        assert_eq!(map.retain(|key, _| key % 2 == 1), 499);
        let mut sum = 0;
        map.for_each(|_, _| sum += 1);
        assert_eq!(sum, map.count());
    }
}
