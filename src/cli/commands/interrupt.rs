//! Ctrl-C while keys are being issued: no key that nobody has seen is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Context;
use keystile_api::Operation;
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::world::World;
use keystile_system::file;

impl Context {
    /// Performs an operation whose answer is shown only once. If interrupted, either nothing is done, or
    /// the answer is shown nevertheless, so that nothing is made unseen.
    pub fn make<O: Operation>(&self, operation: O) -> Result<O::Output> {
        self.make_in(&self.world, operation)
    }

    /// The same in a given world; through a server, in the world of the server.
    pub fn make_in<O: Operation>(&self, world: &World, operation: O) -> Result<O::Output> {
        let _waiting = self.out.waiting(O::ENDPOINT.summary);
        let Some(server) = &self.server else {
            let stop = heard(|_| {})?;
            let mut store = self.store()?;
            store.break_off_when(stop);
            return operation.run(&mut store, world);
        };
        let (server, out) = (server.remote()?, self.out);
        heard(move |times| match times {
            1 => out.note(
                "waiting for the server to answer with what it created; interrupt again to give up",
            ),
            _ => {
                out.warn("gave up before the server answered: if it created something, nobody has seen the secret; see `keystilectl audit list`");
                exit()
            }
        })?;
        server.perform(&operation)
    }
}

/// From now on SIGINT and SIGTERM remove the files that are not finished before they end the
/// process.
///
/// # Errors
/// If it cannot listen for signals.
pub fn leave_nothing() -> Result<()> {
    let end = |_| {
        file::remove_partials();
        exit()
    };
    heard(end).map(drop)
}

/// Ends the process with the exit code of SIGINT. The main thread may be blocked and cannot be asked
/// to return, so this skips the libraries' exit handlers, which would free what it still uses
/// (`_exit(2)`).
fn exit() -> ! {
    signal_hook::low_level::exit(130)
}

/// A flag that becomes true with the first SIGINT or SIGTERM, which no longer end the process.
/// `hear` is called for each signal with the number of signals so far.
fn heard(hear: impl Fn(u32) + Send + 'static) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&stop);
    let (ready, is_ready) = mpsc::channel();
    thread::spawn(move || {
        let runtime = match Builder::new_current_thread().enable_io().build() {
            Ok(runtime) => runtime,
            Err(e) => return drop(ready.send(Err(e))),
        };
        let (mut interrupt, mut terminate) = match signals(&runtime) {
            Ok(both) => both,
            Err(e) => return drop(ready.send(Err(e))),
        };
        let _ = ready.send(Ok(()));
        runtime.block_on(async {
            for times in 1.. {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                heard.store(true, Ordering::Relaxed);
                hear(times);
            }
        });
    });
    match is_ready.recv() {
        Ok(Ok(())) => Ok(stop),
        Ok(Err(e)) => Err(cannot(e)),
        Err(e) => Err(cannot(e)),
    }
}

fn signals(runtime: &Runtime) -> std::io::Result<(Signal, Signal)> {
    let _inside = runtime.enter();
    let interrupt = signal(SignalKind::interrupt())?;
    Ok((interrupt, signal(SignalKind::terminate())?))
}

fn cannot(e: impl std::fmt::Display) -> Error {
    refuse(
        Code::SystemFailed,
        format_args!("cannot listen for signals ({e})"),
        "nothing was changed; check the limits of the process (`ulimit -a`)",
    )
}
