//! The host functions: every import of the module ends here.

use std::cell::RefMut;
use std::time::Duration;

use wasmi::{Caller, Error, Extern, ExternType, Linker, Memory, Val};

use super::process::{HttpCall, Level, MetricKind, Process, Status};
use super::request::{Headers, Property, Reply, StateEntry};
use super::{Filter, Phase, State};

/// Why a host function stops: with a code for the guest, or the VM with it.
pub(super) enum Stop {
    Code(u32),
    Trap(Error),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Code(status as u32)
    }
}

/// All imports of the module, known or not, lead to [`host_function`].
pub(super) fn linker(filter: &Filter) -> Result<Linker<State>, Error> {
    let mut linker = Linker::new(&filter.engine);
    for import in filter.module.imports() {
        let name = import.name().to_owned();
        let ExternType::Func(ty) = import.ty() else {
            return Err(Error::new(format!("`{name}` is imported, and no function")));
        };
        let function = move |caller: Caller<'_, State>, arguments: &[Val], results: &mut [Val]| {
            let number = |value: &Val| match value {
                Val::I32(number) => Ok(u64::from(number.cast_unsigned())),
                Val::I64(number) => Ok(number.cast_unsigned()),
                other => Err(Error::new(format!("`{name}` was given {other:?}"))),
            };
            let arguments = arguments
                .iter()
                .map(number)
                .collect::<Result<Vec<_>, _>>()?;
            let code = enter(Guest(caller), &name, &arguments)?;
            if let Some(result) = results.first_mut() {
                *result = Val::I32(code.cast_signed());
            }
            Ok(())
        };
        linker.func_new(import.module(), import.name(), ty.clone(), function)?;
    }
    Ok(linker)
}

fn enter(mut guest: Guest<'_>, name: &str, arguments: &[u64]) -> Result<u32, Error> {
    let fault = guest.process().enter(name);
    if let Some(code) = fault {
        return Ok(code);
    }
    match host_function(&mut guest, name, arguments) {
        Ok(()) => Ok(0),
        Err(Stop::Code(code)) => Ok(code),
        Err(Stop::Trap(error)) => Err(error),
    }
}

/// The module that calls, seen from a host function.
struct Guest<'a>(Caller<'a, State>);

