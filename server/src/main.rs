//! The binary `endcap`: parses the command line and runs.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use server::api;
use server::app::App;
use server::backup::{self, BackupError};
use server::check::{Checked, Report, Stage};
use server::config::{Network, ServeConfig};
use server::cosign::{BadWitness, Witnesses};
use server::erase::{self, Target};
use server::error::Problem;
use server::init::{Init, init};
use server::logcopy::{Differs, LogCopy};
use server::mirror::{Mirror, mirror};
use server::prove::{log_keys, prove};
use server::serve::{allow_connections, answer, serve};
use server::store::erasure::name_of;
use server::store::{DATABASE, StoreError};
use server::witness::{Witness, WitnessError};
use sync_core::id::VisitId;
use sync_core::model::shown;
use sync_core::proof::verify;
use sync_core::tlog::NoteKey;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Endcap: offline-first field execution, with a sync engine and a console.
#[derive(Parser)]
#[command(name = "endcap", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an organisation and its admin.
    Init(InitArgs),
    /// Run the server.
    Serve(ServeArgs),
    /// Write a backup, whether the server runs or not. Into an older backup's folder only new photos are copied.
    Backup(BackupArgs),
    /// Make a data folder from a backup. Phones notice, and bring back what they hold and it does not.
    Restore(RestoreArgs),
    /// Check every hash, signature, figure and photo of a data folder, served or not, or of a backup.
    Check(CheckArgs),
    /// Write a visit's proof bundle, whether the server runs or not.
    Prove(ProveArgs),
    /// Check a proof bundle, a copy of the log, or one by the other, offline, and say what it proves and what it does not.
    Verify(VerifyArgs),
    /// Show the public key that signs the checkpoints of each organisation's log.
    LogKey(LogKeyArgs),
    /// Keep an own copy of an organisation's log, and check all of it. Fails when the log contradicts anything.
    Mirror(MirrorArgs),
    /// Watch over logs for somebody else than who runs the server, and sign what only ever grows (c2sp.org/tlog-witness).
    Witness(WitnessArgs),
    /// Give the server another signing key in an organisation, such as when a backup has fallen into wrong hands. The server
    /// must not be running
    ServerKey(ServerKeyArgs),
    /// Erase a photo, a comment or answer, or a person's name and contact data on legal request, and report it. The
    /// server must not be running: in the console admins can do the same.
    Erase(EraseArgs),
    /// Run the server with a made-up brand whose people are at work.
    Demo(DemoArgs),
}

#[derive(Args)]
struct BackupArgs {
    /// The data folder
    #[arg(long, env = "ENDCAP_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Where the backup goes: a folder that is absent, empty, or holds an older backup
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
}

#[derive(Args)]
struct RestoreArgs {
    /// The backup
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// The data folder, which must be absent or empty
    #[arg(long, env = "ENDCAP_DATA", value_name = "DIR")]
    data: PathBuf,
}

#[derive(Args)]
struct CheckArgs {
    /// The data folder, or a backup
    #[arg(long, env = "ENDCAP_DATA", value_name = "DIR")]
    data: PathBuf,
}

