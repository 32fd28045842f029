//! What stands between processes: doors that a test closes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// Where a door leads.
#[derive(Clone)]
pub enum Place {
    /// A port.
    Port(SocketAddr),
    /// A socket.
    Socket(PathBuf),
}

/// A port that leads to one of several places, each in turn, as a plain balancer does: to one that
/// answers. A test may close it.
pub struct Door {
    address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    places: Mutex<Vec<Place>>,
    next: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
    /// How often it was led elsewhere.
    led: AtomicUsize,
}

impl Door {
    /// Opens one.
    pub fn to(places: Vec<Place>) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, places)
    }

    /// Opens one at another address of this machine.
    pub fn at(address: Ipv4Addr, places: Vec<Place>) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner::default());
        inner.places.lock().unwrap().clone_from(&places);
        let of_thread = Arc::clone(&inner);
        // The thread ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                of_thread.admit(stream);
            }
        });
        Self { address, inner }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where new connections are led.
    pub fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.inner.places.lock().unwrap()
    }

    /// Leads to these places from now on; to nowhere if there are none. Ends all connections.
    pub fn lead(&self, places: Vec<Place>) {
        *self.inner.places.lock().unwrap() = places;
        let mut open = self.inner.open.lock().unwrap();
        self.inner.led.fetch_add(1, Ordering::Relaxed);
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Inner {
    fn admit(&self, stream: TcpStream) {
        let led = self.led.load(Ordering::Relaxed);
        let places = self.places.lock().unwrap().clone();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let order = (0..places.len()).map(|n| &places[(first + n) % places.len()]);
        let Some(()) = order
            .into_iter()
            .find_map(|place| join(&stream, place).ok())
        else {
            return;
        };
        let mut open = self.open.lock().unwrap();
        // Meanwhile it may have been led elsewhere.
        match self.led.load(Ordering::Relaxed) == led {
            true => open.push(stream),
            false => drop(stream.shutdown(Shutdown::Both)),
        }
    }
}

fn join(stream: &TcpStream, place: &Place) -> io::Result<()> {
    let near = stream.try_clone()?;
    let _ = near.set_nodelay(true);
    match place {
        Place::Port(address) => {
            let far = TcpStream::connect(address)?;
            let _ = far.set_nodelay(true);
            let ends = [(near.try_clone()?, far.try_clone()?), (far, near)];
            for (from, to) in ends {
                thread::spawn(move || {
                    carry(&from, &to);
                    let _ = to.shutdown(Shutdown::Both);
                    let _ = from.shutdown(Shutdown::Both);
                });
            }
        }
        Place::Socket(path) => {
            let far = UnixStream::connect(path)?;
            let (back, forth) = (far.try_clone()?, near.try_clone()?);
            thread::spawn(move || {
                carry(&near, &far);
                let _ = far.shutdown(Shutdown::Both);
            });
            thread::spawn(move || {
                carry(&back, &forth);
                let _ = forth.shutdown(Shutdown::Both);
            });
        }
    }
    Ok(())
}

/// Until one of them ends.
fn carry<F, T>(mut from: &F, mut to: &T)
where
    for<'s> &'s F: Read,
    for<'s> &'s T: Write,
{
    let mut bytes = [0; 1 << 14];
    while let Ok(read) = from.read(&mut bytes) {
        if read == 0 || to.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
}
