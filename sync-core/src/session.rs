//! One sync of a device, as a state machine: what was heard goes in, what to do comes out.
//!
//! A session pushes what is in the outbox, then hands over what it carries for others, then pulls until nothing is
//! new, then makes one more push for what was captured meanwhile. Only one: somebody who goes on capturing faster than a slow network carries
//! it away would else never pull. After a rewind it pulls first, to learn what the server has lost, and then
//! pushes all of that. When all is pulled and the device does not hold what it should, it repairs that, and pushes
//! what the server turns out to lack. A session never waits and never reads a clock; the shell sends the
//! messages, applies the answers with [`crate::client`] and may drop a session at any point: everything that
//! counts is in the store.

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send [`crate::client::next_push`]; if there is nothing to push, say [`Heard::Empty`].
    Push,
    /// Send [`crate::cargo::next_cargo`] of what was not sent in this session; if there is none, say
    /// [`Heard::Empty`].
    Cargo,
    /// Send [`crate::client::next_pull`].
    Pull,
    /// Apply [`crate::upkeep::rewind`], then go on.
    Rewind,
    /// Apply [`crate::upkeep::sweep`], then go on.
    Sweep,
    /// Ask [`crate::repair::compare`]; if the server has said no print, all is well.
    Compare,
    /// Send [`crate::repair::Repair::ask`]: of the repair that the comparison gave, or, after a page that does not
    /// fit, of [`crate::repair::begin`].
    Repair,
    /// All is exchanged.
    Done,
    /// Nothing more can be done now.
    Stop(Stop),
}

/// What the shell heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The outbox had nothing, or there was no cargo.
    Empty,
    /// A push was answered and the answer applied; the flag says that the outbox held more than it took.
    Pushed(bool),
    /// Cargo was handed over and the answer applied.
    Delivered,
    /// A page was pulled and applied; the flag says that there is more.
    Pulled(bool),
    /// The same, and it showed that the server was restored since this device began anew: all of it is sent again.
    Restored(bool),
    /// What [`Step::Rewind`] asked for is stored.
    Rewound,
    /// What [`Step::Sweep`] asked for is stored.
    Swept,
    /// Whether the device holds what it should.
    Compared(bool),
    /// An answer to a repair was applied; the flag says that there is more to ask. Without an answer there is not:
    /// the next sync repairs.
    Repaired(bool),
    /// A page does not fit what is here: something is missing that should be.
    Misfit,
    /// The server does not know the cursor.
    CursorUnknown,
    /// The network failed, or the server did for now.
    Unreachable,
    /// The server withdrew this device's access.
    Revoked,
    /// The server or this device is too old for the other.
    Incompatible,
    /// The answer was wrong or forged, or the server refuses the message.
    Bad,
}

/// Why a session ends early. What is unsent stays in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Try again later.
    Unreachable,
    /// This device may no longer sync.
    Revoked,
    /// Update the app or the server.
    Incompatible,
    /// Something is wrong that another try does not mend.
    Bad,
}

/// A session. Begins with [`Step::Push`].
#[derive(Debug, Clone)]
pub struct Session {
    step: Step,
    rewound: bool,
    repaired: bool,
    pulled: bool,
}

impl Default for Session {
    fn default() -> Self {
        Self { step: Step::Push, rewound: false, repaired: false, pulled: false }
    }
}

impl Session {
    /// What to do now.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Takes in what was heard; returns what to do next.
    pub fn handle(&mut self, heard: Heard) -> Step {
        self.step = match (self.step, heard) {
            (Step::Done | Step::Stop(_), _) => self.step,
            (_, Heard::Unreachable) => Step::Stop(Stop::Unreachable),
            (_, Heard::Revoked) => Step::Stop(Stop::Revoked),
            (_, Heard::Incompatible) => Step::Stop(Stop::Incompatible),
            (Step::Push, Heard::Pushed(true)) if self.rewound || self.repaired || !self.pulled => {
                Step::Push
            }
            // What a repair found astray may go now that it was pushed.
            (Step::Push, Heard::Pushed(_) | Heard::Empty) if self.pulled && self.repaired => {
                Step::Sweep
            }
            (Step::Push, Heard::Pushed(_) | Heard::Empty) if self.pulled => Step::Done,
            (Step::Push, Heard::Pushed(false) | Heard::Empty) => Step::Cargo,
            (Step::Cargo, Heard::Delivered) => Step::Cargo,
            (Step::Cargo, Heard::Empty) => Step::Pull,
            (Step::Pull, Heard::Restored(more)) => {
                self.rewound = true;
                if more { Step::Pull } else { Step::Sweep }
            }
            (Step::Pull, Heard::Pulled(true)) => Step::Pull,
            (Step::Pull, Heard::Pulled(false)) => Step::Sweep,
            (Step::Sweep, Heard::Swept) if self.pulled => Step::Done,
            (Step::Sweep, Heard::Swept) => {
                self.pulled = true;
                Step::Compare
            }
            // What one repair did not mend is left to the next sync.
            (Step::Compare, Heard::Compared(whole)) if whole || self.repaired => Step::Push,
            (Step::Compare, Heard::Compared(false)) => self.repair(),
            (Step::Pull, Heard::Misfit) if !self.repaired => self.repair(),
            (Step::Repair, Heard::Repaired(true)) => Step::Repair,
            (Step::Repair, Heard::Repaired(false)) if self.pulled => Step::Push,
            (Step::Repair, Heard::Repaired(false)) => Step::Pull,
            // A server that forgets twice in one session would keep the device busy for ever.
            (Step::Pull, Heard::CursorUnknown) if !self.rewound => {
                self.rewound = true;
                Step::Rewind
            }
            (Step::Rewind, Heard::Rewound) => Step::Pull,
            _ => Step::Stop(Stop::Bad),
        };
        self.step
    }

