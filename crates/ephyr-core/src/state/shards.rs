//! A map divided into shards, each behind its own lock, so that requests of different tasks do not contend. A shard's
//! lock is never held across I/O.

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

    /// Returns the value of `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        self.shard(key)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    /// Applies `read` to the value of `key`, without cloning it.
    pub fn read<R>(&self, key: &K, read: impl FnOnce(&V) -> R) -> Option<R> {
        self.shard(key)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .map(read)
    }

    /// Returns whether `key` has a value.
    pub fn contains(&self, key: &K) -> bool {
        self.shard(key)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(key)
    }

    /// Sets the value of `key` and returns the one that it replaces.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.shard(&key)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, value)
    }

    /// Removes and returns the value of `key` if `which` selects it.
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

    /// Changes the value of `key` in place if it exists, and returns the result of `change`.
    pub fn update<R>(&self, key: &K, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.shard(key)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(key)
            .map(change)
    }

    /// Changes the value of `key` in place, starting from the default if there is none.
    pub fn update_or_default(&self, key: K, change: impl FnOnce(&mut V))
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

    /// Returns the number of values.
    pub fn count(&self) -> usize {
        self.shards
            .iter()
            .map(|s| s.read().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    /// Applies `read` to every value, one shard at a time.
    pub fn for_each(&self, mut read: impl FnMut(&K, &V)) {
        for shard in &self.shards {
            for (key, value) in shard.read().unwrap_or_else(PoisonError::into_inner).iter() {
                read(key, value);
            }
        }
    }

    /// Removes the values that `keep` rejects and releases unused memory. Returns the number of values removed.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) -> usize {
        let mut removed = 0;
        for shard in &self.shards {
            let mut map = shard.write().unwrap_or_else(PoisonError::into_inner);
            let before = map.len();
            map.retain(|key, value| keep(key, value));
            removed += before - map.len();
            shrink(&mut map);
        }
        removed
    }

    /// Releases the memory of removed values.
    pub fn shrink(&self) {
        for shard in &self.shards {
            shrink(&mut shard.write().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 64 && map.len() < map.capacity() / 4 {
        map.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_changed_and_removed() {
        let map = Shards::<u32, u32>::default();
        for key in 0..1000 {
            assert_eq!(map.insert(key, key), None);
        }
        assert_eq!(map.count(), 1000);
        assert_eq!(map.update(&7, |v| std::mem::replace(v, 70)), Some(7));
        assert_eq!(map.get(&7), Some(70));
        map.update_or_default(7, |v| *v += 1);
        assert_eq!(map.get(&7), Some(71));
        assert_eq!(map.remove_if(&8, |v| *v > 8), None);
        assert_eq!(map.remove_if(&8, |v| *v == 8), Some(8));
        assert_eq!(map.read(&9, |v| v + 1), Some(10));
        assert!(!map.contains(&8));
        assert_eq!(map.retain(|key, _| key % 2 == 1), 499);
        let mut sum = 0;
        map.for_each(|_, _| sum += 1);
        assert_eq!(sum, map.count());
    }
}
