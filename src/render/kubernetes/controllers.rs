//! The fields of Kubernetes' own API that describe what runs pods.

use serde::Serialize;

use super::pod::PodTemplate;
use super::types::{ClaimSpec, LabelSelector};
use crate::chosen::Chosen;
use crate::manifest::Resource;

/// Of an `apps/v1` StatefulSet.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatefulSetSpec {
    pub service_name: &'static str,
    pub replicas: Chosen<u32>,
    pub selector: LabelSelector,
    pub template: PodTemplate,
    pub volume_claim_templates: Vec<Resource<ClaimSpec>>,
}

/// Of a `batch/v1` CronJob.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CronJobSpec {
    pub schedule: Chosen<String>,
    pub concurrency_policy: &'static str,
    pub job_template: JobTemplate,
}

#[derive(Serialize)]
pub struct JobTemplate {
    pub spec: JobSpec,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec {
    pub backoff_limit: u32,
    pub template: PodTemplate,
}
