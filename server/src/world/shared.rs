//! A map of which copies are cheap.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::ops::Index;
use std::sync::Arc;

/// Parts of a map. Of 100,000 outlets a change copies 400.
const PARTS: usize = 256;

/// A map whose copies share each part that neither has changed since.
#[derive(Debug, Clone)]
pub struct Shared<K, V> {
    parts: Vec<Arc<HashMap<K, V>>>,
    hasher: RandomState,
}

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self { parts: vec![Arc::default(); PARTS], hasher: RandomState::new() }
    }
}

impl<K: Eq + Hash, V> Shared<K, V> {
    fn part(&self, key: &K) -> usize {
        self.hasher.hash_one(key) as usize % PARTS
    }

    /// What the key has, if it is here.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.parts[self.part(key)].get(key)
    }

    /// Whether the key is here.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Each key with what it has, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// The keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// What the keys have, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.is_empty())
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Shared<K, V> {
    /// The part that has this key or would, to be changed.
    pub fn part_of(&mut self, key: &K) -> &mut HashMap<K, V> {
        let part = self.part(key);
        Arc::make_mut(&mut self.parts[part])
    }

    /// Gives the key another value; the one before, if there was one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.part_of(&key).insert(key, value)
    }
}

impl<K: Eq + Hash, V> Index<&K> for Shared<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        &self.parts[self.part(key)][key]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_copies_the_part_that_it_is_in_and_leaves_the_copy_as_it_was() {
        let mut outlets = Shared::default();
        for n in 0..10_000_u32 {
            assert_eq!(outlets.insert(n, n.to_string()), None);
        }
        let before = outlets.clone();
        assert_eq!(outlets.insert(7, "seven".into()).as_deref(), Some("7"));
        assert_eq!(outlets.insert(10_000, "another".into()), None);
        assert_eq!((before.len(), outlets.len()), (10_000, 10_001));
        assert_eq!((&*before[&7], &*outlets[&7]), ("7", "seven"));
        assert!(!before.contains_key(&10_000) && outlets.contains_key(&10_000));
        let shared = before.parts.iter().zip(&outlets.parts);
        let copied = shared.filter(|(before, after)| !Arc::ptr_eq(before, after)).count();
        assert!((1..=2).contains(&copied), "{copied}");
        let mut keys: Vec<u32> = outlets.keys().copied().collect();
        keys.sort_unstable();
        assert!(keys.into_iter().eq(0..=10_000));
    }
}
