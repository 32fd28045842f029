//! What the control plane in a cluster is made from, for resources and for a chart.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use keystile_model::error::{Code, Result, refuse};
use keystile_policy::yaml;
use keystile_render::kubernetes::settings::PlaneSettings;
use keystile_system::file;

/// What is chosen. Options come before the file of values, and that before the defaults.
#[derive(Args)]
pub struct ClusterArgs {
    /// The image with keystilectl
    #[arg(long, value_name = "IMAGE", required_unless_present = "values")]
    image: Option<String>,
    /// Values of the Helm chart, as in its values.yaml: replicas, PostgreSQL, resources and so on
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// The path of the filter in the containers of the proxies
    /// [default: /etc/keystile/filter/plugin.wasm]
    #[arg(long, value_name = "FILE")]
    wasm: Option<String>,
    /// Size of the volume for the store, and of that for backups [default: 10Gi]
    #[arg(long, value_name = "SIZE")]
    storage: Option<String>,
    /// A namespace whose pods may connect; can be repeated [default: any]
    #[arg(long, value_name = "NAME")]
    from_namespace: Vec<String>,
    /// When backups are made, as a cron schedule [default: 17 3 * * *]
    #[arg(long, value_name = "CRON")]
    backup: Option<String>,
}

impl ClusterArgs {
    /// The settings for a namespace.
    pub fn settings(self, namespace: &str) -> Result<PlaneSettings> {
        let mut settings = PlaneSettings::new(namespace);
        if let Some(path) = &self.values {
            settings.merge(values(path)?)?;
        }
        let mut set = |path, value: &Option<String>| {
            if let Some(value) = value {
                settings.set(path, Value::from(value.as_str()));
            }
        };
        set("image", &self.image);
        set("wasm", &self.wasm);
        set("store.size", &self.storage);
        set("backup.size", &self.storage);
        set("backup.schedule", &self.backup);
        if !self.from_namespace.is_empty() {
            settings.set("networkPolicy.from", Value::from(self.from_namespace));
        }
        Ok(settings)
    }
}

fn values(path: &Path) -> Result<Value> {
    let name = path.display();
    let text = String::from_utf8(file::read(path)?).map_err(|_| {
        refuse(
            Code::FileUnreadable,
            format_args!("`{name}` is not a text"),
            "name a file of values in YAML",
        )
    })?;
    let parsed = yaml::parse(&text).map_err(|e| {
        refuse(
            Code::InvalidValue,
            format_args!("`{name}`, line {}: {}", e.line, e.problem),
            "name a file of values in YAML",
        )
    })?;
    Ok(parsed.json())
}
