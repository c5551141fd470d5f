//! What an operator's Prometheus reads.

use std::fmt::Write as _;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use sync_core::id::OrgId;
use sync_core::wire::{Delivery, Outcome};

/// All counters of one server.
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Histogram, Seconds>,
    pushes: Counter,
    pulls: Counter,
    repairs: Counter,
    changes: Family<Change, Counter>,
    parcels: Family<Parcel, Counter>,
    bytes: Family<Bytes, Counter>,
    log: Family<Organisation, Gauge>,
    disk_free: Gauge,
    /// Live pokes that are open now.
    pub pokes: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Change {
    outcome: &'static str,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Parcel {
    outcome: &'static str,
    code: String,
}

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// From devices.
    In,
    /// To devices.
    Out,
}

impl EncodeLabelValue for Way {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Bytes {
    way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Organisation {
    organisation: String,
}

#[derive(Debug, Clone, Copy)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        seconds()
    }
}

/// A histogram of durations from half a millisecond to half a minute.
pub fn seconds() -> Histogram {
    let buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
    Histogram::new(buckets)
}

impl Metrics {
    /// Counts from zero. `store_writes` is what the store observes.
    pub fn new(store_writes: Histogram) -> Self {
        let mut registry = Registry::with_prefix("endcap");
        let requests = Family::new_with_constructor(Seconds);
        let (pushes, pulls, pokes) = (Counter::default(), Counter::default(), Gauge::default());
        let (changes, bytes, log) = (Family::default(), Family::default(), Family::default());
        let (repairs, disk_free) = (Counter::default(), Gauge::default());
        let parcels = Family::default();
        let help = "Time to the beginning of a response, by route";
        registry.register_with_unit("request_duration", help, Unit::Seconds, requests.clone());
        registry.register("pushes", "Pushes that were taken in", pushes.clone());
        registry.register("pulls", "Pages of the feed that were given out", pulls.clone());
        let help = "Repairs that devices began: each means a bug or a damaged disk";
        registry.register("repairs", help, repairs.clone());
        let help = "Changes in pushes, by what became of them";
        registry.register("changes", help, changes.clone());
        let help = "Parcels that devices brought for others, by what became of them";
        registry.register("parcels", help, parcels.clone());
        let help = "Bodies of pushes, pulls and repairs as they were sent";
        registry.register_with_unit("sync", help, Unit::Bytes, bytes.clone());
        registry.register("poke_sessions", "Live pokes that are open", pokes.clone());
        let help = "Time from asking for a write until it is on the disk";
        registry.register_with_unit("store_write", help, Unit::Seconds, store_writes);
        registry.register("log_entries", "Entries of each organisation's log", log.clone());
        let help = "Room that is left where the data folder is";
        registry.register_with_unit("disk_free", help, Unit::Bytes, disk_free.clone());
        Self {
            registry,
            requests,
            pushes,
            pulls,
            repairs,
            changes,
            parcels,
            bytes,
            log,
            disk_free,
            pokes,
        }
    }

    /// Counts a request by its route as the router knows it, never by its path.
    pub fn request(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        const KNOWN: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
        let method = KNOWN.into_iter().find(|known| method == *known).unwrap_or("other");
        let labels = Request { method, route: route.to_owned(), status: status.as_u16() };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts a push: the number of changes of each group and what became of them.
    pub fn push<'a>(&self, groups: impl Iterator<Item = (usize, &'a Outcome)>) {
        self.pushes.inc();
        for (changes, outcome) in groups {
            let labels = match outcome {
                Outcome::Accepted {} | Outcome::LetGo {} => {
                    Change { outcome: "accepted", code: String::new() }
                }
                Outcome::Quarantined { code, .. } => {
                    Change { outcome: "quarantined", code: code.clone() }
                }
            };
            self.changes.get_or_create(&labels).inc_by(changes as u64);
        }
    }

    /// Counts what was brought for others.
    pub fn cargo(&self, outcomes: &[Delivery]) {
        for outcome in outcomes {
            let (outcome, code) = match outcome {
                Delivery::Taken {} => ("taken", String::new()),
                Delivery::Refused { code, .. } => ("refused", code.clone()),
                Delivery::Later {} => ("later", String::new()),
            };
            self.parcels.get_or_create(&Parcel { outcome, code }).inc();
        }
    }

    /// Counts a page of the feed.
    pub fn pull(&self) {
        self.pulls.inc();
    }

    /// Counts a repair that begins.
    pub fn repair(&self) {
        self.repairs.inc();
    }

    /// Counts a body of the sync protocol.
    pub fn bytes(&self, way: Way, bytes: usize) {
        self.bytes.get_or_create(&Bytes { way }).inc_by(bytes as u64);
    }

    /// Sets how long an organisation's log is.
    pub fn log(&self, organisation: OrgId, entries: u64) {
        let labels = Organisation { organisation: organisation.to_string() };
        self.log.get_or_create(&labels).set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// Sets how much room is left.
    pub fn disk_free(&self, bytes: u64) {
        self.disk_free.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// All of it in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let _ = encode(&mut text, &self.registry); // writing to a string cannot fail
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_metric_by_its_name() {
        let metrics = Metrics::new(seconds());
        metrics.request(&Method::GET, "/x/{id}", StatusCode::OK, Duration::from_millis(2));
        metrics.request(&"BREW".parse().unwrap(), "", StatusCode::NOT_FOUND, Duration::ZERO);
        let refused = Outcome::quarantined("out_of_scope", String::new());
        metrics.push([(3, &Outcome::Accepted {}), (2, &refused)].into_iter());
        metrics.pull();
        metrics.repair();
        metrics.bytes(Way::Out, 7);
        metrics.log(OrgId::from_bytes([1; 16]), 9);
        metrics.disk_free(1);
        let text = metrics.text();
        for line in [
            r#"endcap_request_duration_seconds_count{method="GET",route="/x/{id}",status="200"} 1"#,
            r#"endcap_request_duration_seconds_count{method="other",route="",status="404"} 1"#,
            "endcap_pushes_total 1",
            "endcap_pulls_total 1",
            "endcap_repairs_total 1",
            r#"endcap_changes_total{outcome="accepted",code=""} 3"#,
            r#"endcap_changes_total{outcome="quarantined",code="out_of_scope"} 2"#,
            r#"endcap_sync_bytes_total{way="out"} 7"#,
            "endcap_poke_sessions 0",
            "endcap_store_write_seconds_count 0",
            r#"endcap_log_entries{organisation="01010101-0101-0101-0101-010101010101"} 9"#,
            "endcap_disk_free_bytes 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
