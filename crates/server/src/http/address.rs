//! Names within addresses, percent-decoded and checked.

use crate::Failure;
use crate::app::App;
use crate::listen::Peer;
use crate::names::{check_model_name, check_name, parse_version};
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

/// `{model}` and, where the address has one, `{version}`.
pub(crate) struct ModelAddress {
    pub model: String,
    pub version: Option<u64>,
}

/// `{region}`.
pub(crate) struct RegionAddress(pub String);

impl FromRequestParts<Arc<App>> for ModelAddress {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let mut names = names(parts, app).await?;
        let model = names.remove("model").unwrap_or_default();
        check_model_name(&model, &app.limits)?;
        let version = match names.remove("version") {
            Some(version) if version.is_empty() => {
                return Err(Failure::invalid("the version is empty"));
            }
            Some(version) => parse_version(&version)?,
            None => None,
        };
        Ok(ModelAddress { model, version })
    }
}

impl FromRequestParts<Arc<App>> for RegionAddress {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let region = names(parts, app).await?.remove("region").unwrap_or_default();
        check_name("region's name", &region, &app.limits)?;
        Ok(RegionAddress(region))
    }
}

async fn names(parts: &mut Parts, app: &Arc<App>) -> Result<HashMap<String, String>, Failure> {
    let path = Path::<HashMap<String, String>>::from_request_parts(parts, app).await;
    path.map(|Path(names)| names)
        .map_err(|_| Failure::invalid("the address is not properly percent-encoded UTF-8"))
}

/// A missing extension is no error: only connections of this server's listeners carry it.
impl FromRequestParts<Arc<App>> for MaybePeer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Infallible> {
        Ok(MaybePeer(parts.extensions.get::<Peer>().copied()))
    }
}

/// Who asks.
pub(crate) struct MaybePeer(pub Option<Peer>);
