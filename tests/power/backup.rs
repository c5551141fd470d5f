//! A backup is the older or the newer one; a restore is done, or is known not to be.

use std::path::Path;

use server::app::App;
use server::backup::{BackupError, backup, check, restore};
use server::check::Stage;
use server::store::StoreError;
use tokio::runtime::Runtime;

use crate::device::Field;
use crate::disk::{Disk, Folder};
use crate::{child_folder, fail_everywhere, recorded, say};

fn quiet(_: Stage, _: u64, _: u64) {}

/// How many lines of log a folder has in which nothing is wrong.
fn lines(folder: &Path) -> u64 {
    let report = check(folder, &mut quiet).expect("it reads");
    assert!(report.is_clean(), "{:?}", report.damage);
    report.organisations[0].lines
}

#[test]
#[ignore = "the other runs it as a process of its own"]
fn a_backup_and_a_restore() {
    let Some(folder) = child_folder() else { return };
    let [data, to, new] = ["data", "backup", "new"].map(|name| folder.join(name));
    let newer = backup(&data, &to, &mut quiet).expect("it is backed up");
    say(&format!("backup {}", newer.organisations[0].lines));
    let restored = restore(&to, &new, &mut quiet).expect("it is restored");
    say(&format!("restored {}", restored.organisations[0].lines));
}

#[test]
fn a_backup_and_a_restore_survive_the_loss_of_power() {
    let folder = Folder::new("backup");
    let (field, phone) = Field::with_phone();
    let [to, data] = ["backup", "data"].map(|name| folder.0.join(name));
    field.screen(&phone, 1);
    backup(&field.data.0, &to, &mut quiet).expect("it is backed up");
    let older = lines(&to);
    field.screen(&phone, 2);
    let worked = field.close();
    std::fs::rename(&worked.0, &data).expect("its folder moves");
    let before = Disk::of(&folder.0);
    let journal = recorded("backup::a_backup_and_a_restore", &folder);
    let newer = lines(&to);
    assert!(older < newer);
    let runtime = Runtime::new().expect("a runtime");
    let (mut halves, mut wholes) = (0, 0);
    fail_everywhere(before, &journal, 5, |folder, said| {
        let found = lines(&folder.0.join("backup"));
        assert!(found == newer || said.is_empty() && found == older);
        let new = folder.0.join("new");
        if new.join("endcap.db").exists() {
            assert_eq!(lines(&new), newer + 1);
            wholes += 1;
            return;
        }
        assert!(said.len() < 2, "it was restored");
        if new.join("endcap.db.restoring").exists() {
            let served = runtime.block_on(App::open(new.clone()));
            assert!(matches!(served.map(drop), Err(StoreError::NotForServing(_))));
            let again = restore(&folder.0.join("backup"), &new, &mut quiet);
            assert!(matches!(again, Err(BackupError::HalfRestored(_))));
            halves += 1;
        }
    });
    assert!(halves > 5 && wholes > 0, "{halves} {wholes}");
}
