//! As much of WebDriver (W3C) as the suite needs, over chromedriver.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

/// The longest that anything may take to appear.
const PATIENCE_MS: u64 = 90_000;
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Whether Chromium and its driver are installed.
pub(crate) fn available() -> bool {
    ["chromedriver", "chromium"].iter().all(|program| {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    })
}

/// A window's size and colours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// In CSS pixels.
    pub(crate) width: u32,
    /// In CSS pixels.
    pub(crate) height: u32,
    /// The person prefers dark pages.
    pub(crate) dark: bool,
}

/// A running browser.
pub(crate) struct Browser {
    driver: Child,
    http: reqwest::Client,
    session: String,
}

impl Browser {
    /// Starts the driver and one headless browser with an empty profile.
    pub(crate) async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("output")).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let port = line.split_once("successfully on port ")?.1;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        std::thread::spawn(move || lines.for_each(drop));
        let base = format!("http://127.0.0.1:{}", port.expect("chromedriver names its port"));
        // reqwest wants a provider even for plain HTTP on loopback.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::new();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": PATIENCE_MS },
        }}});
        let made = send(&http, &format!("{base}/session"), &wanted).await;
        let id = made["sessionId"].as_str().expect("a session");
        Self { driver, session: format!("{base}/session/{id}"), http }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        send(&self.http, &format!("{}{path}", self.session), &body).await
    }

    async fn get(&self, path: &str) -> Value {
        let reply = self.http.get(format!("{}{path}", self.session)).send().await.expect("a reply");
        read(reply).await
    }

    /// Goes to a page and waits until it is loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// Where the browser is.
    pub(crate) async fn address(&self) -> String {
        self.get("/url").await.as_str().unwrap_or_default().to_owned()
    }

    /// Runs a script and returns what it returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits, by listening to the page's changes, until a script returns true.
    pub(crate) async fn until(&self, script: &str) {
        let waiting = format!(
            "const done = arguments[0]; const holds = () => {{ {script} }};
             if (holds()) return done(true);
             const watch = new MutationObserver(() => {{ if (holds()) {{ watch.disconnect(); done(true) }} }});
             watch.observe(document.body, {{ childList: true, subtree: true, characterData: true }});"
        );
        self.post("/execute/async", json!({ "script": waiting, "args": [] })).await;
    }

    async fn element(&self, selector: &str) -> String {
        let found =
            self.post("/element", json!({ "using": "css selector", "value": selector })).await;
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Types into a field, in place of what it holds.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let id = self.element(selector).await;
        self.post(&format!("/element/{id}/clear"), json!({})).await;
        self.post(&format!("/element/{id}/value"), json!({ "text": text })).await;
    }

    /// Sends a form by its button, and returns on the page that answers.
    pub(crate) async fn submit(&self, form: &str) {
        self.leave_by(&format!(":is({form}) button")).await;
    }

    /// Presses a button that leads to another page, and returns on that.
    pub(crate) async fn leave_by(&self, button: &str) {
        // The driver's own click may return before the browser leaves the page, and what is asked next would be
        // asked of the old one. The mark goes with the old page.
        let click = format!("window.old = 1; document.querySelector('{button}').click()");
        self.run(&click).await;
        let arrival = async { while !self.arrived().await {} };
        let patience = Duration::from_millis(PATIENCE_MS);
        tokio::time::timeout(patience, arrival).await.expect("it leads to another page");
    }

    /// Waits, by asking again, until a script returns true on whatever page there is by then.
    pub(crate) async fn until_soon(&self, script: &str) {
        let holds = async { while !self.holds(script).await {} };
        let patience = Duration::from_millis(PATIENCE_MS);
        tokio::time::timeout(patience, holds).await.expect("it comes true");
    }

    /// Whether the marked page is gone and another is there; between the two the driver knows no page at all.
    async fn arrived(&self) -> bool {
        self.holds("return !window.old && document.readyState === 'complete'").await
    }

    /// Whether a script returns true; not while there is no page.
    async fn holds(&self, script: &str) -> bool {
        let body = json!({ "script": script, "args": [] });
        let request = self.http.post(format!("{}/execute/sync", self.session));
        let reply =
            request.header("content-type", "application/json").body(body.to_string()).send();
        let bytes = reply.await.expect("a reply").bytes().await.expect("a body");
        serde_json::from_slice::<Value>(&bytes).expect("JSON")["value"] == true
    }

    /// Presses a key.
    pub(crate) async fn press(&self, key: &str) {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        let actions = json!([{ "type": "key", "id": "keyboard", "actions": keys }]);
        self.post("/actions", json!({ "actions": actions })).await;
    }

    /// Changes the window's size and colours.
    pub(crate) async fn look(&self, look: Look) {
        let Look { width, height, dark } = look;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.cdp("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.cdp("Emulation.setDeviceMetricsOverride", size).await;
    }

    async fn cdp(&self, command: &str, params: Value) -> Value {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": params })).await
    }

    /// Writes a picture of the page: the whole of it, or what the window shows.
    pub(crate) async fn picture(&self, path: &Path, whole: bool) {
        let how = json!({ "captureBeyondViewport": whole, "format": "png" });
        let shot = self.cdp("Page.captureScreenshot", how).await;
        let png = base64::engine::general_purpose::STANDARD
            .decode(shot["data"].as_str().expect("a picture"))
            .expect("base64");
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, png).expect("the picture is written");
    }

    /// What the browser's console has said that is worse than information, since it was last asked.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        let severe = entries.iter().filter(|e| e["level"] == "SEVERE");
        severe.map(|e| e["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Browser {
    /// Closes the browser and its driver, also after a failed assertion.
    fn drop(&mut self) {
        let (host, path) = self.session.split_once("/session").expect("a session's address");
        let host = host.trim_start_matches("http://");
        if let Ok(mut line) = std::net::TcpStream::connect(host) {
            let request = format!(
                "DELETE /session{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            );
            let _ = line.write_all(request.as_bytes()).and_then(|()| line.read(&mut [0; 1024]));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

async fn send(http: &reqwest::Client, url: &str, body: &Value) -> Value {
    let request = http.post(url).header("content-type", "application/json").body(body.to_string());
    read(request.send().await.expect("a reply")).await
}

async fn read(reply: reqwest::Response) -> Value {
    let (status, bytes) = (reply.status(), reply.bytes().await.expect("a body"));
    let mut value: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert!(status.is_success(), "webdriver: {value}");
    value["value"].take()
}