    fn repair(&mut self) -> Step {
        self.repaired = true;
        Step::Repair
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(heard: &[Heard]) -> Vec<Step> {
        let mut session = Session::default();
        heard.iter().map(|h| session.handle(*h)).collect()
    }

    #[test]
    fn pushes_then_pulls() {
        use Heard::{Compared, Delivered, Empty, Pulled, Pushed, Swept};
        assert_eq!(
            steps(&[Pushed(true), Pushed(false), Delivered, Empty]),
            [Step::Push, Step::Cargo, Step::Cargo, Step::Pull]
        );
        let then = [Pulled(true), Pulled(false), Swept, Compared(true), Empty];
        assert_eq!(
            steps(&[&[Empty; 2][..], &then].concat())[2..],
            [Step::Pull, Step::Sweep, Step::Compare, Step::Push, Step::Done]
        );
    }

    #[test]
    fn repairs_and_then_pushes_all_that_the_server_lacks() {
        use Heard::{Compared, Empty, Pulled, Pushed, Repaired, Swept};
        let pull = [Empty, Empty, Pulled(false), Swept, Compared(false)];
        let repair = [Repaired(true), Repaired(false), Pushed(true), Pushed(false), Swept];
        assert_eq!(
            steps(&[&pull[..], &repair].concat())[4..],
            [Step::Repair, Step::Repair, Step::Push, Step::Push, Step::Sweep, Step::Done]
        );
    }

    #[test]
    fn a_page_that_does_not_fit_is_pulled_again_after_a_repair() {
        use Heard::{Compared, Empty, Misfit, Pulled, Repaired, Swept};
        assert_eq!(
            steps(
                &[
                    &[Empty; 2][..],
                    &[Misfit, Repaired(false)],
                    &[Pulled(false), Swept],
                    &[Compared(false), Empty, Swept]
                ]
                .concat()
            )[2..],
            [
                Step::Repair,
                Step::Pull,
                Step::Sweep,
                Step::Compare,
                Step::Push,
                Step::Sweep,
                Step::Done
            ],
            "one repair a sync"
        );
        assert_eq!(
            steps(&[Empty, Empty, Misfit, Repaired(false), Misfit])[2..],
            [Step::Repair, Step::Pull, Step::Stop(Stop::Bad)]
        );
    }

    #[test]
    fn ends_while_somebody_goes_on_capturing() {
        use Heard::{Compared, Empty, Pulled, Pushed, Swept};
        assert_eq!(
            steps(&[Pushed(false), Empty, Pulled(false), Swept, Compared(true), Pushed(true)])[1..],
            [Step::Pull, Step::Sweep, Step::Compare, Step::Push, Step::Done]
        );
    }

    #[test]
    fn rewinds_once() {
        use Heard::{Compared, CursorUnknown, Empty, Pulled, Pushed, Rewound, Swept};
        assert_eq!(
            steps(&[Empty, Empty, CursorUnknown, Rewound, CursorUnknown])[1..],
            [Step::Pull, Step::Rewind, Step::Pull, Step::Stop(Stop::Bad)]
        );
        let lost = [Pulled(false), Swept, Compared(true), Pushed(true), Pushed(false)];
        assert_eq!(
            steps(&[&[Empty, Empty, CursorUnknown, Rewound][..], &lost].concat())[4..],
            [Step::Sweep, Step::Compare, Step::Push, Step::Push, Step::Done],
            "what the server has lost is pushed to its end"
        );
        let anew = [Heard::Restored(true), Pulled(false)];
        assert_eq!(
            steps(&[&[Empty, Empty][..], &anew, &lost[1..]].concat())[2..],
            [Step::Pull, Step::Sweep, Step::Compare, Step::Push, Step::Push, Step::Done],
            "so by who began anew for another reason"
        );
    }

    #[test]
    fn an_end_is_an_end() {
        assert_eq!(
            steps(&[Heard::Revoked, Heard::Pushed(true), Heard::Unreachable]),
            [Step::Stop(Stop::Revoked); 3]
        );
        assert_eq!(steps(&[Heard::Pulled(false)]), [Step::Stop(Stop::Bad)]);
    }
}
