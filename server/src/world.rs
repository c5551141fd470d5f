//! What the server knows of an organisation besides its documents: the catalogue and the people, in memory.
//!
//! It is what `record` holds, read at the start and kept up as records are written. Of what rights depend on it
//! also knows what held before: work is judged by what its author knew when it was made.
//!
//! A world that is shared never changes: who writes records changes a copy, which shares with it what stays, and
//! puts that in its place once the records are on the disk.

mod shared;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;

use sync_core::admit::Field;
use sync_core::id::{Actor, CallId, DeviceId, DistributorId, OrgId, OutletId, TerritoryId, UserId};
use sync_core::model::catalogue::{
    Call, Catalogue, Device, Display, Distributor, Outlet, Person, Promotion, Record, Territory,
};
use sync_core::model::people::{Audience, Rights, Territories};
use sync_core::wire::{Group, Keys};

pub use self::shared::Shared;

/// The newest version of every record; of planograms, price lists and templates every version.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The tree, for scopes.
    pub tree: Arc<Territories>,
    /// Territories by id.
    pub territories: Shared<TerritoryId, Territory>,
    /// Distributors by id.
    pub distributors: Shared<DistributorId, Distributor>,
    /// People by id.
    pub people: Shared<UserId, Person>,
    /// Devices by id.
    pub devices: Shared<DeviceId, Device>,
    /// Outlets by id.
    pub outlets: Shared<OutletId, Outlet>,
    /// Planned calls by id.
    pub calls: Shared<CallId, Call>,
    /// Displays by number.
    pub displays: Shared<u32, Display>,
    /// Promotions by number.
    pub promotions: Shared<u32, Promotion>,
    /// Products, planograms, price lists and templates.
    pub catalogue: Arc<Catalogue>,
    fingerprints: Shared<[u8; 8], DeviceId>,
    before: Before,
    size: u64,
}

/// What rights depended on before it changed.
#[derive(Debug, Clone, Default)]
struct Before {
    parents: Versions<TerritoryId, Option<TerritoryId>>,
    rights: Versions<UserId, Option<Rights>>,
    outlets: Versions<OutletId, Option<Audience>>,
    calls: Versions<CallId, Option<OutletId>>,
    /// The sequences of the records that withdrew devices' access.
    withdrawn: Shared<DeviceId, u64>,
    /// The sequences of the records that ended anything.
    ended: Arc<Vec<u64>>,
}

/// For each key the values that it no longer has, each with the sequence of the record that ended it, oldest
/// first.
#[derive(Debug, Clone)]
struct Versions<K, V>(Shared<K, Vec<(u64, V)>>);

impl<K, V> Default for Versions<K, V> {
    fn default() -> Self {
        Self(Shared::default())
    }
}

impl<K: Clone + Eq + Hash, V: Clone + PartialEq> Versions<K, V> {
    /// Whether it did have another value.
    fn end(&mut self, key: K, old: Option<V>, new: &V, sequence: u64) -> bool {
        let old = old.filter(|old| old != new);
        let ends = old.is_some();
        if let Some(old) = old {
            self.0.part_of(&key).entry(key).or_default().push((sequence, old));
        }
        ends
    }

    /// Where the key got the value that it has now; 0 for the first that is known.
    fn ended(&self, key: &K) -> u64 {
        self.0.get(key).and_then(|ends| ends.last()).map_or(0, |(sequence, _)| *sequence)
    }

    /// What the key had for whoever knew the first `known` lines of the log; `None`: what it has now.
    fn at(&self, key: &K, known: u64) -> Option<&V> {
        let ended = self.0.get(key)?.iter().find(|(sequence, _)| *sequence >= known);
        ended.map(|(_, value)| value)
    }
}

