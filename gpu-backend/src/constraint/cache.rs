//! A bounded map that forgets what was used longest ago.
//! Knows nothing of what it holds.

use std::collections::HashMap;

/// Values by their whole content as key: two contents never meet in one entry.
#[derive(Debug)]
pub(super) struct Cache<V> {
    entries: HashMap<String, Entry<V>>,
    entries_max: usize,
    /// Counts uses; the entry with the smallest is the oldest.
    clock: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    used: u64,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            entries_max,
            clock: 0,
        }
    }

    pub(super) fn get(&mut self, key: &str) -> Option<V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(entry.value.clone())
    }

    pub(super) fn insert(&mut self, key: String, value: V) {
        self.clock += 1;
        if self.entries.len() >= self.entries_max && !self.entries.contains_key(&key) {
            // A scan: there are few entries, and each took milliseconds to compile.
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.entries.remove(&oldest);
            }
        }
        let used = self.clock;
        self.entries.insert(key, Entry { value, used });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_entry_is_forgotten() {
        let mut cache = Cache::new(2);
        cache.insert("a".into(), 1);
        cache.insert("b".into(), 2);
        assert_eq!(cache.get("a"), Some(1));
        cache.insert("c".into(), 3);
        assert_eq!(
            (cache.get("a"), cache.get("b"), cache.get("c")),
            (Some(1), None, Some(3))
        );
        cache.insert("c".into(), 4);
        assert_eq!((cache.get("a"), cache.get("c")), (Some(1), Some(4)));
    }
}
