
/// Which mutant is switched on.
pub(crate) mod mutant {
    use std::cell::RefCell;
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::sync::LazyLock;

    /// Its number, if one is.
    static CHOSEN: LazyLock<usize> = LazyLock::new(|| {
        let number = std::env::var("MUTANT").ok().and_then(|n| n.parse().ok());
        number.unwrap_or(usize::MAX)
    });

    /// Where to note which test asks for which mutant.
    static REACH: LazyLock<Option<File>> = LazyLock::new(|| {
        let path = std::env::var_os("MUTANT_REACH")?;
        OpenOptions::new().create(true).append(true).open(path).ok()
    });

    thread_local! {
        static ASKED: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
    }

    pub(crate) fn on(number: usize) -> bool {
        if let Some(reach) = &*REACH {
            note(reach, number);
        }
        *CHOSEN == number
    }

    /// Each test runs in a thread that has its name.
    #[cold]
    fn note(mut reach: &File, number: usize) {
        let is_new = ASKED.try_with(|asked| {
            let mut asked = asked.borrow_mut();
            if asked.len() <= number {
                asked.resize(number + 1, false);
            }
            !std::mem::replace(&mut asked[number], true)
        });
        if is_new.unwrap_or(true) {
            let thread = std::thread::current();
            let line = format!("{number} {}\n", thread.name().unwrap_or("?"));
            reach.write_all(line.as_bytes()).unwrap();
        }
    }
}
