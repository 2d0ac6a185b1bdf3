//! Slots for connections. A slot is named with its generation, so that what belongs to an earlier tenant shows.

/// Things in numbered slots; the number of a freed slot is used again under a new generation.
#[derive(Debug)]
pub struct Arena<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Names a thing for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub slot: u32,
    /// 24 bits, as much as the ring's user data carries.
    pub generation: u32,
}

const GENERATION_MASK: u32 = 0xff_ffff;

impl<T> Default for Arena<T> {
    fn default() -> Arena<T> {
        Arena { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Arena<T> {
    /// Puts a thing into a slot; `make` is told its key.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        let key = Key { slot, generation: entry.generation };
        entry.value = Some(make(key));
        key
    }

    /// The slot that the next thing will get.
    pub fn next_slot(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.slots.len() as u32)
    }

    /// The thing of that name, unless it is gone.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// Takes the thing out and frees its slot.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation)?;
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.free.push(key.slot);
        Some(value)
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of all things there are.
    pub fn keys(&self) -> Vec<Key> {
        let taken = self.slots.iter().enumerate().filter(|(_, slot)| slot.value.is_some());
        taken.map(|(slot, entry)| Key { slot: slot as u32, generation: entry.generation }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_does_not_open_a_reused_slot() {
        let mut arena = Arena::default();
        let old = arena.insert_with(|_| "old");
        assert_eq!(arena.remove(old), Some("old"));
        let new = arena.insert_with(|_| "new");
        assert_eq!(new.slot, old.slot);
        assert_eq!(arena.get_mut(old), None);
        assert_eq!(arena.remove(old), None);
        assert_eq!(arena.get_mut(new), Some(&mut "new"));
        assert_eq!((arena.len(), arena.keys()), (1, vec![new]));
    }
}
