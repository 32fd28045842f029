//! Headers, trailers, and the answer that the filter sends itself.

use wasmi::Error;

use super::super::Phase;
use super::super::process::Status;
use super::super::request::{Headers, Reply};
use super::{Guest, Stop, unknown};

/// Envoy would put the bytes on the wire or reset the stream: either way a mistake of ours, so the test hears of it.
pub(super) fn sendable(name: &[u8], value: &[u8]) -> Result<(), Stop> {
    let unfit = |byte: &u8| matches!(byte, b'\0' | b'\r' | b'\n');
    if name.is_empty() || name.iter().chain(value).any(unfit) {
        let field = format!("{:?}", Headers(vec![(name.to_vec(), value.to_vec())]));
        return Err(Stop::Trap(Error::new(format!("no field to send: {field}"))));
    }
    Ok(())
}

pub(super) fn send_local_response(guest: &mut Guest<'_>, arguments: &[u64]) -> Result<(), Stop> {
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

pub(super) fn header_map(guest: &mut Guest<'_>, name: &str, arguments: &[u64]) -> Result<(), Stop> {
    let read_only = matches!(
        name,
        "proxy_get_header_map_pairs" | "proxy_get_header_map_value"
    );
    let Some((&kind, arguments)) = arguments.split_first() else {
        return Err(Status::BadArgument.into());
    };
    if let (6, "proxy_get_header_map_pairs", &[pointer_at, size_at]) = (kind, name, arguments) {
        return answer(guest, pointer_at, size_at);
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

/// Headers of the answer to a call of the filter's own.
fn answer(guest: &mut Guest<'_>, pointer_at: u64, size_at: u64) -> Result<(), Stop> {
    let answer = guest.state().answer.clone();
    let headers = answer.map(|(headers, _)| headers).unwrap_or_default();
    let encoded = match headers.0.is_empty() {
        true => Vec::new(),
        false => headers.encode(),
    };
    guest.give(&encoded, pointer_at, size_at)
}
