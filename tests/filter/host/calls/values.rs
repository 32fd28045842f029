//! Properties, shared data and metrics.

use super::super::process::{MetricKind, Status};
use super::super::request::StateEntry;
use super::{Guest, Stop, unknown};

pub(super) fn property(guest: &mut Guest<'_>, name: &str, arguments: &[u64]) -> Result<(), Stop> {
    let &[path, path_size, third, fourth] = arguments else {
        return Err(Status::BadArgument.into());
    };
    let path = String::from_utf8(guest.read(path, path_size)?).map_err(|_| Status::NotFound)?;
    match name {
        "proxy_get_property" => {
            if path == "xds\0node\0id" {
                let node = guest.process().node.clone();
                return guest.give(&node, third, fourth);
            }
            if path == "plugin_name" {
                let name = guest.process().plugin_name.clone();
                return guest.give(&name, third, fourth);
            }
            let path: Vec<String> = path.split('\0').map(str::to_owned).collect();
            let transaction = guest.state().transaction().ok_or(Status::NotFound)?;
            let value = transaction.property(&path).ok_or(Status::NotFound)?;
            guest.give(&value, third, fourth)
        }
        "proxy_set_property" => {
            let value = guest.read(third, fourth)?;
            let declared = guest
                .state()
                .root()?
                .declared
                .iter()
                .find(|property| property.name == path)
                .cloned();
            let transaction = guest.state().transaction().ok_or(Status::NotFound)?;
            let state = &mut transaction.filter_state;
            if let Some(entry) = state.get_mut(&format!("wasm.{path}")) {
                if entry.declared.read_only {
                    return Err(Status::BadArgument.into());
                }
                entry.value = value;
            } else {
                let declared = declared.unwrap_or_default();
                state.insert(format!("wasm.{path}"), StateEntry { value, declared });
            }
            Ok(())
        }
        _ => unknown(guest, name, Status::Unimplemented as u32),
    }
}

pub(super) fn shared_data(
    guest: &mut Guest<'_>,
    name: &str,
    arguments: &[u64],
) -> Result<(), Stop> {
    match (name, arguments) {
        ("proxy_get_shared_data", &[key, key_size, pointer_at, size_at, cas_at]) => {
            let key = guest.read(key, key_size)?;
            let found = guest.process().shared_data.get(&key).cloned();
            let (value, cas) = found.ok_or(Status::NotFound)?;
            guest.give(&value, pointer_at, size_at)?;
            guest.write_u32(cas_at, cas)
        }
        ("proxy_set_shared_data", &[key, key_size, value, value_size, cas]) => {
            let key = guest.read(key, key_size)?;
            let value = guest.read(value, value_size)?;
            match guest.process().swap_shared_data(&key, &value, cas as u32) {
                Status::Ok => Ok(()),
                lost => Err(lost.into()),
            }
        }
        _ => unknown(guest, name, Status::Unimplemented as u32),
    }
}

pub(super) fn metric(guest: &mut Guest<'_>, name: &str, arguments: &[u64]) -> Result<(), Stop> {
    match (name, arguments) {
        ("proxy_define_metric", &[kind, at, length, id_at]) => {
            let name = String::from_utf8_lossy(&guest.read(at, length)?).into_owned();
            let kind = usize::try_from(kind)
                .ok()
                .and_then(|kind| MetricKind::ALL.get(kind));
            let kind = *kind.ok_or(Status::BadArgument)?;
            guest
                .process()
                .metrics
                .entry((kind, name.clone()))
                .or_default();
            let metrics = &mut guest.state().metrics;
            metrics.push((kind, name));
            let id = (metrics.len() as u32 - 1) * 4 + kind as u32;
            guest.write_u32(id_at, id)
        }
        ("proxy_increment_metric", &[id, offset]) => {
            let (kind, mut metric) = guest.state().metric(id)?;
            match (kind, offset.cast_signed()) {
                (MetricKind::Counter, 1..) | (MetricKind::Gauge, _) => {
                    metric.value = metric.value.wrapping_add(offset);
                    Ok(())
                }
                _ => Err(Status::BadArgument.into()),
            }
        }
        ("proxy_record_metric", &[id, value]) => {
            match guest.state().metric(id)? {
                (MetricKind::Counter, mut metric) => {
                    metric.value = metric.value.wrapping_add(value)
                }
                (MetricKind::Gauge, mut metric) => metric.value = value,
                (MetricKind::Histogram, mut metric) => metric.samples.push(value),
            }
            Ok(())
        }
        ("proxy_get_metric", &[id, at]) => {
            let value = match guest.state().metric(id)? {
                (MetricKind::Histogram, _) => return Err(Status::BadArgument.into()),
                (_, metric) => metric.value,
            };
            guest.write(at, &value.to_le_bytes())
        }
        _ => unknown(guest, name, Status::Unimplemented as u32),
    }
}