#[derive(Args)]
struct ProveArgs {
    /// The visit's id, or the address of its page, which ends with it
    #[arg(value_name = "VISIT")]
    visit: String,
    /// The data folder
    #[arg(long, env = "ENDCAP_DATA", value_name = "DIR")]
    data: PathBuf,
    /// The photos too, not their digests alone
    #[arg(long)]
    photos: bool,
    /// Where the bundle goes; without it, visit-VISIT.zip in this folder
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

#[derive(Args)]
struct VerifyArgs {
    /// The bundle
    #[arg(value_name = "FILE", required_unless_present = "copy")]
    file: Option<PathBuf>,
    /// A copy of the log that `endcap mirror` has made: all of it is checked, and that the bundle has all of its visit
    #[arg(long, value_name = "DIR")]
    copy: Option<PathBuf>,
    /// The log's public key, as `endcap log-key` or the console has shown it: another log is refused
    #[arg(long, value_name = "VKEY", value_parser = log_key)]
    key: Option<NoteKey>,
    /// The public key of a witness that must have signed its checkpoint; may be given several times
    #[arg(long, value_name = "VKEY", requires = "file")]
    witness: Vec<NoteKey>,
}

#[derive(Args)]
struct MirrorArgs {
    /// The log's address: https://…/log/ORGANISATION
    #[arg(value_name = "URL")]
    url: String,
    /// The copy's folder, made if it is absent
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// What the console gave out for a copy of the log; without it only hashes are copied
    #[arg(long, env = "ENDCAP_MIRROR_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// The log's public key, as `endcap log-key` or the console has shown it
    #[arg(long, value_name = "VKEY")]
    key: Option<NoteKey>,
    /// The public key of a witness that must have signed the log as it is copied; may be given several times
    #[arg(long, value_name = "VKEY")]
    witness: Vec<NoteKey>,
}

#[derive(Args)]
struct WitnessArgs {
    /// The witness's own folder, made if it is absent. Never copy it or bring an older one back: it would sign twice
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Under which name it signs, such as witness.example/w1; for good
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The public key of a log, as `endcap log-key` or the console has shown it; once for each log
    #[arg(
        long,
        env = "ENDCAP_WITNESS_LOGS",
        value_name = "VKEY",
        value_delimiter = ',',
        required = true
    )]
    log: Vec<NoteKey>,
    /// Where to listen, in plain HTTP: all that is asked and answered is signed and open
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8091", value_parser = listen)]
    listen: SocketAddr,
}

#[derive(Args)]
struct LogKeyArgs {
    /// The data folder
    #[arg(long, env = "ENDCAP_DATA", value_name = "DIR")]
    data: PathBuf,
}

#[derive(Args)]
struct ServerKeyArgs {
    /// The data folder
    #[arg(long, env = "ENDCAP_DATA", value_name = "DIR")]
    data: PathBuf,
    /// The organisation's name; without it every organisation's
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
}

