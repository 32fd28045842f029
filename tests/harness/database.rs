//! A PostgreSQL of a test's own, and what stands between processes: doors that a test closes.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// A cluster, which ends with the test.
pub struct Database {
    process: Child,
    address: String,
}

impl Database {
    /// Starts one. It answers on a socket in a folder of its own.
    pub fn start() -> Self {
        Self::started(None)
    }

    /// One with a standby that has all that it acknowledges.
    pub fn with_standby() -> Self {
        Self::started(Some("1"))
    }

    fn started(standby: Option<&str>) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres");
        let mut process = Command::new(script)
            .args(["sh", "-c", "echo \"$KEYSTILE_TEST_STORE\"; exec cat"])
            .envs(standby.map(|on| ("KEYSTILE_TEST_STANDBY", on)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        assert!(!address.is_empty(), "PostgreSQL did not start");
        Self { process, address }
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks it something; gives the words of the answer.
    pub fn ask(&self, sql: &str) -> String {
        self.ask_at("5432", sql)
    }

    fn ask_at(&self, port: &str, sql: &str) -> String {
        let output = Command::new("psql")
            .args(["-U", "keystile", "-d", "keystile", "-p", port, "-Atc", sql])
            .env("PGHOST", self.folder())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The first server dies, and the standby takes its place.
    pub fn fail_over(&self) {
        let pid = std::fs::read_to_string(self.folder().join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        let mut kill = Command::new("kill");
        assert!(kill.args(["-s", "QUIT", &pid]).status().unwrap().success());
        assert_eq!(self.ask_at("5433", "SELECT pg_promote()"), "t");
    }

    fn folder(&self) -> PathBuf {
        let (_, rest) = self.address.split_once("host=").unwrap();
        let folder = rest.split(['&', ',']).next().unwrap();
        PathBuf::from(folder)
    }

    /// Its socket.
    pub fn socket(&self) -> Place {
        Place::Socket(self.folder().join(".s.PGSQL.5432"))
    }

    /// Its address behind a door.
    pub fn behind(&self, door: &Door) -> String {
        format!(
            "postgres://keystile@{}/keystile?sslmode=disable",
            door.address()
        )
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The script ends with what it runs, and takes the cluster with it.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

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
}

impl Door {
    /// Opens one.
    pub fn to(places: Vec<Place>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
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
        for stream in self.inner.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Inner {
    fn admit(&self, stream: TcpStream) {
        let places = self.places.lock().unwrap().clone();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let order = (0..places.len()).map(|n| &places[(first + n) % places.len()]);
        let Some(()) = order
            .into_iter()
            .find_map(|place| join(&stream, place).ok())
        else {
            return;
        };
        self.open.lock().unwrap().push(stream);
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
