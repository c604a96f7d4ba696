//! What a GPU tells of itself at each scrape: memory, utilisation, clocks, power, temperature, by NVML.

use metrics::{Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::METADATA;
use crate::backend::cuda::libraries;

const UTILIZATION: &str = "alexnet_gpu_utilization_ratio";
const MEMORY_USED: &str = "alexnet_gpu_memory_used_bytes";
const MEMORY_TOTAL: &str = "alexnet_gpu_memory_total_bytes";
const CLOCK: &str = "alexnet_gpu_clock_hertz";
const POWER: &str = "alexnet_gpu_power_watts";
const TEMPERATURE: &str = "alexnet_gpu_temperature_celsius";

/// One card, watched.
pub(super) struct GpuWatch {
    nvml: Nvml,
    pci_bus_id: String,
}

impl GpuWatch {
    /// Opens NVML, and looks for the card.
    pub fn open(pci_bus_id: &str, recorder: &PrometheusRecorder) -> Result<Self, String> {
        let path = libraries::nvml();
        let nvml = Nvml::builder().lib_path(path.as_os_str()).init().map_err(|error| error.to_string())?;
        let watch = Self { nvml, pci_bus_id: pci_bus_id.to_owned() };
        watch.device().map_err(|error| format!("{pci_bus_id}: {error}"))?;
        for (name, help) in [
            (UTILIZATION, "The share of the last moments in which the GPU ran a kernel, as NVML measures it."),
            (MEMORY_USED, "Memory of the GPU that is in use, by all processes."),
            (MEMORY_TOTAL, "The GPU's memory."),
            (CLOCK, "The rates of the multiprocessors' and the memory's clocks."),
            (POWER, "What the GPU draws."),
            (TEMPERATURE, "The GPU's temperature."),
        ] {
            recorder.describe_gauge(name.into(), None, help.into());
        }
        Ok(watch)
    }

    fn device(&self) -> Result<Device<'_>, NvmlError> {
        self.nvml.device_by_pci_bus_id(self.pci_bus_id.as_str())
    }

    /// Sets the gauges. What a card cannot tell stays unset; what it no longer tells, as it was.
    pub fn read(&self, recorder: &PrometheusRecorder) {
        let Ok(device) = self.device() else { return };
        let set = |name: &'static str, labels: Vec<Label>, value: f64| {
            recorder.register_gauge(&Key::from_parts(name, labels), &METADATA).set(value);
        };
        if let Ok(rates) = device.utilization_rates() {
            set(UTILIZATION, vec![], f64::from(rates.gpu) / 100.0);
        }
        if let Ok(memory) = device.memory_info() {
            set(MEMORY_USED, vec![], memory.used as f64);
            set(MEMORY_TOTAL, vec![], memory.total as f64);
        }
        for (name, clock) in [("sm", Clock::SM), ("memory", Clock::Memory)] {
            if let Ok(megahertz) = device.clock_info(clock) {
                set(CLOCK, vec![Label::from_static_parts("clock", name)], f64::from(megahertz) * 1e6);
            }
        }
        if let Ok(milliwatts) = device.power_usage() {
            set(POWER, vec![], f64::from(milliwatts) / 1e3);
        }
        if let Ok(celsius) = device.temperature(TemperatureSensor::Gpu) {
            set(TEMPERATURE, vec![], f64::from(celsius));
        }
    }
}