impl World {
    /// Takes in the record that the log has at `sequence`.
    pub fn insert(&mut self, record: Record, sequence: u64) {
        let before = &mut self.before;
        let ended = match record {
            Record::Territory(r) => {
                let old = self.territories.get(&r.id).map(|old| old.parent);
                let ended = before.parents.end(r.id, old, &r.parent, sequence);
                Arc::make_mut(&mut self.tree).insert(r.id, r.parent);
                self.territories.insert(r.id, r);
                ended
            }
            Record::Person(r) => {
                let old = self.people.get(&r.id).map(Person::rights);
                let ended = before.rights.end(r.id, old, &r.rights(), sequence);
                self.people.insert(r.id, r);
                ended
            }
            Record::Device(r) => {
                self.fingerprints.insert(Actor::fingerprint(&r.key), r.id);
                if r.revoked {
                    before.withdrawn.part_of(&r.id).entry(r.id).or_insert(sequence);
                }
                self.devices.insert(r.id, r);
                false
            }
            Record::Outlet(r) => {
                let old = self.outlets.get(&r.id).map(seen_by);
                let ended = before.outlets.end(r.id, old, &seen_by(&r), sequence);
                self.outlets.insert(r.id, r);
                ended
            }
            Record::Call(r) => {
                let old = self.calls.get(&r.id).map(wanted_at);
                let ended = before.calls.end(r.id, old, &wanted_at(&r), sequence);
                self.calls.insert(r.id, r);
                ended
            }
            record => {
                match record {
                    Record::Distributor(r) => drop(self.distributors.insert(r.id, r)),
                    Record::Display(r) => drop(self.displays.insert(r.number, r)),
                    Record::Promotion(r) => drop(self.promotions.insert(r.number, r)),
                    record => Arc::make_mut(&mut self.catalogue).insert(record),
                }
                false
            }
        };
        if ended {
            Arc::make_mut(&mut before.ended).push(sequence);
        }
        self.size = self.size.max(sequence + 1);
    }

    /// How many lines the log has up to the newest record that is here.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What a person may do now, if anything.
    pub fn rights(&self, user: UserId) -> Option<Rights> {
        self.people.get(&user)?.rights()
    }

    /// Whether a person sees what has this audience, now.
    pub fn sees(&self, user: UserId, audience: &Audience) -> bool {
        self.rights(user).is_some_and(|rights| rights.sees(&self.tree, audience))
    }

    /// What a person is called, or that the name is gone.
    pub fn name(&self, user: UserId) -> String {
        match self.people.get(&user) {
            Some(person) => person.name.clone(),
            None => format!("person {}", &user.to_string()[..8]),
        }
    }

    /// Who receives a record.
    pub fn audience(&self, record: &Record) -> Audience {
        record.audience(|outlet| self.outlets.get(&outlet).map(Outlet::audience))
    }

    /// The device whose actor this is.
    pub fn device_of(&self, actor: Actor) -> Option<&Device> {
        self.devices.get(self.fingerprints.get(actor.as_bytes().first_chunk()?)?)
    }

    /// The sequence of the record that withdrew a device's access, if one did.
    pub fn withdrawn(&self, device: DeviceId) -> Option<u64> {
        self.before.withdrawn.get(&device).copied()
    }

    /// The phones that were out of their people's hands, and since when, as whoever withdrew them says.
    pub fn lost_phones(&self) -> BTreeMap<DeviceId, i64> {
        self.devices.values().filter_map(|device| Some((device.id, device.lost_ms?))).collect()
    }

    /// The device that stands for the server.
    pub fn server(&self, org: OrgId) -> Option<Device> {
        let Ok(device) =
            Device::of_server(org, |id| Ok::<_, Infallible>(self.devices.get(&id).cloned()));
        device
    }

    /// Whether a device stands for the server, or did before the server had another key.
    pub fn is_server(&self, device: DeviceId) -> bool {
        self.devices.get(&device).is_some_and(Device::is_server)
    }

    /// The keys of the devices that wrote these, those of revoked ones too.
    pub fn keys_of<'g>(&self, groups: impl IntoIterator<Item = &'g Group>) -> Keys {
        let mut keys = Keys::default();
        for change in groups.into_iter().flat_map(|group| &group.changes) {
            if keys.of(change.actor).is_none()
                && let Some(device) = self.device_of(change.actor)
            {
                keys.insert(&device.key);
            }
        }
        keys
    }

    /// Whether a record of these sequences has changed anybody's rights.
    pub fn rights_changed_in(&self, sequences: std::ops::Range<u64>) -> bool {
        let first = self.before.ended.partition_point(|ended| *ended < sequences.start);
        self.before.ended.get(first).is_some_and(|ended| *ended < sequences.end)
    }

    /// What was known to whoever knew the first `known` lines of the log.
    pub fn at(&self, known: u64) -> Then<'_> {
        let mut tree = None;
        for territory in self.before.parents.0.keys() {
            if let Some(parent) = self.before.parents.at(territory, known) {
                tree.get_or_insert_with(|| Territories::clone(&self.tree))
                    .insert(*territory, *parent);
            }
        }
        Then { world: self, known, tree }
    }

    /// The sequence of the newest record that has changed what this person sees of the field; 0 if none has.
    pub fn scope_changed(&self, user: UserId) -> u64 {
        let own = self.before.rights.ended(&user);
        self.before.parents.0.keys().map(|t| self.before.parents.ended(t)).fold(own, u64::max)
    }

    /// How many lines were known at `known`, and after each record since that has changed what this person sees of
    /// the field.
    pub fn scopes_from(&self, user: UserId, known: u64) -> Vec<u64> {
        let own = self.before.rights.0.get(&user).into_iter().flatten().map(|(ended, _)| ended);
        let tree = self.before.parents.0.values().flatten().map(|(ended, _)| ended);
        let since = own.chain(tree).filter(|ended| **ended >= known).map(|ended| ended + 1);
        let mut scopes: Vec<u64> = since.chain([known]).collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}

