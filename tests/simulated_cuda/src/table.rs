//! The objects behind handles.

use std::collections::BTreeMap;

/// Objects of one kind; a handle is a number that no other kind has and that is never given out twice.
pub struct Table<T> {
    base: u64,
    created: u64,
    entries: BTreeMap<u64, T>,
}

impl<T> Table<T> {
    /// A table whose handles start at `kind << 40`.
    pub const fn new(kind: u64) -> Self {
        Self { base: kind << 40, created: 0, entries: BTreeMap::new() }
    }

    /// Keeps `value`, and returns its handle.
    pub fn insert(&mut self, value: T) -> u64 {
        let handle = self.base + self.created * 16;
        self.created += 1;
        self.entries.insert(handle, value);
        handle
    }

    /// How many were created before the one with this handle.
    pub fn ordinal(&self, handle: u64) -> u32 {
        ((handle - self.base) / 16) as u32
    }

    pub fn get(&self, handle: u64) -> Option<&T> {
        self.entries.get(&handle)
    }

    pub fn get_mut(&mut self, handle: u64) -> Option<&mut T> {
        self.entries.get_mut(&handle)
    }

    pub fn remove(&mut self, handle: u64) -> Option<T> {
        self.entries.remove(&handle)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.entries.iter().map(|(handle, value)| (*handle, value))
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.values_mut()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
}
