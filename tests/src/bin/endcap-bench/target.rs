//! The server under measurement: the real binary as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running `endcap serve`.
pub(crate) struct Target {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Target {
    /// Starts the binary that lies beside this one on a data folder.
    pub(crate) fn start(data: &Path) -> Result<Self, String> {
        let beside = std::env::current_exe().map_err(|e| e.to_string())?;
        let binary = beside.with_file_name("endcap");
        if !binary.exists() {
            return Err(format!(
                "{} is not built: cargo build --release --workspace",
                binary.display()
            ));
        }
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--trust-proxy", "127.0.0.1", "--data"])
            .arg(data)
            .env("RUST_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let address =
            lines.find_map(|line| line.ok()?.split_once("http://")?.1.trim().parse().ok());
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address: address.ok_or("the server did not start")? })
    }

    /// Seconds of processor time that it has used, user and system.
    pub(crate) fn cpu_s(&self) -> f64 {
        cpu_s(&format!("/proc/{}/stat", self.child.id()))
    }

    /// Asks it to stop and waits.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().map_err(|e| e.to_string())?;
        self.child.wait().map_err(|e| e.to_string())?;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of processor time that this process has used.
pub(crate) fn own_cpu_s() -> f64 {
    cpu_s("/proc/self/stat")
}

fn cpu_s(stat: &str) -> f64 {
    // proc(5): fields 14 and 15 are utime and stime in ticks of 1/100 s; the name may hold blanks.
    let stat = std::fs::read_to_string(stat).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// A fresh folder that is removed with this value.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// Within the system's folder for temporary files, or where `ENDCAP_BENCH_DIR` says.
    pub(crate) fn new() -> Result<Self, String> {
        let folder = server::scratch("bench");
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
