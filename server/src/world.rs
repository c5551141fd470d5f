//! What the server knows of an organisation besides its documents: the catalogue and the people, in memory.
//!
//! It is what `record` holds, read at the start and kept up as records are written.

use std::collections::HashMap;

use sync_core::admit::Field;
use sync_core::id::{CallId, DeviceId, DistributorId, OutletId, TerritoryId, UserId};
use sync_core::model::catalogue::{
    Call, Catalogue, Device, Display, Distributor, Outlet, Person, Promotion, Record, Territory,
};
use sync_core::model::people::{Audience, Rights, Territories};

/// The newest version of every record; of planograms, price lists and templates every version.
#[derive(Debug, Default)]
pub struct World {
    /// The tree, for scopes.
    pub tree: Territories,
    /// Territories by id.
    pub territories: HashMap<TerritoryId, Territory>,
    /// Distributors by id.
    pub distributors: HashMap<DistributorId, Distributor>,
    /// People by id.
    pub people: HashMap<UserId, Person>,
    /// Devices by id.
    pub devices: HashMap<DeviceId, Device>,
    /// Outlets by id.
    pub outlets: HashMap<OutletId, Outlet>,
    /// Planned calls by id.
    pub calls: HashMap<CallId, Call>,
    /// Displays by number.
    pub displays: HashMap<u32, Display>,
    /// Promotions by number.
    pub promotions: HashMap<u32, Promotion>,
    /// Products, planograms, price lists and templates.
    pub catalogue: Catalogue,
}

impl World {
    /// Takes a record in.
    pub fn insert(&mut self, record: Record) {
        match record {
            Record::Territory(r) => {
                self.tree.insert(r.id, r.parent);
                self.territories.insert(r.id, r);
            }
            Record::Distributor(r) => drop(self.distributors.insert(r.id, r)),
            Record::Person(r) => drop(self.people.insert(r.id, r)),
            Record::Device(r) => drop(self.devices.insert(r.id, r)),
            Record::Outlet(r) => drop(self.outlets.insert(r.id, r)),
            Record::Call(r) => drop(self.calls.insert(r.id, r)),
            Record::Display(r) => drop(self.displays.insert(r.number, r)),
            Record::Promotion(r) => drop(self.promotions.insert(r.number, r)),
            record => self.catalogue.insert(record),
        }
    }

    /// What a person may do now, if anything.
    pub fn rights(&self, user: UserId) -> Option<Rights> {
        self.people.get(&user)?.rights()
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
}

impl Field for World {
    fn territories(&self) -> &Territories {
        &self.tree
    }

    fn outlet(&self, id: OutletId) -> Option<Audience> {
        self.outlets.get(&id).filter(|o| o.active).map(Outlet::audience)
    }

    fn call(&self, id: CallId) -> Option<OutletId> {
        self.calls.get(&id).filter(|c| !c.cancelled).map(|c| c.outlet)
    }
}