#[derive(Args)]
struct EraseArgs {
    /// The data folder
    #[arg(long, env = "ENDCAP_DATA", value_name = "DIR")]
    data: PathBuf,
    /// The organisation's name; needed where there are several
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    #[command(flatten)]
    what: EraseWhat,
    /// Why, for the report
    #[arg(long, value_name = "TEXT", required_unless_present = "again")]
    why: Option<String>,
    /// Do not ask first
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct EraseWhat {
    /// A photo, by its SHA-256
    #[arg(long, value_name = "DIGEST")]
    photo: Option<String>,
    /// A comment or a free-text answer, by its digest
    #[arg(long, value_name = "DIGEST")]
    note: Option<String>,
    /// A person's name and contact data, by the person's id
    #[arg(long, value_name = "ID")]
    person: Option<String>,
    /// What earlier reports say was erased, in a folder that was restored from a backup made before
    #[arg(long, value_name = "FILE")]
    again: Vec<PathBuf>,
}

#[derive(Args)]
struct InitArgs {
    /// The data folder, made if it is absent
    #[arg(long, env = "ENDCAP_DATA", value_name = "DIR")]
    data: PathBuf,
    /// The organisation's name
    #[arg(long, value_name = "NAME")]
    organisation: String,
    /// The e-mail address with which the admin signs in
    #[arg(long, value_name = "EMAIL")]
    admin_email: String,
    /// What colleagues call the admin
    #[arg(long, value_name = "NAME", default_value = "Admin")]
    admin_name: String,
    /// Read the admin's password from the first line of the input; without it and without
    /// ENDCAP_ADMIN_PASSWORD one is made up and shown
    #[arg(long)]
    password_stdin: bool,
    #[arg(long, env = "ENDCAP_ADMIN_PASSWORD", hide = true, hide_env_values = true)]
    admin_password: Option<String>,
}

#[derive(Args)]
struct ServeArgs {
    /// The data folder, made if it is absent
    #[arg(long, env = "ENDCAP_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Where to listen, in plain HTTP
    #[arg(long, env = "ENDCAP_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = listen)]
    listen: SocketAddr,
    /// How people and phones reach the server, such as `https://endcap.example`
    #[arg(long, env = "ENDCAP_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// A proxy that terminates TLS and is believed about where requests come from; address or network
    #[arg(long, env = "ENDCAP_TRUST_PROXY", value_name = "ADDRESS", value_delimiter = ',')]
    trust_proxy: Vec<Network>,
    /// Answer plain HTTP from other machines: passwords and tokens can be read on the network
    #[arg(long)]
    insecure_lan: bool,
    /// Serve /metrics to everyone rather than to this machine alone
    #[arg(long)]
    metrics_open: bool,
    /// Who signs the logs' checkpoints besides the server: a file with a witness's key and address on each line
    #[arg(long, env = "ENDCAP_WITNESSES", value_name = "FILE")]
    witnesses: Option<PathBuf>,
}

#[derive(Args)]
struct DemoArgs {
    /// The data folder: made if it is absent, gone on with if it holds a demo
    #[arg(long, value_name = "DIR", default_value = "endcap-demo")]
    data: PathBuf,
    /// Where to listen, in plain HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = listen)]
    listen: SocketAddr,
}

/// Says a line. Who reads no further, such as `head`, misses the rest; what is done is done all the same.
macro_rules! say {
    ($($line:tt)*) => { say(&format!($($line)*)) };
}

/// Says a line of what is wrong.
macro_rules! complain {
    ($($line:tt)*) => { _ = writeln!(io::stderr(), $($line)*) };
}

fn say(line: &str) {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain!("error: the output cannot be written: {error}");
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Most damages that are listed.
const DAMAGE_SHOWN_MAX: usize = 100;

/// Why the program ends, in words for who runs it.
enum Failure {
    /// The command line asks for something that cannot be.
    Usage(String),
    /// It was tried and did not work.
    Failed(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Init(args) => run_init(args).await,
        Command::Serve(args) => run_serve(args).await,
        Command::Backup(args) => run_backup(&args),
        Command::Restore(args) => run_restore(&args),
        Command::Check(args) => run_check(&args),
        Command::Prove(args) => run_prove(&args),
        Command::Verify(args) => run_verify(&args),
        Command::LogKey(args) => run_log_key(&args),
        Command::Mirror(args) => run_mirror(args).await,
        Command::Witness(args) => run_witness(args).await,
        Command::ServerKey(args) => run_server_key(args).await,
        Command::Erase(args) => run_erase(args).await,
        Command::Demo(args) => run_demo(args).await,
    };
    let (message, code) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => (message, 2),
        Err(Failure::Failed(message)) => (message, 1),
    };
    complain!("error: {message}");
    ExitCode::from(code)
}

async fn run_init(args: InitArgs) -> Result<(), Failure> {
    let mut password = args.admin_password;
    if args.password_stdin {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line);
        read.map_err(|error| Failure::Failed(format!("the input cannot be read: {error}")))?;
        password = Some(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let wanted = Init {
        data: args.data,
        organisation: args.organisation,
        admin_email: args.admin_email,
        admin_name: args.admin_name,
        password,
    };
    let made_up = init(&wanted).await.map_err(|error| Failure::Failed(error.to_string()))?;
    say!("Made the organisation {} in {}.", wanted.organisation, wanted.data.display());
    say!("  sign in as  {}", wanted.admin_email);
    if let Some(password) = made_up {
        say!("  password    {password}    (shown this once; change it in the console)");
    }
    say!("Next: endcap serve --data {}", wanted.data.display());
    say!("      then open http://127.0.0.1:8080");
    Ok(())
}

async fn run_serve(args: ServeArgs) -> Result<(), Failure> {
    let witnesses = match &args.witnesses {
        None => Witnesses::default(),
        Some(file) => {
            let wrong = |why: String| Failure::Usage(format!("{}: {why}", file.display()));
            let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
            text.parse().map_err(|bad: BadWitness| wrong(bad.to_string()))?
        }
    };
    let config = ServeConfig {
        data: args.data,
        listen: args.listen,
        public_url: args.public_url.map(|url| url.trim_end_matches('/').to_owned()),
        trusted_proxies: args.trust_proxy,
        insecure_lan: args.insecure_lan,
        metrics_open: args.metrics_open,
        witnesses,
    };
    config.check().map_err(|error| Failure::Usage(error.to_string()))?;
    log_to_stderr("info");
    if config.insecure_lan {
        tracing::warn!(
            "--insecure-lan: PASSWORDS AND TOKENS CROSS THE NETWORK IN THE CLEAR and anyone on it can \
             take them; never use this with real data"
        );
    }
    allow_connections();
    let app =
        App::open(config.data.clone()).await.map_err(|error| cannot_open(&config.data, &error))?;
    let listener = bind(config.listen).await?;
    let failed = |error: io::Error| Failure::Failed(error.to_string());
    let shutdown = stop_signal().map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    say!("Endcap {} listens on http://{address}", env!("CARGO_PKG_VERSION"));
    if app.tenants().is_empty() {
        say!("There is no organisation yet: stop this and run `endcap init`.");
    }
    serve(app, config, listener, shutdown).await.map_err(failed)
}

async fn bind(listen: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(listen).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; choose another with --listen",
            _ => "",
        };
        Failure::Failed(format!("cannot listen on {listen}: {error}{hint}"))
    })
}

