//! What WASI offers.

use wasmi::Error;

use super::super::process::Level;
use super::{Guest, Stop, unknown};

/// WASI preview 1, the part that Envoy has, with its errno numbers.
pub(super) fn wasi(guest: &mut Guest<'_>, name: &str, arguments: &[u64]) -> Result<(), Stop> {
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