fn seen_by(outlet: &Outlet) -> Option<Audience> {
    outlet.active.then(|| outlet.audience())
}

fn wanted_at(call: &Call) -> Option<OutletId> {
    (!call.cancelled).then_some(call.outlet)
}

impl Field for World {
    fn has_distributor(&self, id: DistributorId) -> bool {
        self.distributors.contains_key(&id)
    }

    fn territories(&self) -> &Territories {
        &self.tree
    }

    fn outlet(&self, id: OutletId) -> Option<Audience> {
        self.outlets.get(&id).and_then(seen_by)
    }

    fn call(&self, id: CallId) -> Option<OutletId> {
        self.calls.get(&id).and_then(wanted_at)
    }
}

/// The world as it was when the log was shorter. What was not there yet is as it became first.
#[derive(Debug)]
pub struct Then<'a> {
    world: &'a World,
    known: u64,
    tree: Option<Territories>,
}

impl Then<'_> {
    /// What a person could do.
    pub fn rights(&self, user: UserId) -> Option<Rights> {
        let then = self.world.before.rights.at(&user, self.known);
        then.copied().unwrap_or_else(|| self.world.rights(user))
    }
}

impl Field for Then<'_> {
    fn has_distributor(&self, id: DistributorId) -> bool {
        self.world.has_distributor(id)
    }

    fn territories(&self) -> &Territories {
        self.tree.as_ref().unwrap_or(&self.world.tree)
    }

    fn outlet(&self, id: OutletId) -> Option<Audience> {
        let then = self.world.before.outlets.at(&id, self.known);
        then.copied().unwrap_or_else(|| self.world.outlet(id))
    }

    fn call(&self, id: CallId) -> Option<OutletId> {
        let then = self.world.before.calls.at(&id, self.known);
        then.copied().unwrap_or_else(|| self.world.call(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::model::people::{Role, Scope};

    fn person(territory: u8, active: bool) -> Record {
        let scope = Scope::Territory(TerritoryId::from_bytes([territory; 16]));
        let (id, name) = (UserId::from_bytes([7; 16]), "Rita".to_owned());
        Record::Person(Person { id, name, role: Role::Rep, scope, active })
    }

    fn territory(id: u8, parent: Option<u8>) -> Record {
        let of = |n| TerritoryId::from_bytes([n; 16]);
        Record::Territory(Territory { id: of(id), parent: parent.map(of), name: "North".into() })
    }

    #[test]
    fn the_past_is_as_it_was() {
        let mut world = World::default();
        for (sequence, record) in [
            (1, territory(1, None)),
            (2, territory(2, Some(1))),
            (3, territory(3, None)),
            (4, person(1, true)),
            (9, person(1, true)), // nothing changes
            (10, person(2, true)),
            (20, territory(2, Some(3))),
            (30, person(2, false)),
        ] {
            world.insert(record, sequence);
        }
        let user = UserId::from_bytes([7; 16]);
        let scope = |known| world.at(known).rights(user).map(|rights| rights.scope);
        let of = |n| TerritoryId::from_bytes([n; 16]);
        assert_eq!(scope(5), Some(Scope::Territory(of(1))));
        assert_eq!(scope(10), Some(Scope::Territory(of(1))), "line 10 is not known yet");
        assert_eq!(scope(11), Some(Scope::Territory(of(2))));
        assert_eq!(scope(31), None);
        assert_eq!(world.rights(user), None);
        assert!(world.at(20).territories().within(of(2), of(1)));
        assert!(!world.at(21).territories().within(of(2), of(1)));
        assert!(world.at(21).territories().within(of(2), of(3)));
        assert_eq!(world.scope_changed(user), 30);
        assert_eq!(world.scopes_from(user, 10), [10, 11, 21, 31]);
        assert_eq!(world.scopes_from(user, 25), [25, 31]);
        assert_eq!(world.scope_changed(UserId::from_bytes([8; 16])), 20);
    }
}