impl Guest<'_> {
    fn state(&mut self) -> &mut State {
        self.0.data_mut()
    }

    fn process(&self) -> RefMut<'_, Process> {
        self.0.data().process.borrow_mut()
    }

    fn memory(&self) -> Result<Memory, Stop> {
        let memory = self.0.get_export("memory").and_then(Extern::into_memory);
        memory.ok_or(Stop::Code(Status::InvalidMemoryAccess as u32))
    }

    fn read(&self, at: u64, length: u64) -> Result<Vec<u8>, Stop> {
        let range = usize::try_from(at)
            .ok()
            .zip(usize::try_from(at + length).ok());
        let (start, end) = range.ok_or(Status::InvalidMemoryAccess)?;
        let bytes = self.memory()?.data(&self.0).get(start..end);
        Ok(bytes.ok_or(Status::InvalidMemoryAccess)?.to_vec())
    }

    fn read_u32(&self, at: u64) -> Result<u64, Stop> {
        let bytes = self.read(at, 4)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn read_headers(&self, at: u64, length: u64) -> Result<Headers, Stop> {
        let headers = Headers::decode(&self.read(at, length)?);
        let malformed = || Stop::Trap(Error::new("a header map is serialized wrongly"));
        let headers = headers.ok_or_else(malformed)?;
        headers
            .0
            .iter()
            .try_for_each(|(name, value)| sendable(name, value))?;
        Ok(headers)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Stop> {
        let at = usize::try_from(at).map_err(|_| Status::InvalidMemoryAccess)?;
        let written = self.memory()?.write(&mut self.0, at, bytes);
        written.map_err(|_| Status::InvalidMemoryAccess.into())
    }

    fn write_u32(&mut self, at: u64, number: u32) -> Result<(), Stop> {
        self.write(at, &number.to_le_bytes())
    }

    /// Hands bytes over in memory that the guest allocates and frees. Of nothing, a null pointer.
    fn give(&mut self, bytes: &[u8], pointer_at: u64, size_at: u64) -> Result<(), Stop> {
        let size = u32::try_from(bytes.len()).map_err(|_| Status::InvalidMemoryAccess)?;
        let mut pointer = 0;
        if size > 0 {
            let export = ["proxy_on_memory_allocate", "malloc"]
                .iter()
                .find_map(|name| self.0.get_export(name));
            let allocate = export
                .and_then(Extern::into_func)
                .ok_or(Status::InvalidMemoryAccess)?;
            let allocate = allocate.typed::<u32, u32>(&self.0).map_err(Stop::Trap)?;
            pointer = allocate.call(&mut self.0, size).map_err(Stop::Trap)?;
            self.write(u64::from(pointer), bytes)?;
        }
        self.write_u32(pointer_at, pointer)?;
        self.write_u32(size_at, size)
    }
}

/// Envoy would put the bytes on the wire or reset the stream: either way a mistake of ours, so the test hears of it.
fn sendable(name: &[u8], value: &[u8]) -> Result<(), Stop> {
    let unfit = |byte: &u8| matches!(byte, b'\0' | b'\r' | b'\n');
    if name.is_empty() || name.iter().chain(value).any(unfit) {
        let field = format!("{:?}", Headers(vec![(name.to_vec(), value.to_vec())]));
        return Err(Stop::Trap(Error::new(format!("no field to send: {field}"))));
    }
    Ok(())
}

fn host_function(guest: &mut Guest<'_>, name: &str, arguments: &[u64]) -> Result<(), Stop> {
    match (name, arguments) {
        ("proxy_log", &[level, at, length]) => {
            let text = guest.read(at, length)?;
            let level = usize::try_from(level)
                .ok()
                .and_then(|level| Level::ALL.get(level));
            guest
                .process()
                .log(*level.ok_or(Status::BadArgument)?, &text);
            Ok(())
        }
        ("proxy_get_log_level", &[at]) => {
            let level = guest.process().log_level as u32;
            guest.write_u32(at, level)
        }
        ("proxy_get_current_time_nanoseconds", &[at]) => {
            let now = guest.process().wall;
            guest.write(at, &now.to_le_bytes())
        }
        ("proxy_set_tick_period_milliseconds", &[period]) => {
            guest.state().root()?.tick_period = period as u32;
            Ok(())
        }
        ("proxy_set_effective_context", &[id]) => {
            let known = guest.state().contexts.contains_key(&(id as u32));
            guest.state().effective = if known {
                id as u32
            } else {
                return Err(Status::BadArgument.into());
            };
            Ok(())
        }
        ("proxy_done", &[]) => {
            guest.state().root()?.done = true;
            Ok(())
        }
        ("proxy_get_buffer_bytes", &[kind, start, length, pointer_at, size_at]) => {
            let configuration = guest.state().configuration.clone();
            let answer = guest.state().answer.clone();
            let buffer = match kind {
                4 => answer.ok_or(Status::NotFound)?.1,
                6 => Vec::new(), // no VM configuration, ever
                7 => configuration.ok_or(Status::NotFound)?,
                _ => return Err(Status::NotFound.into()),
            };
            let start = usize::try_from(start).map_err(|_| Status::BadArgument)?;
            let rest = buffer.get(start..).ok_or(Status::BadArgument)?;
            let part = &rest[..rest
                .len()
                .min(usize::try_from(length).unwrap_or(usize::MAX))];
            if part.is_empty() {
                Ok(())
            } else {
                guest.give(part, pointer_at, size_at)
            }
        }
        (
            "proxy_http_call",
            &[
                cluster,
                cluster_size,
                map,
                map_size,
                body,
                body_size,
                _,
                _,
                timeout,
                token_at,
            ],
        ) => {
            let call = HttpCall {
                root: guest.state().root()?.root,
                cluster: String::from_utf8_lossy(&guest.read(cluster, cluster_size)?).into_owned(),
                headers: guest.read_headers(map, map_size)?,
                body: guest.read(body, body_size)?,
                timeout: Duration::from_millis(timeout),
            };
            guest.process().http_calls.push(call);
            let token = guest.process().http_calls.len() as u32;
            guest.write_u32(token_at, token)
        }
        ("proxy_send_local_response", _) => send_local_response(guest, arguments),
        ("proxy_call_foreign_function", _) => call_foreign_function(guest, arguments),
        _ if name.contains("header_map") => header_map(guest, name, arguments),
        _ if name.contains("property") => property(guest, name, arguments),
        _ if name.contains("shared_data") => shared_data(guest, name, arguments),
        _ if name.contains("metric") => metric(guest, name, arguments),
        _ if name.starts_with("proxy_") => unknown(guest, name, Status::Unimplemented as u32),
        _ => wasi(guest, name, arguments),
    }
}

fn unknown(guest: &Guest<'_>, name: &str, code: u32) -> Result<(), Stop> {
    guest.process().unknown.push(name.to_owned());
    Err(Stop::Code(code))
}

fn send_local_response(guest: &mut Guest<'_>, arguments: &[u64]) -> Result<(), Stop> {
    let &[
        status,
        details,
        details_size,
        body,
        body_size,
        map,
        map_size,
        grpc_status,
    ] = arguments
    else {
        return Err(Status::BadArgument.into());
    };
    let reply = Reply {
        status: status as u32,
        headers: guest.read_headers(map, map_size)?,
        body: guest.read(body, body_size)?,
        details: String::from_utf8_lossy(&guest.read(details, details_size)?).into_owned(),
        grpc_status: Some(grpc_status as u32).filter(|status| *status != u32::MAX),
    };
    let transaction = guest.state().transaction().ok_or(Status::BadArgument)?;
    // The first reply is the one that is sent.
    transaction.reply.get_or_insert(reply);
    Ok(())
}

fn call_foreign_function(guest: &mut Guest<'_>, arguments: &[u64]) -> Result<(), Stop> {
    let &[name, name_size, message, message_size, ..] = arguments else {
        return Err(Status::BadArgument.into());
    };
    let name = guest.read(name, name_size)?;
    let message = guest.read(message, message_size)?;
    match &name[..] {
        b"declare_property" => {
            let property = Property::decode(&message).ok_or(Status::BadArgument)?;
            let current = guest.state().current;
            // Envoy declares in the context that calls, and looks at the root's: declare while configuring.
            let declared = &mut guest.state().context(current).declared;
            if declared.iter().any(|other| other.name == property.name) {
                return Err(Status::BadArgument.into());
            }
            declared.push(property);
            Ok(())
        }
        b"clear_route_cache" => Ok(()),
        other => unknown(
            guest,
            &String::from_utf8_lossy(other),
            Status::NotFound as u32,
        ),
    }
}

fn header_map(guest: &mut Guest<'_>, name: &str, arguments: &[u64]) -> Result<(), Stop> {
    let read_only = matches!(
        name,
        "proxy_get_header_map_pairs" | "proxy_get_header_map_value"
    );
    let Some((&kind, arguments)) = arguments.split_first() else {
        return Err(Status::BadArgument.into());
    };
    if let (6, "proxy_get_header_map_pairs", &[pointer_at, size_at]) = (kind, name, arguments) {
        let answer = guest.state().answer.clone();
        let headers = answer.map(|(headers, _)| headers).unwrap_or_default();
        let encoded = match headers.0.is_empty() {
            true => Vec::new(),
            false => headers.encode(),
        };
        return guest.give(&encoded, pointer_at, size_at);
    }
    // What is written is read from memory first, because the map borrows the VM.
    let (field, value) = match *arguments {
        [at, length, value, value_length] if !read_only => {
            (guest.read(at, length)?, guest.read(value, value_length)?)
        }
        [at, length, ..] if name != "proxy_get_header_map_pairs" => {
            (guest.read(at, length)?, Vec::new())
        }
        _ => Default::default(),
    };
    let replaced = Headers::decode(&field);
    let logging = guest
        .state()
        .transaction()
        .is_some_and(|transaction| transaction.phase == Phase::Log);
    let map = guest
        .state()
        .transaction()
        .and_then(|transaction| transaction.map(kind, !read_only));
    match (name, arguments) {
        ("proxy_get_header_map_pairs", &[pointer_at, size_at]) => {
            let encoded = map.filter(|map| !map.0.is_empty()).map(|map| map.encode());
            guest.give(&encoded.unwrap_or_default(), pointer_at, size_at)
        }
        ("proxy_get_header_map_value", &[_, _, pointer_at, size_at]) => {
            let absent = if logging {
                Status::NotFound
            } else {
                Status::BadArgument
            };
            let field = String::from_utf8(field).map_err(|_| Status::NotFound)?;
            let value = map.ok_or(absent)?.all(&field).next().map(<[u8]>::to_vec);
            guest.give(&value.ok_or(Status::NotFound)?, pointer_at, size_at)
        }
        ("proxy_add_header_map_value", _) => {
            sendable(&field, &value)?;
            map.ok_or(Status::BadArgument)?.add(&field, &value);
            Ok(())
        }
        ("proxy_replace_header_map_value", _) => {
            sendable(&field, &value)?;
            map.ok_or(Status::BadArgument)?.replace(&field, &value);
            Ok(())
        }
        ("proxy_remove_header_map_value", _) => {
            map.ok_or(Status::BadArgument)?.remove(&field);
            Ok(())
        }
        ("proxy_set_header_map_pairs", _) => {
            let replaced = replaced.ok_or(Status::BadArgument)?;
            replaced
                .0
                .iter()
                .try_for_each(|(name, value)| sendable(name, value))?;
            *map.ok_or(Status::BadArgument)? = replaced;
            Ok(())
        }
        _ => unknown(guest, name, Status::Unimplemented as u32),
    }
}

fn property(guest: &mut Guest<'_>, name: &str, arguments: &[u64]) -> Result<(), Stop> {
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

fn shared_data(guest: &mut Guest<'_>, name: &str, arguments: &[u64]) -> Result<(), Stop> {
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

fn metric(guest: &mut Guest<'_>, name: &str, arguments: &[u64]) -> Result<(), Stop> {
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

/// WASI preview 1, the part that Envoy has, with its errno numbers.
fn wasi(guest: &mut Guest<'_>, name: &str, arguments: &[u64]) -> Result<(), Stop> {
    const BADF: u32 = 8;
    const NOSYS: u32 = 52;
    const NOTSUP: u32 = 58;
    match (name, arguments) {
        ("fd_write", &[fd, vectors, count, written_at]) => {
            let level = match fd {
                1 => Level::Info,
                2 => Level::Error,
                _ => return Err(Stop::Code(BADF)),
            };
            let mut text = Vec::new();
            for vector in (0..count).map(|index| vectors + index * 8) {
                text.extend(guest.read(guest.read_u32(vector)?, guest.read_u32(vector + 4)?)?);
            }
            guest
                .process()
                .log(level, text.strip_suffix(b"\n").unwrap_or(&text));
            guest.write_u32(written_at, text.len() as u32)
        }
        ("environ_sizes_get", &[count_at, size_at]) => {
            let environment = &guest.state().environment;
            let (count, size) = (environment.len() as u32, environment.concat().len() as u32);
            guest.write_u32(count_at, count)?;
            guest.write_u32(size_at, size)
        }
        ("environ_get", &[pointers_at, mut at]) => {
            for (index, variable) in (0..).zip(guest.state().environment.clone()) {
                guest.write_u32(pointers_at + index * 4, at as u32)?;
                guest.write(at, variable.as_bytes())?;
                at += variable.len() as u64;
            }
            Ok(())
        }
        ("args_sizes_get", &[count_at, size_at]) => {
            guest.write_u32(count_at, 0)?;
            guest.write_u32(size_at, 0)
        }
        ("args_get", _) => Ok(()),
        // No directories are open. Anything but BADF would end the module in wasi-libc's constructor.
        ("fd_prestat_get", _) => Err(Stop::Code(BADF)),
        ("clock_time_get", &[clock, _, at]) => {
            let now = match clock {
                0 => guest.process().wall,
                1 => guest.process().monotonic,
                _ => return Err(Stop::Code(NOTSUP)),
            };
            guest.write(at, &now.to_le_bytes())
        }
        ("random_get", &[at, length]) => {
            for index in 0..length {
                let byte = guest.process().random() as u8;
                guest.write(at + index, &[byte])?;
            }
            Ok(())
        }
        ("proc_exit", &[code]) => Err(Stop::Trap(Error::new(format!(
            "the module exited with {code}"
        )))),
        _ => unknown(guest, name, NOSYS),
    }
}