async fn run_witness(args: WitnessArgs) -> Result<(), Failure> {
    log_to_stderr("info");
    let logs = args.log.len();
    let witness =
        Witness::open(args.folder, &args.name, args.log).map_err(|error| match error {
            WitnessError::Name(_) | WitnessError::Log(_) => Failure::Usage(error.to_string()),
            _ => Failure::Failed(error.to_string()),
        })?;
    let listener = bind(args.listen).await?;
    let failed = |error: io::Error| Failure::Failed(error.to_string());
    let shutdown = stop_signal().map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    say!("Its key, for who verifies and for the server's list of witnesses:");
    say!("  {} http://{address}", witness.key());
    let logs = if logs == 1 { "1 log".to_owned() } else { format!("{logs} logs") };
    say!("It watches {logs} and listens on http://{address}");
    answer(listener, &api::witness::router(Arc::new(witness)), shutdown, || ())
        .await
        .map_err(failed)
}

fn run_backup(args: &BackupArgs) -> Result<(), Failure> {
    let report = backup::backup(&args.data, &args.to, &mut show_progress()).map_err(not_done)?;
    say!("Backed up to {}, and read back:", args.to.display());
    summarise(&report);
    if report.is_clean() {
        return Ok(());
    }
    list(&report);
    Err(Failure::Failed(format!(
        "the backup is made, but these photos are damaged in {} too: their phones may still have them",
        args.data.display()
    )))
}

fn run_restore(args: &RestoreArgs) -> Result<(), Failure> {
    let report = backup::restore(&args.from, &args.data, &mut show_progress()).map_err(not_done)?;
    say!("Restored into {}, and read back:", args.data.display());
    summarise(&report);
    if !report.is_clean() {
        say!("Photos that the backup has lost; they are awaited from phones again:");
        list(&report);
    }
    say!(
        "Every log goes on as a new life of the old one. Phones notice at their next sync, and push back what\n\
         was written after the backup, also each other's work; photos are sent again."
    );
    say!("Next: endcap erase --again REPORT --data {}", args.data.display());
    say!("      What was erased since the backup is here again: do this for every report of it.");
    say!("Then: endcap serve --data {}", args.data.display());
    say!(
        "      Before phones reach it, do again what was done in the console since the backup: phones that"
    );
    say!(
        "      were revoked, people who left, passwords. Phones that were enrolled since need a new code."
    );
    Ok(())
}

