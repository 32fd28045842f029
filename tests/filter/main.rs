//! The filter as it goes into Envoy, `keystile.wasm`, in the small host of [`host`], with keysets made by the library.
//!
//! Each module is one promise of the filter. `scripts/build` makes the module; `KEYSTILE_WASM` names another one.

mod host;

mod answers;
mod attempts;
mod buckets;
mod certificates;
mod configure;
mod contention;
mod corruption;
mod credentials;
mod damage;
mod economy;
mod exposed;
mod faults;
mod fixture;
mod gauges;
mod hostile;
mod identity;
mod keys;
mod lifecycle;
mod network;
mod older;
mod overlay;
mod paths;
mod quotas;
mod redirect;
mod refused;
mod reports;
mod roots;
mod secrets;
mod shadow;
mod templates;
mod trailers;
mod tunnels;
mod usage;
mod versions;
