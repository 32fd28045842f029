//! The host functions: every import of the module ends here.

mod headers;
mod values;
mod wasi;

use std::cell::RefMut;
use std::time::Duration;

use wasmi::{Caller, Error, Extern, ExternType, Linker, Memory, Val};

use super::process::{HttpCall, Level, Process, Status};
use super::request::{Headers, Property};
use super::{Filter, State};
use headers::{header_map, send_local_response, sendable};
use values::{metric, property, shared_data};
use wasi::wasi;

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
        ("proxy_get_buffer_bytes", _) => buffer(guest, arguments),
        ("proxy_http_call", _) => http_call(guest, arguments),
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

fn buffer(guest: &mut Guest<'_>, arguments: &[u64]) -> Result<(), Stop> {
    let &[kind, start, length, pointer_at, size_at] = arguments else {
        return unknown(
            guest,
            "proxy_get_buffer_bytes",
            Status::Unimplemented as u32,
        );
    };
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

fn http_call(guest: &mut Guest<'_>, arguments: &[u64]) -> Result<(), Stop> {
    let &[
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
    ] = arguments
    else {
        return unknown(guest, "proxy_http_call", Status::Unimplemented as u32);
    };
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

fn unknown(guest: &Guest<'_>, name: &str, code: u32) -> Result<(), Stop> {
    guest.process().unknown.push(name.to_owned());
    Err(Stop::Code(code))
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
