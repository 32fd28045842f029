//! `keystilectl render helm`

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::super::Context;
use super::cluster::ClusterArgs;
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_render::kubernetes;
use keystile_system::file;

/// Write a Helm chart of the control plane: the same resources as `render kubernetes`
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl render helm --image registry.example/keystilectl@sha256:… --out keystile-chart
  helm install keystile keystile-chart --namespace keystile --create-namespace --values values.yaml

What is given here becomes the chart's defaults; values.yaml describes all values.")]
pub struct HelmArgs {
    /// The folder for the chart: it must not exist, or be empty
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl HelmArgs {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        // Helm knows the namespace.
        let settings = self.cluster.settings("")?;
        let files = kubernetes::chart(&settings)?;
        let out = &self.out;
        if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(refuse(
                Code::FileUnwritable,
                format_args!("`{}` is not empty", out.display()),
                "name a folder that does not exist yet; what an earlier chart left would be part of this one",
            ));
        }
        for chart_file in &files {
            let path = out.join(&chart_file.path);
            let folder = path.parent().unwrap_or(out);
            fs::create_dir_all(folder).map_err(|e| cannot(folder, &e))?;
            file::replace(&path, 0o644, chart_file.text.as_bytes())?;
        }
        let names: Vec<&str> = files.iter().map(|f| f.path.as_str()).collect();
        let folder = out.display().to_string();
        cx.out.show(&json!({"folder": folder, "files": names}), || {
            let lines = names.iter().map(|name| format!("{folder}/{name}\n"));
            lines.collect()
        })
    }
}

fn cannot(folder: &Path, e: &std::io::Error) -> Error {
    refuse(
        Code::FileUnwritable,
        format_args!(
            "the folder `{}` cannot be made ({})",
            folder.display(),
            e.kind()
        ),
        "name a folder to which you may write",
    )
}