fn run_check(args: &CheckArgs) -> Result<(), Failure> {
    let report = backup::check(&args.data, &mut show_progress()).map_err(not_done)?;
    summarise(&report);
    if report.is_clean() {
        say!("All is as it was written.");
        return Ok(());
    }
    list(&report);
    Err(Failure::Failed(format!("{} is damaged", args.data.display())))
}

/// A visit by its id, or by the address of its page.
fn visit_named(text: &str) -> Result<VisitId, Failure> {
    let path = text.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or_default();
    last.parse().map_err(|_| {
        Failure::Usage(format!(
            "`{text}` names no visit: its id is the last part of the address of its page"
        ))
    })
}

fn run_prove(args: &ProveArgs) -> Result<(), Failure> {
    let visit = visit_named(&args.visit)?;
    let failed = |error: String| Failure::Failed(error);
    let bundle =
        prove(&args.data, visit, args.photos).map_err(|error| failed(error.to_string()))?;
    let to = args.to.clone().unwrap_or_else(|| format!("visit-{visit}.zip").into());
    let written = fs::File::create_new(&to).and_then(|mut file| {
        file.write_all(&bundle)?;
        file.sync_all()
    });
    written.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AlreadyExists => "; choose another with --to",
            _ => "",
        };
        failed(format!("cannot write {}: {error}{hint}", to.display()))
    })?;
    say!("Proof of visit {visit}: {} ({})", to.display(), size(bundle.len() as u64));
    say!("Anybody can check it: endcap verify {}", to.display());
    Ok(())
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "it needs an IP address and a port, such as 127.0.0.1:8085".into())
}

/// Where a log's key comes from, for who has given another.
const AS_PRINTED: &str =
    "give the key as `endcap log-key` prints it, after the organisation's name";

fn log_key(text: &str) -> Result<NoteKey, String> {
    text.parse().map_err(|bad| format!("{bad}; {AS_PRINTED}"))
}

fn run_verify(args: &VerifyArgs) -> Result<(), Failure> {
    let copy = args.copy.as_deref().map(LogCopy::at);
    let differs = |differs: Differs| Failure::Failed(differs.to_string());
    let Some(file) = &args.file else {
        let kept = copy.map_or(Ok(Vec::new()), |copy| copy.verify(args.key.as_ref()));
        kept.map_err(differs)?.iter().for_each(|kept| say!("{kept}"));
        return Ok(());
    };
    let failed = |error: String| Failure::Failed(format!("{}: {error}", file.display()));
    let length = fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if length > sync_core::zip::BYTES_MAX as u64 {
        return Err(failed("it is longer than a bundle".into()));
    }
    let bytes = fs::read(file).map_err(|error| failed(error.to_string()))?;
    let proved = verify(&bytes).map_err(|wrong| failed(format!("it proves nothing: {wrong}")))?;
    if let Some(key) = args.key.as_ref().filter(|key| **key != proved.key) {
        return Err(failed(format!("it is signed by {}, not by {key}; {AS_PRINTED}", proved.key)));
    }
    let signed = |witness: &&NoteKey| proved.witnesses.iter().any(|(key, _)| key == *witness);
    if let Some(absent) = args.witness.iter().find(|witness| !signed(witness)) {
        return Err(failed(format!("the witness {absent} has not signed its checkpoint")));
    }
    say!("{}", proved.summary);
    match args.key {
        Some(_) => say!(
            "The bundle is whole. You gave the log's key, and it is this one: the first point of what is not proved \
             is settled."
        ),
        None => say!("The bundle is whole. Compare the log's key, or give it with --key."),
    }
    for (key, _) in &proved.witnesses {
        let name: String = key.name().chars().map(shown).collect();
        match args.witness.contains(key) {
            true => say!(
                "You gave the key of the witness {name}, and it is this one: that point is settled too."
            ),
            false => say!("Compare the key of the witness {name}, or give it with --witness."),
        }
    }
    if let Some(copy) = copy {
        say!("{}", copy.compare(&bytes, &proved).map_err(differs)?.to_string().trim_end());
    }
    Ok(())
}

