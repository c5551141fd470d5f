//! Refused work in words for its person. Codes are for programs and the detail is for whoever looks for the cause.

/// What happened, and what helps, by the code of a refusal.
pub(crate) fn advice(code: &str) -> &'static str {
    match code {
        "late" => {
            "Your rights changed after you say you made this, and it reached the office late. A supervisor decides \
             on it."
        }
        "no_right" => {
            "You had no right to do this. A supervisor may let it in; or propose it again, and what you may do is sent."
        }
        "out_of_scope" => {
            "The outlet was not yours when you made this. A supervisor may let it in; or propose it again if it is \
             yours now."
        }
        "revoked_device" => {
            "It was made on a phone whose access has ended. A supervisor decides on it; or propose it again from \
             this phone."
        }
        "unknown" | "wrong_start" => {
            "The outlet or call had changed in the office. A supervisor may let it in; or propose it again."
        }
        "forked" => {
            "Another copy of this phone's data has written in the same place. Propose it again: what the record has \
             not got yet is sent."
        }
        "missing_parent" => {
            "It builds on work that is not at the office yet. It comes in by itself when that does; if that was \
             given up or discarded, propose it again."
        }
        "missing_note" => {
            "Its words are not at the office yet. It comes in by itself when they are; if this phone has lost them, \
             propose it again: all else is sent."
        }
        "foreign_actor" => {
            "The office does not know the phone that made this, for it was restored from a backup. Ask for a new \
             code, and enrol this phone again."
        }
        "full" => {
            "The visit has no room for more. What does not fit has to be recorded in another visit, and this given up."
        }
        "said_already" => "The office has this from you already. Give this copy of it up.",
        "quarantine_full" => {
            "So much of your work waits for a decision that there is no room for this at the office: it is on this \
             phone alone. Ask a supervisor to decide on what waits."
        }
        "discarded" => {
            "A supervisor has looked at this and does not take it. Propose it again if that was a mistake, or give \
             it up."
        }
        "unreadable" => {
            "The office cannot read this: the app may be newer than its server. Keep it, and ask for the server to \
             be brought up to date."
        }
        // Work of an honest library is not refused so: something on the phone or on the way has damaged it.
        "bad_seal" | "foreign_person" | "malformed" | "invalid" | "not_in_past" => {
            "Something is wrong with this, and nobody can let it in. Propose it again: what is right of it is sent."
        }
        _ => "It was not taken. A supervisor or whoever looks after the app can say more.",
    }
}

#[cfg(test)]
mod tests {
    use super::advice;

    #[test]
    fn every_code_of_the_protocol_has_words_for_its_person() {
        let protocol = include_str!("../../docs/protocol.md");
        let (_, codes) = protocol.split_once("\nCodes of quarantine: ").unwrap();
        let (codes, _) = codes.split_once("A device treats an unknown code").unwrap();
        let codes: Vec<&str> = codes.split('`').skip(1).step_by(2).collect();
        assert_eq!(codes.len(), 20, "{codes:?}");
        for code in codes {
            assert_ne!(advice(code), advice("a code of a later version"), "{code}");
        }
    }
}
