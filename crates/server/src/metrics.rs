//! The metrics page: Triton's names, so that its dashboards carry over, and Sublet's own.
//!
//! Counts are the engine's, read when the page is asked for. Only request latencies are collected here.

mod latency;
mod page;

pub(crate) use latency::Latencies;

use crate::app::App;
use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use page::{Kind, Page};
use std::sync::Arc;
use sublet_engine::{DeviceStatus, ModelStatistics};

/// The metrics port's one address.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(app)
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let models = app.engine.statistics(None, None).unwrap_or_default();
    app.latencies.keep(|name| models.iter().any(|model| model.name == name));
    let mut page = render(&models, &app.engine.devices(), &app.latencies);
    let mut gauge = |name: &str, help: &str, value: f64| {
        page.metric(name, Kind::Gauge, help, |lines| lines.value(&[], value));
    };
    gauge("sublet_ready", "Whether the server is ready", f64::from(u8::from(app.is_ready())));
    gauge("sublet_request_bytes", "Bytes of the requests in the house", app.bytes.used() as f64);
    ([(CONTENT_TYPE, TEXT)], page.finish()).into_response()
}

fn render(models: &[ModelStatistics], devices: &[DeviceStatus], latencies: &Latencies) -> Page {
    let mut page = Page::default();
    triton_models(&mut page, models);
    triton_devices(&mut page, devices);
    sublet_models(&mut page, models, devices);
    sublet_devices(&mut page, devices);
    latencies.render(&mut page);
    page
}

/// One line per model version.
fn per_model(
    page: &mut Page,
    models: &[ModelStatistics],
    kind: Kind,
    name: &str,
    help: &str,
    value: impl Fn(&ModelStatistics) -> f64,
) {
    page.metric(name, kind, help, |lines| {
        for model in models {
            let version = model.version.to_string();
            lines.value(&[("model", &model.name), ("version", &version)], value(model));
        }
    });
}

/// One line per model version and value of another label.
fn per_model_and<const N: usize>(
    page: &mut Page,
    models: &[ModelStatistics],
    name: &str,
    help: &str,
    label: &str,
    values: impl Fn(&ModelStatistics) -> [(&'static str, u64); N],
) {
    page.metric(name, Kind::Counter, help, |lines| {
        for model in models {
            let version = model.version.to_string();
            for (case, value) in values(model) {
                let labels = [("model", &*model.name), ("version", &version), (label, case)];
                lines.value(&labels, value as f64);
            }
        }
    });
}

fn triton_models(page: &mut Page, models: &[ModelStatistics]) {
    let mut counter = |name: &str, help: &str, value: &dyn Fn(&ModelStatistics) -> u64| {
        per_model(page, models, Kind::Counter, name, help, |model| value(model) as f64);
    };
    counter(
        "nv_inference_request_success",
        "Number of successful inference requests, all batch sizes",
        &|m| m.success.count,
    );
    counter(
        "nv_inference_count",
        "Number of inferences performed (does not include cached requests)",
        &|m| m.inference_count,
    );
    counter(
        "nv_inference_exec_count",
        "Number of model executions performed (does not include cached requests)",
        &|m| m.execution_count,
    );
    counter(
        "nv_inference_request_duration_us",
        "Cumulative inference request duration in microseconds",
        &|m| m.success.ns / 1000,
    );
    counter(
        "nv_inference_queue_duration_us",
        "Cumulative inference queuing duration in microseconds",
        &|m| m.queue.ns / 1000,
    );
    counter(
        "nv_inference_compute_input_duration_us",
        "Cumulative compute input duration in microseconds",
        &|m| m.compute_input.ns / 1000,
    );
    counter(
        "nv_inference_compute_infer_duration_us",
        "Cumulative compute inference duration in microseconds",
        &|m| m.compute_infer.ns / 1000,
    );
    counter(
        "nv_inference_compute_output_duration_us",
        "Cumulative inference compute output duration in microseconds",
        &|m| m.compute_output.ns / 1000,
    );
    per_model_and(
        page,
        models,
        "nv_inference_request_failure",
        "Number of failed inference requests, all batch sizes",
        "reason",
        |model| {
            [
                ("REJECTED", model.rejected),
                ("CANCELED", model.cancelled),
                ("BACKEND", model.fail.count.saturating_sub(model.rejected)),
                ("OTHER", 0),
            ]
        },
    );
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&ModelStatistics) -> f64| {
        per_model(page, models, Kind::Gauge, name, help, value);
    };
    gauge(
        "nv_inference_pending_request_count",
        "Instantaneous number of pending requests awaiting execution per-model",
        &|m| m.pending as f64,
    );
    // Triton's releases differ in the name.
    for name in ["nv_model_load_time", "nv_model_load_duration_secs"] {
        gauge(name, "Seconds that the last load of the model took", &|m| m.load_ns as f64 / 1e9);
    }
}

/// One line per device, labelled as Triton labels GPUs.
fn triton_devices(page: &mut Page, devices: &[DeviceStatus]) {
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&DeviceStatus) -> f64| {
        page.metric(name, Kind::Gauge, help, |lines| {
            for device in devices {
                lines.value(&[("gpu_uuid", &device.name)], value(device));
            }
        });
    };
    gauge("nv_gpu_utilization", "GPU utilization rate [0.0 - 1.0)", &|d| d.usage.busy);
    gauge("nv_gpu_memory_total_bytes", "GPU total memory, in bytes", &|d| d.memory_bytes.0 as f64);
    gauge("nv_gpu_memory_used_bytes", "GPU used memory, in bytes", &|d| {
        let free = d.page_bytes.0 * u64::from(d.pages_free);
        d.memory_bytes.0.saturating_sub(free) as f64
    });
}

