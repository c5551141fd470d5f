//! A network that loses, delays, repeats, reorders and cuts off what it carries.

use crate::chance::Chance;
use crate::device::{Answer, Question};

/// What is on its way.
#[derive(Debug, Clone)]
pub enum Load {
    /// To the server.
    Question(Question),
    /// To the phone.
    Answer(Answer),
}

/// Something on its way.
#[derive(Debug, Clone)]
pub struct Packet {
    /// From or to which phone.
    pub device: usize,
    /// Of which question.
    pub number: u64,
    /// What.
    pub load: Load,
}

/// What the network does to packets, each in percent.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// Never arrives.
    pub loss: u64,
    /// Arrives twice; the second time maybe much later.
    pub repeat: u64,
    /// Only its beginning arrives.
    pub cut: u64,
}

/// Everything that is on its way.
#[derive(Debug, Default)]
pub struct Network {
    packets: Vec<Packet>,
}

impl Network {
    /// Hands a packet over.
    pub fn send(&mut self, mut packet: Packet, faults: &Faults, chance: &mut Chance) {
        // Questions arrive again long after they were asked. A phone hears an answer once, or never.
        if matches!(packet.load, Load::Question(_)) && chance.percent(faults.repeat) {
            self.packets.push(packet.clone());
        }
        if chance.percent(faults.loss) {
            return;
        }
        if chance.percent(faults.cut) {
            packet.cut(chance);
        }
        self.packets.push(packet);
    }

    /// One of the packets, whichever was quickest.
    pub fn deliver(&mut self, chance: &mut Chance) -> Option<Packet> {
        (!self.packets.is_empty())
            .then(|| self.packets.swap_remove(chance.index(self.packets.len())))
    }

    /// How many packets are on their way.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

impl Packet {
    fn cut(&mut self, chance: &mut Chance) {
        if let Load::Question(
            Question::Push(bytes)
            | Question::Cargo(bytes)
            | Question::Pull(bytes)
            | Question::Repair(bytes),
        )
        | Load::Answer(
            Answer::Pushed(bytes)
            | Answer::Delivered(bytes)
            | Answer::Pulled(bytes)
            | Answer::Repaired(bytes),
        ) = &mut self.load
        {
            bytes.truncate(chance.index(bytes.len()));
        }
    }
}
