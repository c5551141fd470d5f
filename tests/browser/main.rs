//! The console in a real browser: Chromium, driven over the WebDriver protocol, on the demo at work.
//!
//! `ENDCAP_PICTURES=DIR cargo test -p tests --test browser` also writes pictures of whole pages, with
//! `ENDCAP_PICTURES_HEIGHT=PIXELS` of as much as such a window shows.

mod driver;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use driver::{Browser, Look};

const ADMIN: &str = "niamh.corrigan@rathcarrow.example";
const MANAGER: &str = "helen.brophy@palegate.example";

fn main() -> ExitCode {
    if !driver::available() {
        let needed = std::env::var_os("ENDCAP_REQUIRE_SERVICES").is_some();
        eprintln!("\n*** browser: SKIPPED: chromium and chromedriver are not installed ***\n");
        println!(
            "\ntest result: {}. 0 passed; 0 failed; 1 ignored",
            if needed { "FAILED" } else { "ok" }
        );
        return if needed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(console());
    println!("\ntest result: ok. 1 passed; 0 failed; 0 ignored");
    ExitCode::SUCCESS
}

async fn console() {
    let folder = Scratch::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let site = format!("http://{}", listener.local_addr().expect("an address"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let data = folder.0.clone();
    let demo = tokio::spawn(async move {
        let until = async { drop(stopped.await) };
        server::demo::open(&data, listener, until, || ()).await.expect("the demo runs");
    });

    let browser = Browser::start().await;
    let pictures = Pictures::wanted();
    browser.look(Look { width: 1280, height: 900, dark: false }).await;

    // A stranger is asked to sign in, and a wrong word does not let anybody in.
    browser.open(&format!("{site}/visits")).await;
    assert!(browser.address().await.contains("/sign-in"), "a stranger sees no visits");
    sign_in(&browser, "not the password").await;
    assert!(browser.address().await.contains("/sign-in"), "a wrong password opens nothing");
    sign_in(&browser, server::demo::PASSWORD).await;
    assert!(browser.address().await.ends_with("/visits"), "and then one is where one wanted to be");
    browser.complaints().await; // about the wrong password, rightly

    // The list fills while one looks at it: nobody reloads anything.
    browser.until("return document.querySelectorAll('main tbody tr').length >= 6").await;

    only_what_is_in_sight_holds_a_line(&browser, &site).await;
    browser.open(&format!("{site}/visits")).await;

    // A visit with its shelf drawn.
    browser.until("return [...document.querySelectorAll('main tbody tr')].some(r => /submitted|waits|review/i.test(r.innerText))").await;
    let visit = browser
        .run("const r = [...document.querySelectorAll('main tbody tr')].find(r => /submitted|waits|review/i.test(r.innerText)); return r.querySelector('a').href")
        .await;
    browser.open(visit.as_str().expect("a link")).await;
    let title = browser.run("return document.querySelector('h1').innerText").await;
    assert!(!title.as_str().expect("a title").is_empty());

    // The overview comes last, when there is more to see of the day.
    let pages = [
        "/visits",
        "/look",
        "/outlets",
        "/outlets?show=reported",
        "/scorecard",
        "/scorecard?by=distributor",
        "/people",
        "/data",
        "/",
    ];
    let narrow = [("tablet", 768), ("between", 880), ("small", 320)];
    let narrow = narrow.map(|(name, width)| (name, Look { width, height: 844, dark: false }));
    let tall = |usual| pictures.as_ref().and_then(|pictures| pictures.height).unwrap_or(usual);
    let (desk, phone) = (tall(900), tall(844));
    let looks = [
        ("desk-light", Look { width: 1280, height: desk, dark: false }),
        ("desk-dark", Look { width: 1280, height: desk, dark: true }),
        ("phone-light", Look { width: 390, height: phone, dark: false }),
        ("phone-dark", Look { width: 390, height: phone, dark: true }),
    ];
    // What can be told without eyes is the same in the dark.
    let mut looks = Vec::from(looks);
    looks.retain(|(_, look)| pictures.is_some() || !look.dark);
    looks.extend(narrow);
    let here = visit.as_str().expect("a link").trim_start_matches(&site).to_owned();
    let mut linked = vec![here.clone()];
    for (page, link) in [
        ("/outlets", "main a[href^=\"/outlets/\"]"),
        ("/people", "main a[href^=\"/people/\"]"),
        (&here, "main a[href^=\"/erase\"]"),
    ] {
        browser.open(&format!("{site}{page}")).await;
        let link = format!("return document.querySelector('{link}').getAttribute('href')");
        linked.push(browser.run(&link).await.as_str().expect("a link").to_owned());
    }
    for path in pages.iter().map(|p| (*p).to_owned()).chain(linked) {
        for (name, look) in &looks {
            browser.look(*look).await;
            browser.open(&format!("{site}{path}")).await;
            if path.starts_with("/people/") {
                browser
                    .run("document.querySelectorAll('main details').forEach(d => d.open = true)")
                    .await;
            }
            sound(&browser, &path, look.width).await;
            if let Some(pictures) = &pictures {
                let page = match path.as_str() {
                    "/" => "overview".to_owned(),
                    p if p == here => "visit".to_owned(),
                    p if p.starts_with("/outlets/") => "outlet".to_owned(),
                    p if p.starts_with("/people/") => "person".to_owned(),
                    p if p.starts_with("/erase") => "erase".to_owned(),
                    p => p.trim_start_matches('/').replace(['?', '='], "-"),
                };
                pictures.take(&browser, &page, name).await;
            }
        }
    }

    // By keyboard alone: the first stop is the way past the navigation.
    browser.look(looks[0].1).await;
    browser.open(&format!("{site}/visits")).await;
    browser.press("\u{e004}").await;
    let first = browser.run("return document.activeElement.getAttribute('href')").await;
    assert_eq!(first.as_str(), Some("#main"), "the first stop is the skip link");

    // A distributor's manager contests a value and a whole visit; the brand answers one of them.
    leave(&browser, &site).await;
    browser.open(&format!("{site}/visits?state=submitted")).await;
    sign_in_as(&browser, MANAGER, server::demo::PASSWORD).await;
    browser.until("return !!document.querySelector('#found tbody tr a')").await;
    let visit = browser.run("return document.querySelector('#found tbody tr a').href").await;
    let visit = visit.as_str().expect("a link").to_owned();
    browser.open(&visit).await;
    let form = "return document.querySelector('a.beside[href*=\"/contest\"]').href";
    let form = browser.run(form).await.as_str().expect("a way to contest a value").to_owned();
    let shown = |page: &'static str| (page, pictures.clone());
    each_look(&browser, &looks, &form, shown("contest")).await;
    browser.open(&form).await;
    browser.fill("#comment", "Our delivery note of that morning says something else.").await;
    browser.submit("main form").await;
    browser.open(&format!("{visit}/contest")).await;
    browser.fill("#comment", "Nobody of yours signed in at the store that day.").await;
    browser.submit("main form").await;
    let found = browser.run("return document.querySelectorAll('#contests article').length").await;
    assert_eq!(found.as_u64(), Some(2), "both are on the visit's page");
    each_look(&browser, &looks, &visit, shown("contested")).await;
    leave(&browser, &site).await;
    browser.open(&format!("{site}/visits?kind=contested")).await;
    sign_in(&browser, server::demo::PASSWORD).await;
    browser.until("return !!document.querySelector('#found tbody tr a')").await;
    each_look(&browser, &looks, &visit, shown("answer")).await;
    browser.open(&visit).await;
    nothing_typed_is_lost_when_the_page_is_shown_anew(&browser).await;
    browser.open(&visit).await;
    browser.fill("#contests article:last-of-type textarea", "His phone was, see its times.").await;
    browser.leave_by("#contests article:last-of-type button[value=uphold]").await;
    browser
        .until("return /the record stands/i.test(document.querySelector('#contests article:last-of-type').innerText)")
        .await;
    let without = format!("{site}/scorecard?contested=without");
    each_look(&browser, &looks, &without, shown("without")).await;

    // A copy of the log is given out, seen and withdrawn.
    let log = format!("{site}/log");
    browser.open(&log).await;
    browser.fill("#label", "Palegate Foods, on the machine in the back office").await;
    browser.submit("#copies form").await;
    each_look(&browser, &looks, &log, shown("log")).await;
    browser.open(&log).await;
    browser.submit("#given form").await;
    let left = browser.run("return document.querySelectorAll('#given').length").await;
    assert_eq!(left.as_u64(), Some(0), "it was the only one");

    drop(browser);
    let _ = stop.send(());
    demo.await.expect("the demo stops");
}

/// A chosen file cannot be kept, so it is asked about; what was typed beside it is kept.
async fn nothing_typed_is_lost_when_the_page_is_shown_anew(browser: &Browser) {
    browser
        .run(
            "window.asked = 0; window.confirm = () => { window.asked += 1; return true; };
             const chosen = new DataTransfer();
             chosen.items.add(new File(['x'], 'shelf.jpg'));
             document.querySelector('#contests input[type=file]').files = chosen.files;
             const last = [...document.querySelectorAll('main textarea[id]')].pop();
             last.value = 'Half a sentence'; window.last = last.id;
             document.querySelector('#fresh-bar button').click(); return true",
        )
        .await;
    browser.until_soon("return window.asked > 0 && !document.querySelector('#contests input[type=file]').files.length").await;
    let kept = "return [window.asked, document.getElementById(window.last).value].join(' ')";
    assert_eq!(browser.run(kept).await.as_str(), Some("1 Half a sentence"));
}

/// A browser opens six connections to one host. Pages that wait to be gone back to leave theirs, and one that is gone
/// back to follows along again.
async fn only_what_is_in_sight_holds_a_line(browser: &Browser, site: &str) {
    let follows =
        "const e = document.getElementById('live'); return !!e && e.classList.contains('is-live')";
    browser.open(site).await;
    browser.until_soon(follows).await;
    for path in
        ["/visits", "/outlets", "/scorecard", "/people", "/look", "/", "/visits", "/outlets"]
    {
        browser.leave_by(&format!(".nav a[href=\"{path}\"]")).await;
        browser.until_soon(follows).await;
        lines_are(site, 1).await;
    }
    browser.run("document.getElementById('live').className = 'live'; history.back()").await;
    browser
        .until_soon(&format!("if (location.pathname !== '/visits') return false; {follows}"))
        .await;
    lines_are(site, 1).await;
}

/// Waits until so many pages hold a live line: a page that is left closes its own without waiting for the server.
async fn lines_are(site: &str, lines: u64) {
    let told = format!("\nendcap_poke_sessions {lines}\n");
    let address = format!("{site}/metrics");
    let metrics = async || {
        let reply = reqwest::get(&address).await.expect("a reply");
        reply.text().await.expect("text")
    };
    let come = async { while !metrics().await.contains(&told) {} };
    if tokio::time::timeout(Duration::from_secs(15), come).await.is_err() {
        let metrics = metrics().await;
        let open = metrics.lines().find(|line| line.starts_with("endcap_poke_sessions"));
        panic!("{open:?}, and it should be {lines}");
    }
}

/// Opens a page at every width and light, and keeps what was seen.
async fn each_look(
    browser: &Browser,
    looks: &[(&str, Look)],
    url: &str,
    (page, pictures): (&str, Option<Pictures>),
) {
    for (name, look) in looks {
        browser.look(*look).await;
        browser.open(url).await;
        sound(browser, page, look.width).await;
        if let Some(pictures) = &pictures {
            pictures.take(browser, page, name).await;
        }
    }
    browser.look(looks[0].1).await;
}

async fn leave(browser: &Browser, site: &str) {
    browser.open(&format!("{site}/visits")).await;
    browser.submit("form[action=\"/sign-out\"]").await;
}

async fn sign_in(browser: &Browser, password: &str) {
    sign_in_as(browser, ADMIN, password).await;
}

async fn sign_in_as(browser: &Browser, email: &str, password: &str) {
    browser.fill("input[name=email]", email).await;
    browser.fill("input[name=password]", password).await;
    browser.submit("main form, form").await;
}

/// What holds of every page at every width.
async fn sound(browser: &Browser, path: &str, width: u32) {
    let seen = browser
        .run(
            "return {wide: document.documentElement.scrollWidth, h1: document.querySelectorAll('h1').length, lang: document.documentElement.lang,
                     unnamed: [...document.querySelectorAll('main input, main select, main textarea')]
                         .filter(e => e.type !== 'hidden' && !e.labels.length && !e.getAttribute('aria-label')).length,
                     broken: [...document.images].filter(i => i.complete && !i.naturalWidth).length}",
        )
        .await;
    let at = format!("{path} at {width}: {seen}");
    assert!(seen["wide"].as_u64() <= Some(u64::from(width)), "{at}: the page scrolls sideways");
    assert_eq!(seen["h1"].as_u64(), Some(1), "{at}: one title");
    assert!(!seen["lang"].as_str().unwrap_or_default().is_empty(), "{at}: a language");
    assert_eq!(seen["unnamed"].as_u64(), Some(0), "{at}: a field without a label");
    assert_eq!(seen["broken"].as_u64(), Some(0), "{at}: a broken picture");
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{at}: the browser complains: {complaints:?}");
}

/// Where pictures go, if anybody wants them.
#[derive(Clone)]
struct Pictures {
    folder: PathBuf,
    /// Of the window, in CSS pixels, where not the whole page is wanted.
    height: Option<u32>,
}

impl Pictures {
    fn wanted() -> Option<Self> {
        let folder = std::env::var_os("ENDCAP_PICTURES")?.into();
        let height = std::env::var_os("ENDCAP_PICTURES_HEIGHT").map(|pixels| {
            let pixels = pixels.to_str().and_then(|pixels| pixels.parse().ok());
            pixels.expect("a number of pixels")
        });
        Some(Self { folder, height })
    }

    async fn take(&self, browser: &Browser, page: &str, look: &str) {
        let path = self.folder.join(format!("{page}-{look}.png"));
        browser.picture(&path, self.height.is_none()).await;
    }
}

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(server::scratch("browser"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}