fn sublet_models(page: &mut Page, models: &[ModelStatistics], devices: &[DeviceStatus]) {
    let mut counter = |name: &str, help: &str, value: &dyn Fn(&ModelStatistics) -> f64| {
        per_model(page, models, Kind::Counter, name, help, value);
    };
    counter("sublet_swap_bytes_total", "Weight bytes copied to devices over the host link", &|m| {
        m.swapped_bytes.0 as f64
    });
    counter("sublet_swap_seconds_total", "Seconds from the start to the end of swap-ins", &|m| {
        m.swap_ns as f64 / 1e9
    });
    counter("sublet_slo_requests_total", "Requests that ended and had a deadline", &|m| {
        m.with_deadline as f64
    });
    counter("sublet_slo_met_total", "Requests that were answered before their deadline", &|m| {
        m.met_deadline as f64
    });
    per_model_and(
        page,
        models,
        "sublet_swap_ins_total",
        "Swap-ins by where the weights came from",
        "source",
        |m| [("host", m.swap_ins)],
    );
    per_model_and(page, models, "sublet_evictions_total", "Evictions by cause", "cause", |m| {
        [("room", m.evictions_room), ("other", m.evictions_other)]
    });
    per_model_and(
        page,
        models,
        "sublet_starts_total",
        "Runs by whether the weights were all resident",
        "start",
        |m| [("warm", m.warm_starts), ("cold", m.cold_starts)],
    );
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&ModelStatistics) -> f64| {
        per_model(page, models, Kind::Gauge, name, help, value);
    };
    gauge("sublet_queue_depth", "Requests that wait", &|m| m.pending as f64);
    gauge("sublet_weight_bytes", "Bytes of the model's packed weights", &|m| {
        m.weight_bytes.0 as f64
    });
    page.metric("sublet_resident_bytes", Kind::Gauge, "Weight bytes on each device", |lines| {
        for model in models {
            let version = model.version.to_string();
            for (device, bytes) in &model.resident {
                let name = devices.iter().find(|status| status.device == *device);
                let id = device.to_string();
                let name = name.map_or(&*id, |status| &*status.name);
                let labels = [("model", &*model.name), ("version", &version), ("device", name)];
                lines.value(&labels, bytes.0 as f64);
            }
        }
    });
}

fn sublet_devices(page: &mut Page, devices: &[DeviceStatus]) {
    let mut metric = |name: &str, kind: Kind, help: &str, value: &dyn Fn(&DeviceStatus) -> f64| {
        page.metric(name, kind, help, |lines| {
            for device in devices {
                lines.value(&[("device", &device.name)], value(device));
            }
        });
    };
    metric("sublet_device_up", Kind::Gauge, "Whether the device works", &|d| {
        f64::from(u8::from(d.alive))
    });
    metric("sublet_device_pages_free", Kind::Gauge, "Pages that nobody has", &|d| {
        d.pages_free.into()
    });
    metric("sublet_device_page_bytes", Kind::Gauge, "Size of one page", &|d| d.page_bytes.0 as f64);
    metric("sublet_device_memory_bytes", Kind::Gauge, "Memory for weights", &|d| {
        d.memory_bytes.0 as f64
    });
    metric("sublet_device_resident_bytes", Kind::Gauge, "Weight bytes on the device", &|d| {
        d.usage.resident_bytes.0 as f64
    });
    metric("sublet_device_arena_bytes", Kind::Gauge, "Bytes of activation arenas", &|d| {
        d.usage.arena_bytes.0 as f64
    });
    metric(
        "sublet_device_copied_bytes_total",
        Kind::Counter,
        "Bytes copied over the device's link",
        &|d| d.usage.copied_bytes.0 as f64,
    );
    metric("sublet_device_busy_ratio", Kind::Gauge, "Share of time that a lane computed", &|d| {
        d.usage.busy
    });
}

#[cfg(test)]
mod tests;
