//! The log, read by the crates of others that C2SP's documents have: ours is read as it is, and proves what theirs does.

use std::cell::RefCell;
use std::convert::Infallible;

use signed_note::{Note, StandardVerifier, VerifierList};
use sync_core::id::LogHash;
use sync_core::tlog::{Hashes, Tile as OurTile, Tree, fold, unpack_entries};
use tests::brand::{ORG, RITA};
use tests::host::{Host, SHARED, begin, well};
use tlog_tiles::{
    Checkpoint, Error, Hash, HashReader, Tile, TileHashReader, TileReader, check_record,
    check_tree, prove_record, prove_tree, record_hash, stored_hash_index, tree_hash,
};

use crate::mirror::{TOKEN, give_token, life_of, more};
use crate::{endcap, get};

/// Tiles over HTTP, and which were found to belong to the tree.
struct Server<'h> {
    host: &'h Host,
    saved: RefCell<Vec<String>>,
}

impl Server<'_> {
    fn piece(&self, path: &str) -> Vec<u8> {
        let address = format!("{}/{path}", life_of(self.host));
        get(self.host, &address, Some(TOKEN)).expect(path)
    }
}

/// The crate writes a tile's height too, and calls entries otherwise, as the logs before C2SP's document did.
fn path(tile: &Tile) -> String {
    let path = tile.path();
    path.strip_prefix("tile/8/").map(|rest| format!("tile/{rest}")).expect("tiles of 256")
}

impl TileReader for Server<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(tiles.iter().map(|tile| self.piece(&path(tile))).collect())
    }

    fn save_tiles(&self, tiles: &[Tile], _: &[Vec<u8>]) {
        self.saved.borrow_mut().extend(tiles.iter().map(path));
    }
}

/// The newest checkpoint, its signature checked.
fn newest(host: &Host, vkey: &str) -> Checkpoint {
    let note = get(host, "checkpoint", None).expect("a checkpoint");
    let note = Note::from_bytes(&note).expect("a signed note");
    let verifier = StandardVerifier::new(vkey).expect("a key");
    let (signed, unknown) =
        note.verify(&VerifierList::new(vec![Box::new(verifier)])).expect("it is signed");
    assert_eq!((signed.len(), unknown.len()), (1, 0));
    Checkpoint::from_bytes(note.text()).expect("a checkpoint")
}

/// All hashes of the lowest level, out of which ours makes its proofs.
struct Leaves(Vec<LogHash>);

impl Hashes for Leaves {
    type Error = Infallible;

    fn hashes(
        &mut self,
        tile: OurTile,
        first: u64,
        count: u64,
    ) -> Result<Vec<LogHash>, Infallible> {
        let of = 1 << (8 * u32::from(tile.level));
        let leaves = &self.0[first as usize * of..(first + count) as usize * of];
        Ok(leaves.chunks(of).map(|chunk| fold(chunk.to_vec())).collect())
    }
}

fn theirs(proof: Vec<LogHash>) -> Vec<Hash> {
    proof.into_iter().map(|hash| Hash(hash.0)).collect()
}

#[test]
fn the_crates_of_others_read_our_log_and_believe_our_proofs() {
    let mut host = Host::new(crate::ENDCAP);
    let rita = host.phone(RITA);
    begin(&rita, SHARED);
    host.sync(&rita);
    give_token(&host);
    more(&mut host, 300);
    let data = host.data();
    let keys = well(endcap(["log-key", "--data", data.to_str().expect("UTF-8")]));
    let (_, vkey) = keys.trim().split_once(": ").expect("name and key");
    let older = newest(&host, vkey);
    more(&mut host, 300);
    let now = newest(&host, vkey);
    assert_eq!(now.origin(), format!("endcap.log/{ORG}/{}", life_of(&host)));
    assert!(older.size() > 256 && now.size() >= older.size() + 300);

    let server = Server { host: &host, saved: RefCell::default() };
    let reader = TileHashReader::new(now.size(), *now.hash(), &server);
    assert_eq!(tree_hash(now.size(), &reader).expect("its tiles fit"), *now.hash());
    assert!(!server.saved.borrow().is_empty(), "nothing was checked");

    let all: Vec<u64> = (0..now.size()).map(|n| stored_hash_index(0, n)).collect();
    let hashes = reader.read_hashes(&all).expect("every line is in the tree");
    let mut read = 0;
    for first in (0..now.size()).step_by(256) {
        let width = u32::try_from((now.size() - first).min(256)).expect("a tile");
        let tile = Tile::new(8, 0, first / 256, width, true);
        let bundle = server.piece(&path(&tile).replace("/data/", "/entries/"));
        for entry in unpack_entries(&bundle).expect("entries") {
            assert_eq!(record_hash(entry), hashes[read], "line {read}");
            read += 1;
        }
    }
    assert_eq!(read as u64, now.size());

    let mut ours = Leaves(hashes.iter().map(|hash| LogHash(hash.0)).collect());
    let (size, root) = (now.size(), *now.hash());
    for line in [0, 1, 255, 256, 300, size - 2, size - 1] {
        let Ok(proof) = Tree::new(&mut ours, size).inclusion(line);
        let proof = theirs(proof);
        assert_eq!(proof, prove_record(size, line, &reader).expect("theirs"), "line {line}");
        check_record(&proof, size, root, line, hashes[line as usize]).expect("it is in the log");
    }
    for (from, before) in
        [(older.size(), Some(*older.hash())), (1, None), (256, None), (size, Some(root))]
    {
        let Ok(proof) = Tree::new(&mut ours, size).consistency(from);
        let proof = theirs(proof);
        assert_eq!(proof, prove_tree(size, from, &reader).expect("theirs"), "from {from}");
        let before = before.unwrap_or_else(|| tree_hash(from, &reader).expect("a root"));
        check_tree(&proof, size, root, from, before).expect("it goes on");
    }
}
