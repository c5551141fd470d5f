//! `endcap init`: the first organisation and its admin.

use std::path::PathBuf;

use crate::app::App;
use crate::error::Problem;
use crate::people;
use crate::store::StoreError;

/// What `endcap init` is told.
#[derive(Debug, Clone)]
pub struct Init {
    /// The data folder, made if it is absent.
    pub data: PathBuf,
    /// The organisation's name.
    pub organisation: String,
    /// What the admin signs in with.
    pub admin_email: String,
    /// What colleagues call the admin.
    pub admin_name: String,
    /// The admin's password; one is made up if there is none.
    pub password: Option<String>,
}

/// Why there is no organisation.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The folder is not to be used, or cannot be.
    #[error("cannot use the data folder {}: {}", .0.display(), .1)]
    Folder(PathBuf, StoreError),
    /// What was asked for is refused.
    #[error("{}", .0.sentence())]
    Refused(Problem),
}

/// Makes the organisation; returns the password if it was made up, to be shown once.
pub async fn init(init: &Init) -> Result<Option<String>, InitError> {
    let opened = App::open(init.data.clone()).await;
    let app = opened.map_err(|error| InitError::Folder(init.data.clone(), error))?;
    let made_up = init.password.is_none().then(people::generated_password);
    let password = init.password.as_ref().or(made_up.as_ref()).map_or("", String::as_str);
    let (name, email) = (&init.admin_name, &init.admin_email);
    let done = people::found(&app, &init.organisation, name, email, password).await;
    app.store.close();
    done.map(|_| made_up).map_err(InitError::Refused)
}
