//! What was measured so far, written after each step: a run that breaks off leaves what it has.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::chart;
use super::figures::Table;
use super::machine;
use super::sheet::Sheet;
use super::tables::Started;
use super::targets::{self, Target};

/// The report of a run.
pub struct Report {
    out: PathBuf,
    machine: String,
    tables: Vec<Table>,
    starts: Vec<Started>,
    sheets: Vec<Sheet>,
    of_scale: Vec<Target>,
    failures: Vec<String>,
    /// That everything works, not how fast.
    short: bool,
}

impl Report {
    /// To be written to this folder.
    pub fn new(out: &Path, short: bool) -> Self {
        Self {
            out: out.to_owned(),
            machine: machine::description(),
            tables: Vec::new(),
            starts: Vec::new(),
            sheets: Vec::new(),
            of_scale: Vec::new(),
            failures: Vec::new(),
            short,
        }
    }

    pub fn table(&mut self, table: Table, starts: Vec<Started>, chart: &str) {
        let file = self.out.join(format!("{chart}.svg"));
        chart::draw(&table, &file).expect("a chart");
        self.tables.push(table);
        self.starts.extend(starts);
        self.write();
    }

    pub fn sheet(&mut self, sheet: Sheet) {
        println!("\n{}", sheet.markdown());
        self.sheets.push(sheet);
        self.write();
    }

    /// Draws what is in one column of a sheet.
    pub fn chart(&self, sheet: &Sheet, column: usize, name: &str) {
        let title = format!("{}: {}", sheet.title, sheet.columns[column]);
        let rows = sheet.rows.iter().filter_map(|(name, figures)| {
            let figure = figures.get(column - 1)?.middle()?;
            Some((name.clone(), figure))
        });
        let rows: Vec<_> = rows.collect();
        let file = self.out.join(format!("{name}.svg"));
        chart::bars(&title, &rows, &file).expect("a chart");
    }

    pub fn target(&mut self, target: Target) {
        self.of_scale.push(target);
    }

    /// Measures something; should it fail, the others are still measured.
    pub fn attempt(&mut self, what: &str, measure: impl FnOnce(&mut Self)) {
        println!("{what}");
        if catch_unwind(AssertUnwindSafe(|| measure(self))).is_err() {
            println!("{what}: failed");
            self.failures.push(what.to_owned());
            self.write();
        }
    }

    /// Whether something could not be measured.
    pub fn failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// What is asked and what was measured of it. A short run has nothing to say of that.
    pub fn targets(&self) -> String {
        match self.short {
            true => "A short run: that everything works, not how fast.\n\n".to_owned(),
            false => Target::markdown(&self.all_targets()),
        }
    }

    /// # Panics
    /// If a figure is missing or none.
    pub fn check(&self) {
        assert_eq!(self.failures, Vec::<String>::new(), "not measured");
        for table in &self.tables {
            assert!(!table.lines.is_empty(), "{} is empty", table.title);
            for line in &table.lines {
                assert!(line.cpu_us.median > 0.0, "{}: {}", table.title, line.case);
                assert!(line.requests_per_second > 0.0, "{}", line.case);
            }
        }
        for start in &self.starts {
            assert!(
                start.first_200_ms > 0.0 && start.resident_mb > 0.0,
                "{}",
                start.case
            );
        }
        self.sheets.iter().for_each(Sheet::check);
    }

    fn all_targets(&self) -> Vec<Target> {
        if self.short {
            return Vec::new();
        }
        let mut all = targets::of_tables(&self.tables);
        all.extend(self.of_scale.iter().cloned());
        all
    }

    fn write(&self) {
        let sheets: Vec<_> = self.sheets.iter().map(Sheet::json).collect();
        let all = json!({
            "machine": self.machine, "tables": self.tables, "starts": self.starts,
            "scale": sheets, "targets": self.all_targets(), "failures": self.failures,
        });
        fs::write(self.out.join("bench.md"), self.markdown()).expect("bench.md");
        fs::write(self.out.join("bench.json"), format!("{all:#}\n")).expect("bench.json");
    }

    fn markdown(&self) -> String {
        let version = keystile_tests::proxy::version();
        let mut text = format!(
            "# Keystile beside its peers\n\n{}; Envoy {version}; {} UTC. CPU is that of the threads that serve requests, from /proc. Where a table says `direct`, every case answers itself.\n\n",
            self.machine,
            jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M"),
        );
        text.push_str(&self.targets());
        for table in &self.tables {
            text.push_str(&table.markdown());
        }
        if !self.starts.is_empty() {
            text.push_str("### Start and memory\n\n| keys | workers | case | first 200, ms | resident, MB | bytes a key, all threads |\n| --: | --: | --- | --: | --: | --: |\n");
        }
        for s in &self.starts {
            let bytes = match s.bytes_per_key {
                b if b > 0.0 => format!("{b:.0}"),
                _ => String::new(),
            };
            text.push_str(&format!(
                "| {} | {} | {} | {:.0} | {:.0} | {bytes} |\n",
                s.keys, s.workers, s.case, s.first_200_ms, s.resident_mb
            ));
        }
        text.push('\n');
        for sheet in &self.sheets {
            text.push_str(&sheet.markdown());
        }
        for failure in &self.failures {
            text.push_str(&format!("Not measured: {failure}.\n"));
        }
        text
    }
}