async fn run_mirror(args: MirrorArgs) -> Result<(), Failure> {
    let MirrorArgs { url, folder, token, key, witness } = args;
    let copied = mirror(&Mirror { url, folder, token, key, witnesses: witness }).await;
    say!("{}", copied.map_err(|error| Failure::Failed(error.to_string()))?);
    Ok(())
}

fn run_log_key(args: &LogKeyArgs) -> Result<(), Failure> {
    let keys = log_keys(&args.data).map_err(|error| Failure::Failed(error.to_string()))?;
    for (name, key) in keys {
        say!("{name}: {key}");
    }
    Ok(())
}

async fn run_server_key(args: ServerKeyArgs) -> Result<(), Failure> {
    is_data_folder(&args.data)?;
    let app =
        App::open(args.data.clone()).await.map_err(|error| cannot_open(&args.data, &error))?;
    let mut tenants = app.tenants();
    if let Some(name) = &args.organisation {
        tenants.retain(|tenant| tenant.name == *name);
    }
    if tenants.is_empty() {
        return Err(Failure::Usage("there is no such organisation here".into()));
    }
    for tenant in tenants {
        let changed = app.change_server_key(&tenant).await;
        changed.map_err(|problem| Failure::Failed(problem.sentence()))?;
        say!("The server signs for {} with another key from now on.", tenant.name);
    }
    say!(
        "Phones hear of it at their next sync. What the key before signs is refused; what was sealed to it still opens."
    );
    say!("Next: make a backup, and destroy those that hold the key before.");
    app.store.close();
    Ok(())
}

async fn run_erase(args: EraseArgs) -> Result<(), Failure> {
    let refused = |problem: Problem| Failure::Failed(problem.sentence());
    is_data_folder(&args.data)?;
    let EraseWhat { photo, note, person, again } = args.what;
    let kind = match (&photo, &note) {
        (Some(_), _) => "photo",
        (_, Some(_)) => "note",
        _ => "person",
    };
    let named = photo.or(note).or(person);
    let target = match named {
        Some(name) => Some(Target::read(kind, &name).ok_or_else(|| {
            Failure::Usage(format!("`{name}` does not name a {kind}: photos and notes have 64 hexadecimal digits, people an id"))
        })?),
        None => None,
    };
    let mut reports = Vec::new();
    for file in &again {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", file.display())))?;
        reports.extend(erase::read_reports(&text).map_err(refused)?);
    }
    let app =
        App::open(args.data.clone()).await.map_err(|error| cannot_open(&args.data, &error))?;
    let mut tenants = app.tenants();
    if let Some(name) = &args.organisation {
        tenants.retain(|tenant| tenant.name == *name);
    }
    let done = match (tenants.as_slice(), target) {
        (_, None) => {
            let (mut done, mut failed) = (0, Vec::new());
            for tenant in &tenants {
                match erase::again(&app, tenant, &reports).await {
                    Ok(more) => done += more,
                    Err(problem) => failed.push(format!("{}: {}", tenant.name, problem.sentence())),
                }
            }
            say!("Erased again: {done} of {} in the reports.", reports.len());
            match (failed.is_empty(), done == reports.len()) {
                (false, _) => Err(Failure::Failed(failed.join("\n"))),
                (true, true) => Ok(()),
                (true, false) => {
                    Err(Failure::Failed("some reports are of other organisations".into()))
                }
            }
        }
        ([tenant], Some(target)) => {
            if !args.yes && !confirmed(&tenant.name, kind)? {
                Err(Failure::Failed("nothing was erased".into()))
            } else {
                let why = args.why.as_deref().unwrap_or_default();
                let erased = erase::erase(&app, tenant, target, None, why, false).await;
                let erased = erased.map_err(|problem| match problem.code() {
                    "not_found" => {
                        let by = if kind == "person" { "id" } else { "digest" };
                        let data = args.data.display();
                        Failure::Failed(format!("there is no {kind} of this {by} in {data}"))
                    }
                    _ => refused(problem),
                })?;
                let report = erase::report(&app, tenant, &erased).await.map_err(refused)?;
                let text = serde_json::to_string_pretty(&report);
                say!("{}", text.map_err(|error| Failure::Failed(error.to_string()))?);
                complain!(
                    "Keep this report: after a restore from an older backup, `endcap erase --again` needs it."
                );
                Ok(())
            }
        }
        ([], _) => Err(Failure::Failed("there is no such organisation in the folder".into())),
        _ => Err(Failure::Usage("say which --organisation: there are several".into())),
    };
    app.store.close();
    done
}

