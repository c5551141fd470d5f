//! People, what they may see and what they may do.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::id::{DistributorId, TerritoryId, UserId};

/// What a person does for which company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Keeps people, devices and the catalogue of the brand.
    #[n(0)]
    Admin,
    /// Reviews the audits of a territory.
    #[n(1)]
    Supervisor,
    /// Audits outlets for the brand.
    #[n(2)]
    Rep,
    /// Sees a distributor's scorecard and audits.
    #[n(3)]
    DistributorManager,
    /// Audits a distributor's outlets for the distributor.
    #[n(4)]
    DistributorStaff,
}

impl Role {
    /// Every role, for forms and tests.
    pub const ALL: [Self; 5] = [
        Self::Admin,
        Self::Supervisor,
        Self::Rep,
        Self::DistributorManager,
        Self::DistributorStaff,
    ];

    /// The name in the API and in forms.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Supervisor => "supervisor",
            Self::Rep => "rep",
            Self::DistributorManager => "distributor_manager",
            Self::DistributorStaff => "distributor_staff",
        }
    }

    /// The reverse of [`Role::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// May record observations in outlets.
    pub const fn captures(self) -> bool {
        matches!(self, Self::Rep | Self::DistributorStaff)
    }

    /// May approve visits, send them back and settle conflicts.
    pub const fn reviews(self) -> bool {
        matches!(self, Self::Admin | Self::Supervisor)
    }

    /// Is shown what is worth a look in the visits of the scope.
    pub const fn oversees(self) -> bool {
        self.reviews() || matches!(self, Self::DistributorManager)
    }

    /// Works for a distributor rather than for the brand.
    pub const fn of_distributor(self) -> bool {
        matches!(self, Self::DistributorManager | Self::DistributorStaff)
    }
}

/// The part of the field that a person works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(flat)]
pub enum Scope {
    /// A territory and all below it.
    #[n(0)]
    Territory(#[n(0)] TerritoryId),
    /// All outlets that a distributor serves.
    #[n(1)]
    Distributor(#[n(0)] DistributorId),
}

/// Who may see a document or record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(flat)]
pub enum Audience {
    /// Everyone in the organisation: the shared catalogue.
    #[n(0)]
    Everyone,
    /// Those whose scope holds an outlet of this territory and distributor.
    #[n(1)]
    Outlet {
        /// The outlet's own territory.
        #[n(0)]
        territory: TerritoryId,
        /// The distributor that serves it.
        #[n(1)]
        distributor: DistributorId,
    },
}

/// What one person may do, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// Where.
    pub scope: Scope,
}

impl Rights {
    /// Whether this person's scope includes `audience`.
    pub fn sees(&self, territories: &Territories, audience: &Audience) -> bool {
        match (audience, self.scope) {
            (Audience::Everyone, _) => true,
            (Audience::Outlet { territory, .. }, Scope::Territory(root)) => {
                territories.within(*territory, root)
            }
            (Audience::Outlet { distributor, .. }, Scope::Distributor(own)) => *distributor == own,
        }
    }
}

/// The territory tree: each territory's parent, `None` for the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Territories(BTreeMap<TerritoryId, Option<TerritoryId>>);

impl Territories {
    /// Deepest tree that is walked; a cycle ends here too.
    pub const DEPTH_MAX: usize = 16;

    /// Adds or moves a territory.
    pub fn insert(&mut self, territory: TerritoryId, parent: Option<TerritoryId>) {
        self.0.insert(territory, parent);
    }

    /// Whether there is such a territory.
    pub fn contains(&self, territory: TerritoryId) -> bool {
        self.0.contains_key(&territory)
    }

    /// Whether `territory` is `root` or below it.
    pub fn within(&self, territory: TerritoryId, root: TerritoryId) -> bool {
        std::iter::successors(Some(territory), |t| self.0.get(t).copied().flatten())
            .take(Self::DEPTH_MAX)
            .any(|t| t == root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_subtree_or_a_distributor() {
        let t = |n| TerritoryId::from_bytes([n; 16]);
        let d = |n| DistributorId::from_bytes([n; 16]);
        let mut tree = Territories::default();
        for (child, parent) in [(1, None), (2, Some(1)), (3, Some(2)), (4, Some(1))] {
            tree.insert(t(child), parent.map(t));
        }
        tree.insert(t(8), Some(t(9)));
        tree.insert(t(9), Some(t(8)));
        let sees = |scope, territory, distributor| {
            Rights { user: UserId::from_bytes([0; 16]), role: Role::Rep, scope }.sees(
                &tree,
                &Audience::Outlet { territory: t(territory), distributor: d(distributor) },
            )
        };
        assert!(sees(Scope::Territory(t(1)), 3, 1));
        assert!(sees(Scope::Territory(t(2)), 3, 1));
        assert!(!sees(Scope::Territory(t(4)), 3, 1));
        assert!(!sees(Scope::Territory(t(1)), 8, 1), "a cycle is outside every tree");
        assert!(sees(Scope::Distributor(d(1)), 3, 1));
        assert!(!sees(Scope::Distributor(d(2)), 3, 1));
    }
}
