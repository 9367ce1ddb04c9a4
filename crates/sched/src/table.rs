//! Tables for ids that are handed out in order: a lookup is one index.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Index, IndexMut};
use sublet_units::{DeviceId, ModelId};

/// An id that counts up from zero, or nearly so.
pub(crate) trait Dense: Copy {
    fn index(self) -> usize;
    fn at(index: usize) -> Self;
}

impl Dense for ModelId {
    fn index(self) -> usize {
        self.0 as usize
    }

    fn at(index: usize) -> Self {
        ModelId(index as u32)
    }
}

impl Dense for DeviceId {
    fn index(self) -> usize {
        self.0 as usize
    }

    fn at(index: usize) -> Self {
        DeviceId(index as u32)
    }
}

/// What is known by id. An id that has left costs one empty slot.
#[derive(Debug)]
pub(crate) struct Table<K, T> {
    slots: Vec<Option<Box<T>>>,
    /// Of what is there, in order.
    ids: Vec<K>,
}

impl<K: Dense, T> Table<K, T> {
    pub fn new() -> Self {
        Table { slots: Vec::new(), ids: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub fn get(&self, id: K) -> Option<&T> {
        self.slots.get(id.index())?.as_deref()
    }

    pub fn get_mut(&mut self, id: K) -> Option<&mut T> {
        self.slots.get_mut(id.index())?.as_deref_mut()
    }

    pub fn contains(&self, id: K) -> bool {
        self.get(id).is_some()
    }

    /// Returns what was known by this id before.
    pub fn insert(&mut self, id: K, value: T) -> Option<T> {
        let index = id.index();
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        let before = self.slots[index].replace(Box::new(value));
        if let (None, Err(at)) = (&before, self.find(id)) {
            self.ids.insert(at, id);
        }
        before.map(|value| *value)
    }

    pub fn remove(&mut self, id: K) -> Option<T> {
        let value = self.slots.get_mut(id.index())?.take()?;
        if let Ok(at) = self.find(id) {
            self.ids.remove(at);
        }
        Some(*value)
    }

    /// In order of ids, as all that follow.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| Some((K::at(index), slot.as_deref()?)))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(index, slot)| Some((K::at(index), slot.as_deref_mut()?)))
    }

    pub fn ids(&self) -> &[K] {
        &self.ids
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.as_deref())
    }

    fn find(&self, id: K) -> Result<usize, usize> {
        self.ids.binary_search_by_key(&id.index(), |other| other.index())
    }
}

impl<K: Dense, T> Index<K> for Table<K, T> {
    type Output = T;

    #[inline]
    fn index(&self, id: K) -> &T {
        self.slots[id.index()].as_deref().expect("an id that is in the table")
    }
}

impl<K: Dense, T> IndexMut<K> for Table<K, T> {
    #[inline]
    fn index_mut(&mut self, id: K) -> &mut T {
        self.slots[id.index()].as_deref_mut().expect("an id that is in the table")
    }
}

/// A map by numbers that nobody chooses to collide. It is never walked, since its order means nothing.
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// One multiplication, as in Firefox's and rustc's hash.
#[derive(Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_knows_what_is_there_in_order() {
        let mut table = Table::new();
        assert_eq!(table.insert(ModelId(7), 'b'), None);
        assert_eq!(table.insert(ModelId(2), 'a'), None);
        assert_eq!(table.insert(ModelId(2), 'c'), Some('a'));
        assert_eq!((table.len(), table.get(ModelId(3)), table.get(ModelId(99))), (2, None, None));
        assert_eq!(table.iter().collect::<Vec<_>>(), [(ModelId(2), &'c'), (ModelId(7), &'b')]);
        assert_eq!((table.remove(ModelId(7)), table.remove(ModelId(7))), (Some('b'), None));
        assert_eq!(table.ids(), [ModelId(2)]);
    }
}