fn confirmed(organisation: &str, kind: &str) -> Result<bool, Failure> {
    eprint!("This erases a {kind} of {organisation} for good. Type `erase` to go on: ");
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line);
    read.map_err(|error| Failure::Failed(format!("the input cannot be read: {error}")))?;
    Ok(line.trim() == "erase")
}

fn not_done(error: BackupError) -> Failure {
    if let BackupError::Damaged(_, report) = &error {
        list(report);
    }
    Failure::Failed(error.to_string())
}

fn summarise(report: &Report) {
    for organisation in &report.organisations {
        say!("  {}: {} lines of log", organisation.name, organisation.lines);
        let Checked { erasures, retired, unlinked, uploads, .. } = organisation;
        for (count, what) in [
            (retired, "photos are gone because their time was over"),
            (unlinked, "photos are gone and their files are removed at the next start"),
            (uploads, "uploads are not whole"),
        ] {
            if *count > 0 {
                say!("    {count} {what}");
            }
        }
        for erasure in erasures {
            let at = jiff::Timestamp::from_millisecond(erasure.at_ms).unwrap_or_default();
            say!("    erased at {at}: a {}, line {}", name_of(erasure.what), erasure.sequence);
        }
    }
    say!("  {} photos, {}", report.photos, size(report.photo_bytes));
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// What is wrong, one a line, on standard error.
fn list(report: &Report) {
    for damage in report.damage.iter().take(DAMAGE_SHOWN_MAX) {
        complain!("  {damage}");
    }
    if let Some(more @ 1..) = report.damage.len().checked_sub(DAMAGE_SHOWN_MAX) {
        complain!("  and {more} more");
    }
}

/// On a terminal: one line that says how far it is.
fn show_progress() -> impl FnMut(Stage, u64, u64) {
    let terminal = io::stderr().is_terminal();
    let mut shown = None;
    move |stage, done, total| {
        let percent = done * 100 / total.max(1);
        if !terminal || shown == Some((stage, percent)) {
            return;
        }
        shown = Some((stage, percent));
        let what = match stage {
            Stage::Copying => "copying the database",
            Stage::Photos => "copying photos",
            Stage::Lines => "checking the log",
            Stage::Reading => "checking photos",
        };
        let end = if done == total { "\n" } else { "" };
        eprint!("\r\x1b[K{what}: {percent} %{end}");
    }
}

async fn run_demo(args: DemoArgs) -> Result<(), Failure> {
    log_to_stderr("warn");
    let shutdown = stop_signal().map_err(|error| Failure::Failed(error.to_string()))?;
    let demo = server::demo::run(args.data, args.listen, shutdown);
    demo.await.map_err(|error| Failure::Failed(error.to_string()))
}

/// Refuses a folder that is none of ours: opening one makes it, also where its name was mistyped.
fn is_data_folder(folder: &Path) -> Result<(), Failure> {
    if folder.join(DATABASE).is_file() {
        return Ok(());
    }
    let folder = folder.display();
    Err(Failure::Failed(format!("{folder} is no data folder: there is no endcap.db in it")))
}

fn cannot_open(folder: &Path, error: &StoreError) -> Failure {
    Failure::Failed(format!("cannot use the data folder {}: {error}", folder.display()))
}

/// Lines for a terminal, JSON for a machine. `RUST_LOG` says how much.
fn log_to_stderr(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if io::stderr().is_terminal() {
        log.with_target(false).init();
    } else {
        log.json().flatten_event(true).with_span_list(false).init();
    }
}

/// Ready when the program is asked to stop.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    })
}
