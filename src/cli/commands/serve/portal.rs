//! `keystilectl serve --portal-…`

use std::path::PathBuf;

use clap::Args;

use keystile_console::Brand;
use keystile_model::error::Result;
use keystile_system::file;

/// What clients see of the operator when they sign in.
#[derive(Args)]
#[command(next_help_heading = "The portal for clients")]
pub struct PortalArgs {
    /// The name that clients see when they sign in [default: Keystile]
    #[arg(long, value_name = "NAME", env = "KEYSTILE_PORTAL_NAME")]
    portal_name: Option<String>,
    /// The logo beside it, PNG or SVG
    #[arg(long, value_name = "FILE", env = "KEYSTILE_PORTAL_LOGO")]
    portal_logo: Option<PathBuf>,
    /// The colour of links and buttons, such as #17594f; it is lightened for dark pages
    #[arg(long, value_name = "COLOR", env = "KEYSTILE_PORTAL_COLOR")]
    portal_color: Option<String>,
}

impl PortalArgs {
    /// Name, logo and colour.
    pub fn brand(&self) -> Result<Brand> {
        let logo = self.portal_logo.as_deref().map(file::read).transpose()?;
        let (name, colour) = (self.portal_name.as_deref(), self.portal_color.as_deref());
        Brand::new(name, logo, colour)
    }
}
